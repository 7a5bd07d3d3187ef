// Keys, dead keys, AltGr and input methods, through a text field nobody sees.
//
// Keys that produce a character or do something go as Key. What an input method, a dead key or a soft keyboard composes arrives in the field and
// goes as Composition and Text: characters, not key codes, so every layout and script works.

import { modifiersOf } from "./pointer.js";
import { MAX_TEXT } from "./wire.js";

const SENTINEL = "\u00a0"; // on touch devices: something for a soft keyboard's backspace to delete

/** What the person's own browser does with a key press, or "" when it is the page's. Also: "reload", "hard-reload", "copy", "cut", "paste", "find"… */
export function localUse(event, mac) {
  const command = mac ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey;
  const graph = event.getModifierState("AltGraph");
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key === "F5") return event.shiftKey || event.ctrlKey ? "hard-reload" : "reload";
  if (key === "F3") return event.shiftKey ? "find-previous" : "find-next";
  if (key === "F6" || key === "F11" || key === "F12") return "browser";
  if (graph) return "";
  if (event.ctrlKey && event.altKey && key === "i" && !event.metaKey) return "panel";
  if (event.altKey && !event.ctrlKey && !event.metaKey && !mac) {
    return ["ArrowLeft", "ArrowRight", "Home", "d", "F4"].includes(key) ? "browser" : "";
  }
  if (!command || event.altKey) return "";
  if (key === "r") return event.shiftKey ? "hard-reload" : "reload";
  if (key === "f" && !event.shiftKey) return "find";
  if (key === "g") return event.shiftKey ? "find-previous" : "find-next";
  if (key === "v") return "paste";
  if (key === "p" && !event.shiftKey) return "print";
  if (!event.shiftKey && (key === "c" || key === "Insert")) return "copy";
  if (!event.shiftKey && key === "x") return "cut";
  const browser = event.shiftKey ? ["i", "j", "n", "t", "w", "Tab", "+", "_"] : ["l", "t", "n", "w", "d", "q", "Tab", "+", "-", "=", "0"];
  if (browser.includes(key)) return "browser";
  if (mac && ["[", "]", "ArrowLeft", "ArrowRight", "h", "m", ","].includes(key)) return "browser";
  return "";
}

/** Listens on the text field and calls `send(message)`; `use(what, event)` for keys the viewer itself answers: says whether it does. */
export class KeyboardInput {
  #field;
  #mac;
  #allowed;
  #send;
  #use;
  #blocked;
  #composing = false;
  #dead = false;
  #down = new Map();
  #soft = matchMedia("(pointer: coarse)").matches;
  #mode = "off"; // of the page's text field, as Editing says it

  constructor(field, { mac, allowed, send, use, blocked }) {
    this.#field = field;
    this.#mac = mac;
    this.#allowed = allowed;
    this.#send = send;
    this.#use = use;
    this.#blocked = blocked;
    field.addEventListener("keydown", (event) => this.#keyDown(event));
    field.addEventListener("keyup", (event) => this.#keyUp(event));
    field.addEventListener("compositionstart", () => {
      this.#composing = true;
    });
    field.addEventListener("compositionupdate", (event) => this.#compose(event.data));
    field.addEventListener("compositionend", (event) => this.#composed(event.data));
    field.addEventListener("input", (event) => this.#input(event));
    field.addEventListener("blur", () => this.releaseAll());
    field.addEventListener("contextmenu", (event) => event.preventDefault()); // its key goes to the page
    if (this.#soft) field.inputMode = "none";
    this.#clear();
  }

  /** Lets go of every key held: the page lost sight of the keyboard. */
  releaseAll() {
    for (const key of this.#down.values()) this.#send({ ...key, down: false, repeat: false, modifiers: 0 });
    this.#down.clear();
    this.#composing = false;
    this.#dead = false;
    this.#clear();
  }

  /** Brings the field to where the person works: input methods show their candidates there. */
  place(x, y) {
    this.#field.style.left = `${Math.max(0, Math.round(x))}px`;
    this.#field.style.top = `${Math.max(0, Math.round(y))}px`;
  }

  /** Whether the page has a text field that the keys go to. */
  get editing() {
    return this.#mode !== "off";
  }

  focus() {
    this.#field.focus({ preventScroll: true });
  }

  /** The page's text field: what it wants of a soft keyboard, which comes and goes with it where the device lets it. */
  edit(mode) {
    if (mode === this.#mode) return;
    this.#mode = mode;
    if (!this.#soft) return;
    this.#field.inputMode = mode === "off" ? "none" : mode;
    if (document.activeElement === this.#field) this.#again();
  }

  /** Raises the soft keyboard, at the person's press. */
  raise() {
    this.#field.inputMode = ["off", "none"].includes(this.#mode) ? "text" : this.#mode;
    this.#again();
  }

  // Devices look at what a field wants when it gets the focus.
  #again() {
    if (this.#composing) return;
    this.#field.blur();
    this.focus();
  }

  #keyDown(event) {
    if (event.isComposing || event.keyCode === 229 || event.key === "Process") return; // the input method's
    const use = localUse(event, this.#mac);
    if (use === "browser") return;
    if (use !== "" && use !== "copy" && use !== "cut" && this.#use(use, event)) {
      if (use !== "paste") event.preventDefault(); // its event follows and brings the text
      return;
    }
    if (event.key === "Escape") this.#use("escape", event); // the page gets it too
    if (event.key === "Dead") {
      this.#dead = true;
      return;
    }
    if (event.key === "Unidentified") return;
    const printable = [...event.key].length === 1;
    if (this.#dead && printable) {
      // The field composes the accent and the letter; what comes out arrives as input.
      this.#dead = false;
      return;
    }
    if (!["Shift", "AltGraph", "Control", "Alt", "Meta", "CapsLock"].includes(event.key)) this.#dead = false;
    event.preventDefault();
    if (!this.#allowed) {
      // Copying by key works without the key; with it, the page's browser copies by itself.
      if (use === "copy") this.#use(use, event);
      else if (printable || event.key === "Enter" || event.key === "Backspace") this.#blocked();
      return;
    }
    const key = this.#message(event, true);
    this.#down.set(event.code || event.key, key);
    this.#send(key);
  }

  #keyUp(event) {
    const held = this.#down.get(event.code || event.key);
    if (held === undefined) return;
    event.preventDefault();
    this.#down.delete(event.code || event.key);
    // The name it went down with: Shift may have been released in between, and the page must see one key, not two.
    this.#send({ ...held, down: false, repeat: false, modifiers: modifiersOf(event) });
    if (this.#mac && event.key === "Meta") this.#releaseBesides(); // macOS reports no keyup for keys held with Command
  }

  #releaseBesides() {
    for (const [code, key] of this.#down) {
      if (!["Shift", "Control", "Alt"].includes(key.key)) {
        this.#down.delete(code);
        this.#send({ ...key, down: false, repeat: false });
      }
    }
  }

  #message(event, down) {
    return {
      type: "Key",
      down,
      key: event.key,
      code: event.code,
      location: event.location,
      modifiers: modifiersOf(event),
      repeat: down && event.repeat,
    };
  }

  #compose(text) {
    if (!this.#allowed) return;
    const at = Math.min(text.length, this.#field.selectionStart ?? text.length);
    this.#send({ type: "Composition", text, start: this.#soft ? text.length : at, end: this.#soft ? text.length : at });
  }

  #composed(text) {
    this.#composing = false;
    this.#clear();
    if (!this.#allowed) {
      this.#blocked();
    } else if (text === "") {
      this.#send({ type: "Composition", text: "", start: 0, end: 0 });
    } else {
      this.#text(text);
    }
  }

  #input(event) {
    if (this.#composing || event.isComposing) return;
    const kind = event.inputType;
    const value = this.#field.value;
    this.#clear();
    if (kind === "insertCompositionText" || kind === "insertFromComposition") return; // told by compositionend
    if (!this.#allowed) {
      this.#blocked();
    } else if (kind === "deleteContentBackward") {
      this.#tap("Backspace");
    } else if (kind === "insertLineBreak" || kind === "insertParagraph") {
      this.#tap("Enter");
    } else {
      this.#text(event.data ?? value.replaceAll(SENTINEL, ""));
    }
  }

  #text(text) {
    // Whole characters, in pieces that fit a message.
    let piece = "";
    for (const character of text) {
      if ((piece.length + character.length) * 3 > MAX_TEXT) {
        this.#send({ type: "Text", text: piece });
        piece = "";
      }
      piece += character;
    }
    if (piece !== "") this.#send({ type: "Text", text: piece });
  }

  /** Presses a shortcut of the page's browser, for a menu. */
  shortcut(letter) {
    this.#tap(letter, `Key${letter.toUpperCase()}`, this.#mac ? 4 : 2);
  }

  #tap(name, code = name, modifiers = 0) {
    const key = { type: "Key", down: true, key: name, code, location: 0, modifiers, repeat: false };
    this.#send(key);
    this.#send({ ...key, down: false });
  }

  #clear() {
    this.#field.value = this.#soft ? SENTINEL : "";
    if (this.#soft) this.#field.setSelectionRange(1, 1);
  }
}
