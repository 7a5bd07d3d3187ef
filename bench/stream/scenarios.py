"""The scenarios: a page, what is done to it, and how it is known that all of it was done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.stream.script import JPEG, NOTCH, PNG, Area, Beat, Phase, Spot, Subject, System

LOAD_SECONDS = 2.0
TEXT = "browser isolation 42"  # 20 characters
NOTCHES = 40
KEY_SECONDS = 0.15  # a fast typist; longer than any system takes for a key, so that each key has its own picture
NOTCH_SECONDS = 0.06
PROSE = "the supplier was checked twice.\rreview is due on friday\r- done\r"
PROSE_SECONDS = 0.11
FILM_SECONDS = 30.0
MIDDLE = Spot(760, 420)


@dataclass(frozen=True)
class Scenario:
    """``done``: whether the page's own words say that all of the script arrived; None: the address says it, where the row's page is.

    ``without``: systems that are not put through it. ``rests``: the page is still when nothing is done to it (no clock, no caret).
    """

    name: str
    subject: Subject
    phases: Sequence[Phase]
    done: Callable[[Mapping[str, Any]], bool] | None
    without: frozenset[str] = field(default_factory=frozenset)
    rests: bool = True

    def runs_on(self, system: str) -> bool:
        """Tell whether a system is put through it."""
        return system not in self.without


async def _type(system: System, subject: Subject) -> None:
    await system.click(subject.field)
    await asyncio.sleep(0.5)
    await _keys(system, TEXT, KEY_SECONDS)


async def _keys(system: System, text: str, seconds: float) -> None:
    beat = Beat(seconds)
    for character in text:
        await beat.next()
        await system.press("Enter" if character == "\r" else character)


async def _notches(system: System, spot: Spot, count: int, seconds: float) -> None:
    await system.aim(spot)
    beat = Beat(seconds)
    for _ in range(count):
        await beat.next()
        await system.notch(spot)


async def _scroll(system: System, subject: Subject) -> None:
    del subject
    await _notches(system, MIDDLE, NOTCHES, NOTCH_SECONDS)


async def _click(system: System, subject: Subject) -> None:
    await system.click(await system.target(subject))


# What the first version was measured with: typing, forty notches, a click. Both pages have it, and together they are the first version's script.
_READ = (Phase("type", _type, 0.4), Phase("scroll", _scroll, 0.8), Phase("click", _click, 1.5))


async def _inspect(system: System, subject: Subject) -> None:
    """Move over the chart: a cross-hair and a box with values follow."""
    del subject
    beat = Beat(0.05)
    for step in range(40):
        await beat.next()
        await system.aim(Spot(90 + step * 17, 320))


async def _periods(system: System, subject: Subject) -> None:
    del subject
    for x in (1214, 1114):
        await system.click(Spot(x, 26))
        await asyncio.sleep(1.0)


async def _leaf(system: System, subject: Subject) -> None:
    del subject
    await _notches(system, Spot(640, 420), 12, 0.1)


async def _enlarge(system: System, subject: Subject) -> None:
    del subject
    for _ in range(2):  # open and close one photo
        await system.click(Spot(500, 420))
        await asyncio.sleep(1.0)


async def _pan(system: System, subject: Subject) -> None:
    """Drag the map three times, slantwise too."""
    del subject
    for dx, dy in ((-12, 0), (-9, -7), (4, 9)):
        x, y = 700.0, 420.0
        await system.aim(Spot(x, y))
        await system.hold(Spot(x, y))
        beat = Beat(0.03)
        for _ in range(25):
            await beat.next()
            x, y = x + dx, y + dy
            await system.aim(Spot(x, y))
        await system.release(Spot(x, y))


async def _zoom(system: System, subject: Subject) -> None:
    del subject
    await _notches(system, Spot(640, 400), 2, 0.5)


async def _play(system: System, subject: Subject) -> None:
    del subject
    await system.click(Spot(450, 316))
    await asyncio.sleep(FILM_SECONDS)


async def _write(system: System, subject: Subject) -> None:
    del subject
    await system.click(Spot(900, 198))
    await asyncio.sleep(0.5)
    await _keys(system, PROSE, PROSE_SECONDS)


def text_read(state: Mapping[str, Any]) -> bool:
    """Tell whether the text page got everything. noVNC may lose a few notches on a busy machine; that still counts as arrived."""
    return state.get("typed") == TEXT and state.get("clicks") == 1 and state.get("scroll", 0) >= 0.9 * NOTCH * NOTCHES


TEXT_PAGE = Subject("site", "/?run={run}")
ROWS_PAGE = Subject("data", "/payments/payments?_size=500")
FEEL_PAGE = Subject("site", "/feel?run={run}")


def scenarios(text: Subject = TEXT_PAGE, rows: Subject = ROWS_PAGE) -> list[Scenario]:
    """Return all of them. ``text``, ``rows``: with the places that were found in the pages."""

    def scene(name: str) -> Subject:
        return Subject("site", f"/{name}?run={{run}}")

    return [
        Scenario("text", text, _READ, text_read),
        Scenario("grid", rows, _READ, None),
        Scenario(
            "typing",
            scene("editor"),
            (Phase("write", _write, 1.0),),
            lambda state: state.get("inputs") == len(PROSE),
            rests=False,
        ),
        Scenario(
            "dashboard",
            scene("dashboard"),
            (Phase("inspect", _inspect, 0.5), Phase("periods", _periods, 1.5)),
            lambda state: state.get("clicks") == 2 and state.get("moves", 0) >= 3,
            rests=False,
        ),
        Scenario(
            "gallery",
            scene("gallery"),
            (Phase("scroll", _leaf, 0.8), Phase("enlarge", _enlarge, 0.5)),
            lambda state: state.get("clicks") == 2 and state.get("scroll", 0) >= 9 * NOTCH,
        ),
        Scenario(
            "map",
            scene("map"),
            (Phase("pan", _pan, 0.8, Area(600, 200, 16, 400)), Phase("zoom", _zoom, 1.0)),
            lambda state: state.get("panned", 0) >= 300 and state.get("zooms", 0) >= 1,
        ),
        Scenario(
            "video",
            scene("video"),
            (Phase("play", _play, 0.5, Area(400, 120, 100, 300)),),
            lambda state: state.get("played", 0) >= 0.6 * FILM_SECONDS,
            rests=False,
            without=frozenset({PNG}),  # half a minute for a number that nobody asks for
        ),
    ]


SCENARIOS = tuple(scenario.name for scenario in scenarios())
REFERENCE = JPEG  # what "screencast" means in a figure: the screencast as its users take it
