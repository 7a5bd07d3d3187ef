// The viewer's codec against the same golden vectors as Python's (tests/vectors/wire).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decodeFromRenderer, decodeToRenderer, encode, WireError } from "../../isolation/web/static/viewer/wire.js";

const vectors = (name) => JSON.parse(readFileSync(new URL(`../vectors/wire/${name}.json`, import.meta.url), "utf-8"));
const bytes = (hex) => Uint8Array.from(Buffer.from(hex, "hex"));
const hex = (data) => Buffer.from(data).toString("hex");
const BYTES = new Set(["data", "png"]); // fields of packed messages; an icon's "png" is base64 and stays text
const packedFields = (type, message) =>
  Object.fromEntries(Object.entries(message).map(([name, value]) => [name, BYTES.has(name) && type !== "Icon" ? bytes(value) : value]));
const plain = (message) => JSON.parse(JSON.stringify(message, (name, value) => (BYTES.has(name) && value !== null && typeof value === "object" ? hex(Object.values(value)) : value)));

for (const [i, { type, hex: packed, message }] of vectors("to_renderer").entries()) {
  test(`encodes ${type} (${i}) byte for byte`, () => {
    assert.equal(hex(encode({ type, ...packedFields(type, message) })), packed);
    assert.deepEqual(plain(decodeToRenderer(bytes(packed))), { type, ...message });
  });
}

for (const [i, { type, hex: packed, message }] of vectors("from_renderer").entries()) {
  test(`decodes ${type} (${i})`, () => {
    assert.deepEqual(plain(decodeFromRenderer(bytes(packed))), { type, ...message });
  });
}

for (const { why, hex: packed } of vectors("refused_from_renderer")) {
  test(`refuses from a renderer: ${why}`, () => {
    assert.throws(() => decodeFromRenderer(bytes(packed)), WireError);
  });
}

for (const { why, hex: packed } of vectors("refused_to_renderer")) {
  test(`refuses to a renderer: ${why}`, () => {
    assert.throws(() => decodeToRenderer(bytes(packed)), WireError);
  });
}

test("every cut and every flipped byte of a frame is refused or still a well-formed frame, never another error", () => {
  const frame = bytes(vectors("from_renderer").filter(({ type }) => type === "Frame")[1].hex);
  for (let i = 0; i < frame.length; i += 1) {
    assert.throws(() => decodeFromRenderer(frame.subarray(0, i)), WireError);
    for (const flip of [1, 0x80, 0xff]) {
      const other = Uint8Array.from(frame);
      other[i] ^= flip;
      try {
        decodeFromRenderer(other);
      } catch (error) {
        assert.ok(error instanceof WireError, `byte ${i}: ${error}`);
      }
    }
  }
});

test("noise is refused with WireError and nothing else", () => {
  let state = 1;
  const next = () => (state = (state * 1103515245 + 12345) & 0x7fffffff) >> 8;
  for (let round = 0; round < 2000; round += 1) {
    const noise = Uint8Array.from({ length: next() % 60 }, () => next() & 255);
    if (noise.length > 0) noise[0] = 64 + (noise[0] % 16);
    try {
      decodeFromRenderer(noise);
    } catch (error) {
      assert.ok(error instanceof WireError);
    }
  }
});

test("a message to the viewer cannot be encoded by it", () => {
  assert.throws(() => encode({ type: "Title", text: "x" }), WireError);
  assert.throws(() => encode({ type: "constructor" }), WireError);
});
