// The viewer: an app as a picture, with everything around it that makes it feel like a page of this browser.

import { ClipboardBridge } from "./clipboard.js";
import { Cover } from "./cover.js";
import { Dialogs } from "./dialogs.js";
import { button, icon, make } from "./dom.js";
import { Ending } from "./ending.js";
import { Externals } from "./external.js";
import { FindBar } from "./find.js";
import { Files } from "./files.js";
import { Indicator } from "./indicator.js";
import { playsFilm } from "./film.js";
import { MAX_SCALE, MAX_SIDE, MIN_SCALE } from "./frames.js";
import { Fullscreen } from "./fullscreen.js";
import { LinkHint } from "./hint.js";
import { KeyboardInput } from "./keyboard.js";
import { ContextMenu, menuLines } from "./menu.js";
import { Navigation } from "./navigation.js";
import { showNotices } from "./notices.js";
import { PointerInput } from "./pointer.js";
import { Selects } from "./select.js";
import { backOff, Stream } from "./stream.js";
import { Surface } from "./surface.js";
import { Toasts } from "./toasts.js";
import { TouchInput } from "./touch.js";
import { Watermark } from "./watermark.js";
import { askedFor, queueWords } from "./words.js";
import { MIN_SIDE, VERSION } from "./wire.js";

// ---------------------------------------------------------------- limits
const RESIZE_MS = 80; // while a window is dragged larger, the page is told a dozen times a second
const PATIENCE_MS = 350; // shorter waits show nothing: flicker reads as trouble
const CAPACITY_MS = 10_000;
const READ_MS = 1_200; // how long the reason for a reload is to be read
const MOST_CRASHES = 5; // in CRASHES_MS; a page that kills its browser again and again is not opened for ever
const CRASHES_MS = 60_000;
const TEARS = 4; // pictures that could not be drawn, before the line is opened anew

const configuration = JSON.parse(document.body.dataset.configuration);
delete document.body.dataset.configuration;

const at = (id) => document.getElementById(id);
const [stage, canvas, keys, progress, favicon] = [at("stage"), at("surface"), at("keys"), at("progress"), at("icon")];
const ownIcon = favicon.getAttribute("href");
const touch = matchMedia("(pointer: coarse)").matches;
const mac = /mac|iphone|ipad/i.test(navigator.userAgentData?.platform ?? navigator.platform);
const { app, controls } = configuration;

let film = false; // whether this browser plays it
let attached = false;
let ended = false;
let loading = false;
let tears = 0;
let nonsense = 0;
let crashes = [];

const refocus = () => {
  if (attached) keyboard.focus();
};
const send = (message) => attached && stream.send(message);
const sendInput = (message) => {
  if (message.type !== "Wheel" && !(message.type === "Pointer" && message.kind === "move")) {
    pointer.flush();
    fingers.flush();
  }
  return send(message);
};

const toasts = new Toasts(at("toasts"));
const cover = new Cover(at("cover"), at("spoken"), { app, uncovered: refocus });
const navigation = new Navigation({ configuration, strip: at("strip"), send, toasts });
const dialogs = new Dialogs({
  refocus,
  typing: controls.keyboard,
  reply({ id, kind, accept, text }) {
    send({ type: "DialogReply", id, accept, text });
    if (kind === "beforeunload" && !accept) navigation.stayed();
  },
  sign: (answer) => send({ type: "AuthReply", ...answer }),
});
const externals = new Externals({ refocus });
const ending = new Ending({
  stay() {
    // Something a person does, that does nothing: a turn of the wheel by nothing.
    send({ type: "Wheel", x: 0, y: 0, dx: 0, dy: 0, modifiers: 0 });
    refocus();
  },
});
showNotices(at("notices"), controls.notice ?? []);
if (configuration.watermark) new Watermark(stage, configuration.watermark);
const selects = new Selects(canvas, { refocus, reply: ({ id, values }) => send({ type: "SelectReply", id, values }) });
const clipboard = new ClipboardBridge(keys, { controls, send: sendInput, toasts, refocus });
const files = new Files(at("transfers"), { controls, send, toasts, refocus });
const indicator = new Indicator(at("indicator"), { configuration, refocus, reload: () => send({ type: "Reload", hard: false }) });
const surface = new Surface(canvas, {
  onDrawn(seq) {
    send({ type: "Ack", seq });
    if (!ended) cover.hide("Connected");
  },
  onBroken() {
    tears += 1;
    if (tears > TEARS) {
      tears = 0;
      lineLost({ wait: 1_000 });
      stream.again(1_000);
    } else {
      send({ type: "Refresh", video: film && surface.film });
    }
  },
});
const pointer = new PointerInput(stage, canvas, {
  send,
  focus(event) {
    // Where the page has a text field it says its place itself, and says nothing when it has the same one again.
    if (!keyboard.editing) keyboard.place(event.clientX, event.clientY);
    keyboard.focus();
  },
});
const fingers = new TouchInput(stage, canvas, {
  send,
  began() {
    pointer.flush();
    // Not a reason for a soft keyboard: that comes when the page says that it has a text field.
    keyboard.focus();
  },
  hold: (x, y) => pointer.ask(x, y),
});
const keyboard = new KeyboardInput(keys, {
  mac,
  allowed: controls.keyboard,
  send: sendInput,
  blocked: () => toasts.note("keyboard-blocked"),
  use(what, event) {
    switch (what) {
      case "reload":
      case "hard-reload":
        if (!send({ type: "Reload", hard: what === "hard-reload" })) navigation.loadAgain(true);
        return true;
      case "copy":
        clipboard.request();
        return true;
      case "paste":
        if (clipboard.toApp) return true;
        toasts.note("paste-off");
        return false;
      case "find":
        // Once more, for pages that find by themselves: the key then goes to them.
        if (finder.open) {
          finder.close();
          return false;
        }
        finder.show();
        return true;
      case "find-next":
      case "find-previous":
        finder.next(what === "find-previous");
        return true;
      case "escape":
        if (loading) send({ type: "Stop" });
        fullscreen.escape();
        return false;
      case "print":
        print();
        return true;
      case "panel":
        if (!event.repeat) indicator.toggle();
        return true;
      default:
        return false;
    }
  },
});

const finder = new FindBar(stage, { send, refocus });
const hint = new LinkHint(stage);
const fullscreen = new Fullscreen(document.documentElement, {
  tell(origin) {
    const who = `${origin === "" ? "The page" : origin} fills the screen.`;
    // A finger has no Escape.
    if (matchMedia("(pointer: coarse)").matches) return toasts.say(who, { action: "Leave", act: () => fullscreen.leave(), stay: true });
    return toasts.say(`${who} Press Esc to leave.`);
  },
  offer: (act) => toasts.say("The page wants to fill the screen.", { action: "Allow", act, stay: true }),
  left: () => send({ type: "ExitFullscreen" }),
});
const allowed = {
  toApp: clipboard.toApp,
  fromApp: clipboard.fromApp,
  pictures: clipboard.fromApp && controls.clipboard_types.includes("image"),
  keyboard: controls.keyboard,
  download: controls.download !== "none",
  print: controls.print,
};
const menu = new ContextMenu(canvas, {
  lines: (message) => menuLines(message, allowed, navigation.place, mac),
  act: chosen,
  none({ id }) {
    send({ type: "MenuReply", id, action: "none" });
    refocus();
  },
});

const stream = new Stream({
  instance: configuration.instance,
  ticket: configuration.ticket,
  hello() {
    return { type: "Hello", version: VERSION, page: navigation.page, path: navigation.path, ...size(), mac, video: film && surface.film, touch };
  },
  on: {
    open() {},
    message: take,
    lost: lineLost,
    gone: () => reloadFor(""),
    broken() {
      detach();
      nonsense += 1;
      if (nonsense <= 1) stream.start();
      else fail("protocol");
    },
  },
});

// ---------------------------------------------------------------- what comes

function take(message) {
  switch (message.type) {
    case "Ready":
      ready(message);
      break;
    case "Frame":
      surface.take(message);
      break;
    case "Location":
      navigation.located(message);
      break;
    case "Title":
      title(message.text);
      break;
    case "Icon":
      favicon.href = message.png === "" ? ownIcon : `data:image/png;base64,${message.png}`;
      break;
    case "Loading":
      load(message.active);
      break;
    case "Cursor":
      stage.style.cursor = message.name;
      break;
    case "Dialog":
      keyboard.releaseAll();
      fingers.cancel();
      dialogs.show(message);
      break;
    case "Auth":
      keyboard.releaseAll();
      fingers.cancel();
      dialogs.ask(message);
      break;
    case "External":
      externals.offer(message.url);
      break;
    case "Permission":
      toasts.say(askedFor(message.kind, navigation.place.origin));
      break;
    case "Ending":
      ending.show(message);
      break;
    case "DialogClosed":
      dialogs.closed(message.id);
      break;
    case "Select":
      if (message.kind !== "datalist") {
        keyboard.releaseAll();
        fingers.cancel();
      }
      selects.show(message);
      break;
    case "LinkHint":
      hint.show(message.text);
      break;
    case "Editing":
      edit(message);
      break;
    case "Menu": {
      const finger = fingers.count > 0;
      keyboard.releaseAll();
      fingers.cancel();
      hint.show("");
      menu.show(message, finger);
      break;
    }
    case "Found":
      finder.found(message);
      break;
    case "Fullscreen":
      fullscreen.changed(message.active, navigation.place.origin);
      break;
    case "SelectClosed":
      selects.closed(message.id);
      break;
    case "Opened":
      navigation.opened(message);
      break;
    case "Clipboard":
      clipboard.arrived(message.text);
      break;
    case "ClipboardImage":
      clipboard.picture(message.png);
      break;
    case "FileAsk":
    case "FileProgress":
    case "FileClosed":
    case "Download":
    case "DownloadData":
    case "DownloadClosed":
      files.take(message);
      break;
    case "Notice":
      if (message.code === "clipboard-blocked") clipboard.kept();
      else if (message.code === "page-hung") toasts.ask(message.code, "Load again", () => send({ type: "Reload", hard: false }));
      else toasts.note(message.code);
      break;
    case "Queued":
      stream.settled();
      cover.show("queued", { values: queueWords(message) });
      break;
    case "Closed":
      closed(message.code);
      break;
  }
}

function ready(message) {
  attached = true;
  stream.settled();
  surface.reset();
  navigation.attached(message);
  told = message;
  tellSize();
  tellFocus();
  refocus();
}

function title(text) {
  document.title = text === "" ? app : text;
  canvas.setAttribute("aria-label", `${document.title}, shown as a picture`);
}

function edit({ mode, x, y, height }) {
  keyboard.edit(mode);
  if (mode === "off") return;
  const box = canvas.getBoundingClientRect();
  keyboard.place(box.left + x, box.top + y + height - keys.offsetHeight); // input methods show their candidates below
}

function chosen(what, message) {
  let action = "none";
  switch (what) {
    case "copy-link":
      clipboard.arrived(message.link);
      break;
    case "copy":
    case "cut":
      if (allowed.fromApp) sendInput({ type: "CopyRequest", cut: what === "cut" });
      else if (allowed.keyboard) keyboard.shortcut(what === "cut" ? "x" : "c");
      else toasts.note("copy-off");
      break;
    case "paste":
      // What was copied inside can be pasted inside, whatever the device's clipboard may do.
      clipboard.read().then((went) => went || keyboard.shortcut("v"));
      break;
    case "back":
      history.back();
      break;
    case "forward":
      history.forward();
      break;
    case "reload":
      send({ type: "Reload", hard: false });
      break;
    case "print":
      print();
      break;
    case "find":
      break;
    default:
      action = what;
  }
  send({ type: "MenuReply", id: message.id, action });
  if (what === "find") finder.show();
  else refocus();
}

function load(active) {
  if (active) finder.close(true);
  if (loading === active) return;
  loading = active;
  progress.hidden = !active;
}

function print() {
  if (!controls.print) toasts.note("print-blocked");
  else if (send({ type: "Print" })) toasts.note("print-begun");
}

function placeOf({ clientX, clientY }) {
  const { left, top } = canvas.getBoundingClientRect();
  return { x: Math.round(clientX - left), y: Math.round(clientY - top) };
}

function detach() {
  attached = false;
  files.lost();
  load(false);
  dialogs.clear();
  selects.clear();
  externals.clear();
  ending.clear();
  menu.clear();
  hint.show("");
  finder.close(true);
  fullscreen.end();
}

// ---------------------------------------------------------------- what ends

function lineLost({ wait = 0 }) {
  detach();
  if (ended) return;
  const state = ["restarting", "no-capacity", "queued"].includes(cover.state) ? cover.state : surface.drawn ? "lost" : "starting";
  const acts = state === "starting" ? [] : [["Try now", () => stream.retryNow(), true]];
  cover.show(state, { acts, wait: wait > 1_000 ? wait : 0, delay: state === "lost" ? PATIENCE_MS : 0 });
}

function closed(code) {
  detach();
  switch (code) {
    case "browser-crashed":
    case "renderer-lost":
      restart();
      break;
    case "no-capacity":
      cover.show("no-capacity", { wait: CAPACITY_MS, acts: [["Try now", () => stream.retryNow(), true]] });
      stream.again(CAPACITY_MS);
      break;
    case "limit-reached":
      fail("limit-reached");
      break;
    case "idle":
    case "time-up":
      surface.clear();
      clipboard.close();
      toasts.clear();
      end(code, [["Open again", () => navigation.loadAgain(true), true]]);
      break;
    case "tab-limit":
      end("tab-limit", [["Try again", takeOver, true]]);
      break;
    case "page-closed":
      end("page-closed", [[`Open ${app}`, () => location.assign("/"), true]]);
      window.close();
      break;
    case "replaced":
      end("replaced", [["Use it here", takeOver, true]]);
      break;
    case "released":
    case "redecided":
    case "session-ended":
    case "refused":
      reloadFor(code);
      break;
    default:
      fail("protocol");
  }
}

function restart() {
  const now = performance.now();
  crashes = [...crashes.filter((at) => now - at < CRASHES_MS), now];
  if (crashes.length > MOST_CRASHES) {
    crashes = [];
    fail("crashing");
    return;
  }
  cover.show("restarting");
  stream.again(backOff(crashes.length - 1));
}

function end(state, acts) {
  ended = true;
  stream.stop();
  cover.show(state, { acts });
}

function takeOver() {
  ended = false;
  cover.show("starting");
  stream.start();
}

function fail(state) {
  end(state, [["Load again", () => navigation.loadAgain(true), true]]);
}

function reloadFor(code) {
  ended = true;
  stream.stop();
  detach();
  const again = () => navigation.loadAgain() || fail("protocol");
  if (code === "") {
    again();
    return;
  }
  // What was shown, copied or offered belongs to access that is gone.
  if (code === "session-ended" || code === "refused") surface.clear();
  clipboard.close();
  files.clear();
  toasts.clear();
  cover.show(code);
  setTimeout(again, READ_MS);
}

// ---------------------------------------------------------------- size, focus, files

/** The stage in CSS pixels, and device pixels per CSS pixel × 100: the screen's own times the person's page zoom. */
function size() {
  const scale = Math.max(MIN_SCALE, Math.min(MAX_SCALE, Math.round(devicePixelRatio * 100)));
  const most = Math.floor((MAX_SIDE * 100) / scale);
  const fit = (pixels) => Math.max(MIN_SIDE, Math.min(most, Math.floor(pixels)));
  return { width: fit(stage.clientWidth), height: fit(stage.clientHeight), scale };
}

let told = size(); // what the page was told last

/** Tell the page its size, where that is news: observers speak up when they begin, too. */
function tellSize() {
  const { width, height, scale } = size();
  if (width === told.width && height === told.height && scale === told.scale) return;
  told = { width, height, scale };
  send({ type: "Resize", ...told });
}

let resizing = 0;
function resized() {
  clearTimeout(resizing);
  resizing = setTimeout(tellSize, RESIZE_MS);
}
new ResizeObserver(resized).observe(stage);
(function watchScale() {
  // Another screen, or page zoom: nothing tells but a query that stops being true.
  const now = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
  now.addEventListener("change", () => (resized(), watchScale()), { once: true });
})();

function tellFocus() {
  send({ type: "Focus", focused: document.activeElement === keys && document.hasFocus(), visible: !document.hidden });
}
for (const name of ["focus", "blur"]) keys.addEventListener(name, tellFocus);
document.addEventListener("visibilitychange", tellFocus);

for (const name of ["dragover", "drop"]) {
  addEventListener(name, (event) => {
    event.preventDefault();
    if (name === "drop" && event.dataTransfer.types.includes("Files")) files.dropped(event.dataTransfer, placeOf(event));
  });
}
if (!controls.print) {
  document.body.classList.add("no-print");
  addEventListener("beforeprint", () => toasts.note("print-blocked"));
}
if (controls.keyboard && touch) {
  const type = button("", () => keyboard.raise(), { name: "soft-keyboard" });
  type.setAttribute("aria-label", "Keyboard");
  type.append(icon("keyboard"));
  stage.append(make("div", { class: "soft" }, type));
}

cover.show("starting", { delay: PATIENCE_MS });
playsFilm().then((plays) => {
  film = plays;
  stream.start();
});
