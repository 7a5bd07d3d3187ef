"""One signed-in session's browser: its context, its tabs, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from playwright.async_api import BrowserContext, Error, Page

from renderer.cdp import Tasks
from renderer.chromium.egress import EgressError, present_credentials
from renderer.chromium.launch import Chromium, LaunchError
from renderer.input.validate import Controls
from renderer.location import split_address
from renderer.page import Tab
from renderer.viewer import Viewer
from renderer.wire.control import Egress, LeaseCode
from renderer.wire.messages import CloseCode, Hello, NoticeCode, Opened

# ---------------------------------------------------------------- limits
MAX_PAGES = 20  # tabs of one session; more is a page gone wild (or BrowserBox's limit, which nobody complained of)
MAX_WAITING = 5  # windows of one tab that no viewer has taken yet
FIRST_ADDRESS_SECONDS = 1.0  # how long a new window may take to have an address before it is announced without one
MAX_MEMORY = 3 * 1024**3  # bytes of one session's processes: a laptop's browser with many heavy tabs

log = logging.getLogger("renderer.lease")


class Lease:
    """One Chromium for one session. ``ended`` is called once, with why, after everything was let go."""

    def __init__(
        self,
        name: str,
        chromium: Chromium,
        controls: Controls,
        workers: Executor,
        encoders: Executor,
        ended: Callable[[Lease, LeaseCode], None],
    ) -> None:
        self.name = name
        self.chromium = chromium
        self.controls = controls
        self.scale = chromium.scale
        self.workers, self.encoders = workers, encoders
        self.tabs: dict[str, Tab] = {}
        self.last_seen = time.monotonic()  # when a viewer or a router last showed interest
        self.over = False
        self._ended = ended
        self._tasks = Tasks("lease")
        self._context: BrowserContext | None = None
        self._own: set[Page] = set()
        self._spare: Page | None = None  # made by start(): the first viewer need not wait for one
        self._creating = asyncio.Lock()
        chromium.browser.on("disconnected", lambda _: self.end(LeaseCode.CRASHED))

    async def start(self, egress: Egress) -> None:
        """Make the context and present the gateway's credentials. Raises :class:`LaunchError`."""
        try:
            self._context = await self.chromium.browser.new_context(
                no_viewport=True, accept_downloads=False, service_workers="allow"
            )
            self._context.set_default_timeout(10_000)
            self._spare = await present_credentials(self._context, egress.username, egress.password)
        except (Error, EgressError) as problem:
            raise LaunchError(str(problem).splitlines()[0]) from problem
        self._context.on("page", self._page_came)

    # ------------------------------------------------------------ tabs

    async def new_page(self) -> Page:
        """Make an empty page that is ours, not a window a page opened."""
        if self._context is None:
            raise LaunchError("no context")
        spare, self._spare = self._spare, None
        if spare is not None and not spare.is_closed():
            return spare
        async with self._creating:
            page = await self._context.new_page()
            self._own.add(page)
        page.on("close", self._forget)
        return page

    def _forget(self, page: Page) -> None:
        self._own.discard(page)

    async def attach(self, viewer: Viewer, hello: Hello) -> Tab | None:
        """Give a viewer the page it asks for, or a new one. None: it was told why not."""
        self.last_seen = time.monotonic()
        tab = self.tabs.get(hello.page) if hello.page else None
        if tab is not None:
            self._taken(tab)
            tab.attach(viewer, hello, resumed=True)
            return tab
        if len(self.tabs) >= MAX_PAGES:
            viewer.close(CloseCode.NO_CAPACITY)
            return None
        try:
            page = await self.new_page()
        except (Error, LaunchError):
            viewer.close(CloseCode.BROWSER_CRASHED)
            return None
        if self.over:
            viewer.close(CloseCode.BROWSER_CRASHED)
            return None
        tab = self._tab(page)
        tab.attach(viewer, hello, resumed=False)
        tab.tasks.start(tab.navigate(viewer.origin + hello.path))
        return tab

    def _tab(self, page: Page) -> Tab:
        tab = Tab(self, secrets.token_urlsafe(12), page)
        self.tabs[tab.name] = tab
        return tab

    def _taken(self, tab: Tab) -> None:
        for other in self.tabs.values():
            other.opened.pop(tab.name, None)

    def closed(self, tab: Tab) -> None:
        """See :class:`renderer.page.TabHost`."""
        self.tabs.pop(tab.name, None)
        self._taken(tab)
        self.last_seen = time.monotonic()

    def _page_came(self, page: Page) -> None:
        self._tasks.start(self._window_opened(page))

    async def _window_opened(self, page: Page) -> None:
        async with self._creating:
            if page in self._own or page.is_closed():
                return
        opener_page = await page.opener()
        opener = next((tab for tab in self.tabs.values() if tab.page is opener_page), None)
        if opener is None:
            # Opened without a reference (noopener): by whoever was used last.
            opener = max(self.tabs.values(), key=lambda tab: tab.last_input, default=None)
        if opener is None or len(self.tabs) >= MAX_PAGES or len(opener.opened) >= MAX_WAITING:
            await page.close()
            if opener is not None:
                opener.notice(NoticeCode.POPUP_BLOCKED)
            return
        tab = self._tab(page)
        moved = asyncio.Event()
        page.on("framenavigated", lambda _: moved.set() if split_address(page.url)[0] else None)
        page.on("close", lambda _: moved.set())
        try:
            async with asyncio.timeout(FIRST_ADDRESS_SECONDS):
                if not split_address(page.url)[0]:
                    await moved.wait()
        except TimeoutError:
            log.debug("window.blank")
        if page.is_closed():
            return
        opened = Opened(tab.name, *split_address(page.url))
        opener.opened[tab.name] = opened
        opener.send(opened)

    # ------------------------------------------------------------ care

    @property
    def watched(self) -> bool:
        """Whether any viewer looks at any page."""
        return any(tab.viewer is not None for tab in self.tabs.values())

    async def tend(self, grace: float) -> None:
        """Look after the lease, every few seconds: pages whose viewers stayed away, sessions nobody came back to, memory."""
        now = time.monotonic()
        if self.watched:
            self.last_seen = now
            for tab in [t for t in self.tabs.values() if t.viewer is None and now - t.last_seen > grace]:
                await tab.close()
        elif now - self.last_seen > grace:
            self.end(LeaseCode.IDLE)
            return
        used = await self._memory()
        if used > MAX_MEMORY:
            log.warning("lease.memory", extra={"lease": self.name[:8], "bytes": used})
            self.end(LeaseCode.CRASHED)

    async def _memory(self) -> int:
        try:
            session = await self.chromium.browser.new_browser_cdp_session()
            answer = await session.send("SystemInfo.getProcessInfo")
            await session.detach()
        except Error:
            return 0
        return sum(_resident(int(process["id"])) for process in answer["processInfo"])

    def end(self, code: LeaseCode) -> None:
        """End the session's browser from our side's view; :class:`renderer.node.Node` then ends the process."""
        if self.over:
            return
        self.over = True
        self._tasks.close()
        close = CloseCode.BROWSER_CRASHED if code is LeaseCode.CRASHED else CloseCode.SESSION_ENDED
        for tab in list(self.tabs.values()):
            tab.end(close)
        self.tabs.clear()
        self._ended(self, code)


def _resident(pid: int) -> int:
    """Return the bytes only this process holds in memory (anonymous pages: shared code would be counted many times)."""
    try:
        for line in Path("/proc", str(pid), "status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
    return 0
