// What the security team wants to be read here: a bar above the page, until it is dismissed. Text nodes only.

import { icon, make } from "./dom.js";

/** Shows `texts` in `area`, each until somebody dismisses it. */
export function showNotices(area, texts) {
  if (texts.length === 0) return;
  for (const text of texts) {
    const line = make(
      "div",
      { class: "notice" },
      icon("shield"),
      make("p", { text, attrs: { dir: "auto" } }),
      make(
        "button",
        {
          class: "notice-close",
          attrs: { type: "button", "aria-label": "Dismiss" },
          on: {
            click: () => {
              line.remove();
              area.hidden = area.children.length === 0;
            },
          },
        },
        icon("close"),
      ),
    );
    area.append(line);
  }
  area.hidden = false;
}
