// What lies over the page when there is nothing to work with: starting, lost, stopped, ended. Says what happened and what happens next.

import { button, icon, make } from "./dom.js";
import { say, STATES } from "./words.js";

/** Shows states in `area` and tells them to `spoken`, a live region. */
export class Cover {
  #area;
  #spoken;
  #app;
  #state = "";
  #count = null;
  #timer = 0;
  #delay = 0;
  #pending = {};
  #values = {};
  #heading = null;
  #text = null;
  #uncovered;

  constructor(area, spoken, { app, uncovered }) {
    this.#area = area;
    this.#spoken = spoken;
    this.#app = app;
    this.#uncovered = uncovered;
  }

  get state() {
    return this.#state;
  }

  /** Shows a state. `acts`: [label, listener, primary] for buttons. `wait`: milliseconds to the next attempt, counted down. `delay`: shown only if it lasts.
   * `values`: what stands in the state's words; without them, those it was shown with before. */
  show(state, { acts = [], wait = 0, delay = 0, values = this.#values } = {}) {
    this.#values = values;
    if (delay > 0 && this.#area.hidden) {
      this.#state = state;
      this.#pending = { acts, wait, values };
      if (this.#delay === 0) this.#delay = setTimeout(() => this.show(this.#state, this.#pending), delay);
      return;
    }
    clearTimeout(this.#delay);
    this.#delay = 0;
    const repeated = this.#state === state && !this.#area.hidden;
    this.#state = state;
    const words = STATES[state];
    if (repeated && this.#count !== null) {
      this.#write(words);
      this.#countDown(wait);
      return;
    }
    const mark = make("div", { class: words.busy ? "mark busy" : "mark" }, icon(words.icon));
    this.#heading = make("h1", {});
    this.#text = make("p", {});
    this.#count = make("p", { class: "count" });
    const card = make(
      "section",
      { class: "card", attrs: { role: "group" } },
      mark,
      this.#heading,
      this.#text,
      this.#count,
    );
    if (acts.length > 0) card.append(make("div", { class: "acts" }, ...acts.map(([label, act, primary]) => button(label, act, { primary }))));
    this.#area.replaceChildren(card);
    this.#area.hidden = false;
    document.body.classList.add("covered");
    this.#write(words);
    this.#countDown(wait);
    card.querySelector("button")?.focus({ preventScroll: true });
  }

  /** Takes the cover away. */
  hide(words = "") {
    clearTimeout(this.#delay);
    this.#delay = 0;
    clearInterval(this.#timer);
    this.#state = "";
    if (this.#area.hidden) return;
    this.#area.hidden = true;
    this.#area.replaceChildren();
    this.#count = null;
    document.body.classList.remove("covered");
    this.#spoken.textContent = words;
    this.#uncovered();
  }

  #write(words) {
    const heading = say(words.heading, this.#app, this.#values);
    const text = say(words.text, this.#app, this.#values);
    if (this.#heading.textContent === heading && this.#text.textContent === text) return;
    this.#heading.textContent = heading;
    this.#text.textContent = text;
    this.#heading.parentElement.setAttribute("aria-label", heading);
    this.#spoken.textContent = `${heading}. ${text}`;
  }

  #countDown(wait) {
    clearInterval(this.#timer);
    const end = performance.now() + wait;
    const tick = () => {
      const seconds = Math.ceil((end - performance.now()) / 1000);
      this.#count.textContent = wait === 0 ? "" : seconds > 0 ? `Trying again in ${seconds} s` : "Trying again…";
      if (seconds <= 0) clearInterval(this.#timer);
    };
    tick();
    if (wait > 0) this.#timer = setInterval(tick, 500);
  }
}
