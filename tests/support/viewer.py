"""What the viewer's browser tests share: a person with a browser in front of a viewer, and an honest page on a node that is played."""

from __future__ import annotations

import asyncio
import base64
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import imagecodecs
import numpy as np
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, Request, async_playwright

from isolation.policy.controls import Clipboard, Controls
from isolation.testing.clock import FakeClock
from isolation.testing.fake_node import FakePage
from isolation.testing.viewer_site import ViewerSite
from renderer.wire import messages as m

CHROMIUM = shutil.which("chromium-headless-shell")
EVIL = "</title><img src=x onerror=\"window.hacked=1;new Image().src='http://evil.example/x'\"><script>window.hacked=1</script>"
OPEN = Controls(clipboard=Clipboard.BOTH)


def picture(width: int, height: int) -> Any:
    """Return something to look at that every codec bug would change: gradients, hard edges, noise."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.dstack([(x * 255 // max(1, width)), (y * 255 // max(1, height)), (x ^ y) % 256]).astype(np.uint8)
    image[20:60, 20:200] = (255, 255, 255)
    return image


@dataclass
class Model:
    """What an honest page does: it keeps a history and shows a picture."""

    paths: list[str] = field(default_factory=list)
    index: int = 0

    async def __call__(self, page: FakePage, message: m.ToRenderer) -> None:
        match message:
            case m.Hello():
                if not self.paths or len(page.of(m.Hello)) == 1:
                    self.paths, self.index = [message.path], 0
                await self.tell(page, replace=True)
                await page.send(m.Title("Run for May"))
                await page.show(picture(message.width * message.scale // 100, message.height * message.scale // 100))
            case m.Navigate(path):
                await self.go(page, path)
            case m.History(delta):
                self.index = max(0, min(len(self.paths) - 1, self.index + delta))
                await self.tell(page)
            case m.Refresh() | m.Resize():
                hello = page.of(m.Resize)[-1] if page.of(m.Resize) else page.of(m.Hello)[-1]
                await page.show(picture(hello.width, hello.height))
            case _:
                pass

    async def go(self, page: FakePage, path: str) -> None:
        self.paths = [*self.paths[: self.index + 1], path]
        self.index += 1
        await self.tell(page)

    async def tell(self, page: FakePage, *, replace: bool = False) -> None:
        await page.send(m.Location(page.origin, self.paths[self.index], self.index, len(self.paths), replace))


@dataclass
class Person:
    site: ViewerSite
    context: BrowserContext
    page: Page
    model: Model
    requests: list[str]
    errors: list[str]

    @property
    def remote(self) -> FakePage:
        return self.site.node.page()

    async def live(self) -> FakePage:
        """Wait until the picture is there."""
        await true(self.page, "parseFloat(surface.style.width) > 0 && !document.body.classList.contains('covered')")
        await until(lambda: bool(self.site.node.pages) and bool(self.remote.of(m.Ack)))
        return self.remote

    async def got(self, kind: type, seconds: float = 10) -> Any:
        """Wait for a message of a kind; return the newest."""
        await self.remote.wait_for(lambda it: bool(it.of(kind)), seconds)
        return self.remote.of(kind)[-1]


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


async def true(page: Page, expression: str, seconds: float = 10) -> None:
    """Wait until an expression holds. Not wait_for_function, which evaluates strings inside the page: its policy forbids that."""
    async with asyncio.timeout(seconds):
        while not await page.evaluate(expression):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def chromium() -> AsyncIterator[Browser]:
    if not CHROMIUM:
        pytest.skip("chromium-headless-shell is not installed")
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        await running.close()


Open = Callable[..., Any]


def opener(chromium: Browser) -> Open:
    @asynccontextmanager
    async def opened(
        path: str = "/run?month=5",
        *,
        controls: Controls = OPEN,
        site: dict[str, Any] | None = None,
        clock: FakeClock | None = None,
        **context: Any,
    ) -> AsyncIterator[Person]:
        model = Model()
        async with ViewerSite(model, controls=controls, clock=clock) as running:
            for name, value in (site or {}).items():
                setattr(running, name, value)
            window = await chromium.new_context(**{"viewport": {"width": 900, "height": 600}} | context)
            window.set_default_timeout(10_000)
            requests: list[str] = []
            errors: list[str] = []

            def seen(request: Request) -> None:
                requests.append(request.url)

            window.on("request", seen)
            window.on("weberror", lambda error: errors.append(str(error.error)))
            page = await window.new_page()
            await page.goto(running.origin + path)
            person = Person(running, window, page, model, requests, errors)
            try:
                yield person
            finally:
                await window.close()
            assert errors == []
            strangers = [url for url in requests if not url.startswith((running.origin + "/", "data:", "blob:" + running.origin))]
            assert strangers == []

    return opened


@pytest.fixture
def open_viewer(chromium: Browser) -> Open:
    """Open viewers, each with a router and a node of its own."""
    return opener(chromium)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared_viewer(chromium: Browser) -> AsyncIterator[Person]:
    async with opener(chromium)() as person:
        await person.live()
        yield person


@pytest.fixture
def at_work(shared_viewer: Person) -> Person:
    """Somebody whose viewer shows its picture, and has said nothing since. One viewer for a whole file: tests leave nothing open in it."""
    shared_viewer.remote.received.clear()
    return shared_viewer


async def pixels(page: Page) -> Any:
    url = await page.evaluate("document.getElementById('surface').toDataURL()")
    return imagecodecs.png_decode(base64.b64decode(url.partition(",")[2]))[..., :3]
