// Making elements. Text goes in as text nodes only; there is no way to pass markup here.

const SVG = "http://www.w3.org/2000/svg";

/** Makes an element. `options`: class, text, attributes (attrs), event listeners (on), properties (props). */
export function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  const { class: names, text, attrs = {}, on = {}, props = {} } = options;
  if (names) element.className = names;
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attrs)) element.setAttribute(name, value);
  for (const [name, value] of Object.entries(props)) element[name] = value;
  for (const [name, listener] of Object.entries(on)) element.addEventListener(name, listener);
  element.append(...children.filter((child) => child !== null));
  return element;
}

// Line drawings on a 24 × 24 grid, ours; keyed by what they mean.
const PATHS = {
  shield: "M12 2.8 4.5 5.600v5.600c0 4.700 3.100 8 7.500 10 4.400-2 7.500-5.300 7.500-10V5.600z",
  shielded: "M12 2.800 4.500 5.600v5.600c0 4.700 3.100 8 7.500 10 4.400-2 7.500-5.300 7.500-10V5.600zM8.600 11.900l2.400 2.400 4.400-4.800",
  unplugged: "M3 3l18 18M8.500 16.400a5 5 0 0 1 7 0M5 12.900a10 10 0 0 1 5.200-2.700M14.500 10.400A10 10 0 0 1 19 12.900M2 9a15 15 0 0 1 4.200-2.700M10.700 5A15 15 0 0 1 22 9M12 20h.01",
  restart: "M20 11a8 8 0 1 0-2.300 6.300M20 5v6h-6",
  hourglass: "M7 3h10M7 21h10M8 3c0 5 8 6 8 9s-8 4-8 9M16 3c0 5-8 6-8 9s8 4 8 9",
  windows: "M8 8h12v12H8zM4 16V4h12",
  leave: "M14 4h5v16h-5M4 12h11M11 8l4 4-4 4",
  warning: "M12 4 2.800 19.500h18.400zM12 10v4.500M12 17.200v.01",
  close: "M6 6l12 12M18 6L6 18",
  check: "M5 12.500l4.500 4.500L19 7.500",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  keyboard: "M3 7h18v10H3zM7 10.500v.01M10.300 10.500v.01M13.700 10.500v.01M17 10.500v.01M8 14h8",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  globe: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM3 12h18M12 3c5 5.500 5 12.500 0 18M12 3c-5 5.500-5 12.500 0 18",
  up: "M6 15l6-6 6 6",
  down: "M6 9l6 6 6-6",
  download: "M12 4v11M7 10.500l5 5 5-5M4.500 20h15",
  upload: "M12 16V5M7 9.500l5-5 5 5M4.500 20h15",
  print: "M7 8V3.500h10V8M7 17H4V8h16v9h-3M7 13.500h10v7H7z",
  back: "M20 12H5M11 6l-6 6 6 6",
};

/** Makes an icon. Decorative: hidden from assistive technology. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Makes a button. */
export function button(label, listener, { primary = false, name = "" } = {}) {
  const names = primary ? "button primary" : "button";
  return make("button", { class: name ? `${names} ${name}` : names, text: label, attrs: { type: "button" }, on: { click: listener } });
}
