"""Many sessions on this machine at once, most of them idle: ``python -m bench.capacity``.

Every session has its own Chromium on the serving side and its own viewer page in the person's Chromium, which runs on this machine as well. The
active ones type, all at the same time. docs/benchmarks.md says how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field

from playwright.async_api import Error

from bench.report import MissingError, console, table, write
from bench.stream import feel, ours, screencast
from bench.stream.__main__ import feel_place, set_up, until_told
from bench.stream.browsers import Viewers
from bench.stream.results import quantile
from bench.stream.scenarios import FEEL_PAGE, MIDDLE
from bench.stream.script import Beat

IDLE, ACTIVE = 60, 8
SPARE = 4  # places that stay free: a session that is being replaced needs one for a moment
WARM = 2
STARTS = 2  # sessions that begin at the same time: one for each core
START_SECONDS = 60.0  # after that a session counts as not started
REST_SECONDS = 20.0  # before memory is read
ROUNDS = 3  # times that the active ones type their letters
REACTION_MS = 100.0  # the mark: 95 of 100 keys of the active ones are painted within it


@dataclass
class Capacity:
    """What was found. ``first``: milliseconds from click to picture of each session that started. ``keys``: from key to pixels, of the active ones."""

    asked: int
    first: list[float] = field(default_factory=list)
    alive: int = 0
    keys: list[float] = field(default_factory=list)
    late: int = 0
    before: ours.Memory = field(default_factory=lambda: ours.Memory((), 0.0))
    idle: ours.Memory = field(default_factory=lambda: ours.Memory((), 0.0))
    problems: list[str] = field(default_factory=list)

    @property
    def started(self) -> int:
        """Sessions whose picture came."""
        return len(self.first)

    def figures(self) -> dict[str, float | int]:
        """Return the figures by name; what was not measured is left out."""
        total = sum(self.idle.browsers) + self.idle.rest
        found = {
            "capacity.asked": self.asked,
            "capacity.started": self.started,
            "capacity.alive": self.alive,
            "capacity.first_frame_p50_s": _seconds(quantile(sorted(self.first), 0.5)),
            "capacity.first_frame_p95_s": _seconds(quantile(sorted(self.first), 0.95)),
            "capacity.session_pss_mb": round(total / self.started, 1) if self.started and total else None,
            "capacity.browser_pss_mb": quantile(self.idle.browsers[: self.started], 0.5),
            "capacity.rest_pss_mb": round(self.idle.rest, 1) or None,
            "capacity.total_pss_mb": round(total, 1) or None,
            "capacity.key_to_paint_p50_ms": quantile(sorted(self.keys), 0.5),
            "capacity.key_to_paint_p95_ms": quantile(sorted(self.keys), 0.95),
            "capacity.keys_late": self.late,
        }
        return {name: value for name, value in found.items() if value is not None}


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds / 1000, 2)


def main() -> int:
    """Run it. Exit status 2 where something is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.capacity", description=__doc__)
    parser.add_argument("--idle", type=int, default=IDLE)
    parser.add_argument("--active", type=int, default=ACTIVE)
    options = parser.parse_args()
    try:
        asyncio.run(until_told(run(options.idle, options.active)))
    except MissingError as error:
        console.print(f"[red]{error}[/]")
        return 2
    except asyncio.CancelledError:
        return 130
    return 0


async def run(idle: int, active: int) -> None:
    """Start everything, measure, print and write."""
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        stage = await set_up(stack, photos=False, film=False, tell=console.print)
        async with screencast.browser(stage.playwright, stage.folder) as (cast, _):
            place = await feel_place(cast, stage.origins)
        asked = idle + active
        product = stack.enter_context(
            ours.product(stage.folder, site=stage.site.port, data=stage.data, capacity=asked + SPARE, warm=WARM)
        )
        await product.settled(0)
        found = Capacity(asked, before=product.memory())
        sessions = await stack.enter_async_context(AsyncExitStack())
        streams = await _start(sessions, stage.viewers, product, found)
        console.print(f"{found.started} of {asked} started after {time.monotonic() - began:.0f} s")
        await asyncio.sleep(REST_SECONDS)
        found.idle = product.memory()
        for _ in range(ROUNDS):
            await _type(streams[:active], place, found)
        found.alive = sum([await _lives(stream) for stream in streams])
    _report(found, idle, active, time.monotonic() - began)


async def _start(sessions: AsyncExitStack, viewers: Viewers, product: ours.Product, found: Capacity) -> list[ours.Stream]:
    """Begin all sessions, a few at a time; return those whose picture came."""
    streams: list[ours.Stream] = []
    places = asyncio.Semaphore(STARTS)

    async def one(number: int) -> None:
        async with places:
            try:
                stream = await sessions.enter_async_context(ours.signed_in(viewers, product, out=False))
                await stream.open(FEEL_PAGE, f"capacity-{number}")
                first = await stream.view.first_paint(START_SECONDS)
            except (Error, MissingError) as error:
                found.problems.append(f"session {number}: {error}")
                return
            if first is None:
                found.problems.append(f"session {number}: no picture: {(await stream.view.page.inner_text('body'))[:200]!r}")
                return
            found.first.append(first)
            streams.append(stream)

    await asyncio.gather(*(one(number) for number in range(found.asked)))
    return streams


async def _type(streams: Sequence[ours.Stream], where: feel.Place, found: Capacity) -> None:
    """Let people type the letters, all at once, into an empty field."""

    async def one(stream: ours.Stream) -> None:
        try:
            await stream.click(where.field)
            await stream.view.page.keyboard.press("Control+a")
            await stream.press("Delete")
            await asyncio.sleep(1.0)
            await stream.watch("keys", where.cells)
            beat = Beat(feel.KEY_SECONDS)
            for letter in feel.LETTERS:
                await beat.next()
                await stream.press(letter)
            seen = await stream.seen()
        except (Error, MissingError) as error:
            found.problems.append(f"typing: {error}")
            return
        found.keys += seen.delays
        found.late += seen.late

    await asyncio.gather(*(one(stream) for stream in streams))


async def _lives(stream: ours.Stream) -> bool:
    """Tell whether a session still reacts: a turn of the wheel is painted."""
    try:
        await stream.view.locate()
        await stream.aim(MIDDLE)
        await stream.watch("notches", [feel.STRIP])
        await stream.notch(MIDDLE)
        seen = await stream.seen()
        return bool(seen.delays) and seen.late == 0
    except (Error, MissingError):
        return False


def _report(found: Capacity, idle: int, active: int, seconds: float) -> None:
    figures = found.figures()
    verdicts = {
        "capacity.started": found.started == found.asked,
        "capacity.alive": found.alive == found.asked,
        "capacity.key_to_paint_p95_ms": figures.get("capacity.key_to_paint_p95_ms", REACTION_MS + 1) <= REACTION_MS,
    }
    words = {True: "[green]met[/]", False: "[red]not met[/]", None: ""}
    rows = [[name, value, words[verdicts.get(name)]] for name, value in figures.items()]
    table(f"{idle} idle and {active} active sessions", ["", "value", "mark"], rows)
    for problem in found.problems[:10]:
        console.print(f"[yellow]{problem}[/]")
    details = {
        "marks": {name: "met" if met else "not met" for name, met in verdicts.items()},
        "conditions": {"idle": idle, "active": active, "total_seconds": round(seconds), "starts_at_once": STARTS},
        "problems": found.problems,
        "memory": {"before": asdict(found.before), "idle": asdict(found.idle)},
        "first_frames_ms": [round(each) for each in found.first],
    }
    if (idle, active) == (IDLE, ACTIVE):
        console.print(f"Written to {write('capacity', figures, details)}")


if __name__ == "__main__":
    sys.exit(main())
