// Everything the viewer says, in one place. Codes cross the line; words live here.

/** Short notes that appear for some seconds. */
export const NOTICES = Object.freeze({
  "navigation-blocked": "That address can’t be opened from an isolated page.",
  "download-blocked": "The download was stopped: files can’t be saved from this page to your device.",
  "upload-blocked": "Files from your device can’t be given to this page.",
  "print-blocked": "Printing is turned off for this page.",
  "popup-blocked": "The page tried to open too many windows.",
  "keyboard-blocked": "Typing is turned off for this page. You can still use the mouse.",
  "page-crashed": "The page stopped working and was loaded again.",
  "page-hung": "The page does not respond. You can wait, or load it again.",
  "clipboard-large": "That is more than may be copied or pasted at once here.",
  "clipboard-fast": "That was copied or pasted too often. Wait a minute and try again.",
  "tab-limit": "As many tabs as allowed are open. Close one to open another.",
  "paste-off": "Pasting from your device is turned off for this page.",
  "paste-key": "Your browser lets no page read its clipboard from a menu. Paste with the keyboard instead.",
  "copy-off": "Copying to your device is turned off. What you copied can be pasted inside the isolated page.",
  "copy-long": "That is too much text to copy to your device at once. It can be pasted inside the isolated page.",
  "paste-picture-off": "Pasting pictures from your device is turned off for this page.",
  "paste-picture-large": "That picture is too large to paste.",
  "upload-folder": "Folders can’t be given to this page. Choose the files in it.",
  "print-begun": "Preparing a PDF of the page…",
  "file-refused": "A file was held back: it is of a kind or size that this page may not exchange.",
  "clipboard-large": "That is too much to copy or paste at once.",
  copied: "Copied to your clipboard.",
});

/** What is said of files on their way. */
export const TRANSFERS = Object.freeze({
  ask: "The page asks for a file",
  askText: "Only what you choose is given to it.",
  several: "{count} files",
  offered: "The page offers this file ({size}).",
  progress: "{done} of {size}",
  progressOf: { up: "Uploading", down: "Downloading", print: "Printing" },
  cancel: "Cancel",
  dismiss: "Dismiss",
  ends: {
    up: {
      done: "Given to the page.",
      cancelled: "Stopped.",
      failed: "This didn’t reach the page. Please try again.",
      lost: "The connection was lost on the way. Please try again.",
      many: "That is too many files at once.",
      "too-large": "Too large: at most {size} can be given to this page.",
      "wrong-type": "Files of this kind can’t be given to this page, or the file isn’t what its name says.",
    },
    down: {
      done: "Saved to your device.",
      cancelled: "Stopped.",
      failed: "This couldn’t be saved. Please try again.",
      lost: "The connection was lost on the way. Please try again.",
      "too-large": "Not saved: the file is too large.",
      "wrong-type": "Not saved: files of this kind are held back, or the file isn’t what its name says.",
    },
    print: {
      done: "Saved as PDF. Print it from your device.",
      cancelled: "Stopped.",
      failed: "The page couldn’t be printed. Please try again.",
      lost: "The connection was lost on the way. Please try again.",
      "too-large": "Not printed: the page is too large.",
      "wrong-type": "The page couldn’t be printed.",
    },
  },
});

/** What covers the page when there is nothing to work with: heading, text, icon. {app} is the app's name. */
export const STATES = Object.freeze({
  starting: {
    icon: "shield",
    busy: true,
    heading: "Opening {app}",
    text: "Starting an isolated browser for you. This takes a moment.",
  },
  lost: {
    icon: "unplugged",
    heading: "Connection lost",
    text: "Your page is still open and kept for you. It comes back as soon as this device is connected again.",
  },
  restarting: {
    icon: "restart",
    busy: true,
    heading: "The isolated browser stopped",
    text: "A new one is starting and opens the same address. Anything not saved on the page may be gone.",
  },
  crashing: {
    icon: "warning",
    heading: "This page keeps stopping its browser",
    text: "It was opened several times and stopped each time. You can try again, or go to another page of {app}.",
  },
  "limit-reached": {
    icon: "warning",
    heading: "The page used too much",
    text: "It took more memory, storage or processes than one isolated browser may use, so the browser was ended. Anything not saved on the page is gone.",
  },
  queued: {
    icon: "hourglass",
    heading: "You are {place} in the queue",
    text: "All isolated browsers are in use. This page opens here by itself when it is your turn; you can leave it open meanwhile.{lately}",
  },
  idle: {
    icon: "hourglass",
    heading: "The isolated browser was ended",
    text: "Nothing was done in {app} for a while. What was not saved is gone; you are still signed in.",
  },
  "time-up": {
    icon: "hourglass",
    heading: "Your time here is up",
    text: "An isolated browser of {app} is ended after a set time. What was not saved is gone; you are still signed in.",
  },
  "tab-limit": {
    icon: "windows",
    heading: "As many tabs as allowed are open",
    text: "Close one of the other tabs of your isolated browser, then try again here.",
  },
  "no-capacity": {
    icon: "hourglass",
    heading: "All isolated browsers are in use",
    text: "You are signed in and nothing is wrong with your access. The page opens here as soon as a browser is free.",
  },
  replaced: {
    icon: "windows",
    heading: "Open in another tab",
    text: "This page is being used in another tab or window. Only one can use it at a time.",
  },
  "page-closed": {
    icon: "leave",
    heading: "This page closed itself",
    text: "The app closed this window. You can close the tab, or open the app again.",
  },
  "session-ended": {
    icon: "leave",
    heading: "Your session has ended",
    text: "You are taken to the sign-in page. After signing in you come back to this address.",
  },
  refused: {
    icon: "warning",
    heading: "Access has changed",
    text: "You can’t use {app} at the moment. The next page says why and whom to ask.",
  },
  released: {
    icon: "shielded",
    busy: true,
    heading: "Isolation is no longer needed",
    text: "{app} now opens directly in your browser.",
  },
  redecided: {
    icon: "shield",
    busy: true,
    heading: "What you can do here has changed",
    text: "{app} is opened again with the new settings.",
  },
  protocol: {
    icon: "warning",
    heading: "Something went wrong",
    text: "The isolated browser and this page did not understand each other. Loading the page again usually helps.",
  },
});

/** One line per control, for the indicator's panel. Returns [label, value, allowed]. */
export function controlLines(controls) {
  const toApp = controls.clipboard === "to_app" || controls.clipboard === "both";
  const fromApp = controls.clipboard === "from_app" || controls.clipboard === "both";
  const onOff = (allowed) => (allowed ? "Allowed" : "Off");
  return [
    ["Paste from your device", onOff(toApp), toApp],
    ["Copy to your device", onOff(fromApp), fromApp],
    ["Download files", onOff(controls.download !== "none"), controls.download !== "none"],
    ["Upload files", onOff(controls.upload !== "none"), controls.upload !== "none"],
    ["Print", onOff(controls.print), controls.print],
    ["Keyboard", onOff(controls.keyboard), controls.keyboard],
  ];
}

const ASKED = {
  camera: "use the camera",
  microphone: "use the microphone",
  screen: "see the screen",
  location: "know where you are",
  notifications: "show notifications",
  clipboard: "read the clipboard",
  midi: "use musical instruments",
  devices: "use devices connected to this one",
};

/** What the page at `origin` asked for and did not get. */
export function askedFor(kind, origin) {
  return `${origin === "" ? "The page" : origin.replace(/^https:\/\//, "")} asked to ${ASKED[kind]}. Isolated pages never may.`;
}

/** Fills in the app's name and other values. The result is text, for textContent. */
export function say(text, app, values = {}) {
  return text.replaceAll(/\{(\w+)\}/g, (blank, name) => (name === "app" ? app : (values[name] ?? blank)));
}

/** The values of the queue's words: the place, and how many seconds people waited lately (0: nobody has). */
export function queueWords({ position, waited }) {
  const place = position === 1 ? "next" : `number ${position}`;
  if (waited === 0) return { place, lately: "" };
  const minutes = Math.round(waited / 60);
  const long = minutes < 2 ? "less than two minutes" : minutes < 90 ? `about ${minutes} minutes` : `about ${Math.round(minutes / 60)} hours`;
  return { place, lately: ` Lately people waited ${long}.` };
}
