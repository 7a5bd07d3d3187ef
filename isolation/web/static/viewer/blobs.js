// Messages whose body is bytes: pieces of files, pictures of the clipboard. The JavaScript side of renderer/wire/blobs.py. Free of the DOM.

import { WireError } from "./frames.js";

// ---------------------------------------------------------------- limits (renderer/wire/blobs.py gives the reasons)
export const MAX_CHUNK = 128 * 1024;
export const FILE_WINDOW = 1024 * 1024;
export const MAX_FILE = 2 ** 40;
export const MAX_FILES = 100;
export const MAX_IMAGE = 4 * 1024 * 1024;
const MAX_IMAGE_SIDE = 8192;

const BYTES = { FileData: 28, PasteImage: 32, DownloadData: 89, ClipboardImage: 91 };
const TYPES = new Map(Object.entries(BYTES).map(([type, byte]) => [byte, type]));
const HEADS = { FileData: 14, DownloadData: 12, PasteImage: 0, ClipboardImage: 0 };

const PNG_HEAD = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 13, 0x49, 0x48, 0x44, 0x52];
const PNG_END = [0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82];

function fail(why) {
  throw new WireError(why);
}

/** Whether a type byte is one of these messages'. */
export const isBlob = (byte) => TYPES.has(byte);

/** Whether a message is one of these. */
export const isBlobMessage = ({ type }) => Object.hasOwn(BYTES, type);

/** Packs a message, its type byte included. Throws WireError where a field is out of its range. */
export function encodeBlob(message) {
  check(message);
  const body = message.png ?? message.data;
  const head = HEADS[message.type];
  const bytes = new Uint8Array(1 + head + body.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = BYTES[message.type];
  if (head > 0) {
    view.setUint32(1, message.id);
    if (message.type === "FileData") view.setUint16(5, message.index);
    view.setBigUint64(head - 7, BigInt(message.offset));
  }
  bytes.set(body, 1 + head);
  return bytes;
}

/** Unpacks a message (a Uint8Array, its type byte included). Throws WireError for anything but one well-formed message. */
export function decodeBlob(bytes) {
  const type = TYPES.get(bytes[0]);
  const head = HEADS[type];
  const body = bytes.subarray(1 + head);
  if (bytes.length < 1 + head) fail("a piece of a file: cut off");
  let message;
  if (head === 0) {
    message = { type, png: body };
  } else {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const id = view.getUint32(1);
    const offset = Number(view.getBigUint64(head - 7));
    message = type === "FileData" ? { type, id, index: view.getUint16(5), offset, data: body } : { type, id, offset, data: body };
  }
  check(message);
  return Object.freeze(message);
}

function check(message) {
  if (HEADS[message.type] === 0) {
    const { png } = message;
    if (png.length < 45 || png.length > MAX_IMAGE) fail("a clipboard picture: not a PNG, or too large");
    const tail = png.length - PNG_END.length;
    if (PNG_HEAD.some((byte, i) => png[i] !== byte) || PNG_END.some((byte, i) => png[tail + i] !== byte)) fail("a clipboard picture: not a PNG");
    const view = new DataView(png.buffer, png.byteOffset, png.byteLength);
    for (const side of [view.getUint32(16), view.getUint32(20)]) {
      if (side < 1 || side > MAX_IMAGE_SIDE) fail("a clipboard picture: too large");
    }
    return;
  }
  const { id, index = 0, offset, data } = message;
  if (!Number.isInteger(id) || id < 1 || id >= 2 ** 32 || !Number.isInteger(index) || index < 0 || index >= MAX_FILES) fail("a piece of a file: a number is out of range");
  if (data.length < 1 || data.length > MAX_CHUNK || !Number.isInteger(offset) || offset < 0 || offset > MAX_FILE - data.length) {
    fail("a piece of a file: its length is out of range");
  }
}
