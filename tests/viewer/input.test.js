// The parts of input that need no browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { localUse } from "../../isolation/web/static/viewer/keyboard.js";
import { menuLines } from "../../isolation/web/static/viewer/menu.js";
import { Clicks, modifiersOf, thinned, wheelPixels } from "../../isolation/web/static/viewer/pointer.js";
import { backOff } from "../../isolation/web/static/viewer/stream.js";
import { Fingers } from "../../isolation/web/static/viewer/touch.js";
import { controlLines, say } from "../../isolation/web/static/viewer/words.js";

const key = (name, held = {}) => ({ key: name, ctrlKey: false, altKey: false, metaKey: false, shiftKey: false, getModifierState: (which) => which === "AltGraph" && held.graph === true, ...held });

test("wheel distances in lines and pages become pixels", () => {
  assert.deepEqual(wheelPixels({ deltaX: 1, deltaY: -2, deltaMode: 0 }, 800), [1, -2]);
  assert.deepEqual(wheelPixels({ deltaX: 0, deltaY: 3, deltaMode: 1 }, 800), [0, 120]);
  assert.deepEqual(wheelPixels({ deltaX: 0, deltaY: 1, deltaMode: 2 }, 800), [0, 800]);
});

test("clicks are counted to three, and anew elsewhere, later or with another button", () => {
  const clicks = new Clicks();
  assert.deepEqual([0, 100, 200, 300].map((ms) => clicks.press(0, 10, 10, ms)), [1, 2, 3, 1]);
  assert.equal(clicks.press(0, 40, 10, 350), 1);
  assert.equal(clicks.press(2, 40, 10, 360), 1);
  assert.equal(clicks.press(2, 40, 10, 1500), 1);
});

test("a path is thinned where that changes it least, and ends where it ended", () => {
  const way = [...Array.from({ length: 10 }, (_, i) => [i * 10, 0]), ...Array.from({ length: 10 }, (_, i) => [90, i * 10]), ...Array.from({ length: 10 }, (_, i) => [90 - i * 10, 90])];
  assert.deepEqual(thinned(way, 64), way);
  assert.deepEqual(thinned(way, 4), [[0, 0], [90, 0], [90, 90], [0, 90]]);
  assert.deepEqual(thinned(way, 1), [[0, 90]]);
  assert.deepEqual(thinned(way, 0), [[0, 90]]);
  assert.deepEqual(thinned([[5, 5]], 1), [[5, 5]]);
  assert.deepEqual(thinned([[0, 0], [50, 0], [20, 0]], 3), [[0, 0], [50, 0], [20, 0]]);
  const long = Array.from({ length: 20000 }, (_, i) => [i, i % 7]);
  assert.ok(thinned(long, 64).length <= 64);
  assert.deepEqual(thinned(long, 64).at(-1), long.at(-1));
});

test("AltGr chooses a character and is neither Ctrl nor Alt", () => {
  assert.equal(modifiersOf(key("@", { ctrlKey: true, altKey: true, graph: true })), 0);
  assert.equal(modifiersOf(key("a", { ctrlKey: true, shiftKey: true })), 10);
  assert.equal(modifiersOf(key("a", { altKey: true, metaKey: true })), 5);
  assert.equal(localUse(key("l", { ctrlKey: true, altKey: true, graph: true }), false), "");
});

test("what belongs to the person's browser stays there; the rest is the page's", () => {
  assert.equal(localUse(key("l", { ctrlKey: true }), false), "browser");
  assert.equal(localUse(key("ArrowLeft", { altKey: true }), false), "browser");
  assert.equal(localUse(key("F5"), false), "reload");
  assert.equal(localUse(key("R", { ctrlKey: true, shiftKey: true }), false), "hard-reload");
  assert.equal(localUse(key("v", { ctrlKey: true }), false), "paste");
  assert.equal(localUse(key("v", { metaKey: true }), true), "paste");
  assert.equal(localUse(key("v", { ctrlKey: true }), true), "");
  assert.equal(localUse(key("c", { ctrlKey: true }), false), "copy");
  assert.equal(localUse(key("s", { ctrlKey: true }), false), "");
  assert.equal(localUse(key("f", { ctrlKey: true }), false), "find");
  assert.equal(localUse(key("f", { metaKey: true }), true), "find");
  assert.equal(localUse(key("F", { ctrlKey: true, shiftKey: true }), false), "");
  assert.equal(localUse(key("F3"), false), "find-next");
  assert.equal(localUse(key("G", { ctrlKey: true, shiftKey: true }), false), "find-previous");
  assert.equal(localUse(key("a"), false), "");
});

test("fingers keep their numbers, and a number that is free is used again", () => {
  const fingers = new Fingers();
  assert.ok(fingers.down(7771, 1, 2) && fingers.down(7772, 3, 4));
  assert.ok(!fingers.down(7772, 9, 9));
  assert.ok(fingers.move(7772, 5, 6) && !fingers.move(1, 0, 0));
  assert.ok(fingers.up(7771) && !fingers.up(7771));
  assert.deepEqual(fingers.points, [{ id: 1, x: 5, y: 6 }]);
  assert.ok(fingers.down(7773, 0, 0));
  assert.deepEqual(fingers.points.map(({ id }) => id), [0, 1]);
  for (let i = 0; i < 20; i++) fingers.down(i, 0, 0);
  assert.equal(fingers.count, 10);
});

const NOTHING = { link: "", image: false, editable: false, selection: false };
const NONE = { toApp: false, fromApp: false, keyboard: true, download: false, print: false };
const offered = (what, can = {}, place = { back: false, forward: false }) => menuLines({ ...NOTHING, ...what }, { ...NONE, ...can }, place, false).flat().map(([act]) => act);

test("a menu offers what the controls allow", () => {
  const link = { link: "https://a.example/x", image: true };
  assert.deepEqual(offered(link), ["open-link"]);
  assert.deepEqual(offered(link, { fromApp: true, download: true }), ["open-link", "copy-link", "save-link", "save-image"]);
  assert.deepEqual(offered({ link: "javascript:alert(1)" }, { download: true }), []);
  assert.deepEqual(offered({ editable: true, selection: true }), ["cut", "copy", "paste", "select-all"]);
  assert.deepEqual(offered({ editable: true, selection: true }, { keyboard: false }), ["copy"]);
  assert.deepEqual(offered({}), ["reload", "find", "select-all"]);
  assert.deepEqual(offered({}, { print: true }, { back: true, forward: true }), ["back", "forward", "reload", "find", "print", "select-all"]);
});

test("waits grow, are bounded, and the first attempt is at once", () => {
  assert.equal(backOff(0), 0);
  const waits = [1, 2, 3, 4, 5, 6, 7, 100].map((attempt) => backOff(attempt, 1));
  assert.deepEqual(waits, [250, 500, 1000, 2000, 4000, 8000, 8000, 8000]);
  assert.equal(backOff(1, 0), 188);
});

test("an app's name is put in as it is", () => {
  assert.equal(say("Opening {app}", "$& <b>"), "Opening $& <b>");
});

test("controls are told one by one", () => {
  const lines = controlLines({ clipboard: "to_app", download: "none", upload: "none", print: true, keyboard: false });
  assert.deepEqual(lines.map(([, , allowed]) => allowed), [true, false, false, false, true, false]);
});
