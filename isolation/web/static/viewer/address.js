// How the page's own history and this tab's history follow each other. Pure: decides, and leaves the doing to navigation.js.
//
// Each entry of this tab's history carries {page, index}: which isolated page, and where in that page's history. Going back or forward in the
// tab asks the page to move by the difference; a move of the page is mirrored by a push, a replacement, or a step of the tab.

const OWN = "/.isolation";

/** Whether a path lies among the router's own URLs: such an address is never mirrored, for loading it would act. */
export function isOwn(path) {
  const bare = path.split(/[?#]/, 1)[0];
  let decoded = bare;
  for (let i = 0; i < 3; i += 1) {
    decoded = decoded.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  }
  const parts = [];
  for (const part of decoded.replaceAll("\\", "/").split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.length > 0 && `/${parts[0].toLowerCase()}` === OWN;
}

/** The state of this tab's current entry, or null where it is not ours. */
export function readState(state) {
  const ours = state?.isolation;
  if (typeof ours !== "object" || ours === null) return null;
  const { page, index } = ours;
  if (typeof page !== "string" || !/^[A-Za-z0-9_-]{1,64}$/.test(page) || !Number.isInteger(index) || index < 0 || index > 65535) return null;
  return { page, index };
}

/** Follows one viewer page's history. */
export class Address {
  #origin;
  #known;
  #page = "";
  #index = null; // of this tab's current entry; null: the entry is not ours yet
  #remote = null; // of the page, as it last said
  #adopt = false; // the next location belongs to the entry that is current, however it came about
  #awaited = null; // the page was asked to go here

  constructor({ origin, known, state }) {
    this.#origin = origin;
    this.#known = new Set(known);
    const ours = readState(state);
    if (ours !== null) {
      this.#page = ours.page;
      this.#index = ours.index;
    }
  }

  get page() {
    return this.#page;
  }

  /** A page was attached. `resumed`: it is the one we asked for. `travelled`: the person came by back or forward. */
  attached(page, resumed, travelled) {
    this.#page = page;
    this.#remote = null;
    this.#adopt = !resumed;
    this.#awaited = null;
    if (resumed && travelled && this.#index !== null) this.#awaited = this.#index;
  }

  /**
   * The page says where it is. Returns what to do, in order, as a list of:
   * {do: "replace" | "push", path: string | null, index}, {do: "step", delta}, {do: "ask", delta}, {do: "strip", origin}, {do: "leave", url, replace}.
   */
  located({ origin, path, index, replace }) {
    const first = this.#remote === null;
    this.#remote = index;
    if (first && this.#awaited !== null && this.#awaited !== index) {
      // Came back by the tab's history to a page that is elsewhere in its own: it is asked to follow, and this place is not mirrored.
      return [{ do: "ask", delta: this.#awaited - index }];
    }
    const home = origin === this.#origin;
    const steps = [];
    if (!home && origin !== "" && this.#known.has(origin)) {
      this.#settle(index);
      return [{ do: "leave", url: origin + path, replace: replace || first }];
    }
    steps.push({ do: "strip", origin: home ? null : origin });
    const shown = home && !isOwn(path) ? path : null;
    const pushed = this.#index !== null && !this.#adopt && this.#awaited === null && !replace && index > this.#index;
    const back = this.#index !== null && !this.#adopt && this.#awaited === null && index < this.#index ? index - this.#index : 0;
    if (back < 0) {
      steps.push({ do: "step", delta: back, path: shown, index });
    } else {
      steps.push({ do: pushed ? "push" : "replace", path: shown, index });
    }
    this.#settle(index);
    return steps;
  }

  /** The tab's history was moved by the person. Returns {do: "ask", delta}, {do: "navigate"} (to the address now shown) or null. */
  travelled(state) {
    const ours = readState(state);
    if (ours === null || ours.page !== this.#page || this.#remote === null) {
      // An address typed with another #fragment, or an entry of a page that is gone: the page is sent to the address.
      this.#adopt = true;
      this.#awaited = null;
      return { do: "navigate" };
    }
    this.#index = ours.index;
    if (ours.index === this.#remote) return null;
    this.#awaited = ours.index;
    return { do: "ask", delta: ours.index - this.#remote };
  }

  /** The page did not move after all (the person stays, at its "leave this page?"). Returns the step that brings the tab back, or 0. */
  stayed() {
    if (this.#awaited === null || this.#remote === null || this.#index === null) return 0;
    const delta = this.#remote - this.#index;
    this.#awaited = null;
    this.#index = this.#remote;
    return delta;
  }

  #settle(index) {
    this.#index = index;
    this.#adopt = false;
    this.#awaited = null;
  }
}
