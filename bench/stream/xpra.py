"""xpra's HTML5 client, with the same window of Chromium in an xpra server, as xpra forwards single programs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Page
from typing_extensions import override

from bench.report import MissingError
from bench.stream.browsers import OnScreen, Viewers, Window
from bench.stream.processes import free_port, listens, need, running, wait_until
from bench.stream.script import HEIGHT, WIDTH, XPRA

WEB = Path("/usr/share/xpra/www/index.html")
_NO_WORKER = "onmessage = () => postMessage({ result: false });"  # the answer of the script by which the client asks
SLACK = 1  # pixels that a window is smaller than the screen, without a window manager
# What is not compared is off: sound, files, printers, other programs. What pictures are sent as is left to xpra.
_OFF = [
    "pulseaudio",
    "speaker",
    "microphone",
    "notifications",
    "webcam",
    "printing",
    "file-transfer",
    "mdns",
    "bell",
    "system-tray",
    "dbus-launch",
    "dbus-proxy",
    "dbus-control",
    "start-new-commands",
    "systemd-run",
    "use-display",
]


@dataclass(frozen=True)
class Screen:
    """A running xpra server with its X server. ``pid``: of the xpra server, the X server's parent."""

    display: str
    port: int
    pid: int


@contextlib.contextmanager
def screen(folder: Path) -> Iterator[Screen]:
    """Run the server on loopback. Raises MissingError that says what to install."""
    server, x_server = need("xpra", "xpra"), need("Xvfb", "xvfb")
    if not WEB.exists():
        raise MissingError(f"{WEB} is not there: apt-get install xpra (or xpra-html5, where it comes apart)")
    own, log, port = folder / "xpra", folder / "xpra.log", free_port()
    own.mkdir(mode=0o700)
    display = next(f":{number}" for number in range(700, 900) if not Path(f"/tmp/.X11-unix/X{number}").exists())
    xvfb = f"{x_server} -screen 0 {WIDTH}x{HEIGHT}x24 -nolisten tcp -noreset +extension GLX +extension RANDR +extension RENDER +extension Composite"
    argv = [
        server,
        "start",
        display,
        "--daemon=no",
        f"--bind-tcp=127.0.0.1:{port}",
        "--html=on",
        f"--socket-dir={own}",
        f"--xvfb={xvfb}",
    ]
    argv += [f"--{what}=no" for what in _OFF]
    with running(argv, log, env={"XDG_RUNTIME_DIR": str(own), "HOME": str(own)}) as process:
        wait_until(lambda: listens(port) and "xpra is ready" in log.read_text(errors="replace"), process, log, "xpra")
        yield Screen(display, port, process.pid)


class Xpra(OnScreen):
    """xpra's own page as viewer. Its WebSocket stays in the page, as where workers cannot have one: in a worker, nothing can be counted."""

    name = XPRA

    def __init__(self, viewers: Viewers, remote: Window, made: Screen, origins: dict[str, str]) -> None:
        super().__init__(viewers, remote, [made.pid], origins)
        self._port = made.port

    @override
    async def connect(self, page: Page) -> None:
        """See :class:`bench.stream.browsers.OnScreen`."""
        await page.route("**/wsworker_check.js", lambda route: route.fulfill(body=_NO_WORKER, content_type="text/javascript"))
        await page.goto(f"http://127.0.0.1:{self._port}/index.html?floating_menu=false&sound=false")
        shown = "size => [...document.querySelectorAll('canvas')].some(canvas => canvas.width >= size)"
        await page.wait_for_function(shown, arg=WIDTH - SLACK)
