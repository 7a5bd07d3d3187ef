// The address bar, back and forward, reload, the strip with a foreign origin, and windows the page opens.

import { Address, isOwn, readState } from "./address.js";
import { button, icon, make } from "./dom.js";
import { MAX_HISTORY } from "./wire.js";

// ---------------------------------------------------------------- limits
const MOST_RELOADS = 4;
const RELOADS_MS = 20_000;
const BLANK_MS = 1_500;
const ANSWER_MS = 5_000; // a page that goes back over a slow network; after that, pressing back again asks again

const recent = (times) => (Array.isArray(times) ? times.filter((at) => Number.isFinite(at) && Math.abs(Date.now() - at) < RELOADS_MS) : []);

const WINDOW_NAME = /^isolation-page:([A-Za-z0-9_-]{1,64})$/;

/** Mirrors the page's place. `send(message)`; `toasts` for windows the browser would not open. */
export class Navigation {
  #address;
  #configuration;
  #send;
  #toasts;
  #strip;
  #swallow = 0; // popstate events that our own steps cause
  #afterStep = null;
  #quiet;
  #kind = performance.getEntriesByType("navigation")[0]?.type ?? "navigate";
  #first = true;
  #again;
  #blank = 0;
  #asked = 0;
  #located = { origin: "", index: 0, length: 1 };

  constructor({ configuration, strip, send, toasts }) {
    this.#configuration = configuration;
    this.#strip = strip;
    this.#send = send;
    this.#toasts = toasts;
    this.#quiet = history.state?.quiet === true;
    this.#again = recent(history.state?.again);
    if (this.#quiet) history.replaceState({ isolation: history.state.isolation }, "");
    const popUp = WINDOW_NAME.exec(window.name);
    window.name = "";
    if (readState(history.state) === null && popUp !== null) {
      history.replaceState({ isolation: { page: popUp[1], index: 0, floor: 0 } }, "");
      this.#quiet = true;
    }
    this.#address = new Address({ origin: location.origin, known: configuration.origins, state: history.state });
    addEventListener("popstate", (event) => this.#travelled(event.state));
  }

  /** The page to ask for, or "". */
  get page() {
    return this.#address.page;
  }

  /** The target this tab shows, as the renderer wants it: origin-form, visible ASCII. */
  get path() {
    const path = location.pathname + location.search + location.hash;
    return /^\/[\x21-\x7e]*$/.test(path) && !isOwn(path) ? path : "/";
  }

  attached({ page, resumed }) {
    const travelled = this.#first && this.#kind === "back_forward";
    const reload = this.#first && this.#kind === "reload" && resumed && !this.#quiet;
    this.#first = false;
    this.#address.attached(page, resumed, travelled);
    if (reload) this.#send({ type: "Reload", hard: false });
  }

  /** Where the page is: its origin, and whether it can go back and forward. */
  get place() {
    const { origin, index, length } = this.#located;
    return { origin, back: index > 0, forward: index < length - 1 };
  }

  located(message) {
    this.#located = message;
    for (const step of this.#address.located(message)) this.#perform(step);
  }

  /** The person stays where they are, at the page's "leave?". */
  stayed() {
    const delta = this.#address.stayed();
    if (delta !== 0) this.#step(delta, null);
  }

  /**
   * Loads this very address again, so that the router decides anew; the isolated page, if it lives on, is not reloaded by that. Says no,
   * and does nothing, when that happened too often just now and the person did not ask: a loop helps nobody.
   */
  loadAgain(asked = false) {
    if (!asked && this.#again.length >= MOST_RELOADS) return false;
    history.replaceState({ isolation: history.state?.isolation, quiet: true, again: [...this.#again, Date.now()] }, "");
    location.reload();
    return true;
  }

  /** The page opened a window. */
  opened({ page, origin, path }) {
    let url = `${location.origin}/`;
    if (origin === location.origin && !isOwn(path)) url = location.origin + path;
    else if (this.#configuration.origins.includes(origin)) url = origin + path;
    const open = () => window.open(url, `isolation-page:${page}`) !== null;
    if (!open()) {
      this.#toasts.say("The page opened a new window.", { action: "Open", act: open, stay: true });
    }
  }

  #perform(step) {
    switch (step.do) {
      case "push":
        history.pushState(this.#state(step.index), "", this.#url(step.path));
        break;
      case "replace":
        history.replaceState(this.#state(step.index), "", this.#url(step.path));
        break;
      case "step":
        this.#step(step.delta, () => history.replaceState(this.#state(step.index), "", this.#url(step.path)));
        break;
      case "ask":
        clearTimeout(this.#asked);
        this.#asked = setTimeout(() => this.#address.unanswered(), ANSWER_MS);
        this.#send({ type: "History", delta: Math.max(-MAX_HISTORY, Math.min(MAX_HISTORY, step.delta)) });
        break;
      case "strip":
        this.#showStrip(step.origin);
        break;
      case "leave":
        if (step.replace) location.replace(step.url);
        else location.assign(step.url);
        break;
    }
  }

  #state(index) {
    return { isolation: { page: this.#address.page, index, floor: this.#address.floor } };
  }

  #url(path) {
    // Always with our origin in front: "//elsewhere" and "/\elsewhere" are paths here, not hosts.
    return path === null ? undefined : location.origin + path;
  }

  #step(delta, after) {
    this.#swallow += 1;
    this.#afterStep = after;
    history.go(delta);
    // Where this tab has no such entry, nothing happens and no event comes.
    setTimeout(() => {
      if (this.#swallow > 0) this.#stepped();
    }, 1000);
  }

  #stepped() {
    this.#swallow -= 1;
    this.#afterStep?.();
    this.#afterStep = null;
  }

  #travelled(state) {
    if (this.#swallow > 0) {
      this.#stepped();
      return;
    }
    const step = this.#address.travelled(state);
    if (step === null) return;
    if (step.do === "navigate") this.#send({ type: "Navigate", path: this.path });
    else this.#perform(step);
  }

  #showStrip(origin) {
    clearTimeout(this.#blank);
    // Every page is without an address for a moment before its first; only one that stays so is worth a line.
    if (origin === "" && this.#strip.hidden) this.#blank = setTimeout(() => this.#drawStrip(""), BLANK_MS);
    else this.#drawStrip(origin);
  }

  #drawStrip(origin) {
    const strip = this.#strip;
    strip.hidden = origin === null;
    if (origin === null) {
      strip.replaceChildren();
      return;
    }
    const home = () => this.#send({ type: "Navigate", path: this.path });
    strip.replaceChildren(
      icon("globe"),
      make("span", { class: "strip-label", text: origin === "" ? "A page without an address" : "You are on" }),
      origin === "" ? make("span") : make("bdi", { class: "strip-origin", text: origin }),
      make("span", { class: "strip-note", text: "opened inside the isolated browser" }),
      button(`Back to ${this.#configuration.app}`, home, { name: "small" }),
    );
  }
}
