// Find in page: the bar. The page's own browser looks for the text and marks it; what comes back is two numbers.

import { icon, make } from "./dom.js";
import { MAX_FIND } from "./wire.js";

// ---------------------------------------------------------------- limits
const TYPED_MS = 120; // after the last letter: a search for every letter of a fast word helps nobody

const encoder = new TextEncoder();

/** Shows the bar in `area`. `send(message)`; `refocus()` gives the page its focus back. */
export class FindBar {
  #area;
  #send;
  #refocus;
  #bar = null;
  #field = null;
  #count = null;
  #last = "";
  #timer = 0;

  constructor(area, { send, refocus }) {
    this.#area = area;
    this.#send = send;
    this.#refocus = refocus;
  }

  get open() {
    return this.#bar !== null;
  }

  /** Opens the bar, or brings the focus back to it. */
  show() {
    if (this.#bar === null) this.#build();
    this.#field.focus({ preventScroll: true });
    this.#field.select();
    if (this.#field.value !== "") this.#find(false, false);
  }

  /** The next match (or the one before) of what was looked for last. Opens the bar where nothing was. */
  next(backward) {
    if (this.#bar === null) this.show();
    if (this.#field.value !== "") this.#find(backward, true);
  }

  found({ index, count }) {
    if (this.#bar === null) return;
    this.#count.textContent = this.#field.value === "" ? "" : count === 0 ? "No matches" : `${index} of ${count}`;
    this.#bar.classList.toggle("nothing", count === 0 && this.#field.value !== "");
  }

  /** Closes the bar. `quiet`: the page is gone, so there is nothing to tell it. */
  close(quiet = false) {
    if (this.#bar === null) return;
    clearTimeout(this.#timer);
    const focused = this.#bar.contains(document.activeElement);
    this.#bar.remove();
    this.#bar = null;
    if (!quiet) this.#send({ type: "Find", text: "", backward: false, again: false });
    if (focused) this.#refocus();
  }

  #build() {
    this.#field = make("input", {
      class: "find-field",
      attrs: { type: "text", "aria-label": "Find in page", autocomplete: "off", autocapitalize: "off", spellcheck: "false", enterkeyhint: "search" },
      props: { value: this.#last },
      on: {
        input: () => {
          clearTimeout(this.#timer);
          this.#timer = setTimeout(() => this.#find(false, false), TYPED_MS);
        },
      },
    });
    this.#count = make("span", { class: "find-count", attrs: { role: "status", "aria-live": "polite" } });
    const act = (label, name, listener) =>
      make("button", { class: "find-act", attrs: { type: "button", "aria-label": label, title: label }, on: { click: listener } }, icon(name));
    this.#bar = make(
      "search",
      { class: "find", on: { keydown: (event) => this.#key(event) } },
      this.#field,
      this.#count,
      act("Previous match", "up", () => this.#find(true, true)),
      act("Next match", "down", () => this.#find(false, true)),
      act("Close", "close", () => this.close()),
    );
    this.#area.append(this.#bar);
  }

  #key(event) {
    const command = (event.ctrlKey || event.metaKey) && !event.altKey;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.key === "Escape") this.close();
    else if (event.key === "Enter" && event.target === this.#field && !event.isComposing) this.#find(event.shiftKey, true);
    else if (key === "F3" || (command && key === "g")) this.#find(event.shiftKey, true);
    else if (command && key === "f") this.#field.select();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #find(backward, again) {
    clearTimeout(this.#timer);
    const text = this.#field.value.toWellFormed?.() ?? this.#field.value;
    if (encoder.encode(text).length > MAX_FIND) return;
    // What was typed since the last search is searched for first.
    const same = text === this.#last;
    this.#last = text;
    if (text === "") this.found({ index: 0, count: 0 });
    this.#send({ type: "Find", text, backward, again: again && same });
  }
}
