"""Viewer pages in a Chromium of their own: driven as a person does, and watched from inside, where it happens (``probe.js``)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, CDPSession, Error, Page

from bench.stream.processes import Meter
from bench.stream.script import HEIGHT, NOTCH, Area, Seen, Spot, Subject, Taken

PATIENCE_MS = 5000  # for the pixels of the last act
READY_SECONDS = 30.0  # a machine with much else to do
_PROBE = (Path(__file__).parent / "probe.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Note:
    """One crossing. ``kind``: open or in. ``at``: milliseconds. ``data``: the message, where it was kept."""

    kind: str
    at: float
    size: int
    data: bytes


class View:
    """A viewer page and the picture on it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._left = self._top = 0.0
        self._session: CDPSession | None = None

    @classmethod
    async def on(cls, page: Page, *, keep: bool = False) -> View:
        """Prepare an empty page. ``keep``: whole messages, not only their sizes."""
        await page.add_init_script(f"({_PROBE.strip()})({json.dumps(keep)})")
        return cls(page)

    async def locate(self) -> tuple[float, float]:
        """Find the picture (the largest canvas); return its size in CSS pixels."""
        boxes = [box for canvas in await self.page.locator("canvas").all() if (box := await canvas.bounding_box())]
        assert boxes
        box = max(boxes, key=lambda each: each["width"] * each["height"])
        self._left, self._top = box["x"], box["y"]
        return box["width"], box["height"]

    async def notes(self) -> list[Note]:
        """Return what crossed since the last call."""
        found = await self.page.evaluate("probe.takeNotes()")
        return [Note(kind, at, size, base64.b64decode(data)) for kind, at, size, data in found]

    async def watch(self, what: str, areas: Sequence[Area]) -> None:
        """See :class:`bench.stream.script.System`."""
        boxes = [[*asdict(area).values()] for area in areas]
        await self.page.evaluate("([what, areas]) => probe.watch(what, areas)", [what, boxes])

    async def seen(self) -> Seen:
        """See :class:`bench.stream.script.System`."""
        return Seen(**await self.page.evaluate("patience => probe.seen(patience)", PATIENCE_MS))

    async def first_paint(self, seconds: float) -> float | None:
        """Wait for the first picture; return the milliseconds from the page's start (the person's click) to it."""
        for _ in range(int(seconds * 10)):
            with contextlib.suppress(Error):  # while the page is being replaced
                found = await self.page.evaluate("probe.firstPaint()")
                if found is not None:
                    return float(found)
            await asyncio.sleep(0.1)
        return None

    def point(self, spot: Spot) -> tuple[float, float]:
        """Return where a spot of the picture is in the viewer's window."""
        return self._left + spot.x, self._top + spot.y

    async def session(self) -> CDPSession:
        """Return a debugging session with the viewer page."""
        if self._session is None:
            self._session = await self.page.context.new_cdp_session(self.page)
        return self._session


class Viewed:
    """A system whose viewer is a page in a browser: everything but how it is opened and closed.

    ``server``: meter of the serving side; ``client``: of the viewers' browser.
    """

    def __init__(self, server: Meter, client: Meter) -> None:
        self._server = server
        self._client = client
        self._view: View | None = None

    @property
    def view(self) -> View:
        """The open viewer page."""
        assert self._view is not None
        return self._view

    async def ready(self) -> None:
        """See :class:`bench.stream.script.System`."""
        if await self.view.first_paint(READY_SECONDS) is None:
            raise TimeoutError(f"no picture came: {(await self.view.page.inner_text('body'))[:200]!r}")

    async def click(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.locate()
        await self.view.page.mouse.click(*self.view.point(spot))

    async def press(self, key: str) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.page.keyboard.press(key)

    async def aim(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.page.mouse.move(*self.view.point(spot))

    async def hold(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.aim(spot)
        await self.view.page.mouse.down()

    async def release(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.aim(spot)
        await self.view.page.mouse.up()

    async def notch(self, spot: Spot) -> None:
        """See :class:`bench.stream.script.System`."""
        del spot
        await self.view.page.mouse.wheel(0, NOTCH)

    async def glide(self, spot: Spot, distance: int, speed: int) -> None:
        """See :class:`bench.stream.script.System`."""
        await glide(await self.view.session(), *self.view.point(spot), distance, speed)

    async def target(self, subject: Subject) -> Spot:
        """See :class:`bench.stream.script.System`."""
        return subject.target

    async def watch(self, what: str, areas: Sequence[Area]) -> None:
        """See :class:`bench.stream.script.System`."""
        await self.view.watch(what, areas)

    async def seen(self) -> Seen:
        """See :class:`bench.stream.script.System`."""
        return await self.view.seen()

    async def take(self) -> Taken:
        """See :class:`bench.stream.script.System`."""
        return count(await self.view.notes())

    def server(self) -> dict[str, float]:
        """See :class:`bench.stream.script.System`."""
        return self._server.read()

    def client(self) -> float | None:
        """See :class:`bench.stream.script.System`."""
        return self._client.read()["all"]

    def memory(self) -> float | None:
        """See :class:`bench.stream.script.System`."""
        return self._server.pss()["all"]


def count(notes: Sequence[Note]) -> Taken:
    """Count what came."""
    sizes = [note.size for note in notes if note.kind == "in"]
    return Taken(sum(sizes), len(sizes))


async def glide(session: CDPSession, x: float, y: float, distance: int, speed: int) -> None:
    """Let a page's browser turn the wheel evenly: one command, real events, one for each picture of the screen."""
    await session.send(
        "Input.synthesizeScrollGesture",
        {"x": x, "y": y, "yDistance": -distance, "speed": speed, "gestureSourceType": "mouse", "preventFling": True},
    )


async def nearest(page: Page, selector: str) -> Spot:
    """Return the middle of that element on the page's screen which is nearest to half its height."""
    boxes = await page.evaluate(
        "found => [...document.querySelectorAll(found)].map(e => e.getBoundingClientRect()).map(b => [b.x + b.width / 2, b.y + b.height / 2])",
        selector,
    )
    x, y = min((at for at in boxes if 0 < at[1] < HEIGHT), key=lambda at: abs(at[1] - HEIGHT / 2))
    return Spot(round(x), round(y))


async def closed(browser: Browser | BrowserContext) -> None:
    """Close a browser, or find that it is gone."""
    with contextlib.suppress(Error):
        async with asyncio.timeout(10):
            await browser.close()
