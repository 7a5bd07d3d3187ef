"""The whole chain but for decisions, for tests of a file: a person's Chromium, the viewer, the relay, a real node and its sandboxed Chromium."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, CDPSession, Page, async_playwright
from typing_extensions import override

from isolation.broker.model import EgressAddress, NodeAddress
from isolation.policy.controls import Clipboard, Controls
from isolation.testing.viewer_site import ViewerSite
from tests.support.renderer import TOKEN, Gateway, NodeProcess, new_runtime_dir, node_process, open_to_all

CHROMIUM = shutil.which("chromium-headless-shell")
OPEN = Controls(clipboard=Clipboard.BOTH)
PATIENCE = 20.0
SEATS = 10  # people of a file, one after the other, in one isolated browser

HEAD = (
    "<!doctype html><meta charset=utf-8><title>-</title><style>html{background:#fff}body{margin:0;font:16px sans-serif}</style>"
)
# What a page does to show what it got: say(…) adds to its title, which the viewer's tab carries.
SAY = "<script>const said=[];const say=(...what)=>{said.push(what.join(' '));document.title=said.slice(-12).join('|')}</script>"


class Whatever(str):
    """Equals every password."""

    __slots__ = ()
    __hash__ = str.__hash__

    @override
    def __ne__(self, other: object) -> bool:
        return not other


class Credentials(dict[str, str]):
    """Accepts the lease's own credentials, whatever they are: who checks them is tested elsewhere."""

    @override
    def get(self, key: str, default: Any = None) -> Any:
        return Whatever()


async def wait(true: Callable[[], Awaitable[Any]], what: object = "", seconds: float = PATIENCE) -> Any:
    """Wait until something asked for again and again is true; return it."""
    seen: Any = None
    try:
        async with asyncio.timeout(seconds):
            while not (seen := await true()):  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.02)
            return seen
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None


@dataclass
class Seat:
    """A person in front of an isolated page."""

    page: Page
    context: BrowserContext
    cdp: CDPSession
    site: ViewerSite
    errors: list[str]

    async def titled(self, pattern: str, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until the page's title matches the whole of a pattern."""
        try:
            async with asyncio.timeout(seconds):
                while (found := re.fullmatch(pattern, await self.page.title(), re.DOTALL)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
                return found
        except TimeoutError:
            raise AssertionError(f"waited in vain for {pattern!r}; {await self.looks()}") from None

    async def true(self, expression: str, argument: Any = None, seconds: float = PATIENCE) -> Any:
        """Wait until an expression of the viewer's page is true."""
        try:
            return await wait(lambda: self.page.evaluate(expression, argument), expression, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; {await self.looks()}") from None

    async def looks(self) -> str:
        """What the viewer shows and where its keyboard is, for the words of a test that failed."""
        looks = await self.page.evaluate(
            """() => ({ title: document.title, focus: document.activeElement?.outerHTML.slice(0, 200), cover: cover.innerText,
              toasts: toasts.innerText, popups: [...document.querySelectorAll('.popup')].map(popup => popup.innerText), heard: document.hasFocus() })"""
        )
        return f"the viewer: {looks}; what its page did: {self.errors}"

    async def shows(self, x: int, y: int, colour: tuple[int, int, int], seconds: float = PATIENCE) -> None:
        """Wait until a pixel (device pixels of the picture) has a colour."""
        await self.true(
            "([x, y, c]) => surface.getContext('2d').getImageData(x, y, 1, 1).data.slice(0, 3).join() === c",
            [x, y, ",".join(map(str, colour))],
            seconds,
        )

    async def go(self, path: str) -> None:
        """Let the isolated page go to another address of its app, as a step through this tab's history does."""
        await self.page.evaluate(
            "path => { history.pushState(null, '', path); dispatchEvent(new PopStateEvent('popstate', { state: null })); }", path
        )

    async def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """Real fingers on the person's screen. ``kind`` and points as Chromium's protocol has them."""
        await self.cdp.send(
            "Input.dispatchTouchEvent",
            {"type": f"touch{kind}", "touchPoints": [{"id": i, "x": x, "y": y} for i, (x, y) in enumerate(points)]},
        )

    async def tap(self, x: float, y: float) -> None:
        await self.touch("Start", (x, y))
        await self.touch("End")

    async def swipe(self, start: tuple[float, float], end: tuple[float, float], steps: int = 10) -> None:
        """One finger from one point to another, in even steps of a frame, lifted while it moves."""
        await self.touch("Start", start)
        for step in range(1, steps + 1):
            part = step / steps
            await self.touch("Move", (start[0] + (end[0] - start[0]) * part, start[1] + (end[1] - start[1]) * part))
            await asyncio.sleep(0.016)
        await self.touch("End")


@dataclass
class Isolation:
    """What is started once for a file."""

    gateway: Gateway
    node: NodeProcess
    browser: Browser
    _count: int = 0

    @asynccontextmanager
    async def site(self, controls: Controls = OPEN) -> AsyncIterator[ViewerSite]:
        """An app with these controls: one isolated browser."""
        running = ViewerSite(
            controls=controls,
            address=NodeAddress("real", f"ws://127.0.0.1:{self.node.port}", TOKEN),
            egress=EgressAddress("127.0.0.1", self.gateway.port, ""),
        )
        async with running:
            yield running
            assert running.grant is not None
            await running.leases.end(running.grant.session_digest, "test")

    @asynccontextmanager
    async def seat(self, site: ViewerSite, body: str, path: str = "", **context: Any) -> AsyncIterator[Seat]:
        """A person who looks at a page with this body. ``context``: of their browser."""
        self._count += 1
        path = path or f"/page{self._count}"
        self.gateway.html(path, HEAD + SAY + body, site.origin)
        window = await self.browser.new_context(**{"viewport": {"width": 800, "height": 600}} | context)
        window.set_default_timeout(PATIENCE * 1000)
        errors: list[str] = []
        window.on("weberror", lambda error: errors.append(str(error.error)))
        page = await window.new_page()
        seat = Seat(page, window, await window.new_cdp_session(page), site, errors)
        try:
            await page.goto(site.origin + path)
            # The page is there (until then its tab is called after the app), and its picture is.
            await seat.true("document.title !== 'Payroll'")
            await seat.true("!document.body.classList.contains('covered') && parseFloat(surface.style.width) > 0")
            yield seat
            assert errors == []
        finally:
            await window.close()
            # Pages wait for people who closed their tabs; a session holds only so many.
            if self._count % SEATS == 0 and site.grant is not None:
                await site.leases.end(site.grant.session_digest, "test")


def quoted(text: str) -> str:
    """A text as JavaScript."""
    return json.dumps(text)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def isolation() -> AsyncIterator[Isolation]:
    if not CHROMIUM:
        pytest.skip("chromium-headless-shell is not installed")
    runtime_dir = open_to_all(new_runtime_dir())
    async with Gateway() as gateway, node_process(runtime_dir, "--warm", "0") as node, async_playwright() as playwright:
        gateway.credentials = Credentials()
        # The test's own browser; the product's is never started without its sandbox.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield Isolation(gateway, node, browser)
        await browser.close()
    shutil.rmtree(runtime_dir.parent)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def site(isolation: Isolation) -> AsyncIterator[ViewerSite]:
    async with isolation.site() as running:
        yield running


@pytest.fixture
def sit(isolation: Isolation, site: ViewerSite) -> Any:
    """Open a page with this body in front of a person."""

    def opened(body: str, **more: Any) -> Any:
        return isolation.seat(site, body, **more)

    return opened
