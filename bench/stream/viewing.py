"""Viewer pages in a Chromium of their own, with everything that crosses their WebSocket noted inside the page, where it happens."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from dataclasses import dataclass

from playwright.async_api import Browser, BrowserContext, Error, Page

from bench.stream.script import HEIGHT, Spot

# Runs before the page's scripts: every WebSocket of the page notes direction, time and size; what is small or wanted, whole.
_NOTE = """
(() => {
  const keep = %s, notes = [];
  const note = (kind, data) => {
    const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : ArrayBuffer.isView(data) ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array();
    notes.push({ kind, at: performance.now(), size: bytes.length, data: bytes.slice(0, keep ? bytes.length : 16) });
  };
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) { note('out', data); send.call(this, data); };
  globalThis.WebSocket = new Proxy(WebSocket, {
    construct(target, given) {
      const socket = new target(...given);
      note('open');
      socket.addEventListener('message', ({ data }) => note('in', data));
      return socket;
    },
  });
  globalThis.takeNotes = () => notes.splice(0).map(({ kind, at, size, data }) => [kind, at, size, data.toBase64()]);
})();
"""


@dataclass(frozen=True)
class Note:
    """One crossing. ``kind``: open, in or out. ``at``: milliseconds. ``data``: the message, or its first bytes."""

    kind: str
    at: float
    size: int
    data: bytes


class View:
    """A viewer page and the picture on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._left = self._top = 0.0

    @classmethod
    async def on(cls, page: Page, *, keep: bool) -> View:
        """Prepare an empty page. ``keep``: whole messages, not only their first bytes."""
        await page.add_init_script(_NOTE % ("true" if keep else "false"))
        return cls(page)

    async def locate(self) -> tuple[float, float]:
        """Find the canvas; return its size in CSS pixels."""
        box = await self.page.locator("canvas").first.bounding_box()
        assert box is not None
        self._left, self._top = box["x"], box["y"]
        return box["width"], box["height"]

    async def notes(self) -> list[Note]:
        """Return what crossed since the last call."""
        found = await self.page.evaluate("takeNotes()")
        return [Note(kind, at, size, base64.b64decode(data)) for kind, at, size, data in found]

    async def move(self, spot: Spot) -> None:
        """Move the mouse over the picture."""
        await self.page.mouse.move(self._left + spot.x, self._top + spot.y)

    async def click(self, spot: Spot) -> None:
        """Click on the picture."""
        await self.page.mouse.click(self._left + spot.x, self._top + spot.y)

    async def press(self, character: str) -> None:
        """Press and release a key."""
        await self.page.keyboard.press(character)


async def nearest(page: Page, selector: str) -> Spot:
    """Return the middle of that element on the page's screen which is nearest to half its height."""
    boxes = await page.evaluate(
        "found => [...document.querySelectorAll(found)].map(e => e.getBoundingClientRect()).map(b => [b.x + b.width / 2, b.y + b.height / 2])",
        selector,
    )
    x, y = min((at for at in boxes if 0 < at[1] < HEIGHT), key=lambda at: abs(at[1] - HEIGHT / 2))
    return Spot(round(x), round(y))


async def closed(browser: Browser | BrowserContext) -> None:
    """Close a browser, or find that it is gone."""
    with contextlib.suppress(Error):
        async with asyncio.timeout(10):
            await browser.close()
