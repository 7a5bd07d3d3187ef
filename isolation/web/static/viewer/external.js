// Links for other programs of the device (mail, telephone, messages). The person sees where they lead, and only their click opens one.

import { button, icon, make } from "./dom.js";

// ---------------------------------------------------------------- limits
const MOST = 2048; // as the wire has it
const MOST_SHOWN = 300;
const MOST_LINES = 6; // subject, body, copies

const SHAPE = /^(mailto|tel|sms):[\x21-\x7e]*$/;
const WORDS = {
  mailto: ["Write an e-mail?", "The page wants to open your mail program with a message to"],
  tel: ["Make a call?", "The page wants to call"],
  sms: ["Write a message?", "The page wants to open your messages with one to"],
};

const plain = (text) => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};
// Controls and direction marks would let a target look like another one.
const shown = (text) => plain(text).replace(/[\p{Cc}\p{Cf}]/gu, " ").slice(0, MOST_SHOWN);

/** What a link does, in words: scheme, target and what comes with it. Null for anything that is not exactly such a link. */
export function external(url) {
  if (typeof url !== "string" || url.length > MOST) return null;
  const scheme = SHAPE.exec(url)?.[1];
  if (scheme === undefined) return null;
  const [target, query = ""] = url.slice(scheme.length + 1).split("?", 2);
  return { scheme, target: shown(target), text: query.split("&", MOST_LINES).map(shown).join("\n") };
}

/** Offers one link at a time; a newer one takes its place. */
export class Externals {
  #refocus;
  #card = null;

  constructor({ refocus }) {
    this.#refocus = refocus;
  }

  offer(url) {
    const link = external(url);
    if (link === null) return;
    this.clear();
    const [heading, text] = WORDS[link.scheme];
    const close = () => {
      this.clear();
      this.#refocus();
    };
    const open = make("a", { class: "button primary", text: "Open", attrs: { rel: "noreferrer" }, on: { click: () => setTimeout(close) } });
    open.href = url;
    if (open.protocol !== `${link.scheme}:`) return; // what the browser reads must be what was checked
    this.#card = make(
      "section",
      { class: "offer", attrs: { role: "dialog", "aria-labelledby": "external-heading" }, on: { keydown: (event) => event.key === "Escape" && close() } },
      make("h2", { attrs: { id: "external-heading" } }, icon("open"), heading),
      make("p", { text }),
      make("p", { class: "target" }, make("bdi", { text: link.target === "" ? "nobody in particular" : link.target })),
      link.text === "" ? null : make("p", { class: "target-text", text: link.text, attrs: { dir: "auto" } }),
      make("div", { class: "acts end" }, button("Cancel", close), open),
    );
    document.body.append(this.#card);
  }

  clear() {
    this.#card?.remove();
    this.#card = null;
  }
}
