"""The raw screencast of Chromium: every frame acknowledged at once, nothing compared, nothing encoded again."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, CDPSession, Error, Page, Playwright

from bench.stream.processes import Meter, browser_of, now, started_as_root
from bench.stream.script import HEIGHT, NOTCH, WIDTH, Spot, Subject, Taken
from bench.stream.viewing import closed
from renderer.chromium.find import find_chromium
from renderer.chromium.flags import BASE

FORMATS: dict[str, dict[str, Any]] = {"jpeg": {"format": "jpeg", "quality": 80}, "png": {"format": "png"}}


@contextlib.asynccontextmanager
async def browser(playwright: Playwright, folder: Path) -> AsyncIterator[tuple[BrowserContext, int]]:
    """Run the node's Chromium with the node's flags; yields its context and its process id."""
    profile = tempfile.mkdtemp(prefix="screencast-", dir=folder)
    flags = [flag.switch for flag in BASE if flag.switch != "--no-startup-window"]
    context = await playwright.chromium.launch_persistent_context(
        profile,
        executable_path=find_chromium(),
        ignore_default_args=True,
        args=[*flags, f"--user-data-dir={profile}", "--force-device-scale-factor=1", *(["--no-sandbox"] * started_as_root())],
        chromium_sandbox=not started_as_root(),
        no_viewport=True,
        handle_sigint=False,
        handle_sigterm=False,
        handle_sighup=False,
    )
    try:
        page = context.pages[0] if context.pages else await context.new_page()
        session = await context.new_cdp_session(page)
        await session.send("Emulation.setDeviceMetricsOverride", _METRICS)
        pid = browser_of(profile)
        yield context, pid
    finally:
        await closed(context)


_METRICS = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 0, "mobile": False}


class Screencast:
    """One format of it. ``origins``: of the apps themselves, by name."""

    def __init__(self, kind: str, context: BrowserContext, pid: int, origins: dict[str, str]) -> None:
        self.name = f"screencast {kind}"
        self._options = FORMATS[kind]
        self._context = context
        self._meter = Meter([pid], lambda _: "chromium")
        self._origins = origins
        self._page: Page | None = None
        self._cdp: CDPSession | None = None
        self._taken = Taken()
        self._opened: float | None = None
        self._key: float | None = None
        self._tasks: set[Any] = set()

    async def open(self, subject: Subject, run: str) -> None:
        """See :class:`bench.stream.script.System`."""
        self._page = await self._context.new_page()
        self._cdp = await self._context.new_cdp_session(self._page)
        await self._cdp.send("Emulation.setDeviceMetricsOverride", _METRICS)
        self._taken, self._key, self._opened = Taken(), None, now()
        self._cdp.on("Page.screencastFrame", self._frame_came)
        await self._cdp.send("Page.startScreencast", {**self._options, "maxFramesInFlight": 2, "sendLastFrame": True})
        await self._page.goto(f"{self._origins[subject.name]}{subject.address(run)}", wait_until="commit")

    def _frame_came(self, event: dict[str, Any]) -> None:
        assert self._cdp is not None
        task = asyncio.ensure_future(self._acknowledge(event["sessionId"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        data = event["data"]
        taken = self._taken
        taken.bytes += len(data) * 3 // 4 - data[-2:].count("=")
        taken.pictures += 1
        if self._key is not None:
            taken.keys.append(now() - self._key)
            self._key = None
        if self._opened is not None and len(data) > 20_000:  # the first that is not blank
            taken.first_picture, self._opened = now() - self._opened, None

    async def _acknowledge(self, number: int) -> None:
        assert self._cdp is not None
        with contextlib.suppress(Error):
            await self._cdp.send("Page.screencastFrameAck", {"sessionId": number})

    async def _mouse(self, kind: str, spot: Spot, **more: Any) -> None:
        assert self._cdp is not None
        await self._cdp.send("Input.dispatchMouseEvent", {"type": kind, "x": spot.x, "y": spot.y, **more})

    async def click(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self._mouse("mouseMoved", spot)
        await self._mouse("mousePressed", spot, button="left", buttons=1, clickCount=1)
        await self._mouse("mouseReleased", spot, button="left", clickCount=1)

    async def press(self, character: str) -> None:
        """See :class:`bench.stream.script.System`."""
        assert self._cdp is not None
        self._key = now()
        await self._cdp.send("Input.dispatchKeyEvent", {"type": "keyDown", "key": character, "text": character})
        await self._cdp.send("Input.dispatchKeyEvent", {"type": "keyUp", "key": character})

    async def aim(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self._mouse("mouseMoved", spot)

    async def notch(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self._mouse("mouseWheel", spot, deltaX=0, deltaY=NOTCH)

    async def target(self, subject: Subject) -> Spot:
        """See :class:`bench.stream.script.System`."""
        return subject.target

    async def take(self, phase: str) -> Taken:
        """See :class:`bench.stream.script.System`."""
        del phase
        taken, self._taken, self._key = self._taken, Taken(), None
        return taken

    def cpu(self) -> dict[str, float]:
        """See :class:`bench.stream.script.System`."""
        return self._meter.read()

    async def address(self) -> str:
        """See :class:`bench.stream.script.System`."""
        assert self._page is not None
        return urlsplit(self._page.url).path

    async def close(self) -> None:
        """See :class:`bench.stream.script.System`."""
        if self._page is not None:
            await self._page.close()
            self._page = self._cdp = None
