"""How it feels: from a key or a turn of the wheel to its pixels, and pictures a second while scrolling. By one person, and by several at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.stream.scenarios import FEEL_PAGE, LOAD_SECONDS, MIDDLE
from bench.stream.script import NOTCH, Area, Beat, Seen, Spot, System, in_time

LETTERS = "mwxakbsezgnmwxakbsezgnmw"  # each with ink in the middle of its place
KEY_SECONDS = 0.15
NOTCHES = 12
NOTCH_SECONDS = 0.25  # longer than any system takes for one, so that each has its own picture
GLIDE, GLIDE_SPEED = 3000, 1200  # CSS pixels, and a second: a calm scroll with a trackpad
STRIP = Area(700, 150, 16, 500)  # across lines of text


@dataclass(frozen=True)
class Place:
    """Where things are on the page. ``cells``: of each letter to come."""

    field: Spot
    cells: tuple[Area, ...]


@dataclass
class Feel:
    """What one person saw. ``fps``: pictures a second while scrolling. ``memory``: of the serving side with this page at rest, megabytes."""

    keys: Seen = field(default_factory=Seen)
    notches: Seen = field(default_factory=Seen)
    fps: float | None = None
    memory: float | None = None


def place(box: Mapping[str, float], advance: float) -> Place:
    """Return where letters will be in a field. ``box``: of the field; ``advance``: from one letter to the next."""
    left, width = box["x"] + 13, round(advance) - 8  # border, padding; the space between letters
    cells = tuple(
        Area(round(left + advance * n) + 1, round(box["y"]) + 10, width, round(box["height"]) - 20) for n in range(len(LETTERS))
    )
    return Place(Spot(round(box["x"] + 500), round(box["y"] + box["height"] / 2)), cells)


def rate(seen: Seen) -> float | None:
    """Return the pictures a second between the first and the last turn of the wheel; None where the wheel did not turn."""
    if seen.first is None or seen.last is None or seen.last <= seen.first:
        return None
    within = [at for at in seen.changes if seen.first <= at <= seen.last]
    return round(1000 * len(within) / (seen.last - seen.first), 1)


async def feel(systems: Sequence[System], where: Place, states: Mapping[str, Mapping[str, Any]], run: str) -> list[Feel]:
    """Put systems through it, all at the same time. ``states``: what the pages say of themselves, by run. Viewers stay open.

    Raises TimeoutError where what was typed never arrives.
    """
    runs = [f"{run}-{number}" for number in range(len(systems))]
    found = [Feel() for _ in systems]
    await asyncio.gather(*(system.open(FEEL_PAGE, name) for system, name in zip(systems, runs, strict=True)))
    await asyncio.sleep(LOAD_SECONDS)
    await asyncio.gather(*(system.ready() for system in systems))

    async def keys(system: System, result: Feel, name: str) -> None:
        await system.click(where.field)
        await asyncio.sleep(0.5)
        await system.watch("keys", where.cells)
        beat = Beat(KEY_SECONDS)
        for letter in LETTERS:
            await beat.next()
            await system.press(letter)
        await in_time(_typed(states, name))
        await asyncio.sleep(0.5)
        result.keys = await system.seen()

    async def notches(system: System, result: Feel) -> None:
        await system.aim(MIDDLE)
        await asyncio.sleep(0.3)
        await system.watch("notches", [STRIP])
        beat = Beat(NOTCH_SECONDS)
        for _ in range(NOTCHES):
            await beat.next()
            await system.notch(MIDDLE)
        await asyncio.sleep(0.6)
        result.notches = await system.seen()

    async def glide(system: System, result: Feel) -> None:
        await system.watch("motion", [STRIP])
        await system.glide(MIDDLE, GLIDE, GLIDE_SPEED)
        await asyncio.sleep(0.5)
        result.fps = rate(await system.seen())

    await asyncio.gather(*(keys(*each) for each in zip(systems, found, runs, strict=True)))
    await asyncio.gather(*(notches(*each) for each in zip(systems, found, strict=True)))
    await asyncio.gather(*(glide(*each) for each in zip(systems, found, strict=True)))
    for system, result in zip(systems, found, strict=True):
        result.memory = system.memory()
    return found


def _typed(states: Mapping[str, Mapping[str, Any]], name: str) -> Callable[[], Any]:
    async def arrived() -> bool:
        return states.get(name, {}).get("typed") == LETTERS

    return arrived


DEPTH = NOTCHES * NOTCH + GLIDE  # how far the page is scrolled
