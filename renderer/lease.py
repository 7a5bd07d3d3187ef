"""One signed-in session's browser: its context, its tabs, and how it ends."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from playwright.async_api import BrowserContext, CDPSession, Error, Page

from renderer.capture.share import Share
from renderer.cdp import Cdp, Tasks
from renderer.chromium import priority, processes
from renderer.chromium.egress import EgressError, present_credentials
from renderer.chromium.launch import Chromium, LaunchError, kill
from renderer.chromium.screens import Screens
from renderer.input.validate import Controls
from renderer.location import split_address
from renderer.page import Tab
from renderer.transfer.clipboard import Changes
from renderer.transfer.downloads import Downloads
from renderer.transfer.store import Store
from renderer.viewer import Viewer
from renderer.watch import DISK_EVERY, EndPage, EndSession, Limit, Limits, Watch
from renderer.wire.control import LIMITS, Egress, LeaseCode
from renderer.wire.messages import CloseCode, Hello, NoticeCode, Opened

# ---------------------------------------------------------------- limits
MAX_WAITING = 5  # windows of one tab that no viewer has taken yet
FIRST_ADDRESS_SECONDS = 1.0  # how long a new window may take to have an address before it is announced without one
PING_EVERY = 10  # looks between two questions to the browser itself
HUNG_SECONDS = 20.0  # a browser that has not answered for so long is replaced; swapping machines take seconds

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
        share: Share,
        ended: Callable[[Lease, LeaseCode], None],
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.name = name
        self.chromium = chromium
        self.controls = controls
        self.workers, self.encoders, self.share = workers, encoders, share
        self.screens = Screens()
        self.store = Store(chromium.home)
        self.clipboard = Changes()
        self.tabs: dict[str, Tab] = {}
        self.last_seen = time.monotonic()  # when a viewer or a router last showed interest
        self.over = False
        self._ended = ended
        self._tasks = Tasks("lease")
        self._context: BrowserContext | None = None
        self._own: set[Page] = set()
        self._spare: Tab | None = None  # made by start(), for the first viewer: its page comes to know us while the viewer loads
        self._creating = asyncio.Lock()
        self._limits = limits
        self._watch = Watch(limits, time.monotonic())
        self._looks = 0
        self._lowered: frozenset[int] = frozenset()
        self._browser: CDPSession | None = None
        self._asking = False
        chromium.browser.on("disconnected", lambda _: self.end(LeaseCode.CRASHED))

    async def start(self, egress: Egress) -> None:
        """Make the context and present the gateway's credentials. Raises :class:`LaunchError`."""
        try:
            self._context = await self.chromium.browser.new_context(
                no_viewport=True, accept_downloads=False, service_workers="allow"
            )
            self._context.set_default_timeout(10_000)
            page = await present_credentials(self._context, egress.username, egress.password)
        except (Error, EgressError) as problem:
            raise LaunchError(str(problem).splitlines()[0]) from problem
        self._context.on("page", self._page_came)
        self._downloads = Downloads(
            self.chromium.browser, self.store, lambda: self.controls, self._tab_of, self._last_used, self._tasks
        )
        try:
            await self._downloads.start(await self._permit(page))
        except Error as problem:
            raise LaunchError(str(problem).splitlines()[0]) from problem
        self._spare = Tab(self, secrets.token_urlsafe(12), page)

    async def _permit(self, page: Page) -> str:
        """Let pages write to the session's own clipboard, as browsers let them, and read it never. Return Chromium's name of the context."""
        session = await page.context.new_cdp_session(page)
        target = await session.send("Target.getTargetInfo")
        await session.detach()
        context = str(target["targetInfo"]["browserContextId"])
        # What a session of the protocol grants holds for as long as that session does.
        self._grants = await self.chromium.browser.new_browser_cdp_session()
        await self._grants.send(
            "Browser.grantPermissions", {"permissions": ["clipboardSanitizedWrite"], "browserContextId": context}
        )
        return context

    async def session(self, target: str) -> Cdp:
        """See :class:`renderer.page.TabHost`."""
        return await self.chromium.line.session(target)

    async def control(self, controls: Controls) -> None:
        """Take new controls."""
        self.controls = controls
        await self._downloads.apply()

    # ------------------------------------------------------------ tabs

    def _tab_of(self, frame: str) -> Tab | None:
        return next((tab for tab in self.tabs.values() if tab.observer.has_frame(frame)), None)

    def _last_used(self) -> Tab | None:
        return max(self.tabs.values(), key=lambda tab: tab.last_input, default=None)

    async def new_page(self) -> Page:
        """Make an empty page that is ours, not a window a page opened."""
        if self._context is None:
            raise LaunchError("no context")
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
            if tab.sent and not tab.observer.loading:  # it was stopped: nothing else would bring it there
                tab.tasks.start(tab.navigate(viewer.origin + hello.path))
            return tab
        if len(self.tabs) >= self.controls.tabs and not await self._make_room():
            viewer.close(CloseCode.TAB_LIMIT)
            return None
        tab, self._spare = self._spare, None
        if tab is None:
            try:
                tab = Tab(self, secrets.token_urlsafe(12), await self.new_page())
            except (Error, LaunchError):
                viewer.close(CloseCode.BROWSER_CRASHED)
                return None
        if self.over:
            viewer.close(CloseCode.BROWSER_CRASHED)
            return None
        self.tabs[tab.name] = tab
        tab.attach(viewer, hello, resumed=False)
        tab.tasks.start(tab.navigate(viewer.origin + hello.path))
        return tab

    async def _make_room(self) -> bool:
        """Close the page that nobody has looked at for longest: kept for a viewer that may return, and one that is here goes first."""
        waiting = {name for tab in self.tabs.values() for name in tab.opened}
        alone = [tab for tab in self.tabs.values() if tab.viewer is None and tab.name not in waiting]
        oldest = min(alone, key=lambda tab: tab.last_seen, default=None)
        if oldest is None:
            return False
        self.tabs.pop(oldest.name, None)
        await oldest.close()
        return True

    def _taken(self, tab: Tab) -> None:
        for other in self.tabs.values():
            other.opened.pop(tab.name, None)

    def gone(self) -> bool:
        """See :class:`renderer.page.TabHost`."""
        if self.chromium.line.closed:
            self.end(LeaseCode.CRASHED)
        return self.over

    def closed(self, tab: Tab) -> None:
        """See :class:`renderer.page.TabHost`."""
        self.tabs.pop(tab.name, None)
        if tab is self._spare:
            self._spare = None
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
            opener = self._last_used()
        full = len(self.tabs) >= self.controls.tabs
        if opener is None or full or len(opener.opened) >= MAX_WAITING:
            await page.close()
            if opener is not None:
                opener.notice(NoticeCode.TAB_LIMIT if full else NoticeCode.POPUP_BLOCKED)
            return
        tab = Tab(self, secrets.token_urlsafe(12), page)
        self.tabs[tab.name] = tab
        tab.opener = opener
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
        """Look after the lease, every few seconds: pages whose viewers stayed away, sessions nobody came back to."""
        now = time.monotonic()
        if self.watched:
            self.last_seen = now
            for tab in [t for t in self.tabs.values() if t.viewer is None and now - t.last_seen > grace]:
                await tab.close()
        elif now - self.last_seen > grace:
            self.end(LeaseCode.IDLE)

    async def look(self, census: processes.Census) -> None:
        """Hold the session to its limits, and see that its browser and its pages answer: once a second."""
        now = time.monotonic()
        tree = census.tree(self.chromium.pid)
        self._looks += 1
        self._share(now, tree)
        # Pages of one process stand still together while a dialog of one of them is open.
        still = any(tab.observer.dialog_open for tab in self.tabs.values())
        for tab in list(self.tabs.values()):
            tab.check(now, still=still)
        if self._looks % PING_EVERY == 0 and not self._asking:
            self._asking = True
            self._tasks.start(self._ask())
        limit = self._watch.over(now, tree)
        if limit is Limit.MEMORY:
            await self._memory(now, tree)
        elif limit is not None:
            self._exceeded(limit, len(tree) if limit is Limit.PROCESSES else round(now - self._watch.started))
        elif self._looks % DISK_EVERY == 0:
            used = await asyncio.to_thread(processes.disk_usage, self.chromium.home)
            if used > self._limits.disk:
                self._exceeded(Limit.DISK, used)

    def _share(self, now: float, tree: Sequence[processes.Process]) -> None:
        busy = self._watch.busy(now, tree)
        for pid in busy - self._lowered:
            log.info("limit.processor", extra={"lease": self.name[:8], "pid": pid, "lowered": priority.lower(pid)})
        for pid in self._lowered - busy:
            priority.restore(pid)
        self._lowered = busy

    async def _memory(self, now: float, tree: Sequence[processes.Process]) -> None:
        own, pages = await asyncio.to_thread(_measure, tree)
        match self._watch.judge(now, own, pages):
            case EndPage(pid, used):
                # The page in it is shown as crashed, and loaded again.
                log.warning("limit.page", extra={"lease": self.name[:8], "limit": "memory", "used": used, "pid": pid})
                kill(pid)
            case EndSession(limit, used):
                self._exceeded(limit, used)
            case None:
                pass

    def _exceeded(self, limit: Limit, used: int) -> None:
        log.warning("limit.session", extra={"lease": self.name[:8], "limit": limit.value, "used": used})
        self.end(LeaseCode(limit.value))

    async def _ask(self) -> None:
        """Ask the browser for a sign of life; without one, it is replaced."""
        try:
            async with asyncio.timeout(HUNG_SECONDS):
                if self._browser is None:
                    self._browser = await self.chromium.browser.new_browser_cdp_session()
                await self._browser.send("Browser.getVersion")
        except TimeoutError:
            log.error("browser.hung", extra={"lease": self.name[:8], "pid": self.chromium.pid})
            self.end(LeaseCode.HUNG)
        except Error:
            log.debug("browser.gone")  # its end is reported elsewhere
        finally:
            self._asking = False

    def end(self, code: LeaseCode) -> None:
        """End the session's browser from our side's view; :class:`renderer.node.Node` then ends the process."""
        if self.over:
            return
        self.over = True
        self._tasks.close()
        close = CloseCode.SESSION_ENDED
        if code in {LeaseCode.CRASHED, LeaseCode.HUNG}:
            close = CloseCode.BROWSER_CRASHED
        elif code in LIMITS:
            close = CloseCode.LIMIT_REACHED
        for tab in [*self.tabs.values(), *([self._spare] if self._spare is not None else [])]:
            tab.end(close)
        self.tabs.clear()
        self._spare = None
        self._ended(self, code)


def _measure(tree: Sequence[processes.Process]) -> tuple[dict[int, int], frozenset[int]]:
    own = {process.pid: processes.own_memory(process.pid) for process in tree}
    return own, frozenset(pid for pid in own if processes.is_page(pid))
