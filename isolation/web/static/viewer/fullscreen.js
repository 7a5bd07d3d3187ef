// Full screen: the page's and this window's go together. The person is always told who fills the screen, and how to leave.

/**
 * `root` fills the screen. `tell(origin)`: say who does, and return what takes that back; `offer(act)`: the browser wants a press first; `left()`:
 * the person left.
 */
export class Fullscreen {
  #root;
  #tell;
  #offer;
  #left;
  #wanted = false;
  #untell = null;

  constructor(root, { tell, offer, left }) {
    this.#root = root;
    this.#tell = tell;
    this.#offer = offer;
    this.#left = left;
    document.addEventListener("fullscreenchange", () => {
      if (document.fullscreenElement === null) this.#gone();
    });
  }

  get active() {
    return this.#wanted;
  }

  /** Escape, where this window does not fill the screen: then no browser takes the key first. */
  escape() {
    if (document.fullscreenElement === null) this.#gone();
  }

  /** The person's press: on a device without Escape. */
  leave() {
    if (document.fullscreenElement !== null) document.exitFullscreen();
    else this.#gone();
  }

  /** The page entered or left full screen. `origin`: where the page is. */
  async changed(active, origin) {
    if (!active) {
      this.end();
      return;
    }
    this.#wanted = true;
    this.#untell?.();
    this.#untell = this.#tell(origin);
    if (!(await this.#fill()) && this.#wanted) this.#offer(() => this.#fill());
  }

  /** Leaves, without telling the page: it has left, or is gone. */
  end() {
    this.#wanted = false;
    this.#untell?.();
    if (document.fullscreenElement !== null) document.exitFullscreen();
  }

  #gone() {
    if (!this.#wanted) return;
    this.#wanted = false;
    this.#untell?.();
    this.#left();
  }

  async #fill() {
    if (!this.#wanted || typeof this.#root.requestFullscreen !== "function") return true; // phones without it: the page fills the window
    try {
      await this.#root.requestFullscreen({ navigationUI: "hide" });
      return true;
    } catch {
      return false; // the press that led to it is too long ago
    }
  }
}
