"""The stream against Chromium's raw screencast, noVNC and xpra: one run, the same pages, the same scripts: ``python -m bench.stream``.

Systems take turns within each scenario, so that whatever else the machine does hits all alike; figures are medians over the rounds. Bytes are
payload: what arrives on the viewer's WebSocket (ours, noVNC, xpra), or the pictures themselves (screencast). Viewers run in one Chromium of this
machine. docs/benchmarks.md says how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Error, Playwright, async_playwright

from bench.report import MissingError, console
from bench.stream import feel, novnc, ours, pictures, screencast, xpra
from bench.stream.browsers import Viewers, viewers, window
from bench.stream.pages import Site, pages
from bench.stream.processes import free_port, listens, running, wait_until
from bench.stream.results import Idle, Results
from bench.stream.scenarios import FEEL_PAGE, LOAD_SECONDS, NOTCHES, ROWS_PAGE, SCENARIOS, TEXT_PAGE, Scenario, scenarios
from bench.stream.script import HEIGHT, JPEG, NOTCH, OURS, PNG, SYSTEMS, VNC, WIDTH, XPRA, Part, Spot, Subject, System, perform
from bench.stream.tables import report
from bench.stream.viewing import nearest
from isolation.testing.demo import sample

RUN_SECONDS = 90.0  # one system in one scenario takes up to 35
FEEL = "feel"  # not a scenario: reactions are timed
FIRST_FRAMES = 4  # new sessions whose first picture is timed
IDLE_SECONDS = 10.0  # a session in which nobody has done anything for so long is idle: it has given back what it held for speed
TOGETHER = 4  # people at once
CAPACITY, WARM = 8, 2
BUSY = 1.0  # load average before a run
_SOURCES = {"text": ("input", "header button"), "data": ("form.filters input.filter-value", "td.col-id a, td.type-pk a")}


def main() -> int:
    """Run the comparison. Exit status 2 where something that it cannot do without is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.stream", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument(
        "--only", action="append", choices=[*SCENARIOS, FEEL], help="some of the scenarios (no figures are written)"
    )
    parser.add_argument(
        "--peers", help=f"some of the systems, with commas between: {', '.join(SYSTEMS)} (no figures are written)"
    )
    parser.add_argument("--frames", type=Path, help="write a line about each frame of ours to this file")
    options = parser.parse_args()
    try:
        options.peers = chosen(options.peers)
        asyncio.run(until_told(run(options)))
    except MissingError as error:
        console.print(f"[red]{error}[/]")
        return 2
    except asyncio.CancelledError:
        return 130
    return 0


def chosen(given: str | None) -> list[str]:
    """Return the systems that a list names; ``screencast`` is its JPEG. Raises MissingError for a name that there is not."""
    if given is None:
        return list(SYSTEMS)
    names = {name.lower(): name for name in SYSTEMS} | {"screencast": JPEG, "screencast-jpeg": JPEG, "screencast-png": PNG}
    try:
        return [names[word.strip().lower()] for word in given.split(",")]
    except KeyError as error:
        raise MissingError(f"there is no system {error}; there are {', '.join(sorted(names))}") from error


async def until_told(work: Any) -> None:
    """Run until it is done or the program is told to end."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


@dataclass
class Stage:
    """What everything runs on. ``missing``: what cannot be measured, and why. ``peers``: those that run here, by name."""

    stack: AsyncExitStack
    folder: Path
    playwright: Playwright
    viewers: Viewers
    site: Site
    data: int
    origins: dict[str, str]
    missing: list[str]
    peers: dict[str, System] = field(default_factory=dict)


async def run(options: argparse.Namespace) -> None:
    """Start everything, measure, print and write."""
    wanted: Sequence[str] = options.peers
    names: Sequence[str] = options.only or [*SCENARIOS, FEEL]
    results = Results(load=round(os.getloadavg()[0], 1))
    if results.load > BUSY:
        console.print(
            f"[yellow]This machine has other work (load average {results.load}):[/] neither times nor bytes are to be trusted"
        )
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        with console.status("Starting …") as status:
            stage = await set_up(stack, photos="gallery" in names, film="video" in names, tell=status.update)
            results.missing += stage.missing
            cast, pid = await stack.enter_async_context(screencast.browser(stage.playwright, stage.folder))
            text = await survey(cast, stage.origins, TEXT_PAGE, *_SOURCES["text"])
            rows = await survey(cast, stage.origins, ROWS_PAGE, *_SOURCES["data"])
            place = await feel_place(cast, stage.origins)
            for name, kind in ((JPEG, "jpeg"), (PNG, "png")):
                stage.peers[name] = screencast.Screencast(kind, cast, pid, stage.origins)
            await _screens(stage, wanted, results)
            status.update("Starting the product …")
            product = None
            if OURS in wanted:
                product = stack.enter_context(
                    ours.product(stage.folder, site=stage.site.port, data=stage.data, capacity=CAPACITY, warm=WARM)
                )
        if product and FEEL in names:
            await first_frames(stage, product, results)
            await together(stage, product, place, results)
        lines: list[str] = []
        todo = [
            scenario
            for scenario in scenarios(text, rows)
            if scenario.name in names and not (scenario.name == "video" and stage.missing)
        ]
        for number in range(options.rounds):
            async with contextlib.AsyncExitStack() as session:
                if product:
                    await product.settled(0)
                    stage.peers[OURS] = await session.enter_async_context(
                        ours.signed_in(stage.viewers, product, keep=bool(options.frames))
                    )
                systems = [stage.peers[name] for name in SYSTEMS if name in wanted and name in stage.peers]
                for scenario in todo:
                    for system in systems:
                        if scenario.runs_on(system.name):
                            lines += await _measure(system, scenario, stage.site, number, results)
                for system in systems if FEEL in names else ():
                    if system.name != PNG:
                        await _feel(system, place, stage.site, number, results)
        if options.frames:
            options.frames.write_text("\n".join(lines) + "\n", encoding="utf-8")
    complete = options.only is None and set(wanted) == set(SYSTEMS)
    report(results, time.monotonic() - began, options.rounds, complete=complete)


async def set_up(stack: AsyncExitStack, *, photos: bool, film: bool, tell: Callable[[str], object]) -> Stage:
    """Start the apps and the person's browser. ``photos``, ``film``: whether they are needed; each takes some seconds to make."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isolation-bench-", ignore_cleanup_errors=True)))
    folder.chmod(0o711)  # the renderer's account walks through
    content = pages()
    site = Site(content)
    site.start()
    stack.callback(site.stop)
    tell("Making pictures …")
    for number in range(pictures.PHOTOS if photos else 0):
        content[f"/photo/{number}.jpg"] = (await asyncio.to_thread(pictures.photo, number), "image/jpeg")
    missing = []
    if film:
        try:
            content["/film.webm"] = (await asyncio.to_thread(pictures.film), "video/webm")
        except MissingError as error:
            missing.append(f"video: {error}")
    tell("Starting the browsers …")
    data = stack.enter_context(_datasette(folder))
    origins = {"site": f"http://127.0.0.1:{site.port}", "data": f"http://127.0.0.1:{data}"}
    playwright = await stack.enter_async_context(async_playwright())
    return Stage(stack, folder, playwright, await stack.enter_async_context(viewers(playwright)), site, data, origins, missing)


async def _screens(stage: Stage, wanted: Sequence[str], results: Results) -> None:
    """Start what shows a window of an X screen; what is not installed is noted, with how to install it."""
    if VNC in wanted:
        try:
            vnc = stage.stack.enter_context(novnc.screen(stage.folder))
            shown = await stage.stack.enter_async_context(window(stage.playwright, vnc.display, stage.folder))
            stage.peers[VNC] = novnc.NoVnc(stage.viewers, shown, vnc, stage.origins)
        except MissingError as error:
            results.missing.append(f"noVNC: {error}")
    if XPRA in wanted:
        try:
            made = stage.stack.enter_context(xpra.screen(stage.folder))
            shown = await stage.stack.enter_async_context(window(stage.playwright, made.display, stage.folder, slack=xpra.SLACK))
            stage.peers[XPRA] = xpra.Xpra(stage.viewers, shown, made, stage.origins)
        except MissingError as error:
            results.missing.append(f"xpra: {error}")
    for line in results.missing:
        console.print(f"[yellow]without[/] {line}")


@contextlib.contextmanager
def _datasette(folder: Path) -> Iterator[int]:
    database, log, port = folder / "payments.db", folder / "datasette.log", free_port()
    sample.write_database(database)
    argv = [sys.executable, "-m", "datasette", "serve", str(database), "--host", "127.0.0.1", "--port", str(port)]
    with running(argv, log, cwd=folder) as process:
        wait_until(lambda: listens(port), process, log, "Datasette")
        yield port


async def survey(context: BrowserContext, origins: dict[str, str], subject: Subject, entry: str, target: str) -> Subject:
    """Find where things are on a page: before scrolling the field (``entry``), after scrolling what is to be clicked (``target``)."""
    async with _looking(context, origins, subject) as page:
        box = await page.locator(entry).first.bounding_box()
        assert box is not None
        spot = Spot(round(box["x"] + 60), round(box["y"] + box["height"] / 2))
        await _deep_enough(page, NOTCH * NOTCHES)
        return Subject(subject.app, subject.path, spot, await nearest(page, target), target)


async def feel_place(context: BrowserContext, origins: dict[str, str]) -> feel.Place:
    """Find where letters will be on the page where reactions are timed."""
    async with _looking(context, origins, FEEL_PAGE) as page:
        box = await page.locator("input").bounding_box()
        advance = await page.evaluate(
            "() => { const { font, letterSpacing } = getComputedStyle(document.querySelector('input'));"
            " const context = document.createElement('canvas').getContext('2d'); context.font = font;"
            " return context.measureText('m').width + parseFloat(letterSpacing); }"
        )
        assert box is not None
        await _deep_enough(page, feel.DEPTH)
        return feel.place(box, advance)


@contextlib.asynccontextmanager
async def _looking(context: BrowserContext, origins: dict[str, str], subject: Subject) -> AsyncIterator[Any]:
    page = await context.new_page()
    await page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    await page.goto(origins[subject.app] + subject.path)
    yield page
    await page.close()


async def _deep_enough(page: Any, depth: int) -> None:
    await page.evaluate(f"window.scrollTo(0, {depth})")
    if await page.evaluate("Math.round(scrollY)") != depth:
        raise MissingError(f"{page.url} is too short to scroll {depth} pixels")


async def _measure(system: System, scenario: Scenario, site: Site, number: int, results: Results) -> list[str]:
    """Put a system through a scenario, and make sure that everything arrived in the page: else its bytes mean nothing."""
    name = f"{number}-{system.name}-{scenario.name}".replace(" ", "-")
    seen: object = None

    async def arrived() -> bool:
        nonlocal seen
        if scenario.done is not None:
            seen = site.states.get(name, {})
            return scenario.done(site.states.get(name, {}))
        seen = path = await system.address()
        return path.removeprefix("/payments/payments/").isdecimal()

    parts: dict[str, Part] | None = None
    with _noting(results, f"{scenario.name}, {system.name}"):
        try:
            async with asyncio.timeout(RUN_SECONDS):
                parts = await perform(
                    system, scenario.subject, scenario.phases, name, LOAD_SECONDS, arrived, rests=scenario.rests
                )
        except TimeoutError as error:
            raise MissingError(f"{error}; the page says {seen}") from error
    if parts is None:
        return []
    console.print(f"  {scenario.name}, {system.name}: {sum(part.taken.bytes for part in parts.values()):,} bytes")
    results.runs.setdefault((system.name, scenario.name), []).append(parts)
    return [f"{number} {scenario.name} {phase} {note}" for phase, part in parts.items() for note in part.taken.notes]


async def _feel(system: System, place: feel.Place, site: Site, number: int, results: Results) -> None:
    with _noting(results, f"reactions, {system.name}"):
        try:
            async with asyncio.timeout(RUN_SECONDS):
                (found,) = await feel.feel([system], place, site.states, f"feel-{number}-{system.name.replace(' ', '-')}")
        finally:
            await system.close()
        results.feels.setdefault(system.name, []).append(found)
        console.print(
            f"  reactions, {system.name}: {len(found.keys.delays)} keys, {len(found.notches.delays)} notches, {found.fps} fps"
        )


async def first_frames(stage: Stage, product: ours.Product, results: Results) -> None:
    """Time the first picture of new sessions, each with a Chromium from the warm ones: from the person's click on the app to pixels."""
    for number in range(FIRST_FRAMES):
        await product.settled(0)
        with _noting(results, "first pictures"):
            async with asyncio.timeout(RUN_SECONDS), ours.signed_in(stage.viewers, product) as stream:
                await stream.open(TEXT_PAGE, f"first-{number}")
                if (first := await stream.view.first_paint(20.0)) is not None:
                    results.first.append(first)
                await stream.close()
    console.print(f"  first pictures: {', '.join(f'{each:.0f} ms' for each in results.first)}")


async def together(stage: Stage, product: ours.Product, place: feel.Place, results: Results) -> None:
    """Let several people type and scroll at once; then let them rest, and weigh their sessions."""
    await product.settled(0)
    before = product.memory()
    async with AsyncExitStack() as sessions:
        with _noting(results, f"{TOGETHER} people at once"):
            async with asyncio.timeout(RUN_SECONDS):
                streams = [await sessions.enter_async_context(ours.signed_in(stage.viewers, product)) for _ in range(TOGETHER)]
            async with asyncio.timeout(RUN_SECONDS):
                results.together = await feel.feel(streams, place, stage.site.states, "together")
            await product.settled(TOGETHER)
            await asyncio.sleep(IDLE_SECONDS)
            after = product.memory()
            results.idle = Idle(before.rest, after.rest, after.browsers[:TOGETHER])
            for stream in streams:
                await stream.close()
    console.print(f"  {TOGETHER} at once: {', '.join(f'{each.fps} fps' for each in results.together)}")


@contextlib.contextmanager
def _noting(results: Results, what: str) -> Iterator[None]:
    """Go on where something fails, and say so at the end: the rest of the run is worth having."""
    try:
        yield
    except (TimeoutError, Error, MissingError) as error:
        where = traceback.extract_tb(error.__traceback__)
        own = next((frame for frame in reversed(where) if "/bench/" in frame.filename), where[-1])
        results.missing.append(f"{what}: {str(error) or type(error).__name__} ({own.name}, line {own.lineno})")
        console.print(f"  [red]{results.missing[-1]}[/]", markup=True)


if __name__ == "__main__":
    sys.exit(main())
