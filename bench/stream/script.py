"""What every system can be asked to do, and how it is put through a scenario. Fixed windows of time, so that an idle picture costs each the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

WIDTH, HEIGHT = 1280, 800
NOTCH = 120  # CSS pixels: one notch of a mouse wheel in Chromium, under X11 as well
LATE = 50  # looks at what is late
OURS, JPEG, PNG, VNC, XPRA = "ours", "screencast jpeg", "screencast png", "noVNC", "xpra"
SYSTEMS = (OURS, JPEG, PNG, VNC, XPRA)


@dataclass(frozen=True)
class Spot:
    """A point of the page's viewport, CSS pixels."""

    x: float
    y: float


@dataclass(frozen=True)
class Area:
    """A rectangle of the page's viewport, CSS pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Subject:
    """A page. ``app``: which app serves it. ``path``: on its app, with ``{run}`` where the page wants to know the run.

    The rest is found in the page before the first run, where its script needs it. ``field``: to type into; ``target``: to click after
    scrolling, one of what ``targets`` (CSS) selects.
    """

    app: str
    path: str
    field: Spot = Spot(0, 0)
    target: Spot = Spot(0, 0)
    targets: str = ""

    def address(self, run: str) -> str:
        """Return the path for one run."""
        return self.path.replace("{run}", run)


@dataclass
class Taken:
    """What a system sent since it was last asked. ``bytes``: payload to the viewer. ``notes``: lines about frames, where they were asked for."""

    bytes: int = 0
    messages: int = 0
    notes: list[str] = field(default_factory=list)

    def __add__(self, other: Taken) -> Taken:
        """Return both together."""
        return Taken(self.bytes + other.bytes, self.messages + other.messages, self.notes + other.notes)


@dataclass
class Seen:
    """What was seen on the viewer's canvas. ``delays``: milliseconds from each act to its pixels. ``changes``: when the area changed.

    ``first``, ``last``: when the wheel first and last turned; all times in milliseconds of one clock. ``late``: acts whose pixels were given up: their
    delays are what they waited until then.
    """

    delays: list[float] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)
    first: float | None = None
    last: float | None = None
    late: int = 0


@dataclass
class Part:
    """One phase of one run. ``server``: processor seconds of the serving side by kind of process, the sum as ``all``.

    ``client``: of the viewer's browser; None where there is none. ``fps``: pictures a second, in phases that move.
    """

    taken: Taken
    server: dict[str, float]
    client: float | None = None
    fps: float | None = None


class System(Protocol):
    """What is compared."""

    name: str

    async def open(self, subject: Subject, run: str) -> None:
        """Connect a viewer and begin to load the page. ``run``: names this run to the page."""
        ...

    async def ready(self) -> None:
        """Wait until the page is seen: on a busy machine that takes longer than the window for loading. Raises TimeoutError where it never is."""
        ...

    async def click(self, spot: Spot) -> None:
        """Press and release the left button."""
        ...

    async def press(self, key: str) -> None:
        """Press and release a key: a character or ``Enter``."""
        ...

    async def aim(self, spot: Spot) -> None:
        """Move the mouse."""
        ...

    async def hold(self, spot: Spot) -> None:
        """Press the left button and keep it down: moves drag."""
        ...

    async def release(self, spot: Spot) -> None:
        """Let go of the left button."""
        ...

    async def notch(self, spot: Spot) -> None:
        """Turn the wheel one notch down, where the mouse is."""
        ...

    async def glide(self, spot: Spot, distance: int, speed: int) -> None:
        """Scroll down evenly, as with a trackpad: a wheel event for each picture of the screen. CSS pixels, and a second."""
        ...

    async def target(self, subject: Subject) -> Spot:
        """Return where what is to be clicked is after scrolling."""
        ...

    async def watch(self, what: str, areas: Sequence[Area]) -> None:
        """Begin to watch the viewer's canvas.

        ``keys``: each key puts ink into the next of ``areas``. ``notches``: each turn of the wheel changes the area. ``motion``: when it changes.
        """
        ...

    async def seen(self) -> Seen:
        """Return what was seen, and watch no longer."""
        ...

    async def take(self) -> Taken:
        """Return what came since the last call."""
        ...

    def server(self) -> dict[str, float]:
        """Return the processor seconds of the serving side so far, by kind of process."""
        ...

    def client(self) -> float | None:
        """Return the processor seconds of the viewer's browser so far."""
        ...

    def memory(self) -> float | None:
        """Return the memory of the serving side (PSS, megabytes)."""
        ...

    async def address(self) -> str:
        """Return the path where the page is now."""
        ...

    async def close(self) -> None:
        """End the viewer."""
        ...


@dataclass(frozen=True)
class Phase:
    """A part of a script. ``rest``: seconds of looking on after the act. ``motion``: an area whose pictures are counted meanwhile."""

    name: str
    act: Callable[[System, Subject], Awaitable[None]]
    rest: float
    motion: Area | None = None


async def perform(
    system: System,
    subject: Subject,
    phases: Sequence[Phase],
    run: str,
    load: float,
    arrived: Callable[[], Awaitable[bool]],
    *,
    rests: bool,
) -> dict[str, Part]:
    """Put one system through a script; return what each phase took. ``load``: seconds for loading the page, the first phase of each.

    ``arrived``: whether all of the script has reached the page; a busy machine gets more time for that. Raises TimeoutError where it never does.
    ``rests``: the page is still at the end, so what comes late is waited for: a system that fell behind would look thrifty.
    """
    parts: dict[str, Part] = {}
    server, client = system.server(), system.client()

    async def end(name: str, rest: float, *, moving: float | None = None) -> None:
        nonlocal server, client
        await asyncio.sleep(rest)
        if name == "load":
            await system.ready()
        fps = None
        if moving is not None:
            seconds = asyncio.get_running_loop().time() - moving
            fps = round(len((await system.seen()).changes) / seconds, 1)
        taken = await system.take()
        if phases and name == phases[-1].name:
            await in_time(arrived)
            taken += await _late(system, rests=rests)
        now, now_client = system.server(), system.client()
        used = {kind: round(now[kind] - server.get(kind, 0.0), 3) for kind in now}
        used_client = None if now_client is None or client is None else round(now_client - client, 3)
        parts[name] = Part(taken, used, used_client, fps)
        server, client = now, now_client

    try:
        await system.open(subject, run)
        await end("load", load)
        for phase in phases:
            started = None
            if phase.motion is not None:
                await system.watch("motion", [phase.motion])
                started = asyncio.get_running_loop().time()
            await phase.act(system, subject)
            await end(phase.name, phase.rest, moving=started)
    finally:
        await system.close()
    return parts


async def _late(system: System, *, rests: bool) -> Taken:
    """Return what still comes: until nothing does for half a second, where the page rests."""
    found = await system.take()
    for _ in range(LATE if rests else 0):
        await asyncio.sleep(0.5)
        more = await system.take()
        found += more
        if more.messages == 0:
            break
    return found


async def in_time(arrived: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something has arrived. Raises TimeoutError where it does not."""
    for _ in range(LATE):
        if await arrived():
            return
        await asyncio.sleep(0.2)
    raise TimeoutError("the script did not arrive in the page")


class Beat:
    """Even times, however long the acts between them take."""

    def __init__(self, seconds: float, clock: Callable[[], float] | None = None) -> None:
        self._seconds = seconds
        self._clock = clock or asyncio.get_running_loop().time
        self._next = self._clock()

    async def next(self) -> None:
        """Wait for the next one."""
        await asyncio.sleep(max(0.0, self._next - self._clock()))
        self._next = max(self._next + self._seconds, self._clock())
