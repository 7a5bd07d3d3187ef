"""noVNC in front of TigerVNC's X server, with a window of Chromium on it that fills the screen: the usual way to show a browser from afar."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page
from typing_extensions import override

from bench.report import MissingError
from bench.stream.browsers import OnScreen, Viewers, Window
from bench.stream.processes import free_port, listens, need, running, wait_until
from bench.stream.script import HEIGHT, VNC, WIDTH

WEB = Path("/usr/share/novnc")


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


class NoVnc(OnScreen):
    """noVNC's own page as viewer."""

    name = VNC
    margin = (40, 100)

    def __init__(self, viewers: Viewers, remote: Window, made: Screen, origins: dict[str, str]) -> None:
        super().__init__(viewers, remote, made.pids, origins)
        self._port = made.port

    @override
    async def connect(self, page: Page) -> None:
        """See :class:`bench.stream.browsers.OnScreen`."""
        await page.goto(f"http://127.0.0.1:{self._port}/vnc_lite.html")
        await page.get_by_text("Connected to").wait_for()
