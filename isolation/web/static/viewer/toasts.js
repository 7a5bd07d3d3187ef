// Short notes at the edge. They repeat nobody's text but ours.

import { icon, make } from "./dom.js";
import { NOTICES } from "./words.js";

// ---------------------------------------------------------------- limits
const SHOWN_MS = 8_000; // twice what reading the longest takes
const MOST = 3; // a page that causes notes in a loop covers no more than this
const AGAIN_MS = 2_500; // the same note is not repeated sooner

/** Shows notes in `area`, a live region. */
export class Toasts {
  #area;
  #last = new Map();

  constructor(area) {
    this.#area = area;
  }

  /** Takes all notes away. */
  clear() {
    this.#area.replaceChildren();
  }

  /** Shows one of the notices by its code. */
  note(code) {
    const text = NOTICES[code];
    if (text !== undefined) this.say(text);
  }

  /** Shows one of the notices by its code with a button, in place of the same one. */
  ask(code, action, act) {
    const text = NOTICES[code];
    for (const same of [...this.#area.children].filter((toast) => toast.dataset.text === text)) same.remove();
    this.say(text, { action, act });
  }

  /** Shows a text of ours. `action` and `act`: a button, whose press closes the note unless `act` returns false. `stay`: until closed. Returns what closes it. */
  say(text, { action = "", act = null, stay = false } = {}) {
    const now = performance.now();
    if (action === "" && now - (this.#last.get(text) ?? -Infinity) < AGAIN_MS) return () => {};
    this.#last.set(text, now);
    for (const same of [...this.#area.children].filter((toast) => toast.dataset.text === text && action === "")) same.remove();
    while (this.#area.children.length >= MOST) this.#area.firstElementChild.remove();
    const close = () => toast.remove();
    const toast = make("div", { class: "toast" }, make("p", { text }));
    toast.dataset.text = text;
    if (action !== "") {
      toast.append(
        make("button", {
          class: "toast-act",
          text: action,
          attrs: { type: "button" },
          on: {
            click: () => {
              if (act() !== false) close();
            },
          },
        }),
      );
    }
    toast.append(make("button", { class: "toast-close", attrs: { type: "button", "aria-label": "Dismiss" }, on: { click: close } }, icon("close")));
    this.#area.append(toast);
    if (!stay) {
      let timer = setTimeout(close, SHOWN_MS);
      // Somebody who reads it, or has the focus in it, keeps it.
      for (const name of ["pointerenter", "focusin"]) toast.addEventListener(name, () => clearTimeout(timer));
      for (const name of ["pointerleave", "focusout"]) {
        toast.addEventListener(name, () => {
          clearTimeout(timer);
          timer = setTimeout(close, SHOWN_MS / 2);
        });
      }
    }
    return close;
  }
}
