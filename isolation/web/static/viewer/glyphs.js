// Bytes ⇄ stamps: the JavaScript side of renderer/wire/glyphs.py, which says what they are; and the glyphs that were learnt.

// ---------------------------------------------------------------- limits (renderer/wire/glyphs.py gives the reasons)
export const MAX_GLYPHS = 4096;
export const MAX_SHEETS = 256;
export const MAX_SHEET_PIXELS = 1024 * 1024;
export const MAX_STAMPS = 8192;
const SHEET_WIDTH = 256;

const HEAD = 9;

/**
 * Unpacks the data of a paint that stamps: `sheet` holds `glyphs` ({x, y, width, height} in it), and is `width` × `height` pixels; `stamps` are
 * numbers and places, three integers each. Null for anything but one well-formed set.
 */
export function parseGlyphs(data) {
  if (data.length < HEAD) return null;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const flags = view.getUint8(0);
  const count = view.getUint16(1);
  const stampCount = view.getUint16(3);
  const end = HEAD + view.getUint32(5);
  if (flags > 1 || count > MAX_GLYPHS || stampCount > MAX_STAMPS || end + 2 * count > data.length) return null;
  const { glyphs, width, height } = layout(data.subarray(end, end + 2 * count));
  const stamps = integers(data.subarray(end + 2 * count), 3 * stampCount);
  if (stamps === null || glyphs.some((glyph) => glyph.width === 0 || glyph.height === 0)) return null;
  let x = 0;
  let y = 0;
  for (let i = 0; i < stamps.length; i += 3) {
    if (stamps[i] >= MAX_GLYPHS) return null;
    x += (stamps[i + 1] >>> 1) ^ -(stamps[i + 1] & 1);
    y += (stamps[i + 2] >>> 1) ^ -(stamps[i + 2] & 1);
    stamps[i + 1] = x;
    stamps[i + 2] = y;
  }
  return { forget: flags === 1, sheet: data.subarray(HEAD, end), glyphs, width, height, stamps };
}

/** Where the glyphs of a sheet lie, and its size: side by side in rows. `sides`: width and height of each. */
function layout(sides) {
  const glyphs = [];
  let [x, y, row, widest] = [0, 0, 0, 0];
  for (let i = 0; i < sides.length; i += 2) {
    const [width, height] = [sides[i], sides[i + 1]];
    if (x > 0 && x + width > SHEET_WIDTH) {
      y += row;
      x = row = 0;
    }
    glyphs.push({ x, y, width, height });
    x += width;
    row = Math.max(row, height);
    widest = Math.max(widest, x);
  }
  return { glyphs, width: widest, height: y + row };
}

/** `count` LEB128 integers of at most three bytes, each in its shortest form, that fill `data`; else null. */
function integers(data, count) {
  if (data.length > 3 * count) return null;
  const values = new Int32Array(count);
  let [found, value, shift] = [0, 0, 0];
  for (const byte of data) {
    if (found === count) return null;
    value |= (byte & 0x7f) << shift;
    if (byte & 0x80) {
      shift += 7;
      if (shift > 14) return null;
      continue;
    }
    if (byte === 0 && shift > 0) return null;
    values[found] = value;
    [found, value, shift] = [found + 1, 0, 0];
  }
  return shift === 0 && found === count ? values : null;
}

/** What was learnt so far. Sheets are pictures (ImageBitmap); they are closed when they are forgotten. */
export class GlyphBook {
  #glyphs = []; // { sheet, x, y, width, height }
  #sheets = [];
  #pixels = 0;

  forget() {
    for (const sheet of this.#sheets) sheet.close();
    this.#glyphs = [];
    this.#sheets = [];
    this.#pixels = 0;
  }

  /**
   * Learns what a paint brings (`sheet`: its picture, or null) and stamps what it names. Returns how many pixels were stamped; Infinity where
   * it names what was never learnt, brings too much, goes outside its rectangle or over more than `room` pixels.
   */
  stamp(context, paint, sheet, room) {
    const { forget, glyphs, stamps } = parseGlyphs(paint.data);
    if (forget) this.forget();
    if (!this.#learn(glyphs, sheet)) return Infinity;
    let stamped = 0;
    for (let i = 0; i < stamps.length; i += 3) {
      const [glyph, left, top] = [this.#glyphs[stamps[i]], stamps[i + 1], stamps[i + 2]];
      if (glyph === undefined) return Infinity;
      const { x, y, width, height } = glyph;
      stamped += width * height;
      if (stamped > room || left < paint.x || top < paint.y || left + width > paint.x + paint.width || top + height > paint.y + paint.height) return Infinity;
      context.drawImage(glyph.sheet, x, y, width, height, left, top, width, height);
    }
    return stamped;
  }

  #learn(glyphs, sheet) {
    if (sheet === null) return glyphs.length === 0;
    this.#sheets.push(sheet);
    this.#pixels += sheet.width * sheet.height;
    for (const glyph of glyphs) this.#glyphs.push({ sheet, ...glyph });
    return this.#sheets.length <= MAX_SHEETS && this.#pixels <= MAX_SHEET_PIXELS && this.#glyphs.length <= MAX_GLYPHS;
  }
}
