// How the tab's history and the page's follow each other.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Address, isOwn, readState } from "../../isolation/web/static/viewer/address.js";

const HERE = "https://payroll.corp.example";
const OTHER = "https://lab.corp.example";
const at = (index, path = "/", more = {}) => ({ origin: HERE, path, index, length: index + 1, replace: false, ...more });
const state = (page, index, floor = 0) => ({ isolation: { page, index, floor } });

function fresh(given = null) {
  const address = new Address({ origin: HERE, known: [OTHER], state: given });
  address.attached("p1", false, false);
  address.located(at(0));
  return address;
}

test("the first place replaces, the next is pushed, a replaced one replaces", () => {
  const address = new Address({ origin: HERE, known: [], state: null });
  address.attached("p1", false, false);
  assert.deepEqual(address.located(at(0, "/a")).at(-1), { do: "replace", path: "/a", index: 0 });
  assert.deepEqual(address.located(at(1, "/b")).at(-1), { do: "push", path: "/b", index: 1 });
  assert.deepEqual(address.located(at(1, "/c", { replace: true })).at(-1), { do: "replace", path: "/c", index: 1 });
});

test("back in the tab asks the page, and the page's answer is not pushed again", () => {
  const address = fresh();
  address.located(at(1, "/b"));
  assert.deepEqual(address.travelled(state("p1", 0)), { do: "ask", delta: -1 });
  assert.deepEqual(address.located(at(0, "/")).at(-1), { do: "replace", path: "/", index: 0 });
  assert.deepEqual(address.travelled(state("p1", 1)), { do: "ask", delta: 1 });
});

test("who is faster than the page is followed step by step, and no entry is mixed up", () => {
  const address = fresh();
  address.located(at(1, "/b"));
  assert.deepEqual(address.travelled(state("p1", 0)), { do: "ask", delta: -1 });
  assert.equal(address.travelled(state("p1", 1)), null); // forward again before the page was back
  assert.deepEqual(address.located(at(0, "/")), [{ do: "ask", delta: 1 }]);
  assert.deepEqual(address.located(at(1, "/b")).at(-1), { do: "replace", path: "/b", index: 1 });
  assert.deepEqual(address.located(at(2, "/c")).at(-1), { do: "push", path: "/c", index: 2 });
});

test("a page that goes elsewhere than asked is followed there", () => {
  const address = fresh();
  address.located(at(1, "/b"));
  address.travelled(state("p1", 0));
  assert.deepEqual(address.located(at(2, "/c")).at(-1), { do: "push", path: "/c", index: 2 });
  assert.deepEqual(address.travelled(state("p1", 0)), { do: "ask", delta: -2 });
});

test("a page that never answers is asked again", () => {
  const address = fresh();
  address.located(at(1, "/b"));
  address.travelled(state("p1", 0));
  address.unanswered();
  assert.equal(address.travelled(state("p1", 1)), null);
  assert.deepEqual(address.travelled(state("p1", 0)), { do: "ask", delta: -1 });
});

test("a page that goes back by itself takes the tab with it", () => {
  const address = fresh();
  address.located(at(1, "/b"));
  assert.deepEqual(address.located(at(0, "/")).at(-1), { do: "step", delta: -1, path: "/", index: 0 });
});

test("no page takes the tab to what the person opened before it", () => {
  // Its first place in this tab is not the first of its history; then it goes where the tab has no entry of it.
  const address = new Address({ origin: HERE, known: [], state: null });
  address.attached("p1", false, false);
  address.located(at(5));
  assert.deepEqual(address.located(at(4, "/four")).at(-1), { do: "replace", path: "/four", index: 4 });
  assert.equal(address.floor, 4);
  // It says that it has moved by several: the tab has one entry more, not several.
  address.located(at(9, "/nine"));
  assert.equal(address.floor, 9);
  assert.deepEqual(address.located(at(6, "/six")).at(-1), { do: "replace", path: "/six", index: 6 });
  address.located(at(7, "/seven"));
  assert.deepEqual(address.located(at(6, "/six")).at(-1), { do: "step", delta: -1, path: "/six", index: 6 });
  // What the entry says of itself holds again after the tab was loaded anew, and where the person goes back.
  const again = new Address({ origin: HERE, known: [], state: state("p1", 7, 7) });
  again.attached("p1", true, false);
  again.located(at(7));
  assert.deepEqual(again.located(at(6)).at(-1), { do: "replace", path: "/", index: 6 });
  assert.deepEqual(again.travelled(state("p1", 2, 1)), { do: "ask", delta: -4 });
  again.located(at(2));
  assert.deepEqual(again.located(at(1)).at(-1), { do: "step", delta: -1, path: "/", index: 1 });
  assert.deepEqual(again.located(at(0)).at(-1), { do: "replace", path: "/", index: 0 });
});

test("another page's entries are not this page's, whatever their numbers", () => {
  const address = fresh();
  address.located(at(1));
  address.located(at(2));
  address.attached("p2", false, false);
  address.located(at(2));
  assert.deepEqual(address.located(at(1)).at(-1), { do: "replace", path: "/", index: 1 });
});

test("who stays at 'leave this page?' stays above the same floor", () => {
  const address = new Address({ origin: HERE, known: [], state: null });
  address.attached("p1", false, false);
  address.located(at(3));
  address.located(at(4));
  address.travelled(state("p1", 1, 0));
  address.stayed();
  assert.equal(address.floor, 3);
});

test("who stays at 'leave this page?' gets the tab's entry back", () => {
  const address = fresh();
  address.located(at(1, "/b"));
  address.travelled(state("p1", 0));
  assert.equal(address.stayed(), 1);
  assert.equal(address.stayed(), 0);
});

test("after a crash the new page's history begins in the current entry, and old entries navigate", () => {
  const address = fresh();
  address.located(at(1, "/b"));
  address.attached("p2", false, false);
  assert.deepEqual(address.located(at(0, "/b")).at(-1), { do: "replace", path: "/b", index: 0 });
  assert.deepEqual(address.travelled(state("p1", 0)), { do: "navigate" });
  assert.deepEqual(address.located(at(1, "/")).at(-1), { do: "replace", path: "/", index: 1 });
});

test("an entry whose state is not ours navigates", () => {
  assert.deepEqual(fresh().travelled(null), { do: "navigate" });
});

test("coming back to a page that moved on asks it back instead of following it", () => {
  const address = new Address({ origin: HERE, known: [OTHER], state: state("p1", 3) });
  address.attached("p1", true, true);
  assert.deepEqual(address.located(at(4, "/x", { origin: OTHER })), [{ do: "ask", delta: -1 }]);
  assert.deepEqual(address.located(at(3, "/y")).at(-1), { do: "replace", path: "/y", index: 3 });
});

test("another app of the router is left for, a stranger is only shown", () => {
  const address = fresh();
  assert.deepEqual(address.located(at(1, "/n", { origin: OTHER })), [{ do: "leave", url: `${OTHER}/n`, replace: false }]);
  const stranger = fresh().located(at(1, "/n", { origin: "https://evil.example" }));
  assert.deepEqual(stranger, [
    { do: "strip", origin: "https://evil.example" },
    { do: "push", path: null, index: 1 },
  ]);
  assert.deepEqual(fresh().located(at(1, "", { origin: "" }))[0], { do: "strip", origin: "" });
});

test("an address of the router's own is never mirrored, however it is spelled", () => {
  for (const path of ["/.isolation/sign-out", "/.Isolation/x", "/%2eisolation/x", "/a/../.isolation/x", "//.isolation/x", "/%252eisolation", "/\\.isolation/"]) {
    assert.ok(isOwn(path), path);
    assert.equal(fresh().located(at(1, path)).at(-1).path, null);
  }
  for (const path of ["/", "/isolation", "/x/.isolation", "/.isolations", "/?a=/.isolation/"]) assert.ok(!isOwn(path), path);
});

test("history state from anywhere else is not ours", () => {
  for (const bad of [null, undefined, 1, {}, { isolation: 1 }, { isolation: { page: "<b>", index: 0, floor: 0 } }, { isolation: { page: "p", index: -1, floor: -1 } }, { isolation: { page: "p", index: 1.5, floor: 0 } }, { isolation: { page: "p", index: 1 } }, { isolation: { page: "p", index: 1, floor: 2 } }, { isolation: { page: "p", index: 1, floor: -1 } }]) {
    assert.equal(readState(bad), null);
  }
});
