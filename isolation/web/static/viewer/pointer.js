// Mouse and pen on the picture, as messages (fingers: touch.js). The first move or turn of the wheel goes at once; those that follow are gathered
// to one message a frame, but with a button held, where their path counts; buttons never wait.

import { MAX_COORDINATE, MAX_WHEEL } from "./wire.js";

// ---------------------------------------------------------------- limits
const LINE = 40; // CSS pixels of a wheel "line": what Chromium scrolls for one (three lines make its notch of 120)
const CLICK_MS = 500; // between the presses of a double click
const CLICK_PX = 5;
const POINTS_MS = 0.3; // points of a path a millisecond, on average: a pen has fewer; the renderer takes 400 moves a second
const LEAST_POINTS = 2; // at once: a corner, and where it ends
const MOST_POINTS = 64; // at once: what the renderer keeps for a busy page

const BITS = [1, 4, 2]; // in `buttons`, by `button`: left, middle, right

/** Modifier bits of an event. AltGr is neither Ctrl nor Alt: it only chooses another character. */
export function modifiersOf(event) {
  const graph = event.getModifierState("AltGraph");
  return (
    (event.altKey && !graph ? 1 : 0) | (event.ctrlKey && !graph ? 2 : 0) | (event.metaKey ? 4 : 0) | (event.shiftKey ? 8 : 0)
  );
}

/** A wheel event's distance in CSS pixels, whatever unit it came in. `page`: height of what one page scrolls. */
export function wheelPixels({ deltaX, deltaY, deltaMode }, page) {
  const unit = deltaMode === 1 ? LINE : deltaMode === 2 ? page : 1;
  return [deltaX * unit, deltaY * unit];
}

/** Counts the presses of a multiple click, up to three. */
export class Clicks {
  #last = { at: -Infinity, x: 0, y: 0, button: -1, count: 0 };

  press(button, x, y, at) {
    const last = this.#last;
    const again =
      button === last.button && at - last.at < CLICK_MS && Math.abs(x - last.x) < CLICK_PX && Math.abs(y - last.y) < CLICK_PX && last.count < 3;
    this.#last = { at, x, y, button, count: again ? last.count + 1 : 1 };
    return this.#last.count;
  }

  get count() {
    return this.#last.count;
  }
}

/** The moves that a browser tells of as of one, once a frame; older ones say nothing of them. */
function between(event) {
  const events = event.getCoalescedEvents?.() ?? [];
  return events.length > 0 ? events : [event];
}

/** A path (points [x, y]) in at most `most` points: those are left out without which the way is shortened least, never the last. */
export function thinned(path, most) {
  const every = Math.ceil(path.length / (4 * MOST_POINTS)); // of more than can be compared with each other, evenly
  const kept = path.filter((_, index) => (path.length - 1 - index) % every === 0);
  const far = ([ax, ay], [bx, by]) => Math.hypot(bx - ax, by - ay);
  while (kept.length > Math.max(1, most)) {
    let least = 0;
    let loss = Infinity;
    for (let index = kept.length > 2 ? 1 : 0; index < kept.length - 1; index += 1) {
      const [before, here, after] = [kept[Math.max(0, index - 1)], kept[index], kept[index + 1]];
      const lost = far(before, here) + far(here, after) - far(before, after);
      if (lost < loss) [least, loss] = [index, lost];
    }
    kept.splice(least, 1);
  }
  return kept;
}

const clamp = (value, most) => Math.max(-most, Math.min(most, Math.round(value)));

/** Listens on `area`, which holds `surface`, and calls `send(message)`. `focus(x, y)`: the page was pressed at this point of the screen. */
export class PointerInput {
  #area;
  #surface;
  #send;
  #focus;
  #clicks = new Clicks();
  #moves = []; // that wait: one, or a path
  #movedAt = 0;
  #wheel = null;
  #frame = 0;
  #buttons = 0;
  #control = false; // whether the Control key is held, as far as this page hears of it

  constructor(area, surface, { send, focus }) {
    this.#area = area;
    this.#surface = surface;
    this.#send = send;
    this.#focus = focus;
    // Also beside the picture (it may be smaller than the window for a moment), but not on what lies over it.
    const on = (name, listener, options) =>
      area.addEventListener(name, (event) => (event.target === area || event.target === surface ? listener(event) : undefined), options);
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#moved(event));
    on("pointerup", (event) => this.#up(event));
    on("pointercancel", (event) => this.#cancel(event));
    on("wheel", (event) => this.#wheeled(event), { passive: false });
    on("contextmenu", (event) => event.preventDefault()); // the page draws its own, or asks for ours
    on("dragstart", (event) => event.preventDefault());
    on("auxclick", (event) => {
      if (event.button === 1) event.preventDefault();
    });
    on("mousedown", (event) => event.preventDefault()); // focus stays with the key catcher
    for (const name of ["keydown", "keyup"]) addEventListener(name, (event) => (this.#control = event.ctrlKey), { capture: true });
    addEventListener("blur", () => (this.#control = false));
  }

  /** Sends what is gathered. Called before anything whose order matters. */
  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    for (const move of this.#moves.splice(0)) this.#send(move);
    if (this.#wheel !== null) {
      const { x, y, dx, dy, modifiers } = this.#wheel;
      const [wholeX, wholeY] = [Math.trunc(dx), Math.trunc(dy)];
      if (wholeX !== 0 || wholeY !== 0) {
        this.#send({ type: "Wheel", x, y, dx: clamp(wholeX, MAX_WHEEL), dy: clamp(wholeY, MAX_WHEEL), modifiers });
      }
      // Fine touchpads scroll by fractions; what is left over goes with the next.
      this.#wheel = dx === wholeX && dy === wholeY ? null : { x, y, dx: dx - wholeX, dy: dy - wholeY, modifiers };
    }
  }

  #place(event) {
    const box = this.#surface.getBoundingClientRect();
    return [clamp(event.clientX - box.left, MAX_COORDINATE), clamp(event.clientY - box.top, MAX_COORDINATE)];
  }

  #soon() {
    if (this.#frame !== 0) return;
    this.flush();
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      // What is left of a wheel's fractions waits for more of them.
      if (this.#moves.length > 0 || (this.#wheel !== null && (Math.abs(this.#wheel.dx) >= 1 || Math.abs(this.#wheel.dy) >= 1))) this.#soon();
    });
  }

  #press(kind, event, button, buttons, clicks) {
    this.flush();
    const [x, y] = this.#place(event);
    this.#send({ type: "Pointer", kind, x, y, button, buttons, clicks, modifiers: modifiersOf(event) });
  }

  #down(event) {
    if (event.pointerType === "touch") return;
    this.#focus(event);
    if (event.button > 2) return; // the mouse's back and forward belong to the person's browser
    this.#area.setPointerCapture(event.pointerId);
    const [x, y] = this.#place(event);
    this.#buttons = event.buttons & 7;
    this.#press("down", event, event.button, this.#buttons, this.#clicks.press(event.button, x, y, event.timeStamp));
  }

  #moved(event) {
    if (event.pointerType === "touch") return;
    const buttons = event.buttons & 7;
    // A second button while one is held comes as a move.
    for (const [button, bit] of BITS.entries()) {
      if ((buttons & bit) !== (this.#buttons & bit)) {
        const pressed = (buttons & bit) !== 0;
        const [x, y] = this.#place(event);
        const clicks = pressed ? this.#clicks.press(button, x, y, event.timeStamp) : this.#clicks.count;
        this.#press(pressed ? "down" : "up", event, button, buttons, clicks);
      }
    }
    this.#buttons = buttons;
    const most = Math.max(LEAST_POINTS, Math.min(MOST_POINTS, Math.floor((event.timeStamp - this.#movedAt) * POINTS_MS)));
    const path = buttons === 0 ? [this.#place(event)] : thinned(between(event).map((point) => this.#place(point)), most);
    if (buttons === 0) this.#moves.length = 0;
    this.#movedAt = event.timeStamp;
    for (const [x, y] of path) {
      this.#moves.push({ type: "Pointer", kind: "move", x, y, button: 0, buttons, clicks: 0, modifiers: modifiersOf(event) });
    }
    this.#soon();
  }

  #up(event) {
    if (event.pointerType === "touch" || event.button > 2) return;
    const pressed = this.#buttons & BITS[event.button];
    this.#buttons = event.buttons & 7;
    if (!pressed) return; // it went down on something of ours that has closed since
    this.#press("up", event, event.button, this.#buttons, this.#clicks.count);
  }

  #cancel(event) {
    if (event.pointerType !== "touch" && this.#buttons !== 0) {
      for (const [button, bit] of BITS.entries()) {
        if (this.#buttons & bit) this.#press("up", event, button, 0, this.#clicks.count);
      }
      this.#buttons = 0;
    }
  }

  #wheeled(event) {
    // Control and the wheel together are the person's own browser's: it zooms as on every page. Two fingers on a touchpad say "Control" without
    // the key; they magnify the page, sharply, where it is drawn.
    if (event.ctrlKey && this.#control) return;
    event.preventDefault();
    const [x, y] = this.#place(event);
    const [dx, dy] = wheelPixels(event, this.#area.clientHeight);
    this.#scroll(x, y, dx, dy, modifiersOf(event));
  }

  #scroll(x, y, dx, dy, modifiers) {
    if (this.#wheel !== null && this.#wheel.modifiers !== modifiers) this.flush();
    const before = this.#wheel ?? { dx: 0, dy: 0 };
    this.#wheel = { x, y, dx: before.dx + dx, dy: before.dy + dy, modifiers };
    this.#soon();
  }

  /** The right button pressed and let go at a point of the page: what a finger that rests stands for. */
  ask(x, y) {
    this.flush();
    const press = { type: "Pointer", x, y, modifiers: 0 };
    this.#send({ ...press, kind: "move", button: 0, buttons: 0, clicks: 0 });
    this.#send({ ...press, kind: "down", button: 2, buttons: 2, clicks: 1 });
    this.#send({ ...press, kind: "up", button: 2, buttons: 0, clicks: 1 });
  }
}
