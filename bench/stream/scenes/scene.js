// What every scene has: numbers that are the same at every load, and a word to the server about what was done to the page.
"use strict";

const done = {};
let timer = 0;

/** Tells the server what was done: that is how a run is known to have worked, through whichever system it went. */
function tell(changes) {
  Object.assign(done, changes);
  clearTimeout(timer);
  timer = setTimeout(() => {
    fetch("/state" + location.search, { method: "POST", body: JSON.stringify(done), keepalive: true });
  }, 80);
}

/** Returns a function that draws numbers from 0 to 1, by a fixed rule (mulberry32). */
function numbers(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
