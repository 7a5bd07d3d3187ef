// alert, confirm, prompt and "leave this page?" of the isolated page. Its words are text nodes, under the origin that says them.

import { button, make } from "./dom.js";

/** Shows the page's dialogs. `reply({id, accept, text, kind})` once each. */
export class Dialogs {
  #reply;
  #refocus;
  #open = null;

  constructor({ reply, refocus }) {
    this.#reply = reply;
    this.#refocus = refocus;
  }

  show({ id, kind, origin, message, default: preset }) {
    this.closed(this.#open?.id ?? 0);
    const leaving = kind === "beforeunload";
    const asks = kind !== "alert";
    const field = kind === "prompt" ? make("input", { class: "field", props: { value: preset, maxLength: 2000 }, attrs: { "aria-labelledby": "dialog-text", autocomplete: "off", dir: "auto" } }) : null;
    const finish = (accept) => {
      if (this.#open?.id !== id) return;
      this.#take();
      this.#reply({ id, kind, accept, text: accept && field !== null ? field.value : "" });
      this.#refocus();
    };
    const yes = button(leaving ? "Leave" : "OK", () => finish(true), { primary: true });
    const no = asks ? button(leaving ? "Stay" : "Cancel", () => finish(false)) : null;
    const host = origin === "" ? "The page" : origin.replace(/^https:\/\//, "");
    const heading = make("h2", { attrs: { id: "dialog-heading" } }, leaving ? "Leave this page?" : "");
    if (!leaving) heading.append(make("bdi", { text: host }), " says");
    const text = leaving ? "Changes you made on it may not be saved." : message;
    const dialog = make(
      "dialog",
      {
        class: "dialog",
        attrs: { "aria-labelledby": "dialog-heading", "aria-describedby": "dialog-text" },
        on: {
          cancel: (event) => {
            event.preventDefault();
            finish(!asks);
          },
          keydown: (event) => {
            if (event.key === "Enter" && event.target === field && !event.isComposing) {
              event.preventDefault();
              finish(true);
            }
          },
        },
      },
      heading,
      make("p", { class: "dialog-text", text, attrs: { id: "dialog-text", dir: "auto", tabindex: "-1" } }),
      field,
      make("div", { class: "acts end" }, no, yes),
    );
    this.#open = { id, dialog };
    document.body.append(dialog);
    dialog.showModal();
    (field ?? yes).focus();
    field?.select();
  }

  /** The dialog went away by itself. */
  closed(id) {
    if (this.#open?.id === id) {
      this.#take();
      this.#refocus();
    }
  }

  /** Everything goes: the page is gone. */
  clear() {
    if (this.#open !== null) this.#take();
  }

  #take() {
    const { dialog } = this.#open;
    this.#open = null;
    dialog.close();
    dialog.remove();
  }
}
