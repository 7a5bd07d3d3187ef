"""noVNC in front of TigerVNC's X server, with a window of Chromium on it that fills the screen: the usual way to show a browser from afar."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, Playwright

from bench.report import MissingError
from bench.stream.processes import Meter, browser_of, free_port, listens, need, running, started_as_root, wait_until
from bench.stream.script import HEIGHT, NOTCH, WIDTH, Spot, Subject, Taken
from bench.stream.viewing import Note, View, closed, nearest
from renderer.chromium.flags import BASE

WEB = Path("/usr/share/novnc")
_NOT_HERE = {"--headless", "--no-startup-window"}
_KEY_DOWN = (b"\x04\x01", b"\xff\x00\x00\x01")  # RFC 6143 §7.5.4, and QEMU's extended key event, which TigerVNC takes


@dataclass(frozen=True)
class Screen:
    """A running X server with its WebSocket. ``pids``: X server and websockify."""

    display: str
    port: int
    pids: tuple[int, ...]


@contextlib.contextmanager
def screen(folder: Path) -> Iterator[Screen]:
    """Run the X server and websockify on loopback. Raises MissingError that says what to install."""
    server = need("Xtigervnc", "tigervnc-standalone-server")
    relay = need("websockify", "websockify")
    if not (WEB / "vnc_lite.html").exists():
        raise MissingError(f"{WEB} is not there: apt-get install novnc")
    rfb, port = free_port(), free_port()
    log, relay_log = folder / "vnc.log", folder / "websockify.log"
    reader, writer = os.pipe()
    # One pixel larger than the window: without a window manager, Chromium keeps a window from being exactly as large as the screen.
    size = f"{WIDTH + 1}x{HEIGHT + 1}"
    argv = [server, "-displayfd", str(writer), "-geometry", size, "-depth", "24", "-SecurityTypes", "None", "-localhost"]
    argv += ["-nolisten", "tcp", "-rfbport", str(rfb)]
    with running(argv, log, pass_fds=[writer]) as x_server:
        os.close(writer)
        wait_until(lambda: listens(rfb), x_server, log, "Xtigervnc")
        with os.fdopen(reader) as announced:
            display = announced.readline().strip()  # the whole line: the server dies where it cannot write all of it
        with running([relay, "--web", str(WEB), f"127.0.0.1:{port}", f"127.0.0.1:{rfb}"], relay_log) as websockify:
            wait_until(lambda: listens(port), websockify, relay_log, "websockify")
            yield Screen(f":{display}", port, (x_server.pid, websockify.pid))


@contextlib.asynccontextmanager
async def window(playwright: Playwright, made: Screen, folder: Path) -> AsyncIterator[tuple[BrowserContext, int]]:
    """Run Chromium with a window on the screen; yields its context and its process id."""
    profile = tempfile.mkdtemp(prefix="window-", dir=folder)
    flags = [flag.switch for flag in BASE if flag.switch not in _NOT_HERE]
    # --test-type: no bar above the page that complains about flags.
    flags += ["--test-type", "--kiosk", "--window-position=0,0", f"--window-size={WIDTH},{HEIGHT}", "--ozone-platform=x11"]
    flags += [
        f"--user-data-dir={profile}",
        "--force-device-scale-factor=1",
        *(["--no-sandbox"] * started_as_root()),
        "about:blank",
    ]
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
        env={**os.environ, "DISPLAY": made.display},
    )
    try:
        page = context.pages[0]
        inner = await page.evaluate("[innerWidth, innerHeight]")
        if inner != [WIDTH, HEIGHT]:
            raise MissingError(f"Chromium's window under X shows {inner}, not {[WIDTH, HEIGHT]}")
        yield context, browser_of(profile)
    finally:
        await closed(context)


class NoVnc:
    """noVNC's own page as viewer. ``origins``: of the apps themselves, by name."""

    name = "noVNC"

    def __init__(self, viewers: Browser, remote: BrowserContext, pid: int, made: Screen, origins: dict[str, str]) -> None:
        self._viewers = viewers
        self._remote = remote
        self._meter = Meter([*made.pids, pid], lambda p: "chromium" if p.name().startswith("chrom") else "server")
        self._screen = made
        self._origins = origins
        self._view: View | None = None
        self._context: BrowserContext | None = None

    async def open(self, subject: Subject, run: str) -> None:
        """See :class:`bench.stream.script.System`."""
        page = self._remote.pages[0]
        await page.goto("about:blank")
        self._context = await self._viewers.new_context(viewport={"width": WIDTH + 40, "height": HEIGHT + 100})
        self._view = view = await View.on(await self._context.new_page(), keep=False)
        await view.page.goto(f"http://127.0.0.1:{self._screen.port}/vnc_lite.html")
        await view.page.get_by_text("Connected to").wait_for()
        await page.goto(f"{self._origins[subject.name]}{subject.address(run)}", wait_until="commit")

    @property
    def view(self) -> View:
        """The open viewer page."""
        assert self._view is not None
        return self._view

    async def click(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.locate()
        await self.view.click(spot)

    async def press(self, character: str) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.press(character)

    async def aim(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.move(spot)

    async def notch(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        del spot
        await self.view.page.mouse.wheel(0, NOTCH)

    async def target(self, subject: Subject) -> Spot:
        """See :class:`bench.stream.script.System`: on a busy machine noVNC makes one notch of two, so the page is asked where things are."""
        return await nearest(self._remote.pages[0], subject.targets)

    async def take(self, phase: str) -> Taken:
        """See :class:`bench.stream.script.System`."""
        del phase
        return read(await self.view.notes())

    def cpu(self) -> dict[str, float]:
        """See :class:`bench.stream.script.System`."""
        return self._meter.read()

    async def address(self) -> str:
        """See :class:`bench.stream.script.System`."""
        return urlsplit(self._remote.pages[0].url).path

    async def close(self) -> None:
        """See :class:`bench.stream.script.System`."""
        if self._context is not None:
            await self._context.close()
            self._context = self._view = None
        await self._remote.pages[0].goto("about:blank")


def read(notes: list[Note]) -> Taken:
    """Count what came. A key's answer is the first bytes after it: when they are on the screen, RFB does not say."""
    taken = Taken()
    key: float | None = None
    for note in notes:
        if note.kind == "in":
            taken.bytes += note.size
            taken.pictures += 1
            if key is not None:
                taken.keys.append(note.at - key)
                key = None
        elif note.kind == "out" and note.data.startswith(_KEY_DOWN):
            key = note.at
    return taken
