// Files on their way between the device and the page: who asked, how far they are, and a way to stop them. A file from the page is put together
// here and saved by the device's browser as a download; it is never opened in this page. Names are hostile and are shown as text.

import { FILE_WINDOW, MAX_CHUNK, MAX_FILES } from "./blobs.js";
import { button, icon, make } from "./dom.js";
import { TRANSFERS } from "./words.js";
import { MAX_FILE_NAME } from "./wire.js";

// ---------------------------------------------------------------- limits
const ASKED_MS = 15_000; // a file that comes so soon after the person did something is what they wanted; later ones are asked about
const DONE_MS = 10_000; // how long a line stays after all went well
const MOST_LINES = 6; // lines shown; the oldest finished ones go first
const GATHER = 8 * 1024 * 1024; // bytes kept in this page's memory before they go into a Blob, which browsers may keep on disk
const REVOKE_MS = 60_000; // a browser may ask its person where to save a file before it reads it
const LEAST_PIECE = 16 * 1024; // bytes: a slow line carries keys and clicks in between
const QUICK_MS = 100;
const SLOW_MS = 300;
const FIRST_DROP = 2 ** 31;

const encoder = new TextEncoder();

/** Bytes in words. */
export function inWords(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = -1;
  do {
    value /= 1000;
    unit += 1;
  } while (value >= 999.5 && unit < units.length - 1);
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** A file's name as it may travel: whole characters, of at most MAX_FILE_NAME bytes, its ending kept. */
export function travelName(name) {
  const whole = [...(name.toWellFormed?.() ?? name.replace(/[\ud800-\udfff]/g, "\ufffd"))];
  const size = (characters) => encoder.encode(characters.join("")).length;
  if (size(whole) <= MAX_FILE_NAME) return name === "" ? "file" : whole.join("");
  const dot = whole.lastIndexOf(".");
  const ending = dot > 0 && whole.length - dot <= 20 ? whole.slice(dot) : [];
  const stem = whole.slice(0, whole.length - ending.length);
  while (size([...stem, ...ending]) > MAX_FILE_NAME) stem.pop();
  return [...stem, ...ending].join("");
}

/** How many bytes may be under way, from how long the last ones took. */
function paced(pace, took) {
  if (took < QUICK_MS) return Math.min(pace * 2, FILE_WINDOW);
  return took > SLOW_MS ? Math.max(pace / 2, LEAST_PIECE) : pace;
}

/** All transfers of this page, shown in `area`. `send(message)` says whether it could. */
export class Files {
  #area;
  #controls;
  #send;
  #toasts;
  #refocus;
  #lines = new Map(); // id → a line with its transfer
  #ask = null;
  #drops = 0;
  #input = -Infinity;

  constructor(area, { controls, send, toasts, refocus }) {
    this.#area = area;
    this.#controls = controls;
    this.#send = send;
    this.#toasts = toasts;
    this.#refocus = refocus;
    for (const name of ["pointerdown", "keydown"]) {
      addEventListener(name, () => (this.#input = performance.now()), { capture: true, passive: true });
    }
  }

  /** Takes a message about a file. */
  take(message) {
    switch (message.type) {
      case "FileAsk":
        this.#asked(message);
        break;
      case "FileProgress":
        this.#lines.get(message.id)?.progress?.(message.received);
        break;
      case "FileClosed":
        if (this.#ask?.id === message.id) this.#withdraw();
        else this.#closed(message);
        break;
      case "Download":
        this.#offered(message);
        break;
      case "DownloadData":
        this.#lines.get(message.id)?.piece?.(message);
        break;
      case "DownloadClosed":
        this.#closed(message);
        break;
    }
  }

  /** The line to the page was lost, and with it what was under way. */
  lost() {
    this.#withdraw();
    for (const line of [...this.#lines.values()]) if (line.open) this.#end(line, "lost");
  }

  /** Takes everything away: it belonged to access that is gone. */
  clear() {
    this.#withdraw();
    for (const line of [...this.#lines.values()]) this.#remove(line);
  }

  // ---------------------------------------------------------------- from the page

  #offered({ id, kind, name, size }) {
    const old = this.#lines.get(id);
    if (old !== undefined) this.#remove(old); // offered again, on a new line
    const line = this.#line(id, kind === "print" ? "print" : "down", name);
    line.size = size;
    line.received = 0;
    line.gathered = 0;
    line.pieces = [];
    line.parts = [];
    line.piece = ({ offset, data }) => this.#piece(line, offset, data);
    if (performance.now() - this.#input < ASKED_MS) {
      this.#accept(line);
    } else {
      line.say(TRANSFERS.offered.replace("{size}", inWords(size)));
      line.acts(
        button("Save", () => this.#accept(line), { primary: true, name: "small" }),
        button("Discard", () => {
          this.#send({ type: "DownloadReply", id, accept: false });
          this.#remove(line);
          this.#refocus();
        }, { name: "small" }),
      );
    }
  }

  #accept(line) {
    if (!this.#send({ type: "DownloadReply", id: line.id, accept: true })) return;
    line.running();
    line.say(TRANSFERS.progress.replace("{done}", inWords(0)).replace("{size}", inWords(line.size)));
  }

  #piece(line, offset, data) {
    if (!line.open || offset !== line.received) return;
    line.pieces.push(data.slice());
    line.gathered += data.length;
    line.received += data.length;
    if (line.gathered >= GATHER) {
      line.parts.push(new Blob(line.pieces));
      line.pieces = [];
      line.gathered = 0;
    }
    this.#send({ type: "DownloadAck", id: line.id, received: line.received });
    line.at(line.received);
  }

  #save(line) {
    // Of no type that any browser shows by itself.
    const url = URL.createObjectURL(new Blob([...line.parts, ...line.pieces], { type: "application/octet-stream" }));
    line.parts = line.pieces = [];
    const link = make("a", { attrs: { href: url, download: line.name }, props: { hidden: true } });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), REVOKE_MS);
  }

  // ---------------------------------------------------------------- to the page

  #asked({ id, multiple, accept }) {
    this.#withdraw();
    const field = make("input", { class: "chooser", attrs: { type: "file", tabindex: "-1", "aria-hidden": "true" }, props: { multiple, accept } });
    const answer = (files) => {
      if (this.#ask?.id !== id) return;
      this.#withdraw();
      this.#give(files, { id }, (infos) => ({ type: "FileChoice", id, files: infos }));
      this.#refocus();
    };
    field.addEventListener("change", () => answer([...field.files]));
    field.addEventListener("cancel", () => answer([]));
    document.body.append(field);
    this.#ask = { id, field, panel: null };
    const open = () => field.click();
    // A browser opens its chooser only at a press; the one on the page's own button counts for some seconds.
    if (navigator.userActivation?.isActive ?? true) open();
    if (!(navigator.userActivation?.isActive ?? false)) this.#panel(open, () => answer([]), multiple);
  }

  #panel(open, dismiss, multiple) {
    const choose = button(multiple ? "Choose files" : "Choose a file", open, { primary: true });
    const panel = make(
      "section",
      {
        class: "offer asks",
        attrs: { role: "dialog", "aria-label": TRANSFERS.ask },
        on: {
          keydown: (event) => {
            if (event.key === "Escape") dismiss();
          },
        },
      },
      make("h2", {}, icon("upload"), make("span", { text: TRANSFERS.ask })),
      make("p", { text: TRANSFERS.askText }),
      make("div", { class: "acts" }, choose, button("Cancel", dismiss)),
    );
    this.#ask.panel = panel;
    document.body.append(panel);
    choose.focus();
  }

  #withdraw() {
    this.#ask?.field.remove();
    this.#ask?.panel?.remove();
    this.#ask = null;
  }

  /** Files were dropped at a point of the page (CSS pixels). */
  dropped(transfer, { x, y }) {
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.());
    const files = [...transfer.files];
    if (files.length === 0) return;
    if (this.#controls.upload === "none") {
      this.#toasts.note("upload-blocked");
    } else if (entries.some((entry) => entry?.isDirectory)) {
      this.#toasts.note("upload-folder");
    } else {
      const id = FIRST_DROP + this.#drops;
      this.#drops += 1;
      this.#give(files, { id, drop: true }, (infos) => ({ type: "FileDrop", id, x, y, files: infos }));
    }
  }

  /** Says which files, then sends their bytes. `message(infos)` is what the page hears first. */
  #give(files, { id, drop = false }, message) {
    const dismiss = () => drop || this.#send(message([]));
    if (files.length === 0) {
      dismiss();
      return;
    }
    const most = this.#controls.upload_max_mb * 1024 * 1024;
    const label = files.length === 1 ? files[0].name : TRANSFERS.several.replace("{count}", files.length);
    const line = this.#line(id, "up", label);
    if (files.length > MAX_FILES) {
      dismiss();
      this.#end(line, "many");
    } else if (files.some((file) => file.size > most)) {
      dismiss();
      this.#end(line, "too-large", inWords(most));
    } else if (!this.#send(message(files.map((file) => ({ name: travelName(file.name), size: file.size, type: "" }))))) {
      this.#end(line, "lost");
    } else {
      line.size = files.reduce((sum, file) => sum + file.size, 0);
      line.running();
      this.#stream(line, files);
    }
  }

  async #stream(line, files) {
    let sent = 0;
    let taken = 0;
    let pace = LEAST_PIECE;
    let wake = () => {};
    const underWay = [];
    line.stopped = () => wake();
    line.progress = (received) => {
      taken = received;
      line.at(received);
      while (underWay.length > 0 && underWay[0].end <= received) pace = paced(pace, performance.now() - underWay.shift().at);
      wake();
    };
    line.at(0);
    for (const [index, file] of files.entries()) {
      for (let offset = 0; offset < file.size; ) {
        while (line.open && sent - taken >= pace) await new Promise((resolve) => (wake = resolve));
        if (!line.open) return;
        const length = Math.min(pace - (sent - taken), MAX_CHUNK, file.size - offset);
        // The first piece is what a file is judged by: never a crumb of it.
        const piece = offset === 0 ? Math.min(Math.max(length, LEAST_PIECE), file.size) : length;
        let data;
        try {
          data = new Uint8Array(await file.slice(offset, offset + piece).arrayBuffer());
        } catch {
          data = new Uint8Array(0); // it changed, or is gone
        }
        if (!line.open) return;
        if (data.length !== piece || !this.#send({ type: "FileData", id: line.id, index, offset, data })) {
          this.#send({ type: "FileCancel", id: line.id });
          this.#end(line, "failed");
          return;
        }
        offset += piece;
        sent += piece;
        underWay.push({ end: sent, at: performance.now() });
      }
    }
  }

  #closed({ id, code }) {
    const line = this.#lines.get(id);
    if (line === undefined || !line.open) return;
    if (code === "done" && line.direction !== "up") {
      if (line.received !== line.size) {
        this.#end(line, "failed");
        return;
      }
      this.#save(line);
    }
    this.#end(line, code, line.direction === "up" ? inWords(this.#controls.upload_max_mb * 1024 * 1024) : inWords(line.size));
  }

  // ---------------------------------------------------------------- what is shown

  #line(id, direction, name) {
    const words = make("p", { class: "transfer-words", attrs: { role: "status" } });
    const bar = make("progress", { class: "transfer-bar", props: { max: 1, value: 0, hidden: true }, attrs: { "aria-label": TRANSFERS.progressOf[direction] } });
    const acts = make("div", { class: "transfer-acts" });
    const element = make(
      "li",
      { class: "transfer" },
      icon({ up: "upload", down: "download", print: "print" }[direction]),
      make("div", { class: "transfer-body" }, make("p", { class: "transfer-name", text: name, attrs: { title: name, dir: "auto" } }), words, bar),
      acts,
    );
    const line = {
      id, direction, name, element, open: true, size: 0, timer: 0,
      say: (text) => (words.textContent = text),
      acts: (...buttons) => acts.replaceChildren(...buttons),
      at: (done) => {
        bar.hidden = false;
        bar.value = line.size === 0 ? 1 : done / line.size;
        line.say(TRANSFERS.progress.replace("{done}", inWords(done)).replace("{size}", inWords(line.size)));
      },
      running: () => line.acts(this.#small("close", TRANSFERS.cancel, () => {
        this.#send({ type: "FileCancel", id });
        this.#end(line, "cancelled");
        this.#refocus();
      })),
      hideBar: () => (bar.hidden = true),
    };
    this.#lines.set(id, line);
    this.#area.append(element);
    this.#area.hidden = false;
    const finished = [...this.#lines.values()].filter((other) => !other.open);
    while (this.#lines.size > MOST_LINES && finished.length > 0) this.#remove(finished.shift());
    return line;
  }

  #small(name, label, act) {
    const made = button("", act, { name: "plain" });
    made.setAttribute("aria-label", label);
    made.append(icon(name));
    return made;
  }

  #end(line, code, size = "") {
    line.open = false;
    line.stopped?.();
    line.pieces = line.parts = [];
    line.hideBar();
    line.element.classList.add(code === "done" ? "went" : "stopped");
    line.say((TRANSFERS.ends[line.direction][code] ?? TRANSFERS.ends[line.direction].failed).replace("{size}", size));
    line.acts(this.#small("close", TRANSFERS.dismiss, () => {
      this.#remove(line);
      this.#refocus();
    }));
    if (code === "done" || code === "cancelled") line.timer = setTimeout(() => this.#remove(line), DONE_MS);
  }

  #remove(line) {
    line.open = false;
    line.stopped?.();
    clearTimeout(line.timer);
    line.element.remove();
    if (this.#lines.get(line.id) === line) this.#lines.delete(line.id);
    this.#area.hidden = this.#lines.size === 0;
  }
}
