// Links for the device: what is read out of them, and what is none.

import assert from "node:assert/strict";
import test from "node:test";

import { external } from "../../isolation/web/static/viewer/external.js";

test("a link says where it leads and what it brings", () => {
  assert.deepEqual(external("mailto:a%40b.example?subject=Run%205&body=Hello%0Ayou"), { scheme: "mailto", target: "a@b.example", text: "subject=Run 5\nbody=Hello you" });
  assert.deepEqual(external("tel:+431"), { scheme: "tel", target: "+431", text: "" });
  assert.equal(external("mailto:").target, "");
});

test("direction marks and broken escapes deceive nobody", () => {
  assert.equal(external("mailto:%E2%80%AEmoc.live").target, " moc.live");
  assert.equal(external("mailto:100%").target, "100%");
});

for (const url of ["javascript:alert(1)", "MAILTO:a@b", " mailto:a@b", "mailto:a b", "data:text/html,x", "http://a", "mailto", "", 7, null, "tel:" + "1".repeat(2048), "mailto:\u202ea"]) {
  test(`no link for the device: ${String(url).slice(0, 20)}`, () => assert.equal(external(url), null));
}
