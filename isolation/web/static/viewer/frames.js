// Bytes ⇄ frames: the packed part of the wire, the JavaScript side of renderer/wire/frames.py. Free of the DOM.

import { MAX_GLYPHS, MAX_STAMPS, parseGlyphs } from "./glyphs.js";

export class WireError extends Error {}

// ---------------------------------------------------------------- limits (renderer/wire/frames.py gives the reasons)
const MAX_FRAME_BYTES = 64 * 1024 * 1024;
export const MAX_SIDE = 8192;
export const MAX_ID = 2 ** 32 - 1;
export const MIN_SCALE = 25;
export const MAX_SCALE = 500;
const MAX_KEEPS = 64;
export const MAX_SLOTS = 256;
export const MAX_KEPT_PIXELS = 16 * 1024 * 1024;
const MAX_COPIES = 512;
const MAX_PAINTS = 4096;
export const MAX_COVER = 2;

function fail(why) {
  throw new WireError(why);
}

/** Pixel encodings of a paint. */
export const WEBP_LOSSLESS = 1;
export const WEBP_LOSSY = 2;
export const FILL = 3;
export const RECALL = 4;
export const VIDEO = 5;
export const GLYPHS = 6;

/** Unpacks a frame (a Uint8Array, its type byte included). Throws WireError for anything but one well-formed frame. */
export function decodeFrame(bytes) {
  if (bytes.length > MAX_FRAME_BYTES) fail("frame: too long");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 1;
  const need = (count) => {
    if (bytes.length - at < count) fail("frame: cut off");
  };
  const u16 = () => {
    const value = view.getUint16(at);
    at += 2;
    return value;
  };
  need(17);
  const seq = view.getUint32(at);
  at += 4;
  const width = u16();
  const height = u16();
  const scale = u16();
  const flags = view.getUint8(at);
  at += 1;
  const keepCount = u16();
  const copyCount = u16();
  const paintCount = u16();
  if (flags > 1 || keepCount > MAX_KEEPS || copyCount > MAX_COPIES || paintCount > MAX_PAINTS) fail("frame: head out of range");
  if (seq < 1) fail("frame: seq out of range");
  if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE) fail("frame: surface size out of range");
  if (scale < MIN_SCALE || scale > MAX_SCALE) fail("frame: scale out of range");
  const whole = flags === 1;
  if (whole && copyCount + keepCount > 0) fail("frame: a whole frame has nothing to copy from");
  const inside = (x, y, w, h) => {
    if (w < 1 || h < 1 || x + w > width || y + h > height) fail("frame: a rectangle lies outside the surface");
  };
  const room = MAX_COVER * width * height;
  const keeps = [];
  let covered = 0;
  for (let i = 0; i < keepCount; i += 1) {
    need(10);
    const keep = { slot: u16(), x: u16(), y: u16(), width: u16(), height: u16() };
    inside(keep.x, keep.y, keep.width, keep.height);
    if (keep.slot >= MAX_SLOTS || keeps.some(({ slot }) => slot === keep.slot)) fail("frame: keeps too much");
    covered += keep.width * keep.height;
    keeps.push(Object.freeze(keep));
  }
  if (covered > room) fail("frame: keeps too much");
  const copies = [];
  covered = 0;
  for (let i = 0; i < copyCount; i += 1) {
    need(12);
    const copy = { sx: u16(), sy: u16(), x: u16(), y: u16(), width: u16(), height: u16() };
    inside(copy.x, copy.y, copy.width, copy.height);
    inside(copy.sx, copy.sy, copy.width, copy.height);
    covered += copy.width * copy.height;
    copies.push(Object.freeze(copy));
  }
  if (covered > room) fail("frame: copies cover the surface too often");
  const paints = [];
  let films = 0;
  let learnt = 0;
  let stamped = 0;
  covered = 0;
  for (let i = 0; i < paintCount; i += 1) {
    need(13);
    const paint = { x: u16(), y: u16(), width: u16(), height: u16(), encoding: view.getUint8(at), data: null };
    at += 1;
    const length = view.getUint32(at);
    at += 4;
    need(length);
    paint.data = bytes.subarray(at, at + length);
    at += length;
    inside(paint.x, paint.y, paint.width, paint.height);
    if (paint.encoding === GLYPHS) {
      const found = checkGlyphs(paint.data);
      learnt += found.glyphs.length;
      stamped += found.stamps.length / 3;
      if (learnt > MAX_GLYPHS || stamped > MAX_STAMPS) fail("frame: too many glyphs");
    } else {
      checkPicture(paint);
      covered += paint.width * paint.height;
    }
    films += paint.encoding === VIDEO ? 1 : 0;
    paints.push(Object.freeze(paint));
  }
  if (covered > room) fail("frame: paints cover the surface too often");
  if (films > 1) fail("frame: two films");
  if (at !== bytes.length) fail("frame: bytes after its end");
  return Object.freeze({
    type: "Frame",
    seq,
    width,
    height,
    whole,
    copies: Object.freeze(copies),
    paints: Object.freeze(paints),
    keeps: Object.freeze(keeps),
    scale,
  });
}

/** Also says where a glyph lies in the sheet. */
function checkGlyphs(data) {
  const found = parseGlyphs(data);
  if (found === null) fail("frame: malformed glyphs");
  if (found.glyphs.length === 0 && found.sheet.length === 0) return found;
  const size = webpSize(found.sheet);
  if (found.glyphs.length === 0 || size === null || !size.lossless) fail("frame: the sheet is not a plain lossless WebP picture");
  if (size.width !== found.width || size.height !== found.height) fail("frame: the sheet's size differs from its glyphs'");
  return found;
}

function checkPicture(paint) {
  if (paint.encoding === FILL) {
    if (paint.data.length !== 3) fail("frame: a fill is three bytes");
    return;
  }
  if (paint.encoding === RECALL) {
    if (paint.data.length !== 6) fail("frame: a recall is a slot and a place in it");
    return;
  }
  if (paint.encoding === VIDEO) {
    const film = vp8Frame(paint.data);
    if (film === null) fail("frame: not a plain VP8 frame");
    if (film.key && (film.width !== paint.width || film.height !== paint.height)) fail("frame: the film's size differs from its rectangle's");
    return;
  }
  if (paint.encoding !== WEBP_LOSSLESS && paint.encoding !== WEBP_LOSSY) fail("frame: unknown encoding");
  const size = webpSize(paint.data);
  if (size === null) fail("frame: not a plain WebP picture");
  if (size.width !== paint.width || size.height !== paint.height) fail("frame: the picture's size differs from its rectangle's");
  if (size.lossless !== (paint.encoding === WEBP_LOSSLESS)) fail("frame: the picture's kind differs from what was announced");
}

/** What a paint that recalls names: a slot and a place in it. */
export function recalled(data) {
  return { slot: (data[0] << 8) | data[1], x: (data[2] << 8) | data[3], y: (data[4] << 8) | data[5] };
}

/** Head of one VP8 frame that is shown, has no upscaling hints and whose first partition lies inside the data; else null. RFC 6386 §9.1. */
export function vp8Frame(data) {
  if (data.length < 4) return null;
  const tag = data[0] | (data[1] << 8) | (data[2] << 16);
  const key = (tag & 1) === 0;
  const first = tag >> 5;
  if (((tag >> 1) & 7) > 3 || ((tag >> 4) & 1) === 0 || first === 0 || first > data.length - (key ? 10 : 3)) return null;
  if (!key) return { key, width: 0, height: 0 };
  const width = data[6] | (data[7] << 8);
  const height = data[8] | (data[9] << 8);
  if (data[3] !== 0x9d || data[4] !== 0x01 || data[5] !== 0x2a || (width | height) >> 14 || width === 0 || height === 0) return null;
  return { key, width, height };
}

/** Size of a plain WebP file (one VP8 or VP8L chunk and not a byte more), or null. RFC 9649 §2.4–2.6, §3.4; RFC 6386 §9.1. */
export function webpSize(data) {
  const tag = (at) => String.fromCharCode(data[at], data[at + 1], data[at + 2], data[at + 3]);
  const u32 = (at) => (data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24)) >>> 0;
  if (data.length < 26 || tag(0) !== "RIFF" || tag(8) !== "WEBP" || u32(4) !== data.length - 8) return null;
  const length = u32(16);
  if (length + (length & 1) !== data.length - 20 || (length & 1 && data[data.length - 1] !== 0)) return null;
  if (tag(12) === "VP8L") {
    const bits = u32(21);
    if (data[20] !== 0x2f || bits >>> 29 !== 0) return null;
    return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1, lossless: true };
  }
  if (tag(12) === "VP8 " && length >= 10) {
    const head = data[20];
    const width = data[26] | (data[27] << 8);
    const height = data[28] | (data[29] << 8);
    if (head & 1 || !((head >> 4) & 1) || data[23] !== 0x9d || data[24] !== 0x01 || data[25] !== 0x2a) return null;
    if ((width | height) >> 14 || width === 0 || height === 0) return null;
    return { width, height, lossless: false };
  }
  return null;
}
