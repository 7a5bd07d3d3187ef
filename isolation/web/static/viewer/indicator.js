// The small mark that says: this page is isolated. Its panel says why, what is allowed, and the reference for questions.

import { button, icon, make } from "./dom.js";
import { controlLines } from "./words.js";

/** Shows the mark in `area`. `configuration` is the page's; `reload()` reloads the isolated page; `refocus()` gives the page its focus back. */
export class Indicator {
  #mark;
  #panel;
  #refocus;

  constructor(area, { configuration, reload, refocus }) {
    this.#refocus = refocus;
    this.#mark = make(
      "button",
      { class: "mark-button", attrs: { type: "button", "aria-expanded": "false", "aria-controls": "panel" }, on: { click: () => this.toggle() } },
      icon("shielded"),
      make("span", { class: "mark-label", text: "Isolated" }),
    );
    this.#panel = this.#build(configuration, reload);
    this.#panel.hidden = true;
    area.append(this.#panel, this.#mark);
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && !this.#panel.hidden) this.toggle();
    });
    addEventListener("pointerdown", (event) => {
      if (!this.#panel.hidden && !area.contains(event.target)) this.toggle(false);
    });
  }

  toggle(refocus = true) {
    const opening = this.#panel.hidden;
    this.#panel.hidden = !opening;
    this.#mark.setAttribute("aria-expanded", String(opening));
    if (opening) this.#panel.focus({ preventScroll: true });
    else if (refocus) this.#refocus();
  }

  #build({ app, person, reasons, controls, reference }, reload) {
    const panel = make(
      "section",
      { class: "panel", attrs: { id: "panel", role: "dialog", "aria-labelledby": "panel-heading", tabindex: "-1" } },
      make("h2", { text: `${app} is isolated`, attrs: { id: "panel-heading" } }),
      make("p", { text: "The app runs in a separate browser on a server. What you see here is a picture of it; none of its code or data is on this device." }),
    );
    if (reasons.length > 0) {
      panel.append(make("h3", { text: "Why" }), make("ul", { class: "reasons" }, ...reasons.map((reason) => make("li", { text: reason }))));
    }
    panel.append(
      make("h3", { text: "What is allowed" }),
      make(
        "ul",
        { class: "controls" },
        ...controlLines(controls).map(([label, value, allowed]) =>
          make("li", { class: allowed ? "on" : "off" }, icon(allowed ? "check" : "close"), make("span", { text: label }), make("span", { class: "control-value", text: value })),
        ),
      ),
    );
    const facts = make("dl", { class: "facts" }, make("dt", { text: "Signed in as" }), make("dd", { text: person }));
    if (reference !== "") facts.append(make("dt", { text: "Reference" }), make("dd", {}, make("code", { text: reference })));
    panel.append(facts);
    panel.append(
      make("p", { class: "quiet", text: "Quote the reference when you ask for help. Ctrl + Alt + I opens and closes this panel." }),
      make(
        "div",
        { class: "acts" },
        button("Reload page", () => {
          this.toggle();
          reload();
        }),
        make("a", { class: "button", text: "Sign out", attrs: { href: "/.isolation/sign-out" } }),
      ),
    );
    return panel;
  }
}
