"""The stream against Chromium's raw screencast and noVNC: one run, the same pages, the same script: ``python -m bench.stream``.

Rounds are interleaved, so that whatever else the machine does hits all alike; figures are medians over the rounds. Bytes are payload: what
arrives on the viewer's WebSocket (ours, noVNC), or the pictures themselves (screencast). Viewers run in one Chromium of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Error, async_playwright

from bench.report import MissingError, console
from bench.stream import novnc, ours, screencast
from bench.stream.pages import TextSite
from bench.stream.processes import free_port, listens, running, wait_until
from bench.stream.results import Results, report
from bench.stream.script import (
    HEIGHT,
    JPEG,
    NOTCH,
    NOTCHES,
    OURS,
    PNG,
    TEXT,
    VNC,
    WIDTH,
    Part,
    Spot,
    Subject,
    System,
    perform,
)
from bench.stream.viewing import closed, nearest
from isolation.testing.demo import sample
from renderer.chromium.find import find_chromium

RUN_SECONDS = 60.0  # one system on one page takes about 15
ROWS = "/payments/payments?_size=500"


def main() -> int:
    """Run the comparison. Exit status 2 where something that it cannot do without is missing."""
    parser = argparse.ArgumentParser(prog="python -m bench.stream", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--only", action="append", choices=[OURS, JPEG, PNG, VNC], help="some of the systems (no figures are written)"
    )
    parser.add_argument("--frames", type=Path, help="write a line about each frame of ours to this file")
    options = parser.parse_args()
    try:
        asyncio.run(_until_told(options))
    except MissingError as error:
        console.print(f"[red]{error}[/]")
        return 2
    except asyncio.CancelledError:
        return 130
    return 0


async def _until_told(options: argparse.Namespace) -> None:
    task = asyncio.ensure_future(run(options))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await task


async def run(options: argparse.Namespace) -> None:
    """Start everything, measure, print and write."""
    wanted: Sequence[str] = options.only or [OURS, JPEG, PNG, VNC]
    results = Results()
    started = time.monotonic()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="isolation-bench-", ignore_cleanup_errors=True)))
        folder.chmod(0o711)  # the renderer's account walks through
        with console.status("Starting …") as status:
            site = TextSite()
            site.start()
            stack.callback(site.stop)
            data = stack.enter_context(_datasette(folder))
            origins = {"text": f"http://127.0.0.1:{site.port}", "data": f"http://127.0.0.1:{data}"}
            status.update("Starting the browsers …")
            playwright = await stack.enter_async_context(async_playwright())
            viewers = await playwright.chromium.launch(
                executable_path=find_chromium(), handle_sigint=False, handle_sigterm=False, handle_sighup=False
            )
            stack.push_async_callback(closed, viewers)
            cast, pid = await stack.enter_async_context(screencast.browser(playwright, folder))
            subjects = [await survey(cast, origins, "text", "/?run={run}"), await survey(cast, origins, "data", ROWS)]
            peers: dict[str, System] = {
                JPEG: screencast.Screencast("jpeg", cast, pid, origins),
                PNG: screencast.Screencast("png", cast, pid, origins),
            }
            if VNC in wanted:
                try:
                    made = stack.enter_context(novnc.screen(folder))
                    remote, remote_pid = await stack.enter_async_context(novnc.window(playwright, made, folder))
                    peers[VNC] = novnc.NoVnc(viewers, remote, remote_pid, made, origins)
                except MissingError as error:
                    results.missing.append(str(error))
                    console.print(f"[yellow]without noVNC:[/] {error}")
            status.update("Starting the product …")
            product = stack.enter_context(ours.product(folder, text=site.port, data=data)) if OURS in wanted else None
        lines: list[str] = []
        for number in range(options.rounds):
            console.print(f"round {number + 1} of {options.rounds}")
            async with _session(viewers, product, results, subjects[0]) as stream:
                systems = [*([stream] if stream else []), *(peer for name, peer in peers.items() if name in wanted)]
                for subject in subjects:
                    for system in systems:
                        with console.status(f"  {system.name}, page “{subject.name}” …"):
                            parts = await _checked(system, subject, site, f"{number}-{system.name.replace(' ', '-')}")
                        sent = sum(part.taken.bytes for part in parts.values())
                        console.print(f"  {system.name}, page “{subject.name}”: {sent:,} bytes")
                        results.runs.setdefault((system.name, subject.name), []).append(parts)
                        lines += [f"{number} {subject.name} {phase} {n}" for phase, p in parts.items() for n in p.taken.notes]
        if options.frames:
            options.frames.write_text("\n".join(lines) + "\n", encoding="utf-8")
    report(results, time.monotonic() - started, options.rounds, complete=not options.only)


@contextlib.contextmanager
def _datasette(folder: Path) -> Iterator[int]:
    database, log, port = folder / "payments.db", folder / "datasette.log", free_port()
    sample.write_database(database)
    argv = [sys.executable, "-m", "datasette", "serve", str(database), "--host", "127.0.0.1", "--port", str(port)]
    with running(argv, log, cwd=folder) as process:
        wait_until(lambda: listens(port), process, log, "Datasette")
        yield port


@contextlib.asynccontextmanager
async def _session(
    viewers: Browser, product: ours.Product | None, results: Results, subject: Subject
) -> AsyncIterator[ours.Stream | None]:
    """Sign in, and note how soon the first picture of a new session comes: its Chromium is taken from the warm ones."""
    if product is None:
        yield None
        return
    async with ours.signed_in(viewers, product) as stream:
        await stream.open(subject, "first")
        if (first := await stream.first_picture(10.0)) is not None:
            results.new_session.append(first)
        await asyncio.sleep(2)  # the node warms up another browser meanwhile
        await stream.close()
        yield stream


async def survey(context: BrowserContext, origins: dict[str, str], name: str, path: str) -> Subject:
    """Find where things are on a page: before scrolling the field, after scrolling what is to be clicked."""
    page = await context.new_page()
    await page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    await page.goto(origins[name] + path)
    entry, target = {
        "text": ("input", "header button"),
        "data": ("form.filters input.filter-value, .filter-row input[name=_filter_value]", "td.col-id a, td.type-pk a"),
    }[name]
    box = await page.locator(entry).first.bounding_box()
    assert box is not None
    spot = Spot(round(box["x"] + 60), round(box["y"] + box["height"] / 2))
    await page.evaluate(f"window.scrollTo(0, {NOTCH * NOTCHES})")
    if await page.evaluate("Math.round(scrollY)") != NOTCH * NOTCHES:
        raise MissingError(f"the page “{name}” is too short to scroll {NOTCHES} notches")
    goal = await nearest(page, target)
    await page.close()
    return Subject(name, path, spot, Spot(760, 420), goal, target)


async def _checked(system: System, subject: Subject, site: TextSite, name: str) -> dict[str, Part]:
    """Put a system through the script, and make sure that everything arrived in the page: else its bytes mean nothing."""
    seen: object = None

    async def arrived() -> bool:
        nonlocal seen
        if subject.name == "text":
            seen = state = site.states.get(name, {})
            # noVNC may lose a few notches on a busy machine; that still counts as arrived.
            return state.get("typed") == TEXT and state.get("clicks") == 1 and state.get("scroll", 0) >= 0.9 * NOTCH * NOTCHES
        seen = path = await system.address()
        return path.removeprefix("/payments/payments/").isdecimal()

    try:
        async with asyncio.timeout(RUN_SECONDS):
            return await perform(system, subject, name, arrived)
    except (TimeoutError, Error) as error:
        where = traceback.format_exc(limit=-6)
        raise MissingError(f"{system.name}, page “{subject.name}”: {error}; the page says {seen}\n{where}") from error


if __name__ == "__main__":
    sys.exit(main())
