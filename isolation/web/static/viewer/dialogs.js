// alert, confirm, prompt, "leave this page?" and the question for a name and password of the isolated page. Its words are text nodes, under the origin that says them.

import { button, make } from "./dom.js";

/** Shows the page's dialogs. `reply({id, accept, text, kind})` once each; `sign({id, accept, username, password})` for name and password. */
export class Dialogs {
  #reply;
  #sign;
  #typing; // whether anything may be typed into the page at all
  #refocus;
  #open = null;

  constructor({ reply, sign, refocus, typing = true }) {
    this.#typing = typing;
    this.#reply = reply;
    this.#sign = sign;
    this.#refocus = refocus;
  }

  show({ id, kind, origin, message, default: preset }) {
    this.closed(this.#open?.id ?? 0);
    const leaving = kind === "beforeunload";
    const asks = kind !== "alert";
    const field = kind === "prompt" ? make("input", { class: "field", props: { value: preset, maxLength: 2000, readOnly: !this.#typing }, attrs: { "aria-labelledby": "dialog-text", autocomplete: "off", dir: "auto" } }) : null;
    const finish = (accept) => {
      if (this.#open?.id !== id) return;
      this.#take();
      this.#reply({ id, kind, accept, text: accept && field !== null && !field.readOnly ? field.value : "" });
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

  /** A server asks who is there (HTTP authentication). What is typed here goes to that server and nowhere else. */
  ask({ id, origin, realm }) {
    if (!this.#typing) {
      this.#sign({ id, accept: false, username: "", password: "" });
      return;
    }
    this.closed(this.#open?.id ?? 0);
    const field = (label, type, autocomplete) => make("input", { class: "field", props: { maxLength: 256 }, attrs: { type, autocomplete, "aria-label": label, placeholder: label, spellcheck: "false", autocapitalize: "off", dir: "auto" } });
    const [username, password] = [field("Name", "text", "off"), field("Password", "password", "off")];
    const finish = (accept) => {
      if (this.#open?.id !== id) return;
      this.#take();
      this.#sign({ id, accept, username: accept ? username.value : "", password: accept ? password.value : "" });
      this.#refocus();
    };
    const host = origin === "" ? "The page" : origin.replace(/^https:\/\//, "");
    const dialog = make(
      "dialog",
      {
        class: "dialog",
        attrs: { "aria-labelledby": "dialog-heading", "aria-describedby": "dialog-text" },
        on: {
          cancel: (event) => {
            event.preventDefault();
            finish(false);
          },
          keydown: (event) => {
            if (event.key !== "Enter" || event.isComposing || event.target.tagName !== "INPUT") return;
            event.preventDefault();
            if (event.target === username) password.focus();
            else finish(true);
          },
        },
      },
      make("h2", { attrs: { id: "dialog-heading" } }, make("bdi", { text: host }), " asks who you are"),
      make("p", { class: "dialog-text", text: realm, attrs: { id: "dialog-text", dir: "auto" } }),
      username,
      password,
      origin.startsWith("http:") ? make("p", { class: "quiet", text: "The isolated browser sends this to the server without encryption." }) : null,
      make("div", { class: "acts end" }, button("Cancel", () => finish(false)), button("Sign in", () => finish(true), { primary: true })),
    );
    this.#open = { id, dialog };
    document.body.append(dialog);
    dialog.showModal();
    username.focus();
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
