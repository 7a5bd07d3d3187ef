"""The pool of warm browsers: whatever moment it is closed in, no browser of it stays."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from renderer.chromium.flags import Proxy
from renderer.chromium.launch import Chromium, Engine
from renderer.chromium.pool import Pool, last_gateway

HERE, THERE = Proxy("127.0.0.1", 1, ""), Proxy("127.0.0.1", 2, "")


class FakeBrowser:
    connected = True

    def is_connected(self) -> bool:
        return self.connected

    def on(self, event: str, listener: Any) -> None:
        pass


@dataclass
class FakeEngine:
    """Starts and ends browsers slowly, and knows which live."""

    runtime_dir: Path
    alive: set[Chromium] = field(default_factory=set)
    started: asyncio.Event = field(default_factory=asyncio.Event)

    async def launch(self, proxy: Proxy | None) -> Chromium:
        self.started.set()
        chromium = Chromium(cast("Any", FakeBrowser()), cast("Any", None), 1, Path("/nowhere"), proxy)
        self.alive.add(chromium)
        await asyncio.sleep(0.01)
        return chromium

    async def end(self, chromium: Chromium) -> None:
        await asyncio.sleep(0.01)
        self.alive.discard(chromium)


def new_pool(engine: FakeEngine, warm: int) -> Pool:
    return Pool(cast("Engine", engine), warm, lambda: None)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while True:
            if true():
                return
            await asyncio.sleep(0.005)


async def filled(pool: Pool, proxy: Proxy, warm: int) -> None:
    pool._serve(proxy)
    pool.fill()
    await until(lambda: len(pool) == warm)


async def test_closing_ends_those_that_are_ready(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    pool = new_pool(engine, 2)
    await filled(pool, HERE, 2)
    await pool.close()
    assert not engine.alive


async def test_closing_waits_for_those_on_their_way_out(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    pool = new_pool(engine, 2)
    await filled(pool, HERE, 2)
    pool.empty()
    await asyncio.sleep(0)
    assert engine.alive
    await pool.close()
    assert not engine.alive


async def test_closing_ends_the_one_being_started(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    pool = new_pool(engine, 1)
    pool._serve(HERE)
    pool.fill()
    await engine.started.wait()
    await pool.close()
    assert not engine.alive
    assert len(pool) == 0


@pytest.mark.parametrize("emptied", [True, False])
async def test_one_that_is_no_longer_wanted_when_it_has_started_is_ended(emptied: bool, tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    pool = new_pool(engine, 1)
    pool._serve(HERE)
    pool.fill()
    await engine.started.wait()
    if emptied:
        pool.empty()
    else:
        pool._serve(THERE)
    await until(lambda: not any(chromium.proxy == HERE for chromium in engine.alive))
    await until(lambda: len(pool) == (0 if emptied else 1))
    await pool.close()
    assert not engine.alive


async def test_the_first_browser_of_a_node_that_starts_again_is_somebodys_at_once(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    assert last_gateway(tmp_path) is None
    before = new_pool(engine, 1)
    before._serve(HERE)
    await before.close()
    assert last_gateway(tmp_path) == HERE

    pool = new_pool(engine, 1)
    first = await engine.launch(last_gateway(tmp_path))
    pool.adopt(first)
    assert await pool.take(HERE) is first
    await pool.close()


async def test_a_first_browser_of_another_gateway_is_nobodys(tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    pool = new_pool(engine, 1)
    first = await engine.launch(HERE)
    pool.adopt(first)
    assert (await pool.take(THERE)).proxy == THERE
    await until(lambda: first not in engine.alive)
    await pool.close()


@pytest.mark.parametrize(("warm", "proxy"), [(0, HERE), (1, None)])
async def test_a_first_browser_that_nobody_may_have_is_ended(warm: int, proxy: Proxy | None, tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    pool = new_pool(engine, warm)
    pool.adopt(await engine.launch(proxy))
    await pool.close()
    assert not engine.alive


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_first_browser_that_died_is_nobodys_and_leaves_nothing(when: str, tmp_path: Path) -> None:
    engine = FakeEngine(tmp_path)
    pool = new_pool(engine, 1)
    first = await engine.launch(HERE)
    browser = cast("Any", first.browser)
    browser.connected = when == "after"
    pool.adopt(first)
    assert len(pool) == (1 if when == "after" else 0)
    browser.connected = False
    assert await pool.take(HERE) is not first
    await pool.close()
    assert first not in engine.alive


@pytest.mark.parametrize("said", ["", "{", "[]", '{"host": 1, "port": 1, "spki": ""}', "[" * 100_000])
def test_a_gateway_that_cannot_be_read_is_none(said: str, tmp_path: Path) -> None:
    (tmp_path / "gateway.json").write_text(said)
    assert last_gateway(tmp_path) is None
