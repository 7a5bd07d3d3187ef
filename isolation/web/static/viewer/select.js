// Drop-downs, dates, times and colours. Chromium draws these outside of its picture, so the viewer draws its own from descriptions.

import { button, icon, make } from "./dom.js";

// ---------------------------------------------------------------- limits
const TYPE_AHEAD_MS = 800; // letters typed closer together are one word
const GAP = 4; // CSS pixels to the control and to the window's edge
const TALLEST = 420;

const TITLES = { date: "Choose a date", time: "Choose a time", "datetime-local": "Choose a date and time", month: "Choose a month", week: "Choose a week", color: "Choose a colour" };
const SWATCHES = ["#000000", "#5f6b7a", "#ffffff", "#c62828", "#ef6c00", "#f9a825", "#2e7d32", "#00838f", "#1565c0", "#4527a0", "#ad1457", "#6d4c41"];

/** Shows one pop-up at a time. `reply({id, values})` once each; no values: unchanged. */
export class Selects {
  #surface;
  #reply;
  #refocus;
  #open = null;

  constructor(surface, { reply, refocus }) {
    this.#surface = surface;
    this.#reply = reply;
    this.#refocus = refocus;
    addEventListener("resize", () => this.#dismiss());
  }

  show(message) {
    if (message.kind === "datalist") {
      this.#suggest(message);
      return;
    }
    this.#dismiss();
    const panel = message.kind === "options" ? this.#list(message) : this.#input(message);
    panel.classList.add("popup");
    // A press anywhere else closes it, and is not passed on: it was meant for the pop-up.
    const shade = make("div", { class: "shade", on: { pointerdown: () => this.#dismiss(), wheel: () => this.#dismiss(), contextmenu: (event) => event.preventDefault() } });
    this.#open = { id: message.id, panel, shade };
    document.body.append(shade, panel);
    this.#place(panel, message);
    panel.querySelector("[data-first]")?.focus({ preventScroll: true });
    panel.querySelector("[aria-selected=true]")?.scrollIntoView({ block: "center" });
  }

  /** The control went away. */
  closed(id) {
    if (this.#open?.id === id) this.#take();
  }

  clear() {
    if (this.#open !== null) this.#take();
  }

  #finish(values) {
    if (this.#open === null) return;
    const { id } = this.#open;
    this.#take();
    this.#reply({ id, values });
    this.#refocus();
  }

  /** Suggestions below a text field. They take neither the keyboard nor the pointer from the page: only a press on one of them counts. */
  #suggest(message) {
    this.clear();
    const list = make("div", { class: "list", attrs: { role: "listbox", "aria-label": "Suggestions" } });
    message.options.forEach((option, i) => {
      const item = make("div", { class: option.selected ? "option active" : "option", attrs: { role: "option", "aria-selected": String(option.selected) } }, make("span", { text: option.label, attrs: { dir: "auto" } }));
      // The press itself must not take the focus away: the field would lose it, and its list with it.
      item.addEventListener("pointerdown", (event) => event.preventDefault());
      item.addEventListener("pointerup", () => this.#finish([String(i)]));
      list.append(item);
    });
    const panel = make("div", { class: "options popup suggestions" }, list);
    this.#open = { id: message.id, panel, shade: make("div") };
    document.body.append(panel);
    this.#place(panel, message);
    list.querySelector(".active")?.scrollIntoView({ block: "nearest" });
  }

  #dismiss() {
    this.#finish([]);
  }

  #take() {
    this.#open.panel.remove();
    this.#open.shade.remove();
    this.#open = null;
  }

  #place(panel, { x, y, width, height }) {
    const surface = this.#surface.getBoundingClientRect();
    const [left, top, bottom] = [surface.left + x, surface.top + y, surface.top + y + height];
    panel.style.minWidth = `${Math.min(Math.max(width, 120), innerWidth - 2 * GAP)}px`;
    const below = innerHeight - bottom - 2 * GAP;
    const above = top - 2 * GAP;
    const wanted = Math.min(panel.scrollHeight + 2, TALLEST);
    const down = below >= wanted || below >= above;
    const room = Math.max(120, Math.min(down ? below : above, TALLEST));
    panel.style.maxHeight = `${room}px`;
    const box = panel.getBoundingClientRect();
    const wantedTop = down ? bottom + GAP : top - GAP - box.height;
    panel.style.left = `${Math.max(GAP, Math.min(left, innerWidth - box.width - GAP))}px`;
    panel.style.top = `${Math.max(GAP, Math.min(wantedTop, innerHeight - box.height - GAP))}px`;
  }

  // ---------------------------------------------------------------- drop-down

  #list({ options, multiple }) {
    const chosen = new Set(options.flatMap((option, i) => (option.selected ? [i] : [])));
    const items = [];
    const list = make("div", { class: "list", attrs: { role: "listbox", tabindex: "0", "data-first": "", "aria-label": "Choices" } });
    if (multiple) list.setAttribute("aria-multiselectable", "true");
    let group = "";
    let parent = list;
    options.forEach((option, i) => {
      if (option.group !== group) {
        group = option.group;
        parent = list;
        if (group !== "") {
          parent = make("div", { class: "group", attrs: { role: "group", "aria-label": group } }, make("div", { class: "group-label", text: group, attrs: { dir: "auto", "aria-hidden": "true" } }));
          list.append(parent);
        }
      }
      const item = make(
        "div",
        { class: "option", attrs: { role: "option", id: `option-${i}`, "aria-selected": String(chosen.has(i)), "aria-disabled": String(option.disabled) } },
        icon("check"),
        make("span", { text: option.label === "" ? "\u00a0" : option.label, attrs: { dir: "auto" } }),
      );
      item.addEventListener("pointermove", () => {
        if (!option.disabled) activate(i, false);
      });
      item.addEventListener("pointerup", (event) => {
        event.preventDefault();
        choose(i);
      });
      items.push(item);
      parent.append(item);
    });
    const able = options.flatMap((option, i) => (option.disabled ? [] : [i]));
    let active = [...chosen].find((i) => !options[i].disabled) ?? able[0] ?? -1;
    const activate = (i, scroll = true) => {
      items[active]?.classList.remove("active");
      active = i;
      items[active]?.classList.add("active");
      if (active >= 0) list.setAttribute("aria-activedescendant", `option-${active}`);
      if (scroll) items[active]?.scrollIntoView({ block: "nearest" });
    };
    const values = () => [...chosen].sort((a, b) => a - b).map(String);
    const choose = (i) => {
      if (i < 0 || options[i].disabled) return;
      if (!multiple) {
        this.#finish([String(i)]);
        return;
      }
      if (!chosen.delete(i)) chosen.add(i);
      items[i].setAttribute("aria-selected", String(chosen.has(i)));
      activate(i);
    };
    const move = (by) => {
      const at = able.indexOf(active);
      if (able.length > 0) activate(able[Math.max(0, Math.min(able.length - 1, at + by))]);
    };
    let word = "";
    let typed = 0;
    const typeAhead = (character, at) => {
      word = at - typed < TYPE_AHEAD_MS ? word + character : character;
      typed = at;
      const same = [...word].every((letter) => letter === word[0]);
      const wanted = (same ? word[0] : word).toLowerCase();
      const from = able.indexOf(active) + (same ? 1 : 0);
      const order = [...able.slice(from), ...able.slice(0, from)];
      const hit = order.find((i) => options[i].label.trim().toLowerCase().startsWith(wanted));
      if (hit !== undefined) activate(hit);
    };
    list.addEventListener("keydown", (event) => {
      const keys = {
        ArrowDown: () => move(1),
        ArrowUp: () => move(-1),
        PageDown: () => move(8),
        PageUp: () => move(-8),
        Home: () => move(-options.length),
        End: () => move(options.length),
        Enter: () => (multiple ? this.#finish(values()) : choose(active)),
        Escape: () => this.#dismiss(),
        Tab: () => (multiple ? this.#finish(values()) : choose(active)),
      };
      if (event.timeStamp - typed >= TYPE_AHEAD_MS) word = "";
      if (event.key === " " && word === "") keys[" "] = () => choose(active);
      const act = keys[event.key];
      if (act === undefined && !([...event.key].length === 1 && !event.ctrlKey && !event.metaKey && !event.altKey)) return;
      event.preventDefault();
      if (act === undefined) typeAhead(event.key, event.timeStamp);
      else act();
    });
    activate(active, false);
    const panel = make("div", { class: "options" }, list);
    if (multiple) {
      panel.append(make("div", { class: "acts end" }, button("Cancel", () => this.#dismiss(), { name: "small" }), button("Done", () => this.#finish(values()), { primary: true, name: "small" })));
    }
    return panel;
  }

  // ---------------------------------------------------------------- dates, times, colours

  #input({ kind, value, low, high }) {
    const id = "popup-title";
    const field = make("input", { class: "field", attrs: { type: kind, "data-first": "", "aria-labelledby": id } });
    if (low !== "") field.min = low;
    if (high !== "") field.max = high;
    if (kind === "time" || kind === "datetime-local") field.step = "any";
    field.value = value;
    const done = () => {
      if (field.checkValidity()) this.#finish([field.value]);
      else field.reportValidity();
    };
    const panel = make(
      "div",
      {
        class: "value",
        attrs: { role: "dialog", "aria-labelledby": id },
        on: {
          keydown: (event) => {
            if (event.key === "Escape") this.#dismiss();
            else if (event.key === "Enter" && event.target === field) done();
            else return;
            event.preventDefault();
          },
        },
      },
      make("h2", { text: TITLES[kind], attrs: { id } }),
      field,
    );
    if (kind === "color") {
      const swatches = SWATCHES.map((colour) => {
        const swatch = make("button", { class: "swatch", attrs: { type: "button", "aria-label": colour }, on: { click: () => this.#finish([colour]) } });
        swatch.style.backgroundColor = colour;
        return swatch;
      });
      panel.append(make("div", { class: "swatches", attrs: { role: "group", "aria-label": "Colours" } }, ...swatches));
    }
    const acts = make("div", { class: "acts end" });
    if (kind !== "color") acts.append(button("Clear", () => this.#finish([""]), { name: "small quiet" }));
    acts.append(button("Cancel", () => this.#dismiss(), { name: "small" }), button("Set", done, { primary: true, name: "small" }));
    panel.append(acts);
    return panel;
  }
}
