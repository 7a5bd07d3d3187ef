"""The script that every system is put through, and what is noted of it. Fixed windows of time, so that an idle picture costs each the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

WIDTH, HEIGHT = 1280, 800
TEXT = "browser isolation 42"  # 20 characters
NOTCHES = 40
NOTCH = 120  # CSS pixels: one notch of a mouse wheel in Chromium, under X11 as well
KEY_SECONDS = 0.15  # a fast typist; longer than any system takes for a key, so that each key has its own picture
NOTCH_SECONDS = 0.06
WINDOWS = {"load": 4.0, "type": 0.4, "scroll": 0.8, "click": 1.5}  # seconds of looking on after the last act of a phase
PHASES = tuple(WINDOWS)
LATE = 50  # times 0.2 seconds for what is late
OURS, JPEG, PNG, VNC = "ours", "screencast jpeg", "screencast png", "noVNC"


@dataclass(frozen=True)
class Spot:
    """A point of the page's viewport, CSS pixels."""

    x: float
    y: float


@dataclass(frozen=True)
class Subject:
    """A page. ``path``: on its app, with ``{run}`` where the page wants to know the run.

    ``field``: to type into; ``middle``: to scroll at; ``target``: to click after scrolling, one of what ``targets`` (CSS) selects.
    """

    name: str
    path: str
    field: Spot
    middle: Spot
    target: Spot
    targets: str

    def address(self, run: str) -> str:
        """Return the path for one run."""
        return self.path.replace("{run}", run)


@dataclass
class Taken:
    """What a system sent since it was last asked. ``bytes``: payload to the viewer. ``keys``: milliseconds from a key to its picture."""

    bytes: int = 0
    pictures: int = 0
    keys: list[float] = field(default_factory=list)
    first_picture: float | None = None
    notes: list[str] = field(default_factory=list)


@dataclass
class Part:
    """One phase of one run."""

    taken: Taken
    cpu: dict[str, float]


class System(Protocol):
    """What is compared."""

    name: str

    async def open(self, subject: Subject, run: str) -> None:
        """Connect a viewer and begin to load the page. ``run``: names this run to the page."""
        ...

    async def click(self, spot: Spot) -> None:
        """Press and release the left button."""
        ...

    async def press(self, character: str) -> None:
        """Press and release a key."""
        ...

    async def aim(self, spot: Spot) -> None:
        """Move the mouse."""
        ...

    async def notch(self, spot: Spot) -> None:
        """Turn the wheel one notch down, where the mouse is."""
        ...

    async def target(self, subject: Subject) -> Spot:
        """Return where what is to be clicked is after scrolling."""
        ...

    async def take(self, phase: str) -> Taken:
        """Return what came since the last call."""
        ...

    def cpu(self) -> dict[str, float]:
        """Return the processor seconds of the serving side so far, by kind of process."""
        ...

    async def address(self) -> str:
        """Return the path where the page is now."""
        ...

    async def close(self) -> None:
        """End the viewer."""
        ...


async def perform(system: System, subject: Subject, run: str, arrived: Callable[[], Awaitable[bool]]) -> dict[str, Part]:
    """Put one system through the script on one page; return what each phase took.

    ``arrived``: whether all of the script has reached the page; a busy machine gets more time for that. Raises TimeoutError where it never does.
    """
    parts: dict[str, Part] = {}
    cpu = system.cpu()

    async def end(phase: str) -> None:
        nonlocal cpu
        await asyncio.sleep(WINDOWS[phase])
        if phase == PHASES[-1]:
            await _in_time(arrived)
        now = system.cpu()
        parts[phase] = Part(await system.take(phase), {kind: round(now[kind] - cpu.get(kind, 0.0), 3) for kind in now})
        cpu = now

    try:
        await system.open(subject, run)
        await end("load")
        await system.click(subject.field)
        await asyncio.sleep(0.5)
        beat = _Beat(KEY_SECONDS)
        for character in TEXT:
            await beat.next()
            await system.press(character)
        await end("type")
        await system.aim(subject.middle)
        beat = _Beat(NOTCH_SECONDS)
        for _ in range(NOTCHES):
            await beat.next()
            await system.notch(subject.middle)
        await end("scroll")
        await system.click(await system.target(subject))
        await end("click")
    finally:
        await system.close()
    return parts


async def _in_time(arrived: Callable[[], Awaitable[bool]]) -> None:
    for _ in range(LATE):
        if await arrived():
            return
        await asyncio.sleep(0.2)
    raise TimeoutError("the script did not arrive in the page")


class _Beat:
    """Even times, however long the acts between them take."""

    def __init__(self, seconds: float, clock: Callable[[], float] | None = None) -> None:
        self._seconds = seconds
        self._clock = clock or asyncio.get_running_loop().time
        self._next = self._clock()

    async def next(self) -> None:
        """Wait for the next one."""
        await asyncio.sleep(max(0.0, self._next - self._clock()))
        self._next = max(self._next + self._seconds, self._clock())
