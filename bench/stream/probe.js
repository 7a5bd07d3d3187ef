// Runs in a viewer page before its own scripts. Notes what crosses its WebSockets, and looks at its canvas: when pixels have changed there, they
// are painted. It looks after each drawing (the canvas is read in the microtask that follows), or at each animation frame, for viewers that draw elsewhere.
// The value of this script is a function; `keep`: keep messages whole.
(keep) => {
  "use strict";

  const notes = [];
  const note = (kind, data) => {
    const bytes =
      data instanceof ArrayBuffer ? new Uint8Array(data)
      : ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
      : new TextEncoder().encode(typeof data === "string" ? data : "");
    notes.push({ kind, at: performance.now(), size: bytes.length, data: bytes.slice(0, keep ? bytes.length : 0) });
  };
  globalThis.WebSocket = new Proxy(WebSocket, {
    construct(target, given) {
      const socket = new target(...given);
      note("open");
      socket.addEventListener("message", ({ data }) => note("in", data));
      return socket;
    },
  });
  const takeNotes = () => notes.splice(0).map(({ kind, at, size, data }) => [kind, at, size, data.toBase64()]);

  // ---------------------------------------------------------------- the canvas
  const INK = 70; // of 765: how far a pixel is from what was there before a key
  const scratch = new OffscreenCanvas(64, 64).getContext("2d", { willReadFrequently: true });
  /** The largest canvas on the page: the picture. */
  const picture = () => {
    let best = null, size = 0;
    for (const canvas of document.getElementsByTagName("canvas")) {
      if (canvas.width * canvas.height > size && canvas.width > 300 && canvas.getClientRects().length > 0) [best, size] = [canvas, canvas.width * canvas.height];
    }
    return best;
  };
  const pixels = (canvas, [x, y, width, height]) => {
    const factor = canvas.width / canvas.getBoundingClientRect().width;
    if (scratch.canvas.width < width || scratch.canvas.height < height) {
      scratch.canvas.width = Math.max(scratch.canvas.width, width);
      scratch.canvas.height = Math.max(scratch.canvas.height, height);
    }
    scratch.drawImage(canvas, x * factor, y * factor, width * factor, height * factor, 0, 0, width, height);
    return scratch.getImageData(0, 0, width, height).data;
  };
  const differs = (a, b) => a.length !== b.length || a.some((value, i) => value !== b[i]);
  const inked = (a, b) => {
    for (let i = 0; i < a.length; i += 4) {
      if (Math.abs(a[i] - b[i]) + Math.abs(a[i + 1] - b[i + 1]) + Math.abs(a[i + 2] - b[i + 2]) > INK) return true;
    }
    return false;
  };
  const colourful = (data) => {
    const found = new Set();
    for (let i = 0; i < data.length; i += 4) found.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return found.size > 8;
  };

  let firstPaint = null, job = null;
  function look() {
    const canvas = picture();
    if (canvas === null) return;
    const now = performance.now();
    if (firstPaint === null) {
      scratch.canvas.width = scratch.canvas.height = 64;
      scratch.drawImage(canvas, 0, 0, canvas.width, canvas.height, 0, 0, 64, 64);
      if (colourful(scratch.getImageData(0, 0, 64, 64).data)) firstPaint = now;
    }
    if (job === null) return;
    if (job.what === "keys") {
      while (job.painted.length < job.areas.length && inked(pixels(canvas, job.areas[job.painted.length]), job.before[job.painted.length])) job.painted.push(now);
      return;
    }
    if (job.what === "notches" && job.waiting === null) return; // what moves on after a notch belongs to it
    const data = pixels(canvas, job.areas[0]);
    if (!differs(data, job.before[0])) return;
    job.before[0] = data;
    if (job.what === "motion") job.changes.push(now);
    else [job.painted[job.acts.indexOf(job.waiting)], job.waiting] = [now, null];
  }
  let asked = false, seen = false;
  const lookSoon = () => {
    if (asked || (job === null && firstPaint !== null)) return;
    asked = true;
    queueMicrotask(() => { asked = false; look(); });
  };
  for (const [kind, names] of [[CanvasRenderingContext2D, ["drawImage", "putImageData", "fillRect"]], [ImageBitmapRenderingContext, ["transferFromImageBitmap"]]]) {
    for (const name of names) {
      const draw = kind.prototype[name];
      kind.prototype[name] = function (...given) {
        seen ||= this.canvas === picture();
        lookSoon();
        return draw.apply(this, given);
      };
    }
  }
  // Looking costs time that the viewer lacks: not where each drawing is seen anyway.
  const tick = () => { if (!seen && (job !== null || firstPaint === null)) look(); requestAnimationFrame(tick); };
  requestAnimationFrame(tick);

  addEventListener("keydown", ({ timeStamp }) => { if (job?.what === "keys") job.acts.push(timeStamp); }, true);
  addEventListener("wheel", ({ timeStamp }) => {
    if (job === null) return;
    job.acts.push(timeStamp);
    if (job.what !== "notches") return;
    if (job.waiting !== null) [job.painted[job.acts.indexOf(job.waiting)], job.late] = [timeStamp, job.late + 1];
    job.before[0] = pixels(picture(), job.areas[0]);
    job.waiting = timeStamp;
  }, { capture: true, passive: true });

  globalThis.probe = {
    takeNotes,
    firstPaint: () => firstPaint,
    watch(what, areas) {
      job = { what, areas, before: areas.map((area) => pixels(picture(), area)), acts: [], painted: [], changes: [], waiting: null, late: 0 };
    },
    /** Ends watching, when every act is painted or has waited long enough. Then it counts with the time that it has waited, and as late. */
    async seen(patience) {
      const told = job, all = () => told.what === "motion" || told.acts.every((_, i) => told.painted[i] !== undefined);
      for (const until = performance.now() + patience; !all() && performance.now() < until; ) await new Promise((done) => { setTimeout(done, 50); });
      job = null;
      const { acts, painted, changes } = told, now = performance.now();
      const delays = told.what === "motion" ? [] : acts.map((at, i) => (painted[i] ?? now) - at);
      const late = told.late + (told.what === "motion" ? 0 : acts.filter((_, i) => painted[i] === undefined).length);
      return { delays, changes, first: acts[0] ?? null, last: acts.at(-1) ?? null, late };
    },
  };
}
