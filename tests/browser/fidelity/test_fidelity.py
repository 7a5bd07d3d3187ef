"""Pixel for pixel: after random bursts of input over a bad line, the viewer's canvas at rest equals Chromium's own screenshot.

``FIDELITY_BURSTS``: how many bursts, over all pages and scales (``make fidelity``: 2,000). ``FIDELITY_SEED``: of all dice. A picture that
differs is named by its chunk, and ``FIDELITY_CHUNKS`` (several by blanks) does just those again. ``FIDELITY_SESSIONS``: of each scale at once.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.fidelity import node as seen
from tests.browser.fidelity.pages import PAGES
from tests.browser.fidelity.session import Chunk, OpenGateway, Session, Tally, output_folder
from tests.support.demo.running import chromium
from tests.support.renderer import NodeProcess, new_runtime_dir, node_process, open_to_all

BURSTS = int(os.environ.get("FIDELITY_BURSTS", "60"))
SEED = int(os.environ.get("FIDELITY_SEED", "20261126"))
SESSIONS = int(os.environ.get("FIDELITY_SESSIONS", "1"))  # of each scale, side by side
MANY = 500  # bursts from which it is said how far they are
SCALES = (100, 150, 200)
TURNS = (100, 150, 100, 200)  # scales in turn: a picture of twice the scale takes four times the work
CHUNK = 12  # bursts in one tab
PER_BURST_SECONDS = 6  # of patience, not of expectation

pytestmark = [
    pytest.mark.browser,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120 + BURSTS * PER_BURST_SECONDS),
]


def chunks(bursts: int, seed: int) -> list[Chunk]:
    """Spread bursts over all pages and scales; every page gets its turn before any gets more."""
    given = os.environ.get("FIDELITY_CHUNKS", "")
    if given:
        return [Chunk.parse(text) for text in given.split()]
    dice = random.Random(seed)
    names = list(PAGES)
    share = {
        name: bursts // len(names) + (number < bursts % len(names)) for number, name in enumerate(dice.sample(names, len(names)))
    }
    made: list[tuple[int, Chunk]] = []
    for number, (name, wanted) in enumerate(share.items()):
        for turn, start in enumerate(range(0, wanted, CHUNK)):
            scale = TURNS[(number + turn) % len(TURNS)]
            made.append((turn, Chunk(name, scale, dice.randrange(10**6), min(CHUNK, wanted - start))))
    return [chunk for _, chunk in sorted(made, key=lambda item: item[0])]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node() -> AsyncIterator[NodeProcess]:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0", module=seen.MODULE) as running:
        yield running
    shutil.rmtree(runtime_dir.parent)


@asynccontextmanager
async def window(scale: int) -> AsyncIterator[Browser]:
    """A person's own browser, on a screen of that scale. (A scale that DevTools emulate shifts and blurs pictures by itself.)"""
    found = chromium()
    if not found:
        pytest.skip("no Chromium")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", f"--force-device-scale-factor={scale / 100:g}"]
        )
        yield running
        await running.close()


@pytest.mark.case(64, 68)
async def test_canvas_at_rest_equals_chromiums_screenshot(node: NodeProcess) -> None:
    work = chunks(BURSTS, SEED)
    tally = Tally()
    folder: Path = output_folder()
    began = time.monotonic()

    async def work_through(gateway: OpenGateway, scale: int, waiting: deque[Chunk]) -> None:
        async with window(scale) as person, Session(person, node, gateway, scale, tally, folder).open() as session:
            while waiting:
                await session.run(waiting.popleft())
                if BURSTS >= MANY:
                    sys.stdout.write(f"{tally.words()}; {time.monotonic() - began:.0f} s\n")

    async with OpenGateway() as gateway, asyncio.TaskGroup() as group:
        for scale in SCALES:
            waiting = deque(chunk for chunk in work if chunk.scale == scale)
            for _ in range(min(SESSIONS, len(waiting))):
                group.create_task(work_through(gateway, scale, waiting))
    pages = len({chunk.page for chunk in work})
    if tally.wrong or tally.strayed:
        for line in node.logs:
            if line.get("level") not in {"debug", "info"} or line["event"].startswith(("lease.", "page.")):
                sys.stdout.write(f"{line}\n")
    sys.stdout.write(f"\n{tally.words()}; seed {SEED}, {pages} pages, {time.monotonic() - began:.0f} s\n")
    assert tally.bursts == sum(chunk.bursts for chunk in work)
    assert not tally.wrong, "\n".join(tally.wrong)
