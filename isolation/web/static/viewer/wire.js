// Bytes ⇄ messages: the JavaScript side of renderer/wire. Free of the DOM; held to the golden vectors in tests/vectors/wire.
//
// Total like its twin: for any bytes the answer is a message whose every field was checked, or a WireError. A decoded message is a plain
// frozen object {type: "Title", text: …}. Every text in it is hostile: it is shown through textContent and never parsed.

import { decodeBlob, encodeBlob, isBlob, isBlobMessage, MAX_FILE, MAX_FILES } from "./blobs.js";
import { decodeFrame, MAX_ID, MAX_SCALE, MAX_SIDE, MIN_SCALE, WireError } from "./frames.js";

export { WireError };

// ---------------------------------------------------------------- limits (renderer/wire/codec.py gives the reasons)
const MAX_INPUT_BYTES = 1024 * 1024;
const MAX_EVENT_BYTES = 4 * 1024 * 1024;
export const MAX_TEXT = 64 * 1024;
export const MAX_CLIPBOARD = 256 * 1024;
const MAX_TITLE = 1024;
const MAX_DIALOG = 8 * 1024;
const MAX_LABEL = 1024;
const MAX_OPTIONS = 2000;
const MAX_VALUE = 64;
const MAX_PATH = 32 * 1024;
export const MIN_SIDE = 16;
export const MAX_COORDINATE = 32767;
export const MAX_WHEEL = 10_000;
export const MAX_HISTORY = 100;
export const MAX_FINGERS = 10;
export const MAX_FIND = 1024;
const MAX_HINT = 2048;
export const MAX_CREDENTIAL = 1024;
export const MAX_FILE_NAME = 255;
export const MAX_FILE_TYPE = 127;
const MAX_SECONDS = 604_800;
const MAX_ICON = 16 * 1024;
const ICON_SIDE = 32;

export const VERSION = 1;
const FRAME_TYPE = 65;
const FIRST_FROM_RENDERER = 64;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

// ---------------------------------------------------------------- rules of single fields

function fail(why) {
  throw new WireError(why);
}

const boolean = (value) => (typeof value === "boolean" ? value : fail("not a boolean"));

const integer = (low, high) => (value) =>
  Number.isInteger(value) && !Object.is(value, -0) && value >= low && value <= high ? value : fail("a number is out of range");

function text(most, { least = 0, shape = null } = {}) {
  return (value) => {
    if (typeof value !== "string") fail("not text");
    if (value.length > most) fail("text too long");
    if (!wellFormed(value)) fail("text is not Unicode");
    const size = encoder.encode(value).length;
    if (size < least || size > most) fail("text length out of range");
    if (shape !== null && !shape.test(value)) fail("text has the wrong shape");
    return value;
  };
}

function wellFormed(value) {
  return !/[\ud800-\udfff]/u.test(value);
}

const keyword = (words) => (value) => (typeof value === "string" && words.includes(value) ? value : fail("not a word of its set"));

const orEmpty = (rule) => (value) => (value === "" ? "" : rule(value));

function many(rule, most) {
  return (value) => {
    if (!Array.isArray(value) || value.length > most) fail("not a list, or too long");
    return Object.freeze(value.map(rule));
  };
}

function object(spec) {
  const names = Object.keys(spec);
  return (value) => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) fail("not an object");
    if (Object.keys(value).length !== names.length) fail("wrong fields");
    const checked = {};
    for (const name of names) {
      if (!Object.hasOwn(value, name)) fail("wrong fields");
      checked[name] = spec[name](value[name]);
    }
    return Object.freeze(checked);
  };
}

function icon(value) {
  if (typeof value !== "string" || value.length > MAX_ICON) fail("not an icon");
  if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(value)) fail("not base64");
  const bytes = Uint8Array.from(atob(value), (character) => character.charCodeAt(0));
  const begins = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52, 0, 0, 0, ICON_SIDE, 0, 0, 0, ICON_SIDE];
  const ends = [0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82];
  const tail = bytes.length - ends.length;
  if (bytes.length < 45 || begins.some((byte, i) => bytes[i] !== byte) || ends.some((byte, i) => bytes[tail + i] !== byte)) {
    fail("not a PNG of the icon's size");
  }
  return value;
}

const path = text(MAX_PATH, { least: 1, shape: /^\/[\x21-\x7e]*$/ });
const page = text(64, { least: 1, shape: /^[A-Za-z0-9_-]+$/ });
const origin = text(300, { least: 1, shape: /^https?:\/\/(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?$/ });
const cursors =
  "alias all-scroll auto cell col-resize context-menu copy crosshair default e-resize ew-resize grab grabbing help move n-resize " +
  "ne-resize nesw-resize no-drop none not-allowed ns-resize nw-resize nwse-resize pointer progress row-resize s-resize se-resize " +
  "sw-resize text vertical-text w-resize wait zoom-in zoom-out";

const coordinate = integer(-MAX_COORDINATE, MAX_COORDINATE);
const extent = integer(0, MAX_COORDINATE);
const side = integer(MIN_SIDE, MAX_SIDE);
const modifiers = integer(0, 15);
const identifier = integer(1, MAX_ID);
const scale = integer(MIN_SCALE, MAX_SCALE);

const count = integer(0, 65535);
const byteCount = integer(0, MAX_FILE);
const fileInfo = object({ name: text(MAX_FILE_NAME, { least: 1 }), size: byteCount, type: text(MAX_FILE_TYPE) });
const TRANSFER_CODES = ["done", "cancelled", "failed", "too-large", "wrong-type"];

export const CLOSE_CODES = Object.freeze([
  "page-closed", "browser-crashed", "renderer-lost", "replaced", "protocol", "no-capacity", "released", "redecided", "session-ended", "refused",
  "limit-reached", "idle", "time-up", "tab-limit",
]);
export const NOTICE_CODES = Object.freeze([
  "navigation-blocked", "download-blocked", "upload-blocked", "print-blocked", "clipboard-blocked", "popup-blocked", "keyboard-blocked", "page-crashed",
  "page-hung", "file-refused", "clipboard-large", "clipboard-fast", "tab-limit",
]);

// ---------------------------------------------------------------- messages: [type byte, fields in their order on the wire]

const SHAPES = {
  Hello: [1, { version: integer(VERSION, VERSION), page: orEmpty(page), path, width: side, height: side, scale, mac: boolean, video: boolean, touch: boolean }],
  Resize: [2, { width: side, height: side, scale }],
  Pointer: [3, { kind: keyword(["move", "down", "up"]), x: coordinate, y: coordinate, button: integer(0, 4), buttons: integer(0, 31), clicks: integer(0, 3), modifiers }],
  Wheel: [4, { x: coordinate, y: coordinate, dx: integer(-MAX_WHEEL, MAX_WHEEL), dy: integer(-MAX_WHEEL, MAX_WHEEL), modifiers }],
  Key: [5, { down: boolean, key: text(32, { least: 1 }), code: text(32), location: integer(0, 3), modifiers, repeat: boolean }],
  Text: [6, { text: text(MAX_TEXT, { least: 1 }) }],
  Composition: [7, { text: text(MAX_TEXT), start: integer(0, MAX_TEXT), end: integer(0, MAX_TEXT) }],
  Navigate: [8, { path }],
  History: [9, { delta: integer(-MAX_HISTORY, MAX_HISTORY) }],
  Reload: [10, { hard: boolean }],
  Stop: [11, {}],
  DialogReply: [12, { id: identifier, accept: boolean, text: text(MAX_DIALOG) }],
  SelectReply: [13, { id: identifier, values: many(text(MAX_VALUE), MAX_OPTIONS) }],
  Ack: [14, { seq: identifier }],
  Focus: [15, { focused: boolean, visible: boolean }],
  Paste: [16, { text: text(MAX_CLIPBOARD, { least: 1 }) }],
  CopyRequest: [17, { cut: boolean }],
  ClosePage: [18, {}],
  Refresh: [19, { video: boolean }],
  Touch: [20, { kind: keyword(["start", "move", "end", "cancel"]), points: many(object({ id: integer(0, MAX_FINGERS - 1), x: coordinate, y: coordinate }), MAX_FINGERS), modifiers }],
  Find: [21, { text: text(MAX_FIND), backward: boolean, again: boolean }],
  MenuReply: [22, { id: identifier, action: keyword(["none", "open-link", "save-link", "save-image", "copy-image", "select-all"]) }],
  Print: [23, {}],
  AuthReply: [24, { id: identifier, accept: boolean, username: text(MAX_CREDENTIAL), password: text(MAX_CREDENTIAL) }],
  ExitFullscreen: [25, {}],
  FileChoice: [26, { id: identifier, files: many(fileInfo, MAX_FILES) }],
  FileDrop: [27, { id: integer(2 ** 31, MAX_ID), x: coordinate, y: coordinate, files: many(fileInfo, MAX_FILES) }],
  FileCancel: [29, { id: identifier }],
  DownloadReply: [30, { id: identifier, accept: boolean }],
  DownloadAck: [31, { id: identifier, received: byteCount }],

  Ready: [64, { page, width: side, height: side, scale, resumed: boolean }],
  Location: [66, { origin: orEmpty(origin), path: orEmpty(path), index: integer(0, 65535), length: integer(1, 65535), replace: boolean }],
  Title: [67, { text: text(MAX_TITLE) }],
  Icon: [68, { png: orEmpty(icon) }],
  Loading: [69, { active: boolean }],
  Cursor: [70, { name: keyword(cursors.split(" ")) }],
  Dialog: [71, { id: identifier, kind: keyword(["alert", "confirm", "prompt", "beforeunload"]), origin: orEmpty(origin), message: text(MAX_DIALOG), default: text(MAX_DIALOG) }],
  DialogClosed: [72, { id: identifier }],
  Select: [73, {
    id: identifier,
    kind: keyword(["options", "date", "time", "datetime-local", "month", "week", "color", "datalist"]),
    x: coordinate,
    y: coordinate,
    width: extent,
    height: extent,
    multiple: boolean,
    options: many(object({ label: text(MAX_LABEL), group: text(MAX_LABEL), disabled: boolean, selected: boolean }), MAX_OPTIONS),
    value: text(MAX_VALUE),
    low: text(MAX_VALUE),
    high: text(MAX_VALUE),
  }],
  SelectClosed: [74, { id: identifier }],
  Opened: [75, { page, origin: orEmpty(origin), path: orEmpty(path) }],
  Clipboard: [76, { text: text(MAX_CLIPBOARD) }],
  Notice: [77, { code: keyword(NOTICE_CODES) }],
  Closed: [78, { code: keyword(CLOSE_CODES) }],
  LinkHint: [79, { text: text(MAX_HINT) }],
  Found: [80, { index: count, count }],
  Menu: [81, { id: identifier, x: coordinate, y: coordinate, link: text(MAX_HINT), image: boolean, editable: boolean, selection: boolean }],
  Fullscreen: [82, { active: boolean }],
  Auth: [83, { id: identifier, origin: orEmpty(origin), realm: text(MAX_LABEL) }],
  External: [84, { url: text(2048, { least: 1, shape: /^(?:mailto|tel|sms):[\x21-\x7e]*$/ }) }],
  FileAsk: [85, { id: identifier, multiple: boolean, accept: text(MAX_LABEL) }],
  FileProgress: [86, { id: identifier, received: byteCount }],
  FileClosed: [87, { id: identifier, code: keyword(TRANSFER_CODES) }],
  Download: [88, { id: identifier, kind: keyword(["file", "print"]), name: text(MAX_FILE_NAME, { least: 1 }), size: byteCount }],
  DownloadClosed: [90, { id: identifier, code: keyword(TRANSFER_CODES) }],
  Permission: [92, { kind: keyword(["camera", "microphone", "screen", "location", "notifications", "clipboard", "midi", "devices"]) }],
  Queued: [93, { position: integer(1, 100_000), waited: integer(0, MAX_SECONDS) }],
  Ending: [94, { reason: keyword(["idle", "time"]), seconds: integer(0, MAX_SECONDS) }],
  Editing: [95, {
    mode: keyword(["off", "none", "text", "decimal", "numeric", "tel", "search", "email", "url"]),
    x: coordinate,
    y: coordinate,
    width: extent,
    height: extent,
  }],
};

const BY_TYPE = new Map(Object.entries(SHAPES).map(([type, [byte, spec]]) => [byte, { type, check: object(spec) }]));

const fits = (message) => {
  if (Math.max(message.width, message.height) * message.scale > MAX_SIDE * 100) fail("the surface would be larger than a frame may be");
};
const together = (message) => {
  if ((message.origin === "") !== (message.path === "")) fail("origin and path come together");
};
const WHOLE_CHECKS = {
  Hello: fits,
  Resize: fits,
  Ready: fits,
  Opened: together,
  Location(message) {
    together(message);
    if (message.index >= message.length) fail("the position lies outside the history");
  },
  Touch(message) {
    if (new Set(message.points.map((point) => point.id)).size !== message.points.length) fail("one finger at two places");
    if ((message.kind === "start" || message.kind === "move") && message.points.length === 0) fail("no finger");
  },
  Found(message) {
    if (message.index > message.count) fail("the match lies outside the matches");
  },
  Composition(message) {
    if (message.start > message.end || message.end > message.text.length) fail("the selection lies outside the text");
  },
};

// ---------------------------------------------------------------- the public face

/** Packs a message to the renderer into bytes. Throws WireError where a field is out of its range. */
export function encode(message) {
  if (isBlobMessage(message) && message.type !== "DownloadData" && message.type !== "ClipboardImage") return encodeBlob(message);
  const shape = Object.hasOwn(SHAPES, message.type) ? SHAPES[message.type] : undefined;
  if (shape === undefined || shape[0] >= FIRST_FROM_RENDERER) fail("not a message to the renderer");
  const [byte, spec] = shape;
  const { type, ...fields } = message;
  const body = object(spec)(fields);
  WHOLE_CHECKS[type]?.(body);
  const json = encoder.encode(JSON.stringify(body));
  if (json.length + 1 > MAX_INPUT_BYTES) fail("message too long");
  const bytes = new Uint8Array(json.length + 1);
  bytes[0] = byte;
  bytes.set(json, 1);
  return bytes;
}

/** Unpacks what came from the renderer (an ArrayBuffer or Uint8Array). Throws WireError for anything but one well-formed message. */
export function decodeFromRenderer(data) {
  return decode(data, true);
}

/** Unpacks a message to the renderer; the viewer itself never receives one: for tests. */
export function decodeToRenderer(data) {
  return decode(data, false);
}

function decode(data, fromRenderer) {
  const bytes = data instanceof Uint8Array ? data : new Uint8Array(data);
  if (bytes.length === 0 || bytes[0] >= FIRST_FROM_RENDERER !== fromRenderer) fail("not a message of this direction");
  if (bytes[0] === FRAME_TYPE) return decodeFrame(bytes);
  if (isBlob(bytes[0])) return decodeBlob(bytes);
  if (bytes.length > (fromRenderer ? MAX_EVENT_BYTES : MAX_INPUT_BYTES)) fail("message too long");
  const shape = BY_TYPE.get(bytes[0]);
  if (shape === undefined) fail("unknown message type");
  let source;
  let parsed;
  try {
    source = decoder.decode(bytes.subarray(1));
    parsed = JSON.parse(source);
  } catch {
    fail("not JSON");
  }
  const message = { type: shape.type, ...shape.check(parsed) };
  // JSON.parse lets a field occur twice and 1.0 pass for 1. The encoding is canonical, so anything but our own spelling is refused.
  if (JSON.stringify(parsed) !== source) fail("not in canonical form");
  WHOLE_CHECKS[shape.type]?.(message);
  return Object.freeze(message);
}
