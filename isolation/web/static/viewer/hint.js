// Where a link leads, at the window's lower corner, as browsers show it. The text is the page's; it is shown as text, left to right, and cut.

import { make } from "./dom.js";

// ---------------------------------------------------------------- limits
const WAIT_MS = 90; // a pointer on its way over links is not told of each
const NEAR_PX = 60; // the hint makes room for a pointer that comes as near as this

/** Shows the hint in `area`. */
export class LinkHint {
  #box = make("div", { class: "hint", attrs: { "aria-hidden": "true", dir: "ltr" } });
  #timer = 0;

  constructor(area) {
    this.#box.hidden = true;
    area.append(this.#box);
    area.addEventListener("pointermove", (event) => this.#makeRoom(event), { passive: true });
  }

  show(text) {
    clearTimeout(this.#timer);
    if (text === "") {
      this.#box.hidden = true;
      return;
    }
    this.#timer = setTimeout(
      () => {
        this.#box.textContent = text;
        this.#box.hidden = false;
      },
      this.#box.hidden ? WAIT_MS : 0,
    );
  }

  #makeRoom({ clientX, clientY }) {
    if (this.#box.hidden) return;
    const right = this.#box.classList.contains("right");
    const box = this.#box.getBoundingClientRect();
    const near = clientY > box.top - NEAR_PX && (right ? clientX > box.left - NEAR_PX : clientX < box.right + NEAR_PX);
    if (near) this.#box.classList.toggle("right", !right);
  }
}
