"""Where one page's files, prints and clipboard pictures are handled: the page's side of every transfer message."""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING

from renderer.cdp import Cdp, Event, Tasks
from renderer.transfer.clipboard import read_clipboard
from renderer.transfer.incoming import Incoming
from renderer.transfer.outgoing import Outgoing
from renderer.transfer.pictures import MAX_PIXELS, picture
from renderer.transfer.printing import Printer
from renderer.transfer.store import Store
from renderer.wire import messages as m
from renderer.wire.blobs import MAX_IMAGE
from renderer.world import Place, clean

if TYPE_CHECKING:
    from renderer.page import Tab

# ---------------------------------------------------------------- limits
MAX_ACCEPT = 1024  # bytes of an input's accept attribute
SETTLE_SECONDS = 0.15  # every frame of a page hears of one change of the clipboard; and an event with its text may be on its way
COPY_SECONDS = 5.0  # a picture counts as copied by the person when input came so shortly before
MAX_SOURCE = 16 * 1024 * 1024  # characters of base64 of a picture's file: a photograph of a good camera

Message = m.FileChoice | m.FileDrop | m.FileData | m.FileCancel | m.DownloadReply | m.DownloadAck | m.Print | m.PasteImage


class Desk:
    """One page's transfers. It outlives the page's process, not the page."""

    def __init__(self, tab: Tab, store: Store) -> None:
        self._tab = tab
        self._numbers = 0
        self._tasks = Tasks("transfers")
        self._copying = False
        self._change = ""  # the last change of the clipboard that was looked at
        self.text_copied = 0.0  # when a copy event last brought text
        self.outgoing = Outgoing(store, tab.send, self._number, self._tasks)
        self.incoming = Incoming(store, lambda: tab.host.controls, tab.send, self._number, self._tasks)
        self._printer = Printer(store, self.outgoing)

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    # ------------------------------------------------------------ viewers come and go

    def attach(self) -> None:
        """Offer a viewer that has come what waits for it."""
        self.outgoing.attach()

    def detach(self) -> None:
        """Stop what goes to or comes from a viewer that is gone."""
        self.outgoing.detach()
        self.incoming.detach()

    def end(self) -> None:
        """Remove everything: the page is gone."""
        self.outgoing.close()
        self.incoming.close()
        self._tasks.close()

    # ------------------------------------------------------------ what the viewer says

    def handle(self, message: Message) -> None:
        """Act on a message whose shape was checked."""
        controls = self._tab.host.controls
        match message:
            case m.DownloadReply():
                self.outgoing.reply(message)
            case m.DownloadAck():
                self.outgoing.acknowledge(message)
            case m.FileCancel(number):
                if not self.outgoing.cancel(number):
                    self.incoming.cancel(number)
            case m.FileData():
                self.incoming.take(message)
            case m.FileChoice():
                self.incoming.choose(message)
            case m.FileDrop(x=x, y=y):
                if controls.upload:
                    self.incoming.drop(message, lambda paths: self._drop(x, y, list(paths)))
                else:
                    self._tab.notice(m.NoticeCode.UPLOAD_BLOCKED)
            case m.Print():
                self._print()
            case m.PasteImage(png):
                self._tasks.start(self._paste(png))

    async def _drop(self, x: int, y: int, paths: list[str]) -> None:
        data = {"items": [], "files": paths, "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self._tab.observer.cdp.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})

    async def _paste(self, png: bytes) -> None:
        again = await self._encode(png)
        if again is not None:
            place = self._tab.observer.typing_place()
            if place is not None:
                await self._tab.observer.world.call(place, "pastePicture", base64.b64encode(again).decode())

    async def _encode(self, png: bytes) -> bytes | None:
        return await asyncio.get_running_loop().run_in_executor(self._tab.host.workers, picture, png)

    # ------------------------------------------------------------ what the page does

    async def listen(self, cdp: Cdp) -> None:
        """Hear of file choosers in the frames of a session. They are never opened: there is nobody in front of the browser."""

        def opened(event: Event) -> None:
            self._tasks.start(self._chooser(cdp, event))

        cdp.on("Page.fileChooserOpened", opened)
        await cdp.send("Page.setInterceptFileChooserDialog", {"enabled": True})

    async def _chooser(self, cdp: Cdp, event: Event) -> None:
        node = event.get("backendNodeId")
        if not self._tab.host.controls.upload or not isinstance(node, int):
            self._tab.notice(m.NoticeCode.UPLOAD_BLOCKED)
            return
        described = await cdp.send("DOM.describeNode", {"backendNodeId": node})
        attributes = described.get("node", {}).get("attributes", [])
        named = dict(zip(attributes[::2], attributes[1::2], strict=False))
        if "webkitdirectory" in named:
            # Browsers hand over a whole tree; nobody has looked at its files one by one.
            self._tab.notice(m.NoticeCode.UPLOAD_BLOCKED)
            return

        async def hand(paths: object) -> None:
            await cdp.send("DOM.setFileInputFiles", {"files": paths, "backendNodeId": node})

        self.incoming.ask(hand, clean(named.get("accept"), MAX_ACCEPT), multiple=event.get("mode") == "selectMultiple")

    def page_prints(self) -> None:
        """Act on a page that called ``print()``."""
        if not self._tab.host.controls.printing:
            self._tab.notice(m.NoticeCode.PRINT_BLOCKED)
        elif self._printer.wanted_by_page(time.monotonic() - self._tab.last_input):
            self._print()

    def _print(self) -> None:
        if self._tab.host.controls.printing:
            self._tasks.start(self._printer.print(self._tab.observer.cdp, lambda: self._tab.observer.title))
        else:
            self._tab.notice(m.NoticeCode.PRINT_BLOCKED)

    def clipboard_changed(self, change: str) -> None:
        """Look at the session's clipboard: a frame says that it has changed. ``change``: Chromium's number of it."""
        now = time.monotonic()
        news = self._tab.host.clipboard.news(change, now)
        if not news or change == self._change or now - self._tab.last_input >= COPY_SECONDS:
            return
        self._change = change
        if not self._copying:
            self._copying = True
            self._tasks.start(self._copied())

    async def _copied(self) -> None:
        try:
            seen = ""
            while seen != self._change:  # it may change again while it is read
                seen, began = self._change, time.monotonic()
                await asyncio.sleep(SETTLE_SECONDS)
                if self.text_copied > began - 1.0:
                    continue  # the copy event brought it
                found = await read_clipboard(self._tab.host.new_page)
                if found is None:  # a busy machine: once more
                    found = await read_clipboard(self._tab.host.new_page)
                if found is not None and found.png:
                    await self.copy_picture(found.png)
                elif found is not None and (found.text or not found.fits):
                    self._tab.copied(found.text, fits=found.fits)
        finally:
            self._copying = False

    def picture_chosen(self, place: Place, number: int, url: str) -> None:
        """Copy a picture that the person chose in the page's context menu: ``number`` of the frame's, shown from ``url``."""
        self._tasks.start(self._copy_shown(place, number, url))

    async def _copy_shown(self, place: Place, number: int, url: str) -> None:
        world = self._tab.observer.world
        drawn = await world.call(place, "picture", number, "", MAX_PIXELS)
        if not isinstance(drawn, str) and (frame := world.frame_of(place)):
            # Another site's: Chromium lets no script read its pixels, but the page has loaded it, and the person sees it.
            resource = await place.cdp.send("Page.getResourceContent", {"frameId": frame, "url": url})
            content = resource.get("content")
            if resource.get("base64Encoded") is True and isinstance(content, str) and len(content) <= MAX_SOURCE:
                drawn = await world.call(place, "picture", number, content, MAX_PIXELS)
        if isinstance(drawn, str) and drawn and len(drawn) <= MAX_IMAGE * 4 // 3 + 4:
            await self.copy_picture(base64.b64decode(drawn, validate=True))
        else:
            self._tab.notice(m.NoticeCode.CLIPBOARD_LARGE)

    async def copy_picture(self, png: bytes) -> None:
        """Give the person a picture they copied in the page."""
        viewer = self._tab.viewer
        if viewer is None:
            return
        again = await self._encode(png)
        if again is None:
            self._tab.notice(m.NoticeCode.CLIPBOARD_LARGE)
            return
        message = m.ClipboardImage(again)
        refused = viewer.gate.copied(message, self._tab.host.controls, time.monotonic())
        if refused is not None:
            self._tab.notice(refused)
        else:
            self._tab.send(message)
