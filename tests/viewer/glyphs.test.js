// What the viewer makes of glyphs: a lie neither paints outside its rectangle nor fills memory.

import assert from "node:assert/strict";
import { test } from "node:test";

import { GlyphBook, MAX_SHEETS } from "../../isolation/web/static/viewer/glyphs.js";

/** The data of a paint: sizes of new glyphs, and stamps as [number, dx, dy]. The sheet's bytes are looked at by frames.js alone. */
function data({ forget = false, sizes = [], stamps = [] }) {
  const integers = stamps.flatMap(([number, x, y]) => [number, x < 0 ? -2 * x - 1 : 2 * x, y < 0 ? -2 * y - 1 : 2 * y]);
  const packed = integers.flatMap((value) => {
    const bytes = [];
    while (value >= 0x80) {
      bytes.push((value & 0x7f) | 0x80);
      value >>= 7;
    }
    return [...bytes, value];
  });
  return Uint8Array.from([forget ? 1 : 0, sizes.length >> 8, sizes.length & 255, stamps.length >> 8, stamps.length & 255, 0, 0, 0, 0, ...sizes.flat(), ...packed]);
}

const paint = (what, rect = { x: 10, y: 10, width: 100, height: 50 }) => ({ ...rect, data: data(what) });
const sheet = (width, height) => ({ width, height, closed: false, close() { this.closed = true; } });

class Canvas {
  drawn = [];
  drawImage(picture, ...rest) {
    assert.ok(!picture.closed, "a closed picture is drawn");
    this.drawn.push(rest);
  }
}

test("stamps go where they are sent, from where the sheet's rows have them", () => {
  const [book, canvas] = [new GlyphBook(), new Canvas()];
  const sizes = [[200, 9], [57, 12], [8, 8]]; // the second begins a row
  const picture = sheet(200, 21);
  assert.equal(book.stamp(canvas, paint({ sizes, stamps: [[2, 10, 10], [2, 5, -0], [1, -5, 7]] }), picture, 1e6), 8 * 8 * 2 + 57 * 12);
  assert.deepEqual(canvas.drawn, [[57, 9, 8, 8, 10, 10, 8, 8], [57, 9, 8, 8, 15, 10, 8, 8], [0, 9, 57, 12, 10, 17, 57, 12]]);
  assert.equal(book.stamp(canvas, paint({ stamps: [[1, 10, 10]] }), null, 1e6), 57 * 12);
});

for (const [why, lie] of Object.entries({
  "left of its rectangle": [0, 9, 10],
  "above it": [0, 10, 9],
  "past its right": [0, 103, 10],
  "past its foot": [0, 10, 53],
  "by a number that nothing has": [1, 10, 10],
})) {
  test(`a stamp ${why} is not drawn`, () => {
    const [book, canvas] = [new GlyphBook(), new Canvas()];
    assert.equal(book.stamp(canvas, paint({ sizes: [[8, 8]], stamps: [[0, 102, 52]] }), sheet(8, 8), 1e6), 64);
    assert.equal(book.stamp(canvas, paint({ stamps: [lie] }), null, 1e6), Infinity);
    assert.equal(canvas.drawn.length, 1);
  });
}

test("no more is stamped than there is room for", () => {
  const [book, canvas] = [new GlyphBook(), new Canvas()];
  assert.equal(book.stamp(canvas, paint({ sizes: [[8, 8]], stamps: [[0, 10, 10], [0, 0, 0], [0, 0, 0]] }), sheet(8, 8), 130), Infinity);
  assert.equal(canvas.drawn.length, 2);
});

test("what is forgotten is closed, and cannot be stamped", () => {
  const [book, canvas] = [new GlyphBook(), new Canvas()];
  const [first, second] = [sheet(8, 8), sheet(4, 4)];
  book.stamp(canvas, paint({ sizes: [[8, 8], [8, 8]] }), first, 1e6);
  book.stamp(canvas, paint({ forget: true, sizes: [[4, 4]], stamps: [[0, 10, 10]] }), second, 1e6);
  assert.ok(first.closed && !second.closed);
  assert.deepEqual(canvas.drawn, [[0, 0, 4, 4, 10, 10, 4, 4]]);
  assert.equal(book.stamp(canvas, paint({ stamps: [[1, 10, 10]] }), null, 1e6), Infinity);
  book.forget();
  assert.ok(second.closed);
});

test("no more is learnt than may be held", () => {
  const [book, canvas] = [new GlyphBook(), new Canvas()];
  for (let i = 0; i < MAX_SHEETS; i += 1) assert.equal(book.stamp(canvas, paint({ sizes: [[1, 1]] }), sheet(1, 1), 1e6), 0);
  assert.equal(book.stamp(canvas, paint({ sizes: [[1, 1]] }), sheet(1, 1), 1e6), Infinity);
  const large = new GlyphBook();
  assert.equal(large.stamp(canvas, paint({ sizes: [[1, 1]] }), sheet(1024, 1024), 1e6), 0);
  assert.equal(large.stamp(canvas, paint({ sizes: [[1, 1]] }), sheet(1, 1), 1e6), Infinity);
  const many = new GlyphBook();
  const sizes = Array.from({ length: 4096 }, () => [1, 1]);
  assert.equal(many.stamp(canvas, paint({ sizes }), sheet(256, 16), 1e6), 0);
  assert.equal(many.stamp(canvas, paint({ sizes: [[1, 1]] }), sheet(1, 1), 1e6), Infinity);
  assert.equal(new GlyphBook().stamp(canvas, paint({ sizes: [[1, 1]] }), null, 1e6), Infinity);
});
