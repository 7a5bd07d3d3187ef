// The warning before a session ends by the clock: how long is left, and what can be done about it.

import { button, icon, make } from "./dom.js";

const WORDS = {
  idle: ["Are you still there?", "Nothing was done here for a while. The isolated browser ends in"],
  time: ["Your time here is nearly up", "Save what you need. The isolated browser ends in"],
};

/** Seconds as people read them. */
export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** Shows the warning in the page's corner. `stay()`: the person is there. */
export class Ending {
  #stay;
  #card = null;
  #timer = 0;

  constructor({ stay }) {
    this.#stay = stay;
  }

  /** What the router says: so many seconds are left; 0 takes it back. */
  show({ reason, seconds }) {
    this.clear();
    if (seconds === 0) return;
    const end = performance.now() + seconds * 1000;
    const [heading, text] = WORDS[reason];
    const left = make("b", { class: "left" });
    const acts = reason === "idle" ? [button("I’m still here", () => this.#stay(), { primary: true })] : [button("Understood", () => this.clear())];
    // The clock ticks silently for screen readers: they hear the warning once.
    this.#card = make(
      "section",
      { class: "offer ending", attrs: { role: "alertdialog", "aria-labelledby": "ending-heading", "aria-describedby": "ending-text" } },
      make("h2", { attrs: { id: "ending-heading" } }, icon("hourglass"), heading),
      make("p", { attrs: { id: "ending-text" } }, `${text} `, left, "."),
      make("div", { class: "acts end" }, ...acts),
    );
    const tick = () => {
      left.textContent = clock(Math.max(0, Math.ceil((end - performance.now()) / 1000)));
    };
    tick();
    this.#timer = setInterval(tick, 250);
    document.body.append(this.#card);
  }

  clear() {
    clearInterval(this.#timer);
    this.#card?.remove();
    this.#card = null;
  }
}
