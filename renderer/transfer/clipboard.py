"""What lies in a session's clipboard, read by a page of our own.

The pages of a session are never allowed to read its clipboard, and we do not read it in them: an empty page, made for the moment, is sent
the command to paste, and looks at what the paste event brings. Only text and pictures are looked at.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
from collections.abc import Awaitable, Callable

from playwright.async_api import Error, Page

from renderer.wire.blobs import MAX_IMAGE
from renderer.wire.codec import MAX_CLIPBOARD

# ---------------------------------------------------------------- limits
HEARD_SECONDS = 2.0  # within which all pages of a session hear of one change
READ_SECONDS = 4.0  # Chromium needs some tens of milliseconds to encode a large picture

_LISTEN = """([mostText, mostBytes]) => { globalThis.found = new Promise(resolve => {
  const place = document.createElement('textarea');
  document.body.append(place);
  place.focus();
  addEventListener('paste', async event => {
    event.preventDefault();
    const text = event.clipboardData.getData('text/plain');
    const file = [...event.clipboardData.files].find(one => one.type === 'image/png');
    let png = '';
    if (file && file.size <= mostBytes) {
      const bytes = new Uint8Array(await file.arrayBuffer());
      for (let at = 0; at < bytes.length; at += 32768) png += String.fromCharCode(...bytes.subarray(at, at + 32768));
    }
    resolve({ text: text.length > mostText ? '' : text, fits: text.length <= mostText && !(file && png === ''), png: btoa(png) });
  }, { once: true });
}); }"""


class Changes:
    """The changes of one session's clipboard, as its pages hear of them.

    Every page of a session hears of one change, by its number, and Chromium for Linux says so too when text is only selected: with the number of
    the last real change.
    """

    def __init__(self) -> None:
        self._last = ""
        self._since = 0.0

    def news(self, number: str, now: float) -> bool:
        """Say whether a page that hears of a change hears of a new one."""
        if number != self._last:
            self._last, self._since = number, now
        return now - self._since < HEARD_SECONDS


class Found:
    """What was found: text or the bytes of a PNG, each empty where there is none; ``fits``: whether anything was too large to be read."""

    def __init__(self, text: str, png: bytes, *, fits: bool) -> None:
        self.text, self.png, self.fits = text, png, fits


async def read_clipboard(new_page: Callable[[], Awaitable[Page]]) -> Found | None:
    """Return what the clipboard holds; None: it could not be read."""
    page = await new_page()
    try:
        async with asyncio.timeout(READ_SECONDS):
            cdp = await page.context.new_cdp_session(page)
            await cdp.send("Emulation.setFocusEmulationEnabled", {"enabled": True})
            await page.evaluate(_LISTEN, [MAX_CLIPBOARD, MAX_IMAGE])
            key = {"key": "v", "code": "KeyV", "windowsVirtualKeyCode": 86, "modifiers": 2}
            await cdp.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", "commands": ["paste"], **key})
            found = await page.evaluate("() => globalThis.found")
    except TimeoutError:
        return None
    finally:
        with contextlib.suppress(Error):
            await page.close()
    return _checked(found)


def _checked(found: object) -> Found | None:
    if not isinstance(found, dict):
        return None
    text, png = found.get("text"), found.get("png")
    if not isinstance(text, str) or not isinstance(png, str) or len(png) > MAX_IMAGE * 4 // 3 + 4:
        return None
    try:
        return Found(text, base64.b64decode(png, validate=True), fits=found.get("fits") is True)
    except binascii.Error:
        return None
