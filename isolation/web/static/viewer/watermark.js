// Who works here, when, and in which session, drawn over the page. The renderer draws it into its pictures too; this one it cannot leave out.

import { make } from "./dom.js";

// ---------------------------------------------------------------- limits
const LEFT = 260; // CSS pixels between two marks of a line, beyond the text itself
const LINE = 150; // CSS pixels between two lines: no screenshot of a table or a form escapes
const TURN = -Math.PI / 9;
const FONT = "600 14px system-ui, sans-serif";

/** The text at `now` (epoch milliseconds): to the minute, UTC, as the router writes it. */
export function watermarkText({ person, reference }, now) {
  const minute = new Date(now).toISOString().slice(0, 16).replace("T", " ");
  return `${person} · ${minute} UTC · ${reference}`;
}

/** Covers `stage` with marks. `mark`: person, reference, and the router's time in epoch seconds, so that a wrong clock of the device says nothing wrong. */
export class Watermark {
  #canvas = make("canvas", { class: "watermark", attrs: { "aria-hidden": "true" } });
  #stage;
  #mark;
  #began = performance.now();

  constructor(stage, mark) {
    this.#stage = stage;
    this.#mark = mark;
    stage.append(this.#canvas);
    new ResizeObserver(() => this.#draw()).observe(stage);
    setInterval(() => this.#draw(), 10_000);
    this.#draw();
  }

  #draw() {
    const now = this.#mark.at * 1000 + performance.now() - this.#began;
    const text = watermarkText(this.#mark, now);
    const [width, height] = [this.#stage.clientWidth, this.#stage.clientHeight];
    const same = [text, width, height, devicePixelRatio].join();
    if (this.#canvas.dataset.drawn === same) return;
    this.#canvas.dataset.drawn = same;
    this.#canvas.width = Math.round(width * devicePixelRatio);
    this.#canvas.height = Math.round(height * devicePixelRatio);
    const context = this.#canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    context.font = FONT;
    const step = context.measureText(text).width + LEFT;
    // Dark letters with a light edge are seen on every ground, and keep what is below them legible.
    context.fillStyle = "rgb(20 25 40 / 13%)";
    context.strokeStyle = "rgb(255 255 255 / 13%)";
    context.lineWidth = 2;
    context.rotate(TURN);
    const reach = Math.hypot(width, height);
    for (let line = 0, y = -reach; y < 2 * reach; y += LINE, line += 1) {
      for (let x = -reach - (line % 2) * (step / 2); x < reach; x += step) {
        context.strokeText(text, x, y);
        context.fillText(text, x, y);
      }
    }
  }
}
