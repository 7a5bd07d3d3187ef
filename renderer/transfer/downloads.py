"""What a session's browser downloads: watched while it arrives, judged when it is whole, then offered to the person of the page it came from."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.async_api import Browser

from renderer.cdp import Cdp, Event, Tasks
from renderer.input.validate import Controls
from renderer.transfer.store import Store, open_plain
from renderer.wire import messages as m
from renderer.wire.files import HEAD, file_name, named_truly, permitted

if TYPE_CHECKING:
    from renderer.page import Tab

# ---------------------------------------------------------------- limits
MAX_RUNNING = 4  # downloads of one session that arrive at once; browsers ask before they let a page start more
PAGE_SECONDS = 3.0  # how long a window that was opened for a download may take to be known as a page
LOOK_SECONDS = 0.25  # between two looks at how much lies on the disk: Chromium itself says so twice a second
STALL_SECONDS = 600.0  # a download that does not grow for so long is given up

_GUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = logging.getLogger("renderer.transfer")


@dataclass(eq=False)
class _Arriving:
    """A download on its way into the session's directory."""

    guid: str
    frame: str
    name: str
    path: Path
    size: int = 0
    grown: float = 0.0
    page: asyncio.Future[Tab | None] | None = None


class Downloads:
    """All downloads of one session. ``page_of`` finds the page of a frame (None: not known yet); ``last_used``: the page for what has none."""

    def __init__(
        self,
        browser: Browser,
        store: Store,
        controls: Callable[[], Controls],
        page_of: Callable[[str], Tab | None],
        last_used: Callable[[], Tab | None],
        tasks: Tasks,
    ) -> None:
        self._browser, self._store, self._controls, self._tasks = browser, store, controls, tasks
        self._page_of, self._last_used = page_of, last_used
        self._arriving: dict[str, _Arriving] = {}
        self._cdp: Cdp | None = None
        self._context = ""

    async def start(self, context: str) -> None:
        """Listen. ``context``: Chromium's name of the session's browser context."""
        self._context = context
        self._cdp = await self._browser.new_browser_cdp_session()
        self._cdp.on("Browser.downloadWillBegin", self._begins)
        self._cdp.on("Browser.downloadProgress", self._progress)
        await self.apply()

    async def apply(self) -> None:
        """Tell Chromium what the controls say now. Files lie under names of Chromium's own making, never the page's."""
        if self._cdp is None:
            return
        where: dict[str, Any] = {"behavior": "deny"}
        if self._controls().download:
            where = {"behavior": "allowAndName", "downloadPath": str(self._store.downloads)}
        await self._cdp.send("Browser.setDownloadBehavior", {"browserContextId": self._context, "eventsEnabled": True, **where})

    def _begins(self, event: Event) -> None:
        guid, frame = str(event.get("guid", "")), str(event.get("frameId", ""))
        if not _GUID.fullmatch(guid) or guid in self._arriving:
            return
        suggested = event.get("suggestedFilename")
        name = file_name(suggested if isinstance(suggested, str) else "", "download")
        arriving = _Arriving(guid, frame, name, self._store.downloads / guid, grown=time.monotonic())
        arriving.page = self._tasks.start(self._find(arriving))
        if not self._controls().download:
            self._tasks.start(self._stop(arriving, m.NoticeCode.DOWNLOAD_BLOCKED))
        elif len(self._arriving) >= MAX_RUNNING:
            self._tasks.start(self._stop(arriving, m.TransferCode.FAILED))
        else:
            self._arriving[guid] = arriving
            self._tasks.start(self._watch(arriving))

    def _progress(self, event: Event) -> None:
        arriving = self._arriving.get(str(event.get("guid", "")))
        if arriving is None:
            return
        if event.get("state") == "completed":
            del self._arriving[arriving.guid]
            self._tasks.start(self._arrived(arriving))
        elif event.get("state") == "canceled":
            del self._arriving[arriving.guid]
            self._store.drop(arriving.path)
            self._tasks.start(self._refuse(arriving, m.TransferCode.CANCELLED))
        else:
            total, received = event.get("totalBytes"), event.get("receivedBytes")
            sizes = [int(size) for size in (total, received) if isinstance(size, int | float)]
            self._weigh(arriving, max(sizes, default=0))

    def _weigh(self, arriving: _Arriving, size: int) -> None:
        """Stop a download that is, or says it will be, larger than it may be."""
        if size > arriving.size:
            arriving.size, arriving.grown = size, time.monotonic()
        if size > self._controls().download_bytes or not self._store.hold(arriving.path, size):
            self._give_up(arriving, m.TransferCode.TOO_LARGE)

    async def _watch(self, arriving: _Arriving) -> None:
        """Look at the disk, too: what Chromium says of itself is late, and a taken-over one says nothing."""
        while arriving.guid in self._arriving:
            await asyncio.sleep(LOOK_SECONDS)
            if arriving.guid not in self._arriving:
                return
            self._weigh(arriving, await asyncio.to_thread(_size_of, arriving.path))
            if time.monotonic() - arriving.grown > STALL_SECONDS:
                self._give_up(arriving, m.TransferCode.FAILED)

    def _give_up(self, arriving: _Arriving, code: m.TransferCode) -> None:
        if self._arriving.pop(arriving.guid, None) is not None:
            self._tasks.start(self._stop(arriving, code))

    async def _stop(self, arriving: _Arriving, why: m.TransferCode | m.NoticeCode) -> None:
        if self._cdp is not None:
            await self._cdp.send("Browser.cancelDownload", {"guid": arriving.guid, "browserContextId": self._context})
        self._store.drop(arriving.path)
        await self._refuse(arriving, why)

    async def _refuse(self, arriving: _Arriving, why: m.TransferCode | m.NoticeCode) -> None:
        tab = await self._tab(arriving)
        if tab is None:
            return
        if isinstance(why, m.NoticeCode):
            tab.notice(why)
        else:
            tab.desk.outgoing.refuse(m.DownloadKind.FILE, arriving.name, arriving.size, why)

    async def _tab(self, arriving: _Arriving) -> Tab | None:
        return None if arriving.page is None else await asyncio.shield(arriving.page)

    async def _find(self, arriving: _Arriving) -> Tab | None:
        """Find the page to speak to. A window that shows nothing because its address was a download goes away, as in every browser."""
        end = time.monotonic() + PAGE_SECONDS
        while (tab := self._page_of(arriving.frame)) is None and time.monotonic() < end:  # noqa: ASYNC110 - nothing says so
            await asyncio.sleep(0.05)
        if tab is not None and not tab.empty:
            return tab
        if tab is not None:
            opener = tab.opener
            self._tasks.start(tab.close())
            return opener or self._last_used()
        return self._last_used()

    async def _arrived(self, arriving: _Arriving) -> None:
        try:
            size, head = await asyncio.to_thread(_read_head, arriving.path)
        except OSError:
            await self._stop(arriving, m.TransferCode.FAILED)
            return
        arriving.size = size
        controls = self._controls()
        name = file_name(named_truly(arriving.name, head))
        if not controls.download:
            await self._stop(arriving, m.NoticeCode.DOWNLOAD_BLOCKED)
        elif size > controls.download_bytes or not self._store.hold(arriving.path, size):
            await self._stop(arriving, m.TransferCode.TOO_LARGE)
        elif not permitted(name, head, controls.download_types):
            await self._stop(arriving, m.TransferCode.WRONG_TYPE)
        elif (tab := await self._tab(arriving)) is None:
            self._store.drop(arriving.path)
        else:
            tab.desk.outgoing.offer(m.DownloadKind.FILE, name, arriving.path, size)


def _size_of(path: Path) -> int:
    # Chromium writes to a file with an ending of its own until the download is whole.
    sizes = [0]
    for candidate in (path, path.with_name(path.name + ".crdownload")):
        try:
            sizes.append(candidate.lstat().st_size)
        except OSError:
            continue
    return max(sizes)


def _read_head(path: Path) -> tuple[int, bytes]:
    descriptor, size = open_plain(path)
    try:
        return size, os.pread(descriptor, HEAD, 0)
    finally:
        os.close(descriptor)
