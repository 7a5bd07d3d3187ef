// The clipboard, in the directions the controls allow. The router holds to them whatever is done here.

import { button, icon, make } from "./dom.js";
import { MAX_CLIPBOARD } from "./wire.js";

const encoder = new TextEncoder();

/** Connects the device's clipboard with the page's. */
export class ClipboardBridge {
  #send;
  #toApp;
  #fromApp;
  #toasts;
  #panel = null;
  #refocus;

  constructor(field, { clipboard, send, toasts, refocus }) {
    this.#send = send;
    this.#toApp = clipboard === "to_app" || clipboard === "both";
    this.#fromApp = clipboard === "from_app" || clipboard === "both";
    this.#toasts = toasts;
    this.#refocus = refocus;
    field.addEventListener("paste", (event) => this.#pasted(event));
    for (const name of ["copy", "cut"]) field.addEventListener(name, (event) => event.preventDefault());
  }

  get fromApp() {
    return this.#fromApp;
  }

  get toApp() {
    return this.#toApp;
  }

  /** Asks for the selection, where the copy key itself is not sent. */
  request() {
    if (this.#fromApp) this.#send({ type: "CopyRequest", cut: false });
    else this.#toasts.note("copy-off");
  }

  /** Pastes at a choice from a menu. Browsers may ask the person first, or let no page read. Says whether text went. */
  async read() {
    if (!this.#toApp) {
      this.#toasts.note("paste-off");
      return false;
    }
    try {
      this.#paste(await navigator.clipboard.readText());
      return true;
    } catch {
      this.#toasts.note("paste-key");
      return true;
    }
  }

  /** The page copied something that does not come to the device. */
  kept() {
    this.#toasts.note(this.#fromApp ? "copy-long" : "copy-off");
  }

  /** Text from the page, for the device. */
  async arrived(text) {
    if (!this.#fromApp || text === "") return;
    try {
      await navigator.clipboard.writeText(text);
      this.#toasts.note("copied");
    } catch {
      this.#offer(text); // no permission, or the press is too long ago: one more press does it
    }
  }

  /** Takes an offer away: it belonged to a page that is gone. */
  close() {
    this.#panel?.remove();
    this.#panel = null;
  }

  #pasted(event) {
    event.preventDefault();
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!this.#toApp) this.#toasts.note("paste-off");
    else this.#paste(text);
  }

  #paste(text) {
    if (text !== "") {
      if (encoder.encode(text).length > MAX_CLIPBOARD) {
        this.#toasts.say("That is too much text to paste at once.");
      } else {
        this.#send({ type: "Paste", text: text.toWellFormed?.() ?? text });
      }
    }
  }

  #offer(text) {
    this.close();
    const field = make("textarea", { class: "copied", props: { value: text, readOnly: true }, attrs: { "aria-label": "Copied text", rows: "5" } });
    const close = () => {
      this.close();
      this.#refocus();
    };
    const copy = async () => {
      try {
        await navigator.clipboard.writeText(text);
      } catch {
        field.select();
        if (!document.execCommand("copy")) return;
      }
      close();
      this.#toasts.note("copied");
    };
    const primary = button("Copy", copy, { primary: true });
    const panel = make(
      "section",
      {
        class: "offer",
        attrs: { role: "dialog", "aria-label": "Copied text" },
        on: {
          keydown: (event) => {
            if (event.key === "Escape") close();
          },
        },
      },
      make("h2", {}, icon("copy"), make("span", { text: "Copied in the isolated page" })),
      make("p", { text: "Press Copy to put it on your device’s clipboard." }),
      field,
      make("div", { class: "acts" }, primary, button("Close", close)),
    );
    this.#panel = panel;
    document.body.append(panel);
    primary.focus();
  }
}
