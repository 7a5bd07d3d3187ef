"""The raw screencast of Chromium: every frame acknowledged at once, nothing compared, nothing encoded again."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, CDPSession, Error, Page, Playwright

from bench.stream.processes import Meter, browser_of, now, started_as_root
from bench.stream.script import HEIGHT, NOTCH, WIDTH, Area, Seen, Spot, Subject, Taken
from bench.stream.viewing import closed, glide
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
        pid = browser_of(f"--user-data-dir={profile}")
        yield context, pid
    finally:
        await closed(context)


_METRICS = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 0, "mobile": False}


class Screencast:
    """One format of it. ``origins``: of the apps themselves, by name. Its viewer is this program: a frame counts when it arrives here."""

    def __init__(self, kind: str, context: BrowserContext, pid: int, origins: dict[str, str]) -> None:
        self.name = f"screencast {kind}"
        self._options = FORMATS[kind]
        self._context = context
        self._meter = Meter([pid], lambda _: "chromium")
        self._origins = origins
        self._page: Page | None = None
        self._cdp: CDPSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken = Taken()
        self._seen = Seen()
        self._what = ""
        self._waiting: float | None = None
        self._held = False

    async def open(self, subject: Subject, run: str) -> None:
        """See :class:`bench.stream.script.System`."""
        self._page = await self._context.new_page()
        self._cdp = await self._context.new_cdp_session(self._page)
        await self._cdp.send("Emulation.setDeviceMetricsOverride", _METRICS)
        self._taken = Taken()
        self._cdp.on("Page.screencastFrame", self._frame_came)
        await self._cdp.send("Page.startScreencast", {**self._options, "maxFramesInFlight": 2, "sendLastFrame": True})
        await self._page.goto(f"{self._origins[subject.app]}{subject.address(run)}", wait_until="domcontentloaded")

    async def ready(self) -> None:
        """See :class:`bench.stream.script.System`: its page is opened by this program, which waited."""

    def _frame_came(self, event: dict[str, Any]) -> None:
        task = asyncio.ensure_future(self._acknowledge(event["sessionId"]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        data = event["data"]
        self._taken.bytes += len(data) * 3 // 4 - data[-2:].count("=")
        self._taken.messages += 1
        if self._what == "motion":
            self._seen.changes.append(now())
        elif self._waiting is not None:
            self._seen.delays.append(now() - self._waiting)
            self._waiting = None

    async def _acknowledge(self, number: int) -> None:
        with contextlib.suppress(Error):
            await self.cdp.send("Page.screencastFrameAck", {"sessionId": number})

    @property
    def cdp(self) -> CDPSession:
        """The session with the open page."""
        assert self._cdp is not None
        return self._cdp

    async def _mouse(self, kind: str, spot: Spot, **more: Any) -> None:
        await self.cdp.send("Input.dispatchMouseEvent", {"type": kind, "x": spot.x, "y": spot.y, **more})

    async def click(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.hold(spot)
        await self.release(spot)

    async def press(self, key: str) -> None:
        """See :class:`bench.stream.script.System`."""
        text = "\r" if key == "Enter" else key
        self._acted()
        await self.cdp.send("Input.dispatchKeyEvent", {"type": "keyDown", "key": key, "text": text})
        await self.cdp.send("Input.dispatchKeyEvent", {"type": "keyUp", "key": key})

    def _acted(self) -> None:
        self._give_up()
        self._waiting = now() if self._what in {"keys", "notches"} else None

    def _give_up(self) -> None:
        """An act that no frame came for until the next one counts with the time that it waited, and as late."""
        if self._waiting is not None:
            self._seen.delays.append(now() - self._waiting)
            self._seen.late += 1
            self._waiting = None

    async def aim(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self._mouse("mouseMoved", spot, **({"button": "left", "buttons": 1} if self._held else {}))

    async def hold(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.aim(spot)
        await self._mouse("mousePressed", spot, button="left", buttons=1, clickCount=1)
        self._held = True

    async def release(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self._mouse("mouseReleased", spot, button="left", clickCount=1)
        self._held = False

    async def notch(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        self._acted()
        await self._mouse("mouseWheel", spot, deltaX=0, deltaY=NOTCH)

    async def glide(self, spot: Spot, distance: int, speed: int) -> None:
        """See :class:`bench.stream.script.System`."""
        self._seen.first = now()
        await glide(self.cdp, spot.x, spot.y, distance, speed)
        self._seen.last = now()

    async def target(self, subject: Subject) -> Spot:
        """See :class:`bench.stream.script.System`."""
        return subject.target

    async def watch(self, what: str, areas: Sequence[Area]) -> None:
        """See :class:`bench.stream.script.System`: a frame is only looked at by the clock, for that is when a viewer could begin to paint it."""
        del areas
        self._what, self._seen, self._waiting = what, Seen(), None

    async def seen(self) -> Seen:
        """See :class:`bench.stream.script.System`."""
        self._give_up()
        self._what = ""
        return self._seen

    async def take(self) -> Taken:
        """See :class:`bench.stream.script.System`."""
        taken, self._taken = self._taken, Taken()
        return taken

    def server(self) -> dict[str, float]:
        """See :class:`bench.stream.script.System`."""
        return self._meter.read()

    def client(self) -> float | None:
        """See :class:`bench.stream.script.System`: nothing is decoded, nothing is painted."""
        return None

    def memory(self) -> float | None:
        """See :class:`bench.stream.script.System`."""
        return self._meter.pss()["all"]

    async def address(self) -> str:
        """See :class:`bench.stream.script.System`."""
        assert self._page is not None
        return urlsplit(self._page.url).path

    async def close(self) -> None:
        """See :class:`bench.stream.script.System`."""
        if self._page is not None:
            await self._page.close()
            self._page = self._cdp = None
