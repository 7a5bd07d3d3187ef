"""Chromiums of this comparison itself: the one that viewers run in, and one with a window on an X screen."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Page, Playwright
from typing_extensions import override

from bench.report import MissingError
from bench.stream.processes import Meter, browser_of, need, started_as_root
from bench.stream.script import HEIGHT, WIDTH, Spot, Subject
from bench.stream.viewing import View, Viewed, closed, nearest
from renderer.chromium.find import find_chromium
from renderer.chromium.flags import BASE

_MARK = "--bench-viewers"  # means nothing to Chromium: its main process is found by it
_NOT_HERE = {"--headless", "--no-startup-window"}


@dataclass(frozen=True)
class Viewers:
    """The person's browser, and a meter on it."""

    browser: Browser
    meter: Meter


@dataclass(frozen=True)
class Window:
    """A browser on an X screen: its page, and the id of its main process."""

    page: Page
    pid: int


@contextlib.asynccontextmanager
async def viewers(playwright: Playwright) -> AsyncIterator[Viewers]:
    """Run the person's browser."""
    browser = await playwright.chromium.launch(
        executable_path=find_chromium(), args=[_MARK], handle_sigint=False, handle_sigterm=False, handle_sighup=False
    )
    try:
        yield Viewers(browser, Meter([browser_of(_MARK)], lambda _: "chromium"))
    finally:
        await closed(browser)


@contextlib.asynccontextmanager
async def window(playwright: Playwright, display: str, folder: Path, *, slack: int = 0) -> AsyncIterator[Window]:
    """Run Chromium with a window that fills a screen. ``slack``: pixels that it may be smaller. Raises MissingError where it does not fill it."""
    profile = tempfile.mkdtemp(prefix="window-", dir=folder)
    flags = [flag.switch for flag in BASE if flag.switch not in _NOT_HERE]
    # --test-type: no bar above the page that complains about flags.
    flags += ["--test-type", "--kiosk", "--window-position=0,0", f"--window-size={WIDTH},{HEIGHT}", "--ozone-platform=x11"]
    own = f"--user-data-dir={profile}"
    flags += [own, "--force-device-scale-factor=1", *(["--no-sandbox"] * started_as_root()), "about:blank"]
    context = await playwright.chromium.launch_persistent_context(
        profile,
        executable_path=need("chromium", "chromium"),
        headless=False,
        ignore_default_args=True,
        args=flags,
        chromium_sandbox=not started_as_root(),
        no_viewport=True,
        handle_sigint=False,
        handle_sigterm=False,
        handle_sighup=False,
        env={**os.environ, "DISPLAY": display},
    )
    try:
        page = context.pages[0]
        inner = await page.evaluate("[innerWidth, innerHeight]")
        if not (WIDTH - slack <= inner[0] <= WIDTH and HEIGHT - slack <= inner[1] <= HEIGHT):
            raise MissingError(f"Chromium's window on {display} shows {inner}, not {[WIDTH, HEIGHT]}")
        yield Window(page, browser_of(own))
    finally:
        await closed(context)


class OnScreen(Viewed):
    """A system that shows a window on an X screen. ``pids``: what serves it, beside the window. ``origins``: of the apps themselves, by name."""

    margin = (0, 0)  # what the viewer page needs around the picture, CSS pixels

    def __init__(self, viewers: Viewers, remote: Window, pids: Sequence[int], origins: dict[str, str]) -> None:
        server = Meter([*pids, remote.pid], lambda p: "chromium" if p.name().startswith("chrom") else "server")
        super().__init__(server, viewers.meter)
        self._viewers = viewers.browser
        self._page = remote.page
        self._origins = origins
        self._context: BrowserContext | None = None

    async def connect(self, page: Page) -> None:
        """Open the viewer page and wait until it is connected."""
        raise NotImplementedError

    async def open(self, subject: Subject, run: str) -> None:
        """See :class:`bench.stream.script.System`."""
        await self._page.goto("about:blank")
        width, height = self.margin
        self._context = await self._viewers.new_context(viewport={"width": WIDTH + width, "height": HEIGHT + height})
        self._view = view = await View.on(await self._context.new_page())
        await self.connect(view.page)
        await self._page.goto(f"{self._origins[subject.app]}{subject.address(run)}", wait_until="commit")

    @override
    async def target(self, subject: Subject) -> Spot:
        """See :class:`bench.stream.script.System`: on a busy machine notches are lost on the way to X, so the page is asked where things are."""
        return await nearest(self._page, subject.targets)

    async def address(self) -> str:
        """See :class:`bench.stream.script.System`."""
        return urlsplit(self._page.url).path

    async def close(self) -> None:
        """See :class:`bench.stream.script.System`."""
        if self._context is not None:
            await self._context.close()
            self._context = self._view = None
        await self._page.goto("about:blank")
