"""Screens of other scales in a running browser: a page whose window is moved to one is drawn with that many device pixels per CSS pixel.

So one warm browser serves every scale, each tab its own, and a person's page zoom is followed without a new browser. Found by trying:
``Emulation.setDeviceMetricsOverride`` changes what a page reads as its scale and leaves the screencast at CSS size; a window on a screen made
by ``Emulation.addScreen`` is drawn at that screen's scale. A forced scale (``--force-device-scale-factor``) turns this off.
"""

from __future__ import annotations

import asyncio

from renderer.cdp import Cdp

# ---------------------------------------------------------------- limits
NATIVE = 100  # hundredths: the scale of the screen a browser starts with
SIDE = 4096  # CSS pixels of a screen
APART = 100_000  # between two screens: they never touch, so no window lies on two


class Screens:
    """One browser's screens."""

    def __init__(self) -> None:
        self._at = {NATIVE: 0}  # scale → upper edge
        self._adding = asyncio.Lock()

    async def place(self, cdp: Cdp, scale: int) -> None:
        """Move a page's window to the screen of a scale, in hundredths. ``cdp``: a session with that page."""
        async with self._adding:
            if scale not in self._at:
                top = APART * len(self._at)
                side = SIDE * scale // 100
                await cdp.send(
                    "Emulation.addScreen", {"left": 0, "top": top, "width": side, "height": side, "devicePixelRatio": scale / 100}
                )
                self._at[scale] = top
        window = (await cdp.send("Browser.getWindowForTarget"))["windowId"]
        await cdp.send("Browser.setWindowBounds", {"windowId": window, "bounds": {"left": 0, "top": self._at[scale]}})
