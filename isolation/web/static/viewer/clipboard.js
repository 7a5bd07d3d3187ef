// The clipboard, in the directions the controls allow. The router holds to them whatever is done here.

import { MAX_IMAGE } from "./blobs.js";
import { button, icon, make } from "./dom.js";
import { MAX_CLIPBOARD } from "./wire.js";

// ---------------------------------------------------------------- limits
const MAX_PIXELS = 16 * 1024 * 1024; // of a picture: a 4K screen twice

const encoder = new TextEncoder();

/** Connects the device's clipboard with the page's. */
export class ClipboardBridge {
  #send;
  #toApp;
  #fromApp;
  #toasts;
  #pictures;
  #most;
  #panel = null;
  #refocus;

  constructor(field, { controls, send, toasts, refocus }) {
    const { clipboard } = controls;
    this.#send = send;
    this.#pictures = controls.clipboard_types.includes("image");
    this.#most = Math.min(MAX_IMAGE, controls.clipboard_max_kb * 1024);
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
      // No permission, or the press is too long ago: one more press does it.
      const field = make("textarea", { class: "copied", props: { value: text, readOnly: true }, attrs: { "aria-label": "Copied text", rows: "5" } });
      this.#offer(field, async () => {
        try {
          await navigator.clipboard.writeText(text);
        } catch {
          field.select();
          return document.execCommand("copy");
        }
        return true;
      });
    }
  }

  /** A picture from the page (a PNG), for the device. */
  async picture(png) {
    if (!this.#fromApp || !this.#pictures) return;
    const blob = new Blob([png], { type: "image/png" });
    const write = () => navigator.clipboard.write([new ClipboardItem({ "image/png": blob })]);
    try {
      await write();
      this.#toasts.note("copied");
    } catch {
      const shown = make("canvas", { class: "copied", attrs: { role: "img", "aria-label": "Copied picture" } });
      try {
        const bitmap = await createImageBitmap(blob);
        shown.width = bitmap.width;
        shown.height = bitmap.height;
        shown.getContext("2d").drawImage(bitmap, 0, 0);
      } catch {
        return; // not a picture, whatever its first bytes say
      }
      this.#offer(shown, async () => {
        try {
          await write();
        } catch {
          return false;
        }
        return true;
      });
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
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (text === "" && file !== undefined) this.#pastedPicture(file);
    else if (!this.#toApp) this.#toasts.note("paste-off");
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

  /** Sends a picture's pixels, drawn here and written anew. */
  async #pastedPicture(file) {
    if (!this.#toApp || !this.#pictures) {
      this.#toasts.note(this.#toApp ? "paste-picture-off" : "paste-off");
      return;
    }
    let png = null;
    try {
      const bitmap = await createImageBitmap(file);
      if (bitmap.width * bitmap.height <= MAX_PIXELS) {
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
        canvas.getContext("2d").drawImage(bitmap, 0, 0);
        png = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
      }
    } catch {
      // not a picture, or one too large for this browser: said below
    }
    if (png === null || png.length > this.#most) this.#toasts.note("paste-picture-large");
    else this.#send({ type: "PasteImage", png });
  }

  #offer(content, write) {
    this.close();
    const close = () => {
      this.close();
      this.#refocus();
    };
    const copy = async () => {
      if (!(await write())) return;
      close();
      this.#toasts.note("copied");
    };
    const primary = button("Copy", copy, { primary: true });
    const panel = make(
      "section",
      {
        class: "offer",
        attrs: { role: "dialog", "aria-label": content.getAttribute("aria-label") },
        on: {
          keydown: (event) => {
            if (event.key === "Escape") close();
          },
        },
      },
      make("h2", {}, icon("copy"), make("span", { text: "Copied in the isolated page" })),
      make("p", { text: "Press Copy to put it on your device’s clipboard." }),
      content,
      make("div", { class: "acts" }, primary, button("Close", close)),
    );
    this.#panel = panel;
    document.body.append(panel);
    primary.focus();
  }
}
