// The context menu, where the page has none of its own. What is in it comes from the controls and from what is under the pointer; the link's address
// is text of the page's.

import { make } from "./dom.js";

// ---------------------------------------------------------------- limits
const GAP = 4; // CSS pixels to the window's edge
const TYPE_AHEAD_MS = 800;
const FINGER = 22; // CSS pixels: half of what a fingertip hides, and the word it rests on

/** What a menu offers: groups of [act, label, shortcut]. `can`: toApp, fromApp, pictures, keyboard, download, print. `place`: back, forward. */
export function menuLines({ link, image, editable, selection }, can, place, mac) {
  const key = (name) => (mac ? `⌘${name}` : `Ctrl+${name}`);
  const groups = [];
  if (link !== "") {
    const lines = [];
    if (/^https?:/.test(link)) lines.push(["open-link", "Open link in new tab", ""]);
    if (can.fromApp) lines.push(["copy-link", "Copy link address", ""]);
    if (can.download && /^(?:https?|blob):/.test(link)) lines.push(["save-link", "Save link…", ""]);
    groups.push(lines);
  }
  if (image) {
    const lines = [];
    if (can.pictures) lines.push(["copy-image", "Copy image", ""]);
    if (can.download) lines.push(["save-image", "Save image…", ""]);
    groups.push(lines);
  }
  if (editable && can.keyboard) {
    const lines = [];
    if (selection) lines.push(["cut", "Cut", key("X")], ["copy", "Copy", key("C")]);
    lines.push(["paste", "Paste", key("V")], ["select-all", "Select all", key("A")]);
    groups.push(lines);
  } else if (selection) {
    groups.push([["copy", "Copy", key("C")]]);
  }
  if (link === "" && !image && !editable && !selection) {
    const lines = [];
    if (place.back) lines.push(["back", "Back", mac ? "⌘[" : "Alt+←"]);
    if (place.forward) lines.push(["forward", "Forward", mac ? "⌘]" : "Alt+→"]);
    lines.push(["reload", "Reload", key("R")]);
    groups.push(lines, [["find", "Find in page…", key("F")], ...(can.print ? [["print", "Print…", key("P")]] : []), ["select-all", "Select all", key("A")]]);
  }
  return groups.filter((lines) => lines.length > 0);
}

/** Shows one menu at a time. `act(what, message)` for what was chosen; `none(message)` when nothing was. */
export class ContextMenu {
  #surface;
  #lines;
  #act;
  #none;
  #open = null;

  constructor(surface, { lines, act, none }) {
    this.#surface = surface;
    this.#lines = lines;
    this.#act = act;
    this.#none = none;
    for (const name of ["resize", "blur"]) addEventListener(name, () => this.#dismiss());
  }

  /** `finger`: one rests where the menu comes. */
  show(message, finger = false) {
    this.clear();
    const groups = this.#lines(message);
    if (groups.length === 0) {
      this.#none(message);
      return;
    }
    const items = [];
    const panel = make("div", { class: "popup menu", attrs: { role: "menu", tabindex: "-1", "aria-label": "Menu of the page" } });
    groups.forEach((lines, i) => {
      if (i > 0) panel.append(make("div", { class: "menu-line", attrs: { role: "separator" } }));
      for (const [what, label, shortcut] of lines) {
        const item = make(
          "div",
          { class: "menu-item", attrs: { role: "menuitem", tabindex: "-1" } },
          make("span", { text: label }),
          shortcut === "" ? null : make("kbd", { class: "menu-key", text: shortcut, attrs: { "aria-hidden": "true" } }),
        );
        item.addEventListener("pointerenter", (event) => {
          if (event.pointerType !== "touch") item.focus({ preventScroll: true });
        });
        // On release, as menus do; a press that opened the menu and is let go over it chooses nothing.
        item.addEventListener("click", () => this.#choose(what));
        item.dataset.what = what;
        items.push(item);
        panel.append(item);
      }
    });
    panel.addEventListener("keydown", (event) => this.#key(event, items));
    panel.addEventListener("contextmenu", (event) => event.preventDefault());
    const away = (event) => {
      event.preventDefault();
      this.#dismiss();
    };
    const shade = make("div", { class: "shade", on: { pointerdown: away, wheel: () => this.#dismiss(), contextmenu: (event) => event.preventDefault() } });
    this.#open = { message, panel, shade, word: "", typed: 0 };
    document.body.append(shade, panel);
    this.#place(panel, message, finger ? FINGER : 0);
    panel.focus({ preventScroll: true });
  }

  clear() {
    this.#open?.panel.remove();
    this.#open?.shade.remove();
    this.#open = null;
  }

  #dismiss() {
    if (this.#open === null) return;
    const { message } = this.#open;
    this.clear();
    this.#none(message);
  }

  #choose(what) {
    if (this.#open === null) return;
    const { message } = this.#open;
    this.clear();
    this.#act(what, message);
  }

  #place(panel, { x, y }, away) {
    const surface = this.#surface.getBoundingClientRect();
    const box = panel.getBoundingClientRect();
    const fit = (at, size, room, by) => (at + by + size + GAP <= room ? at + by : Math.max(GAP, Math.min(at - by - size, room - size - GAP)));
    panel.style.left = `${fit(Math.max(GAP, surface.left + x), box.width, innerWidth, 0)}px`;
    panel.style.top = `${fit(Math.max(GAP, surface.top + y), box.height, innerHeight, away)}px`;
  }

  #key(event, items) {
    const at = items.indexOf(document.activeElement);
    const go = (to) => items[(to + items.length) % items.length].focus({ preventScroll: true });
    if (event.key === "ArrowDown") go(at + 1);
    else if (event.key === "ArrowUp") go(at < 0 ? -1 : at - 1);
    else if (event.key === "Home" || event.key === "PageUp") go(0);
    else if (event.key === "End" || event.key === "PageDown") go(-1);
    else if (event.key === "Enter" || event.key === " ") {
      if (at >= 0) this.#choose(items[at].dataset.what);
    } else if (event.key === "Escape" || event.key === "Tab" || event.key === "ContextMenu") this.#dismiss();
    else if (event.key.length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey) this.#typed(event, items, at);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #typed(event, items, at) {
    const open = this.#open;
    open.word = event.timeStamp - open.typed < TYPE_AHEAD_MS ? open.word + event.key.toLowerCase() : event.key.toLowerCase();
    open.typed = event.timeStamp;
    const from = open.word.length === 1 ? at + 1 : Math.max(0, at);
    const order = [...items.slice(from), ...items.slice(0, from)];
    order.find((item) => item.textContent.toLowerCase().startsWith(open.word))?.focus({ preventScroll: true });
  }
}
