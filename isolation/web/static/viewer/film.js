// Moving pictures: VP8, one frame in, one picture out, by the browser's own decoder.

import { vp8Frame } from "./frames.js";

// ---------------------------------------------------------------- limits
const PATIENCE_MS = 3_000; // a frame takes a few milliseconds; a decoder that holds one back for so long has hung

const CONFIGURATION = { codec: "vp8", optimizeForLatency: true, hardwareAcceleration: "prefer-software" };

/** Says whether this browser plays film: it has WebCodecs (in secure contexts alone) and its decoder knows VP8. */
export async function playsFilm() {
  try {
    return (await VideoDecoder.isConfigSupported(CONFIGURATION)).supported === true;
  } catch {
    return false;
  }
}

/** The film of one rectangle. A decoder that failed is not tried again: `works` is false from then on. */
export class Film {
  #decoder = null;
  #waiting = []; // {resolve, reject, timer} of each frame in the decoder, in order
  #count = 0;
  works = true;

  /** Decodes the film's next frame. Resolves to a VideoFrame, which the caller closes. */
  async play({ data }) {
    const { key } = vp8Frame(data);
    if (key && this.#decoder === null) this.#begin();
    if (this.#decoder === null) throw new Error("film without its beginning");
    this.#count += 1;
    const chunk = new EncodedVideoChunk({ type: key ? "key" : "delta", timestamp: this.#count, data });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(), PATIENCE_MS);
      this.#waiting.push({ resolve, reject, timer });
      try {
        this.#decoder.decode(chunk);
      } catch {
        this.#fail();
      }
    });
  }

  /** Forgets the film: the next one begins with a key frame. */
  reset() {
    const decoder = this.#decoder;
    this.#decoder = null;
    if (decoder !== null && decoder.state !== "closed") decoder.close();
    for (const { reject, timer } of this.#waiting.splice(0)) {
      clearTimeout(timer);
      reject(new Error("the film ended"));
    }
  }

  #begin() {
    const decoder = new VideoDecoder({
      output: (picture) => {
        const next = decoder === this.#decoder ? this.#waiting.shift() : undefined;
        if (next === undefined) {
          picture.close();
          return;
        }
        clearTimeout(next.timer);
        next.resolve(picture);
      },
      error: () => {
        if (decoder === this.#decoder) this.#fail();
      },
    });
    this.#decoder = decoder;
    decoder.configure(CONFIGURATION);
  }

  #fail() {
    this.works = false;
    this.reset();
  }
}
