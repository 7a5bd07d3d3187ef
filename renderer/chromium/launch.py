"""Start and end Chromium: through Playwright, in a private directory, with our own flags, its sandbox on."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import select
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, Error, Playwright, async_playwright

from renderer.chromium import cgroups, processes
from renderer.chromium.confine import Confinement, Walls
from renderer.chromium.flags import Proxy, command_line
from renderer.chromium.line import Line, starter
from renderer.watch import Limits

# ---------------------------------------------------------------- limits
LAUNCH_SECONDS = 30.0  # a cold start on a busy two-core machine takes 2 s
CLOSE_SECONDS = 3.0  # how long Chromium may take to end by itself before it is killed
REMOVE_TIMES = 20  # attempts to remove a directory, and
REMOVE_SECONDS = 0.05  # between two of them
PREFIX = "session-"  # of private directories below the runtime directory: what begins so is removed at the next start

_NO_SANDBOX_SIGNS = (
    "No usable sandbox",
    "namespace sandbox failed",
    "Operation not permitted",
    "Failed to move to new namespace",
)

log = logging.getLogger("renderer.chromium")


class LaunchError(Exception):
    """Chromium did not start. The text says why, as far as it said."""


class NoSandboxError(Exception):
    """Chromium's sandbox does not work here. The text says how to fix it."""


@dataclass(frozen=True, slots=True, eq=False)
class Chromium:
    """A running browser and what must be cleaned up after it. ``pid`` leads its process group; where it ends, everything of the browser does."""

    browser: Browser
    line: Line
    pid: int
    home: Path
    proxy: Proxy | None
    group: Path | None = None  # its control group, where the node may make them

    @property
    def version(self) -> str:
        """As Chromium says, "156.0.8078.79"."""
        return self.browser.version


def children(proc: Path = Path("/proc")) -> list[int]:
    """Return the processes this one has started and those it inherited."""
    return processes.children(os.getpid(), proc)


def private_directory(runtime_dir: Path) -> Path:
    """Create a directory, 0700, that holds everything one Chromium writes."""
    home = runtime_dir / f"{PREFIX}{secrets.token_hex(8)}"
    home.mkdir(mode=0o700)
    (home / "tmp").mkdir(mode=0o700)
    return home


def remove_stale(runtime_dir: Path) -> int:
    """Remove what a node that was killed left behind. Call it while the runtime directory is locked. Returns how many were removed."""
    stale = [path for path in runtime_dir.iterdir() if path.name.startswith((PREFIX, "playwright"))]
    for path in stale:
        shutil.rmtree(path, ignore_errors=True)
    return len(stale)


def environment(home: Path) -> dict[str, str | float | bool]:
    """Return everything Chromium knows of its surroundings: its own directory, and no word of ours."""
    kept: dict[str, str | float | bool] = {n: os.environ[n] for n in ("PATH", "LANG", "LC_ALL", "TZ") if n in os.environ}
    return kept | {
        "HOME": str(home),
        "TMPDIR": str(home / "tmp"),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_RUNTIME_DIR": str(home / "tmp"),
        "DBUS_SESSION_BUS_ADDRESS": "disabled:",
        "DBUS_SYSTEM_BUS_ADDRESS": "disabled:",
    }


class Engine:
    """Playwright's driver and the browsers it starts. One per node. ``lost`` is called when the driver dies, and its browsers with it."""

    def __init__(self, executable: Path, runtime_dir: Path, confinement: Confinement = Confinement(Walls.NONE)) -> None:  # noqa: B008 - frozen
        self.executable = executable
        self.runtime_dir = runtime_dir
        self.confinement = confinement
        self.groups: cgroups.Groups | None = None
        self.limits = Limits()
        self.lost: Callable[[], None] = lambda: None
        self._playwright: Playwright | None = None
        self._driver_pid = 0
        self._driver: int | None = None  # a descriptor of the driver's process
        self._starting = asyncio.Lock()
        self._ending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start the driver. It keeps its own temporary files below the runtime directory too."""
        os.environ["TMPDIR"] = str(self.runtime_dir)
        before = set(children())
        self._playwright = await async_playwright().start()
        # Playwright does not say when its driver ends; the kernel does.
        driver = next((pid for pid in children() if pid not in before), None)
        if driver is not None:
            self._driver_pid = driver
            self._driver = os.pidfd_open(driver)
            asyncio.get_running_loop().add_reader(self._driver, self._driver_ended)

    def _driver_ended(self) -> None:
        self._forget_driver()
        self._playwright = None
        log.error("driver.lost")
        self.lost()

    def _forget_driver(self) -> None:
        if self._driver is not None:
            asyncio.get_running_loop().remove_reader(self._driver)
            os.close(self._driver)
            self._driver = None

    async def stop(self) -> None:
        """Stop the driver; what it still runs ends with it."""
        await asyncio.gather(*self._ending, return_exceptions=True)
        self._forget_driver()
        if self._playwright is not None:
            await self._playwright.stop()
            self._playwright = None

    async def launch(self, proxy: Proxy | None) -> Chromium:
        """Start one Chromium, and a new driver when the last one died. Raises :class:`LaunchError` or :class:`NoSandboxError`."""
        driver = await self.running()
        try:
            return await self._launch(driver, proxy)
        except LaunchError:
            if await self.running() is driver:
                raise
        return await self._launch(self._playwright, proxy)  # its driver died meanwhile, which is no fault of this browser's

    async def running(self) -> Playwright | None:
        """Return the driver; start it where none runs, or the last one died."""
        async with self._starting:
            # Its browsers' ends may be heard of before the event loop comes to its own.
            if self._driver is not None:
                poll = select.poll()
                poll.register(self._driver, select.POLLIN)
                if poll.poll(0):
                    self._driver_ended()
            if self._playwright is None:
                await self.start()
            return self._playwright

    async def _launch(self, driver: Playwright | None, proxy: Proxy | None) -> Chromium:
        if driver is None:
            raise LaunchError("the driver does not run")
        home = private_directory(self.runtime_dir)
        line = Line(home)
        program, arguments = self.confinement.wrap(
            self.executable, command_line(home / "profile", proxy), home, through=starter(home)
        )
        try:
            browser = await driver.chromium.launch(
                executable_path=program,
                args=arguments,
                ignore_default_args=True,
                chromium_sandbox=True,
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
                timeout=LAUNCH_SECONDS * 1000,
                downloads_path=home / "downloads",  # Chromium writes nowhere else
                env=environment(home),
            )
            await line.start()
        except asyncio.CancelledError:
            line.close()  # Chromium, if it runs by now, ends with it
            raise
        except (Error, TimeoutError) as problem:
            line.close()
            shutil.rmtree(home, ignore_errors=True)
            said = str(problem)
            if any(sign in said for sign in _NO_SANDBOX_SIGNS):
                raise NoSandboxError(how_to_allow_sandbox()) from problem
            raise LaunchError(" ".join(said.split())[:500]) from problem
        pid = self._leader(home)
        if pid is None or not browser.is_connected():
            await _close(browser)
            line.close()
            shutil.rmtree(home, ignore_errors=True)
            raise LaunchError("Chromium ended while it started")
        return Chromium(browser, line, pid, home, proxy, await asyncio.to_thread(self._group, home, pid))

    def _group(self, home: Path, pid: int) -> Path | None:
        """Put a browser into a control group of its own. What it took before counts for the node."""
        group = self.groups.open(home.name.removeprefix(PREFIX), self.limits) if self.groups is not None else None
        if group is not None:
            cgroups.join(group, [process.pid for process in processes.take_census().tree(pid)])
        return group

    def _leader(self, home: Path) -> int | None:
        """Return the process that the driver started for a private directory: Chromium itself, or what holds its namespaces."""
        name = os.fsencode(home)
        return next((pid for pid in processes.children(self._driver_pid) if name in processes.command(pid)), None)

    def end_soon(self, chromium: Chromium) -> None:
        """End a Chromium as :meth:`end` does, and do not wait for it: :meth:`stop` does."""
        task = asyncio.ensure_future(self.end(chromium))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end(self, chromium: Chromium) -> None:
        """End a Chromium for certain: ask, then kill its process group; then remove its directory."""
        if self._playwright is not None:
            await _close(chromium.browser)
        chromium.line.close()
        if kill_group(chromium.pid):
            log.info("chromium.killed", extra={"pid": chromium.pid})
            await asyncio.sleep(0.05)
        await asyncio.to_thread(_remove, chromium.home)
        if chromium.group is not None and not await asyncio.to_thread(cgroups.close, chromium.group):
            log.error("cgroup.left", extra={"group": chromium.group.name})


async def _close(browser: Browser) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await browser.close()
    except (Error, TimeoutError):
        pass


def kill_group(pid: int) -> bool:
    """Kill a browser and what it started. False: there was nothing left."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill(pid: int) -> bool:
    """Kill one process of a browser. False: it was gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _remove(home: Path) -> None:
    # A dying helper process may still write a file while the tree is being removed.
    for _ in range(REMOVE_TIMES):
        shutil.rmtree(home, ignore_errors=True)
        if not home.exists():
            return
        time.sleep(REMOVE_SECONDS)
    log.error("profile.left", extra={"directory": home.name})


def how_to_allow_sandbox() -> str:
    """Return what to change on this machine so that Chromium's sandbox works."""
    hints = []
    for name, bad, fix in (
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or give Chromium an AppArmor profile with userns",
        ),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=10000"),
    ):
        try:
            if Path("/proc/sys", name).read_text().strip() == bad:
                hints.append(fix)
        except OSError:
            continue
    hints.append("in Docker: run with a seccomp profile that allows user namespaces (deploy/seccomp.json), not with --privileged")
    return (
        "Chromium's sandbox does not work here (it needs unprivileged user namespaces and seccomp), and the renderer never runs without it. Try: "
        + "; ".join(hints)
    )
