"""From Chromium's frames to a viewer's screen: whatever the pace of either, the last picture arrives, and exactly."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from playwright.async_api import Error

from renderer.capture.pump import FramePump
from renderer.capture.share import FairShare
from renderer.cdp import Tasks
from renderer.viewer import Viewer
from renderer.wire.codec import decode_from_renderer, encode
from renderer.wire.messages import Ack, Frame, FromRenderer, Hello, Ready
from renderer.wire.session import StreamRules
from tests.support.renderer import Screen
from tests.unit.renderer.test_picture import chromium_png, text
from tests.unit.renderer.test_watermark import TEXT, marked

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
PATIENCE = 60.0


class Chromium:
    """A screencast: sends a frame when told to, keeps the newest while as many are unacknowledged as may be."""

    def __init__(self) -> None:
        self.listener: Any = None
        self.casting = False
        self.held: Pixels | None = None
        self.page: Pixels = np.zeros((64, 64, 3), np.uint8)
        self.flying = self.most = 0
        self.sent = self.started = 0

    def on(self, event: str, f: Any) -> None:
        assert event == "Page.screencastFrame"
        self.listener = f

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        await asyncio.sleep(0)
        if method == "Page.startScreencast":
            assert params is not None
            self.casting, self.flying, self.most = True, 0, params["maxFramesInFlight"]
            self.started += 1
            self.show(self.page)
        elif method == "Page.stopScreencast":
            self.casting = False
        elif method == "Page.screencastFrameAck":
            self.flying -= 1
            if self.held is not None:
                held, self.held = self.held, None
                self.show(held)
        return {}

    async def detach(self) -> None:
        """Nothing to close."""

    def show(self, page: Pixels) -> None:
        self.page = page
        if not self.casting:
            return
        if self.flying >= self.most:
            self.held = page
            return
        self.flying += 1
        self.sent += 1
        height, width, _ = page.shape
        metadata = {"deviceWidth": width, "deviceHeight": height}
        self.listener({"data": text(chromium_png(page)), "sessionId": 1, "metadata": metadata})


class Far:
    """A viewer at the far end of a line that delays everything by a random time."""

    def __init__(self, slow: float) -> None:
        self.rules = StreamRules()
        self.viewer = Viewer("http://app.localhost", self.rules, self.emit)
        self.rules.to_renderer(Hello(1, "", "/", 64, 64, 100, False, True, False))
        self.viewer.send(Ready("p", 64, 64, 100, False))
        self.screen = Screen()
        self.slow = slow
        self.most = 0
        self.pump: FramePump | None = None
        self.line: asyncio.Queue[Frame] = asyncio.Queue()
        self.random = random.Random(1)

    def emit(self, message: FromRenderer) -> None:
        if isinstance(message, Frame):
            self.most = max(self.most, self.rules.unacked)
            self.line.put_nowait(message)

    async def draw(self) -> None:
        while True:
            frame = await self.line.get()
            again = decode_from_renderer(encode(frame))
            assert isinstance(again, Frame)
            await asyncio.sleep(self.random.random() * self.slow)
            self.screen.draw(again)
            self.rules.to_renderer(Ack(frame.seq))
            self.viewer.acknowledged(Ack(frame.seq))
            assert self.pump is not None
            self.pump.wake()


def film(turn: int) -> Pixels:
    page = np.full((320, 400, 3), 250, np.uint8)
    y, x = np.mgrid[0:256, 0:320]
    page[32:288, 32:352] = np.dstack([(x + 9 * turn) % 256, (y + 5 * turn) % 256, (x + y) % 256])
    return page


def typing(turn: int) -> Pixels:
    page = np.full((320, 400, 3), 250, np.uint8)
    page[100:116, 8 : 8 + 9 * turn : 3] = 10
    return page


@pytest.mark.case(46)
@pytest.mark.case(64)
@pytest.mark.parametrize("page", [film, typing])
@pytest.mark.parametrize("slow", [0.0, 0.08])
@pytest.mark.parametrize("mark", ["", TEXT])
async def test_the_last_picture_of_a_burst_arrives_exactly(page: Any, slow: float, mark: str) -> None:
    """With a mark on it where one is wanted, and exactly that."""
    shown: Any = marked if mark else lambda pixels: pixels
    chromium, far, tasks = Chromium(), Far(slow), Tasks("test")
    with ThreadPoolExecutor(2) as workers, ThreadPoolExecutor(2) as encoders:
        pump = far.pump = FramePump(chromium, tasks, workers, encoders, FairShare(2).join())
        await pump.start()
        drawing = asyncio.ensure_future(far.draw())
        try:
            await pump.attach(far.viewer, 0, video=True, watermark=mark)
            for burst in range(3):
                for turn in range(20):
                    chromium.show(page(20 * burst + turn))
                    await asyncio.sleep(0.005)
                async with asyncio.timeout(PATIENCE):
                    while not (drawing.done() or (np.array_equal(far.screen.pixels, shown(chromium.page)) and pump.idle)):  # noqa: ASYNC110
                        await asyncio.sleep(0.02)
                if drawing.done():
                    drawing.result()
            pump.refresh(video=False)
            chromium.show(page(99))
            async with asyncio.timeout(PATIENCE):
                while not (drawing.done() or np.array_equal(far.screen.pixels, shown(page(99)))):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert far.most <= 4
        finally:
            drawing.cancel()
            tasks.close()


class Busy:
    """A viewer that has no room until it is told to have."""

    def __init__(self) -> None:
        self.room: float | None = None
        self.frames: list[Frame] = []

    def send(self, message: Frame) -> None:
        self.frames.append(message)

    def wait(self, now: float) -> float | None:
        return self.room


@contextlib.asynccontextmanager
async def pumping(audience: Any) -> AsyncIterator[tuple[FramePump, Chromium]]:
    chromium, tasks = Chromium(), Tasks("test")
    with ThreadPoolExecutor(1) as workers, ThreadPoolExecutor(1) as encoders:
        pump = FramePump(chromium, tasks, workers, encoders, FairShare(2).join())
        await pump.start()
        try:
            await pump.attach(audience, 0, video=False)
            yield pump, chromium
        finally:
            tasks.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_no_picture_is_asked_for_before_the_last_was_taken() -> None:
    """With a viewer that has no room, a page that is never still costs some pictures a second, and the newest is shown when there is room."""
    viewer = Busy()
    async with pumping(viewer) as (pump, chromium):
        for turn in range(60):
            chromium.show(typing(turn % 40))
            await asyncio.sleep(0.005)
        assert chromium.sent < 10
        viewer.room = 0.0
        pump.wake()
        await until(lambda: pump.idle and chromium.held is None)
        assert len(viewer.frames) <= 3


async def test_a_picture_that_comes_twice_is_taken_once() -> None:
    viewer = Busy()
    viewer.room = 0.0
    async with pumping(viewer) as (pump, chromium):
        await until(lambda: len(viewer.frames) == 1 and pump.idle)
        taken: list[int] = []

        async def count() -> None:
            while True:
                await pump.picture()
                taken.append(1)

        counting = asyncio.ensure_future(count())
        for _ in range(5):
            chromium.show(chromium.page)
            await until(lambda: chromium.flying == 0)
        assert not taken
        chromium.show(typing(5))
        await until(lambda: len(viewer.frames) == 2 and chromium.flying == 0)
        assert len(taken) == 1
        counting.cancel()


async def test_a_still_page_gives_back_what_is_held_for_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each time that it comes to rest, and the next picture is none the worse for it."""
    monkeypatch.setattr("renderer.capture.pump.STILL_SECONDS", 0.05)
    viewer, screen = Busy(), Screen()
    viewer.room = 0.0
    async with pumping(viewer) as (pump, chromium):
        for turn in range(3):
            chromium.show(typing(turn))
            chromium.show(typing(turn + 10))
            await until(lambda: chromium.started == 2 + turn and chromium.flying == 0 and pump.idle)  # noqa: B023 - at once
            assert not any(isinstance(held, np.ndarray) and held.size for held in (pump._decoder._filtered, pump._decoder._spare))
            assert not pump._decoder._raw.rows.size
            await asyncio.sleep(0.3)  # it is not begun anew again and again
            assert chromium.started == 2 + turn
            while viewer.frames:
                screen.draw(viewer.frames.pop(0))
            assert np.array_equal(screen.pixels, chromium.page)


@pytest.mark.parametrize("broken", ["refused", "unanswered"])
async def test_pictures_go_on_when_the_cast_cannot_be_begun_anew(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that crashes, or is taken elsewhere, at that very moment."""
    monkeypatch.setattr("renderer.capture.pump.STILL_SECONDS", 0.05)
    viewer, screen = Busy(), Screen()
    viewer.room = 0.0
    async with pumping(viewer) as (pump, chromium):
        await until(lambda: len(viewer.frames) == 1)
        asked: list[str] = []
        send = chromium.send

        async def failing(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
            if method in {"Page.stopScreencast", "Page.startScreencast"}:
                asked.append(method)
                if broken == "refused":
                    raise Error("Target crashed")
                await asyncio.Event().wait()
            return await send(method, params)

        monkeypatch.setattr(chromium, "send", failing)
        await until(lambda: "Page.startScreencast" in asked)
        chromium.show(typing(7))
        await until(lambda: len(viewer.frames) == 2)
        for frame in viewer.frames:
            screen.draw(frame)
        assert np.array_equal(screen.pixels, typing(7))
        assert pump.idle


async def test_a_page_that_is_hidden_as_it_comes_to_rest_stays_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renderer.capture.pump.STILL_SECONDS", 0.05)
    viewer = Busy()
    viewer.room = 0.0
    async with pumping(viewer) as (pump, chromium):
        await until(lambda: len(viewer.frames) == 1)
        start = pump._start_cast

        async def hidden_before() -> None:
            await pump.hide()
            await start()

        monkeypatch.setattr(pump, "_start_cast", hidden_before)
        await until(lambda: chromium.started == 2 and not chromium.casting)
        await asyncio.sleep(0.1)
        assert not chromium.casting


async def test_a_hidden_page_is_not_shown_by_its_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("renderer.capture.pump.STILL_SECONDS", 0.05)
    viewer = Busy()
    viewer.room = 0.0
    async with pumping(viewer) as (pump, chromium):
        await until(lambda: len(viewer.frames) == 1)
        await pump.hide()
        await until(lambda: not pump._decoder._raw.rows.size)
        await asyncio.sleep(0.1)
        assert not chromium.casting
        assert chromium.started == 1
