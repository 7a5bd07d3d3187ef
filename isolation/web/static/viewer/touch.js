// Fingers on the picture, as messages: the page gets them as they are, and its own browser scrolls, flings and magnifies.
//
// A finger that rests asks for the context menu. The page hears of that first; while it does nothing of its own, the menu that comes back takes the
// finger away from it, as on a phone.

import { MAX_COORDINATE, MAX_FINGERS } from "./wire.js";

// ---------------------------------------------------------------- limits
const HOLD_MS = 550; // what phones take for a finger that rests
const SLOP_PX = 10; // a finger that moves less has not moved

const clamp = (value) => Math.max(-MAX_COORDINATE, Math.min(MAX_COORDINATE, Math.round(value)));

/** The fingers that are down, under numbers of our own from 0: browsers count theirs as they like. */
export class Fingers {
  #numbers = new Map();
  #points = new Map();

  get points() {
    return [...this.#points.values()].sort((a, b) => a.id - b.id);
  }

  get count() {
    return this.#points.size;
  }

  /** Puts a finger down. Says no when there are more than a message holds. */
  down(identifier, x, y) {
    if (this.#points.size >= MAX_FINGERS || this.#numbers.has(identifier)) return false;
    let id = 0;
    while (this.#points.has(id)) id += 1;
    this.#numbers.set(identifier, id);
    this.#points.set(id, { id, x, y });
    return true;
  }

  move(identifier, x, y) {
    const id = this.#numbers.get(identifier);
    if (id === undefined) return false;
    this.#points.set(id, { id, x, y });
    return true;
  }

  up(identifier) {
    const id = this.#numbers.get(identifier);
    this.#numbers.delete(identifier);
    return id !== undefined && this.#points.delete(id);
  }

  clear() {
    this.#numbers.clear();
    this.#points.clear();
  }
}

const modifiersOf = (event) => (event.altKey ? 1 : 0) | (event.ctrlKey ? 2 : 0) | (event.metaKey ? 4 : 0) | (event.shiftKey ? 8 : 0);

/**
 * Listens on `area`, which holds `surface`. `send(message)`; `began(event)`: fingers came; `hold(x, y)`: one rests at this point of the page.
 */
export class TouchInput {
  #area;
  #surface;
  #send;
  #began;
  #hold;
  #fingers = new Fingers();
  #frame = 0;
  #moved = null; // modifiers of a move that waits for the next frame
  #resting = null;
  #held = false;

  constructor(area, surface, { send, began, hold }) {
    this.#area = area;
    this.#surface = surface;
    this.#send = send;
    this.#began = began;
    this.#hold = hold;
    const on = (name, listener) =>
      area.addEventListener(
        name,
        (event) => {
          if (event.target !== area && event.target !== surface) return;
          if (event.cancelable) event.preventDefault(); // no mouse made up from it, and the person's own view stays as it is
          listener(event);
        },
        { passive: false },
      );
    on("touchstart", (event) => this.#started(event));
    on("touchmove", (event) => this.#moves(event));
    on("touchend", (event) => this.#ended(event));
    on("touchcancel", () => this.cancel());
  }

  /** How many fingers are down. */
  get count() {
    return this.#fingers.count;
  }

  /** Takes the fingers away from the page: a menu or a dialog of ours is in front of it now. */
  cancel() {
    this.#rest(null);
    if (this.#fingers.count === 0) return;
    this.#dropMoves();
    this.#fingers.clear();
    this.#send({ type: "Touch", kind: "cancel", points: [], modifiers: 0 });
  }

  /** Sends a move that waits. Called before anything whose order matters. */
  flush() {
    if (this.#moved === null) return;
    const modifiers = this.#moved;
    this.#dropMoves();
    this.#send({ type: "Touch", kind: "move", points: this.#fingers.points, modifiers });
  }

  #dropMoves() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#moved = null;
  }

  #place(touch) {
    const box = this.#surface.getBoundingClientRect();
    return [clamp(touch.clientX - box.left), clamp(touch.clientY - box.top)];
  }

  #started(event) {
    this.flush();
    const came = [...event.changedTouches].filter((touch) => this.#fingers.down(touch.identifier, ...this.#place(touch)));
    if (came.length === 0) return;
    this.#held = false;
    this.#began(event);
    this.#send({ type: "Touch", kind: "start", points: this.#fingers.points, modifiers: modifiersOf(event) });
    this.#rest(this.#fingers.count === 1 ? this.#fingers.points[0] : null);
  }

  #moves(event) {
    let moved = false;
    for (const touch of event.changedTouches) moved = this.#fingers.move(touch.identifier, ...this.#place(touch)) || moved;
    if (!moved) return;
    const [point] = this.#fingers.points;
    if (this.#resting !== null && Math.hypot(point.x - this.#resting.x, point.y - this.#resting.y) >= SLOP_PX) this.#rest(null);
    this.#moved = modifiersOf(event);
    if (this.#frame === 0) this.#frame = requestAnimationFrame(() => this.flush());
  }

  #ended(event) {
    this.flush();
    const resting = this.#resting !== null;
    const left = [...event.changedTouches].filter((touch) => this.#fingers.up(touch.identifier));
    if (left.length === 0) return;
    this.#rest(null);
    // After a rest that changed nothing the page's browser would take the finger for a tap.
    const kind = this.#held && resting ? "cancel" : "end";
    if (kind === "cancel") this.#fingers.clear();
    this.#send({ type: "Touch", kind, points: this.#fingers.points, modifiers: modifiersOf(event) });
  }

  #rest(point) {
    clearTimeout(this.#resting?.timer);
    this.#resting = null;
    if (point === null) return;
    const { x, y } = point;
    const timer = setTimeout(() => {
      this.flush();
      this.#held = true;
      this.#hold(x, y);
    }, HOLD_MS);
    this.#resting = { x, y, timer };
  }
}
