// The picture: applies frames to a canvas, in order, each as a whole.

import { Film } from "./film.js";
import { FILL, GLYPHS, MAX_COVER, MAX_KEPT_PIXELS, RECALL, recalled, VIDEO } from "./frames.js";
import { GlyphBook, parseGlyphs } from "./glyphs.js";

// ---------------------------------------------------------------- limits
const MAX_DECODED = 32 * 1024 * 1024; // pixels decoded ahead of their turn: 128 MiB, a few whole pictures of a fine screen

/**
 * Draws frames. `onDrawn(seq)` after each; `onBroken()` when a frame could not be drawn: the whole picture is needed again, and without film
 * where `film` is false by then.
 */
export class Surface {
  #canvas;
  #context;
  #scratch = document.createElement("canvas");
  #scratchContext = this.#scratch.getContext("2d", { alpha: false });
  #slots = new Map(); // number → canvas of a kept rectangle
  #kept = 0; // pixels in them
  #film = new Film();
  #glyphs = new GlyphBook();
  #tail = Promise.resolve();
  #decoded = 0; // pixels of frames that were taken and not yet drawn
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

  /** Whether film can be played. */
  get film() {
    return this.#film.works;
  }

  /** Whether there is a picture at all. */
  get drawn() {
    return this.#drawn;
  }

  /** Begins anew with a page: frames still being decoded for the last one are dropped. The old picture stays until the new one is there. */
  reset() {
    this.#epoch += 1;
    this.#torn = false;
    this.#film.reset();
  }

  /** Forgets the picture. */
  clear() {
    this.reset();
    this.#drawn = false;
    this.#forget();
    for (const canvas of [this.#canvas, this.#scratch]) canvas.width = canvas.height = 1;
    this.#canvas.style.width = this.#canvas.style.height = "0";
  }

  /** Takes a frame. Its pictures are decoded while earlier frames are still being drawn; drawing happens in order. */
  take(frame) {
    const epoch = this.#epoch;
    const pixels = frame.paints.reduce((sum, { width, height }) => sum + width * height, 0);
    // Where much is decoded already, this frame waits for its turn; and so do those after it, for film is decoded in order.
    const early = this.#decoded === 0 || this.#decoded + pixels <= MAX_DECODED;
    this.#decoded += pixels;
    const decoding = early ? this.#decodeAll(frame) : null;
    this.#tail = this.#tail.then(async () => {
      const pictures = await (decoding ?? this.#decodeAll(frame));
      if (epoch === this.#epoch) this.#apply(frame, pictures);
      for (const picture of pictures ?? []) picture?.close();
      this.#decoded -= pixels;
    });
  }

  #apply(frame, pictures) {
    if (pictures === null) {
      this.#torn = true;
      this.#onBroken();
    } else if (frame.whole || !this.#torn) {
      this.#torn = !this.#draw(frame, pictures);
      this.#drawn = true;
      if (this.#torn) this.#onBroken();
    }
    // Acknowledged even when it was passed over: the renderer waits for that before it sends the whole picture.
    this.#onDrawn(frame.seq);
  }

  /** Says whether all of the frame made sense. */
  #draw(frame, pictures) {
    let sound = true;
    if (frame.whole) {
      this.#forget();
      if (this.#canvas.width !== frame.width || this.#canvas.height !== frame.height) {
        this.#canvas.width = frame.width;
        this.#canvas.height = frame.height;
      }
      this.#fit(frame.scale);
    }
    for (const keep of frame.keeps) sound = this.#keep(keep) && sound;
    this.#copy(frame.copies);
    const context = this.#context;
    context.imageSmoothingEnabled = false;
    let room = MAX_COVER * frame.width * frame.height; // for glyphs
    frame.paints.forEach((paint, i) => {
      if (paint.encoding === FILL) {
        const [red, green, blue] = paint.data;
        context.fillStyle = `rgb(${red} ${green} ${blue})`;
        context.fillRect(paint.x, paint.y, paint.width, paint.height);
      } else if (paint.encoding === RECALL) {
        sound = this.#recall(paint) && sound;
      } else if (paint.encoding === GLYPHS) {
        room -= this.#glyphs.stamp(context, paint, pictures[i], room);
        pictures[i] = null; // the book closes it
        sound = sound && room >= 0;
      } else {
        // Into the rectangle, whatever size the decoder says: never past it.
        context.drawImage(pictures[i], paint.x, paint.y, paint.width, paint.height);
      }
    });
    return sound;
  }

  #forget() {
    this.#slots.clear();
    this.#kept = 0;
    this.#glyphs.forget();
  }

  #keep({ slot, x, y, width, height }) {
    const before = this.#slots.get(slot);
    this.#kept += width * height - (before === undefined ? 0 : before.width * before.height);
    this.#slots.delete(slot);
    if (this.#kept > MAX_KEPT_PIXELS) {
      this.#kept -= width * height;
      return false;
    }
    const canvas = document.createElement("canvas");
    canvas.width = width;
    canvas.height = height;
    canvas.getContext("2d", { alpha: false }).drawImage(this.#canvas, x, y, width, height, 0, 0, width, height);
    this.#slots.set(slot, canvas);
    return true;
  }

  #recall(paint) {
    const { slot, x, y } = recalled(paint.data);
    const kept = this.#slots.get(slot);
    if (kept === undefined || x + paint.width > kept.width || y + paint.height > kept.height) return false;
    this.#context.drawImage(kept, x, y, paint.width, paint.height, paint.x, paint.y, paint.width, paint.height);
    return true;
  }

  #copy(copies) {
    if (copies.length === 0) return;
    // All copies read the old surface: it is kept aside, for one copy's target may be another's source. And a canvas that is drawn into itself
    // is copied whole first, where there is no graphics card: by way of a second one 2 ms less of 5 (measured, 1280 × 800).
    const [canvas, scratch] = [this.#canvas, this.#scratch];
    if (scratch.width !== canvas.width || scratch.height !== canvas.height) {
      scratch.width = canvas.width;
      scratch.height = canvas.height;
    }
    for (const { sx, sy, width, height } of copies) this.#scratchContext.drawImage(canvas, sx, sy, width, height, sx, sy, width, height);
    for (const { sx, sy, x, y, width, height } of copies) {
      this.#context.drawImage(scratch, sx, sy, width, height, x, y, width, height);
    }
  }

  #fit(scale) {
    this.#canvas.style.width = `${(this.#canvas.width * 100) / scale}px`;
    this.#canvas.style.height = `${(this.#canvas.height * 100) / scale}px`;
  }

  /** Resolves to the pictures of a frame, or null where one of them is none. */
  async #decodeAll(frame) {
    const done = await Promise.allSettled(frame.paints.map((paint) => this.#decode(paint)));
    if (done.every(({ status }) => status === "fulfilled")) return done.map(({ value }) => value);
    for (const { value } of done) value?.close();
    return null;
  }

  async #decode(paint) {
    if (paint.encoding === FILL || paint.encoding === RECALL) return null;
    if (paint.encoding === VIDEO) return this.#film.play(paint);
    if (paint.encoding !== GLYPHS) return decoded(paint.data, paint);
    const found = parseGlyphs(paint.data);
    return found.sheet.length === 0 ? null : decoded(found.sheet, found);
  }
}

/** Resolves to a picture of a WebP of just this size. */
async function decoded(data, { width, height }) {
  const picture = await createImageBitmap(new Blob([data], { type: "image/webp" }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  if (picture.width !== width || picture.height !== height) {
    picture.close();
    throw new Error("the picture's size differs from its rectangle's");
  }
  return picture;
}
