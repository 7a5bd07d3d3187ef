// The line to the router: tickets, the WebSocket, noticing that it is dead, and getting it back.

import { decodeFromRenderer, encode, WireError } from "./wire.js";

// ---------------------------------------------------------------- limits
const SILENCE_MS = 13_000; // the router speaks at least every four seconds
const CHECK_MS = 2_000;
const OPEN_MS = 12_000; // an upgrade that takes longer has no network below it
const TICKET_MS = 10_000;
const FIRST_WAIT_MS = 250;
const LAST_WAIT_MS = 8_000;

const SOCKET = "/.isolation/stream";
const TICKETS = "/.isolation/ticket";

/** How long to wait before attempt n (0, 1, …), in milliseconds: doubling, bounded, spread so that not everybody comes at once. */
export function backOff(attempt, spread = Math.random()) {
  if (attempt === 0) return 0;
  const most = Math.min(LAST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.min(attempt - 1, 10));
  return Math.round(most * (0.75 + spread * 0.25));
}

/**
 * One viewer page's line. Calls `on.open()`, `on.message(message)`, `on.lost({attempt, wait})`, `on.gone()` (the router no longer gives
 * this page tickets: load it again) and `on.broken(error)` (the other side speaks nonsense).
 */
export class Stream {
  #instance;
  #ticket;
  #hello;
  #on;
  #socket = null;
  #open = false;
  #attempt = 0;
  #timer = 0;
  #heard = 0;
  #stopped = false;
  #turn = 0;

  constructor({ instance, ticket, hello, on }) {
    this.#instance = instance;
    this.#ticket = ticket;
    this.#hello = hello;
    this.#on = on;
    setInterval(() => this.#check(), CHECK_MS);
    addEventListener("online", () => this.retryNow());
    addEventListener("offline", () => this.#drop());
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) {
        this.#check();
        this.retryNow();
      }
    });
  }

  get open() {
    return this.#open;
  }

  /** Connects; also after stop(). */
  start() {
    this.#stopped = false;
    this.#attempt = 0;
    this.#connect();
  }

  /** Ends the line for good (until start() is called). */
  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#discard();
  }

  /** Tries at once, where the line is waiting for its next attempt. */
  retryNow() {
    if (this.#timer !== 0) {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#connect();
    }
  }

  /** Starts over after `wait` milliseconds: the browser behind the line ended, the line itself is fine. */
  again(wait = 0) {
    this.#discard();
    this.#schedule(wait);
  }

  /** The far end works: the next loss is a first loss. */
  settled() {
    this.#attempt = 0;
  }

  /** Sends a message; says whether it could. Nothing is kept for later: input to a page nobody sees must not act. */
  send(message) {
    if (!this.#open) return false;
    this.#socket.send(encode(message));
    return true;
  }

  async #connect() {
    this.#discard();
    this.#turn += 1;
    const turn = this.#turn;
    let ticket = this.#ticket;
    this.#ticket = "";
    try {
      if (ticket === "") ticket = await this.#newTicket();
    } catch (error) {
      if (turn !== this.#turn || this.#stopped) return;
      if (error instanceof Gone) {
        this.#on.gone();
        return;
      }
      this.#failed();
      return;
    }
    if (turn !== this.#turn || this.#stopped) return;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${SOCKET}`, ["isolation-viewer.1", `ticket.${ticket}`]);
    socket.binaryType = "arraybuffer";
    this.#socket = socket;
    this.#heard = performance.now();
    socket.onopen = () => {
      this.#open = true;
      this.#heard = performance.now();
      socket.send(encode(this.#hello()));
      this.#on.open();
    };
    socket.onmessage = (event) => {
      this.#heard = performance.now();
      let message;
      try {
        if (typeof event.data === "string") throw new WireError("text");
        message = decodeFromRenderer(event.data);
      } catch (error) {
        this.stop();
        this.#on.broken(error);
        return;
      }
      this.#on.message(message);
    };
    socket.onclose = () => {
      if (this.#socket === socket) this.#failed();
    };
  }

  #failed() {
    this.#discard();
    if (this.#stopped) return;
    this.#attempt += 1;
    const wait = backOff(this.#attempt);
    this.#schedule(wait);
    this.#on.lost({ attempt: this.#attempt, wait });
  }

  #schedule(wait) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#connect();
    }, wait);
  }

  async #newTicket() {
    const response = await fetch(TICKETS, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ instance: this.#instance }),
      credentials: "same-origin",
      redirect: "error",
      cache: "no-store",
      signal: AbortSignal.timeout(TICKET_MS),
    });
    if (response.status >= 400 && response.status < 500 && response.status !== 408 && response.status !== 429) throw new Gone();
    if (!response.ok) throw new Error(`status ${response.status}`);
    const { ticket } = await response.json();
    if (typeof ticket !== "string" || !/^[A-Za-z0-9._-]{1,2000}$/.test(ticket)) throw new Error("not a ticket");
    return ticket;
  }

  #check() {
    if (this.#socket === null) return;
    const silent = performance.now() - this.#heard;
    if (silent > (this.#open ? SILENCE_MS : OPEN_MS)) this.#failed();
  }

  #drop() {
    if (this.#socket !== null) this.#failed();
  }

  #discard() {
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    this.#turn += 1;
    if (socket !== null) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }
}

class Gone extends Error {}
