// The picture: applies frames to a canvas, in order, each as a whole.

import { FILL } from "./frames.js";

/** Draws frames. `onDrawn(seq)` after each; `onBroken()` when a picture cannot be decoded: the whole picture is needed again. */
export class Surface {
  #canvas;
  #context;
  #scratch = document.createElement("canvas");
  #scratchContext = this.#scratch.getContext("2d", { alpha: false });
  #tail = Promise.resolve();
  #scale = 100;
  #epoch = 0;
  #drawn = false;
  #torn = false; // a change could not be drawn: later ones make no sense until a whole picture comes
  #onDrawn;
  #onBroken;

  constructor(canvas, { onDrawn, onBroken }) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.#onDrawn = onDrawn;
    this.#onBroken = onBroken;
    canvas.addEventListener("contextrestored", () => onBroken());
  }

  /** Whether there is a picture at all. */
  get drawn() {
    return this.#drawn;
  }

  /** Begins anew with a page: frames still being decoded for the last one are dropped. `scale`: device pixels per CSS pixel × 100. */
  reset(scale) {
    this.#epoch += 1;
    this.#torn = false;
    this.#scale = scale;
    if (this.#drawn) this.#fit();
  }

  /** Forgets the picture. */
  clear() {
    this.#epoch += 1;
    this.#drawn = false;
    for (const canvas of [this.#canvas, this.#scratch]) canvas.width = canvas.height = 1;
    this.#canvas.style.width = this.#canvas.style.height = "0";
  }

  /** Takes a frame. Its pictures are decoded while earlier frames are still being drawn; drawing happens in order. */
  take(frame) {
    const epoch = this.#epoch;
    const decoding = Promise.all(frame.paints.map(decode));
    decoding.catch(() => {}); // looked at below, in its turn
    this.#tail = this.#tail.then(async () => {
      const pictures = await decoding.catch(() => null);
      if (epoch === this.#epoch) this.#apply(frame, pictures);
      for (const picture of pictures ?? []) picture?.close();
    });
  }

  #apply(frame, pictures) {
    if (pictures === null) {
      this.#torn = true;
      this.#onBroken();
    } else if (frame.whole || !this.#torn) {
      this.#torn = false;
      this.#draw(frame, pictures);
      this.#drawn = true;
    }
    // Acknowledged even when it was passed over: the renderer waits for that before it sends the whole picture.
    this.#onDrawn(frame.seq);
  }

  #draw(frame, pictures) {
    if (frame.whole) {
      if (this.#canvas.width !== frame.width || this.#canvas.height !== frame.height) {
        this.#canvas.width = frame.width;
        this.#canvas.height = frame.height;
      }
      this.#fit();
    }
    this.#copy(frame.copies);
    const context = this.#context;
    context.imageSmoothingEnabled = false;
    frame.paints.forEach((paint, i) => {
      if (paint.encoding === FILL) {
        const [red, green, blue] = paint.data;
        context.fillStyle = `rgb(${red} ${green} ${blue})`;
        context.fillRect(paint.x, paint.y, paint.width, paint.height);
      } else {
        context.drawImage(pictures[i], paint.x, paint.y);
      }
    });
  }

  #copy(copies) {
    if (copies.length === 0) return;
    let source = this.#canvas;
    if (copies.length > 1) {
      // All copies read the old surface: it is kept aside, for one copy's target may be another's source.
      const scratch = this.#scratch;
      if (scratch.width !== source.width || scratch.height !== source.height) {
        scratch.width = source.width;
        scratch.height = source.height;
      }
      for (const { sx, sy, width, height } of copies) {
        this.#scratchContext.drawImage(source, sx, sy, width, height, sx, sy, width, height);
      }
      source = scratch;
    }
    for (const { sx, sy, x, y, width, height } of copies) {
      this.#context.drawImage(source, sx, sy, width, height, x, y, width, height);
    }
  }

  #fit() {
    const factor = 100 / this.#scale;
    this.#canvas.style.width = `${this.#canvas.width * factor}px`;
    this.#canvas.style.height = `${this.#canvas.height * factor}px`;
  }
}

async function decode(paint) {
  if (paint.encoding === FILL) return null;
  const picture = await createImageBitmap(new Blob([paint.data], { type: "image/webp" }), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  if (picture.width !== paint.width || picture.height !== paint.height) {
    picture.close();
    throw new Error("the picture's size differs from its rectangle's");
  }
  return picture;
}
