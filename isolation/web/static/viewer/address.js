// How the page's own history and this tab's history follow each other. Pure: decides, and leaves the doing to navigation.js.
//
// Each entry of this tab's history carries {page, index, floor}: which isolated page, where in that page's history, and the least index that the
// entries below it lead to without a gap. Going back or forward in the tab asks the page to move by the difference; a move of the page is mirrored
// by a push, a replacement, or a step of the tab: never to what lies below the floor, which the person opened before, and which is not the page's.

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
  const { page, index, floor } = ours;
  if (typeof page !== "string" || !/^[A-Za-z0-9_-]{1,64}$/.test(page) || !Number.isInteger(index) || index < 0 || index > 65535) return null;
  if (!Number.isInteger(floor) || floor < 0 || floor > index) return null;
  return { page, index, floor };
}

/** Follows one viewer page's history. */
export class Address {
  #origin;
  #known;
  #page = "";
  #index = null; // of this tab's current entry; null: the entry is not ours yet
  #floor = 0; // of this tab's current entry
  #settled = 0; // the floor of the entry in which the page last was
  #remote = null; // of the page, as it last said
  #adopt = false; // the next location belongs to the entry that is current, however it came about
  #want = null; // where the person went by back or forward; null: nowhere the page is not
  #asked = null; // where the page was asked to go and has not arrived yet: one step at a time, for it counts from where it is

  constructor({ origin, known, state }) {
    this.#origin = origin;
    this.#known = new Set(known);
    const ours = readState(state);
    if (ours !== null) {
      this.#page = ours.page;
      this.#index = ours.index;
      this.#floor = ours.floor;
    }
  }

  get page() {
    return this.#page;
  }

  get floor() {
    return this.#floor;
  }

  /** A page was attached. `resumed`: it is the one we asked for. `travelled`: the person came by back or forward. */
  attached(page, resumed, travelled) {
    this.#page = page;
    this.#remote = null;
    this.#adopt = !resumed;
    this.#asked = null;
    this.#want = resumed && travelled ? this.#index : null;
  }

  /**
   * The page says where it is. Returns what to do, in order, as a list of:
   * {do: "replace" | "push", path: string | null, index}, {do: "step", delta, path, index}, {do: "ask", delta}, {do: "strip", origin},
   * {do: "leave", url, replace}.
   */
  located({ origin, path, index, replace }) {
    const first = this.#remote === null;
    const arrived = index === this.#asked;
    this.#remote = index;
    if (this.#want !== null && this.#want !== index && (first || arrived)) {
      // The person is somewhere else already (came back to a page that had moved on; pressed back twice): it is asked to follow there.
      return [this.#ask()];
    }
    const travelled = this.#want !== null && (first || arrived);
    const home = origin === this.#origin;
    if (!home && origin !== "" && this.#known.has(origin)) {
      this.#settle(index);
      return [{ do: "leave", url: origin + path, replace: replace || first }];
    }
    const steps = [{ do: "strip", origin: home ? null : origin }];
    const shown = home && !isOwn(path) ? path : null;
    const follows = this.#index !== null && !this.#adopt && !travelled;
    if (follows && index < this.#index && index >= this.#floor) {
      steps.push({ do: "step", delta: index - this.#index, path: shown, index });
    } else {
      const push = follows && !replace && index > this.#index;
      steps.push({ do: push ? "push" : "replace", path: shown, index });
      const joined = push ? index === this.#index + 1 : index === this.#index && !this.#adopt;
      if (!joined) this.#floor = index;
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
      this.#want = this.#asked = null;
      return { do: "navigate" };
    }
    this.#index = this.#want = ours.index;
    this.#floor = ours.floor;
    if (this.#asked !== null) return null; // it is on its way somewhere; from there it is asked further
    if (ours.index === this.#remote) {
      this.#want = null;
      return null;
    }
    return this.#ask();
  }

  /** The page did not move after all (the person stays, at its "leave this page?"). Returns the step that brings the tab back, or 0. */
  stayed() {
    if (this.#want === null || this.#remote === null || this.#index === null) return 0;
    const delta = this.#remote - this.#index;
    this.#want = this.#asked = null;
    this.#index = this.#remote;
    this.#floor = this.#settled;
    return delta;
  }

  /** The page was asked to move and said nothing for a while: it may be asked again. */
  unanswered() {
    this.#asked = null;
  }

  #ask() {
    this.#asked = this.#want;
    return { do: "ask", delta: this.#want - this.#remote };
  }

  #settle(index) {
    this.#index = index;
    this.#settled = this.#floor;
    this.#adopt = false;
    this.#want = this.#asked = null;
  }
}
