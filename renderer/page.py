"""One page of a session: a tab. It outlives its viewers and, after a crash, its own process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from concurrent.futures import Executor
from typing import Protocol

from playwright.async_api import Error, Page

from renderer.capture.pump import FramePump
from renderer.capture.share import Share
from renderer.cdp import Cdp, Steady, Tasks
from renderer.chromium.closing import close_page
from renderer.chromium.screens import NATIVE, Screens
from renderer.find import Finder
from renderer.input.dispatch import Dispatcher, Step
from renderer.input.validate import Controls, Verdict
from renderer.observe import Observer
from renderer.transfer.clipboard import Changes
from renderer.transfer.desk import Desk, Message
from renderer.transfer.store import Store
from renderer.viewer import Viewer
from renderer.wire.messages import (
    Ack,
    AuthReply,
    Clipboard,
    CloseCode,
    ClosePage,
    Composition,
    CopyRequest,
    DialogReply,
    ExitFullscreen,
    FileDrop,
    Find,
    Focus,
    FromRenderer,
    Hello,
    History,
    Key,
    MenuReply,
    Navigate,
    Notice,
    NoticeCode,
    Opened,
    Paste,
    PasteImage,
    Pointer,
    Print,
    Ready,
    Refresh,
    Reload,
    Resize,
    SelectReply,
    Stop,
    Text,
    ToRenderer,
    Touch,
    Wheel,
)
from renderer.wire.session import Phase

# ---------------------------------------------------------------- limits
NOTICE_SECONDS = 3.0  # the same notice is said at most this often: a page, or a held key, repeats itself
WIRING_SECONDS = 20.0  # how long a page may take to answer our first commands, before another takes its place
SIZED_SECONDS = 2.0  # how long a new address waits for the viewer's size and scale: they take milliseconds
MAX_RELOADS = 3  # after so many crashes within CRASH_SECONDS the page is given up
CRASH_SECONDS = 60.0
CLOSE_SECONDS = 0.05  # see Tab._take
PING_SECONDS = 5.0  # between two questions to a page that is looked at
HUNG_SECONDS = (
    8.0  # a page that has not answered for so long hangs: heavy apps are silent for two or three seconds while they start
)
HUNG_AGAIN_SECONDS = 30.0  # until the person is told again
STUCK_SECONDS = 2.0  # what a page that is to be loaded again gets to answer in, before its process is ended
COPY_SECONDS = 5.0  # text counts as copied by the person when input or a request came so shortly before

log = logging.getLogger("renderer.page")


class TabHost(Protocol):
    """What a tab needs of its lease."""

    controls: Controls
    workers: Executor
    encoders: Executor
    share: Share
    screens: Screens
    store: Store
    clipboard: Changes

    async def new_page(self) -> Page:
        """Make an empty page in the session's context."""
        ...

    async def session(self, target: str) -> Cdp:
        """Open a session with a page (Chromium's name of it) on the browser's own line, which much may pass through."""
        ...

    def gone(self) -> bool:
        """Say whether the session's browser is gone, or the session over. All its tabs have then been told why."""
        ...

    def closed(self, tab: Tab) -> None:
        """Hear that a tab's page is gone for good."""


class Tab:
    """A page, its observers, and the one viewer that looks at it."""

    def __init__(self, host: TabHost, name: str, page: Page) -> None:
        self.host = host
        self.name = name
        self.page = page
        self.viewer: Viewer | None = None
        self.last_seen = time.monotonic()  # when a viewer was last attached
        self.last_input = 0.0
        self.opened: dict[str, Opened] = {}  # windows it opened that no viewer has taken yet
        self.opener: Tab | None = None
        self.desk = Desk(self, host.store)
        self._size = (1280, 800, NATIVE)  # CSS pixels, and their scale
        self._resizing = asyncio.Lock()
        self._mac = False  # whether its person's keyboard is a Mac's
        self._touch = False  # whether its people work by finger
        self._video = False  # whether the viewer plays film
        self._notices: dict[NoticeCode, float] = {}
        self._crashes: list[float] = []
        self._crashed: Page | None = None  # in whose place another is being put
        self._recovery: asyncio.Future[None] | None = None
        self._errand = ""  # where its person sent it meanwhile
        self._restart = ""  # where a page goes whose process we end ourselves, because it hangs
        self._wanted = ""  # where it was last sent
        self._leaving = ""  # where its person sent it and it may not have gone, because it hangs
        self._ended = False
        self._take(page)

    def _take(self, page: Page) -> None:
        self.page = page
        self.tasks = Tasks("page")
        self.observer = Observer(self, page, self.tasks)
        self._finder = Finder(self.observer.world)
        self._finding = asyncio.Lock()
        self.dispatcher: Dispatcher | None = None
        self.pump: FramePump | None = None
        self._scale = NATIVE  # of the screen the page's window is on
        self._wired = asyncio.Event()
        self._sized = asyncio.Event()  # cleared while a viewer's size and scale are on their way to the page
        self._sized.set()
        self._asked = time.monotonic()  # when the page was last asked for a sign of life
        self._asking = False
        self._told = 0.0  # when the person was last told that it gives none
        # A dying browser first closes its pages; whether it is the page or the browser that went shows a moment later.
        page.on("close", self._closing)
        page.on("crash", lambda _: self._page_crashed(page))
        self.tasks.start(self._wire(page))

    async def _wire(self, page: Page) -> None:
        try:
            async with asyncio.timeout(WIRING_SECONDS):
                await self._connect(page)
        except (Error, TimeoutError) as problem:
            await asyncio.sleep(CLOSE_SECONDS)  # it may be on its way out, alone or with its browser; what waits here ends then
            log.warning("page.unwired", extra={"page": self.name, "error": str(problem).partition("\n")[0]})
            self._page_crashed(page)

    async def _connect(self, page: Page) -> None:
        cdp: Cdp = Steady(await page.context.new_cdp_session(page))
        # What Playwright hears and does of the same page (dialogs, navigations) keeps its order with the one; pictures and input, which are most
        # of all that is said, need none with it.
        target = await cdp.send("Target.getTargetInfo")
        direct: Cdp = Steady(await self.host.session(str(target["targetInfo"]["targetId"])))
        pump = FramePump(direct, self.tasks, self.host.workers, self.host.encoders, self.host.share)
        dispatcher = Dispatcher(direct, self.tasks, self._step, pump.picture)
        await self.observer.start(cdp)
        await self.desk.listen(cdp)
        await dispatcher.start()
        await dispatcher.by_finger(self._touch)  # before it has an address: pages ask when they begin
        await pump.start()
        self.dispatcher, self.pump = dispatcher, pump
        self._wired.set()

    # ------------------------------------------------------------ viewers

    def attach(self, viewer: Viewer, hello: Hello, *, resumed: bool) -> None:
        """Let a viewer look at the page; whoever looked before is told and let go."""
        if self.viewer is not None:
            self.viewer.close(CloseCode.REPLACED)
            self.desk.detach()
        self.viewer = viewer
        self._size = (hello.width, hello.height, hello.scale)
        self._mac, self._touch, self._video = hello.mac, hello.touch, hello.video
        viewer.send(Ready(self.name, hello.width, hello.height, hello.scale, resumed))
        for message in self.observer.state():
            viewer.send(message)
        for opened in self.opened.values():
            viewer.send(opened)
        self.desk.attach()
        self._look(viewer)

    def _look(self, viewer: Viewer) -> None:
        self._sized.clear()
        self.tasks.start(self._show(viewer))

    async def _show(self, viewer: Viewer) -> None:
        try:
            await self._wired.wait()
            if self.viewer is not viewer or self.pump is None or self.dispatcher is None:
                return
            self.dispatcher.clear()
            self.dispatcher.mac = self._mac
            await self.dispatcher.by_finger(self._touch)
            await self._resize()
        finally:
            if self.viewer is viewer or self.viewer is None:  # another one's size is on its way, and says so itself
                self._sized.set()
        viewer.pace.bandwidth = self.host.controls.bandwidth
        await self.pump.attach(viewer, viewer.rules.sent, video=self._video, watermark=self.host.controls.watermark)

    async def _resize(self) -> None:
        # One at a time: a command that a page between two processes refuses is tried again, and would then undo a later one.
        async with self._resizing:
            width, height, scale = self._size
            if scale != self._scale:
                await self.host.screens.place(self.observer.cdp, scale)
                self._scale = scale
            await self.observer.cdp.send(
                "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 0, "mobile": False}
            )
            if self.pump is not None:
                self.pump.expect((width, height), scale)

    def detach(self, viewer: Viewer) -> None:
        """Let go of a viewer whose connection is gone."""
        if self.viewer is viewer:
            self.viewer = None
            self.last_seen = time.monotonic()
            self.desk.detach()
            if self.pump is not None and not self._ended:
                self.tasks.start(self.pump.detach())

    def send(self, message: FromRenderer) -> None:
        """Send to the viewer, if there is one."""
        if self.viewer is not None:
            self.viewer.send(message)

    def notice(self, code: NoticeCode) -> None:
        """Tell the person, not too often."""
        now = time.monotonic()
        if now - self._notices.get(code, -NOTICE_SECONDS) >= NOTICE_SECONDS:
            self._notices[code] = now
            self.send(Notice(code))

    # ------------------------------------------------------------ what the viewer says

    def handle(self, viewer: Viewer, message: ToRenderer) -> None:
        """Act on one checked message of the viewer that looks at this page."""
        if viewer is not self.viewer or viewer.rules.phase is not Phase.OPEN:
            return
        verdict = viewer.gate.judge(message, self.host.controls, time.monotonic())
        if isinstance(verdict, NoticeCode):
            self.notice(verdict)
            return
        if verdict is Verdict.DROP:
            log.info("input.dropped", extra={"type": type(message).__name__})
            return
        if isinstance(message, Message):
            if isinstance(message, PasteImage | FileDrop | Print):
                self.last_input = time.monotonic()
            self.desk.handle(message)
            return
        match message:
            case Ack():
                viewer.acknowledged(message)
                if self.pump is not None:
                    self.pump.wake()
            case (
                Pointer()
                | Wheel()
                | Touch()
                | Key()
                | Text()
                | Composition()
                | Paste()
                | CopyRequest()
                | MenuReply()
                | SelectReply()
            ):
                self.last_input = time.monotonic()
                if self.pump is not None:
                    self.pump.touched()
                if self.dispatcher is not None and not self.dispatcher.put(message):
                    log.info("input.dropped", extra={"type": type(message).__name__})
            case Focus(_, visible):
                self.tasks.start(self._focus(viewer, visible=visible))
            case Refresh(video):
                self._video = video
                if self.pump is not None:
                    self.pump.refresh(video=video)
            case DialogReply(number, accept, text):
                self.tasks.start(self.observer.answer_dialog(number, accept=accept, text=text))
            case AuthReply():
                self.tasks.start(self.observer.sign_in.answer(message))
            case Find():
                self.tasks.start(self._find(message))
            case ExitFullscreen():
                self.tasks.start(self.observer.leave_fullscreen())
            case ClosePage():
                self.tasks.start(self.close())
            case _:
                self.tasks.start(self._command(viewer, message))

    async def _command(self, viewer: Viewer, message: ToRenderer) -> None:
        await self._wired.wait()
        cdp = self.observer.cdp
        match message:
            case Resize(width, height, scale):
                # A storm of sizes ends in the last one: earlier ones only wait their turn here.
                self._size = (width, height, scale)
                await asyncio.sleep(0.03)
                if self._size == (width, height, scale):
                    await self._resize()
                    if self._touch:
                        await self.observer.reveal()  # a soft keyboard took the room
            case Navigate(path) if self._recovering:
                self._errand = viewer.origin + path
            case Navigate(path):
                if not await self._unstick(viewer.origin + path):
                    await self.navigate(viewer.origin + path)
            case Reload() if self.sent:
                # It is still on its way there: loading the empty page again would take that back.
                await self.navigate(self._wanted)
            case Reload(hard):
                if not await self._unstick(self.observer.url):
                    await cdp.send("Page.reload", {"ignoreCache": hard})
            case Stop():
                await cdp.send("Page.stopLoading")
            case History(delta):
                await self.observer.go(delta)
            case _:
                log.warning("message.unexpected", extra={"type": type(message).__name__})

    @property
    def empty(self) -> bool:
        """Whether the page has never shown anything."""
        return not self.observer.url

    @property
    def sent(self) -> bool:
        """Whether it was sent somewhere, and has not been anywhere yet."""
        return self.empty and bool(self._wanted)

    @property
    def _recovering(self) -> bool:
        """Whether a fresh page is being put in the place of one that crashed."""
        return self._recovery is not None and not self._recovery.done()

    async def navigate(self, url: str) -> None:
        """Go to an address (checked by the caller to be on an app's origin), as soon as the page answers commands and has its viewer's size and scale."""
        self._wanted = url
        await self._wired.wait()
        with contextlib.suppress(TimeoutError):  # a page that hangs does not take its size: it must still be left
            async with asyncio.timeout(SIZED_SECONDS):
                await self._sized.wait()
        await self.observer.cdp.send("Page.navigate", {"url": url})

    # ------------------------------------------------------------ signs of life

    def check(self, now: float, *, still: bool) -> None:
        """Ask a page that is looked at whether it still answers, and tell the person when it does not. ``still``: a dialog holds it."""
        if self.viewer is None or still or not self._wired.is_set():
            self._asked = max(self._asked, now - PING_SECONDS)
            return
        if not self._asking:
            if now - self._asked >= PING_SECONDS:
                self._asked = now
                self.tasks.start(self._ping())
        elif now - self._asked >= HUNG_SECONDS and self._leaving:
            self.tasks.start(self._restart_at(self._leaving))
        elif now - self._asked >= HUNG_SECONDS and now - self._told >= HUNG_AGAIN_SECONDS:
            self._told = now
            log.warning("page.hung", extra={"page": self.name})
            self.notice(NoticeCode.PAGE_HUNG)

    async def _ping(self) -> None:
        self._asking = True
        try:
            await self.observer.cdp.send("Runtime.evaluate", {"expression": "0"})
        finally:
            self._asking, self._told, self._leaving = False, 0.0, ""

    async def _unstick(self, url: str) -> bool:
        """End the process of a page that hangs; a fresh one opens ``url`` in its place. False: it answers, and can go there by itself.

        Where nobody has asked yet whether it answers, that is done now; and if it does not, :meth:`check` does the rest.
        """
        if self.observer.dialog_open:
            return False
        self._leaving = url
        if not self._asking:
            self._asked = time.monotonic()
            self.tasks.start(self._ping())
            return False
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await self.observer.cdp.send("Runtime.evaluate", {"expression": "0"})
        except TimeoutError:
            await self._restart_at(url)
            return True
        return False

    async def _restart_at(self, url: str) -> None:
        if self._restart or self.page is self._crashed:
            return  # under way: what is left of a second time would be taken for the next crash's
        log.warning("page.restarted", extra={"page": self.name})
        self._restart, self._leaving = url, ""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STUCK_SECONDS):
                await self.observer.cdp.send("Page.crash")
                await asyncio.Event().wait()  # where it crashed, we end with it
        # The command waits in the page itself, which does not come to it where WebAssembly computes. It goes when it is closed.
        self._page_crashed(self.page)

    async def _focus(self, viewer: Viewer, *, visible: bool) -> None:
        changed = viewer.visible is not visible
        viewer.visible = visible
        if self.pump is None or not changed:
            return
        if visible:
            await self.pump.show()
        else:
            await self.pump.hide()

    async def _find(self, wanted: Find) -> None:
        async with self._finding:  # one after the other: the answers come in the order of the questions
            self.send(await self._finder.find(wanted))

    async def _insert(self, text: str) -> None:
        """Paste: as an event for editors that take it, else as typed text."""
        place = self.observer.typing_place()
        if place is not None and await self.observer.world.call(place, "paste", text) is True:
            return
        await self.observer.cdp.send("Input.insertText", {"text": text})

    async def _step(self, step: Step) -> None:
        match step:
            case Paste(text):
                await self._insert(text)
            case CopyRequest(cut):
                await self._copy(cut)
            case SelectReply(number, values):
                await self.observer.answer_select(number, values)
            case MenuReply(number, action):
                await self.observer.choose_from_menu(number, action)

    async def _copy(self, cut: bool) -> None:
        self.observer.copy_wanted = time.monotonic()
        key = "x" if cut else "c"
        event = {"key": key, "code": f"Key{key.upper()}", "windowsVirtualKeyCode": ord(key.upper()), "modifiers": 2}
        command = ["cut" if cut else "copy"]
        await self.observer.cdp.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", "commands": command, **event})
        await self.observer.cdp.send("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def copied(self, text: str, *, fits: bool) -> None:
        """Text was copied in the page, by the person or (shortly after their input) by the page."""
        now = time.monotonic()
        asked = now - self.observer.copy_wanted < COPY_SECONDS
        if not asked and now - self.last_input > COPY_SECONDS:
            return
        self.observer.copy_wanted = 0.0
        if not fits:
            self.notice(NoticeCode.CLIPBOARD_LARGE if self.host.controls.from_app else NoticeCode.CLIPBOARD_BLOCKED)
        elif text and self.viewer is not None:
            message = Clipboard(text)
            refused = self.viewer.gate.copied(message, self.host.controls, now)
            if refused is not None:
                self.notice(refused)
            else:
                self.send(message)

    def marked(self) -> None:
        """Draw the picture anew: its watermark says another time."""
        if self.pump is not None:
            self.pump.mark(self.host.controls.watermark)

    # ------------------------------------------------------------ the end

    async def close(self) -> None:
        """Close the page, without asking it. The viewer is let go at once."""
        if self.viewer is not None:
            self.viewer.close(CloseCode.PAGE_CLOSED)
            self.detach(self.viewer)
        if not self._wired.is_set():
            with contextlib.suppress(Error, TimeoutError):
                async with asyncio.timeout(WIRING_SECONDS):
                    await self.page.close()
            self._page_closed(self.page)
        elif not await close_page(self.page, self.observer.cdp):
            self._page_closed(self.page)

    def end(self, code: CloseCode) -> None:
        """Let go of everything: the browser is gone or the session over."""
        self._ended = True
        if self.viewer is not None:
            self.viewer.close(code)
            self.viewer = None
        self.desk.end()
        self.tasks.close()

    def _closing(self, page: Page) -> None:
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._page_closed, page)

    def _page_closed(self, page: Page) -> None:
        # Of a browser that was killed, the pages' ends are reported first, on a busy machine long before its own.
        if page is not self.page or self._ended or self.host.gone():
            return
        self.end(CloseCode.PAGE_CLOSED)
        self.host.closed(self)

    def _page_crashed(self, page: Page) -> None:
        if page is not self.page or page is self._crashed or self._ended:
            return
        self._crashed = page
        now = time.monotonic()
        recover = True
        if not self._restart:
            self._crashes = [at for at in self._crashes if now - at < CRASH_SECONDS] + [now]
            log.warning("page.crashed", extra={"page": self.name, "times": len(self._crashes)})
            self.notice(NoticeCode.PAGE_CRASHED)
            recover = len(self._crashes) <= MAX_RELOADS
        # Not among the page's own tasks: they end with the crashed process.
        self._recovery = asyncio.ensure_future(self._recover(page) if recover else self.close())

    async def _recover(self, crashed: Page) -> None:
        """Put a fresh page in the crashed one's place, for whoever looks by then: at the same address, or where it was sent meanwhile."""
        # This one may crash, too, before it has an address of its own.
        self._wanted = self._restart or self.observer.url or self._wanted
        self._restart = self._errand = ""
        try:
            fresh = await self.host.new_page()
        except Error:
            return  # the whole browser went; the lease says so
        self.tasks.close()
        self._take(fresh)
        try:
            async with asyncio.timeout(STUCK_SECONDS):
                await crashed.close()
        except (Error, TimeoutError):
            log.info("page.gone", extra={"page": self.name})
        if self._recovery is not asyncio.current_task():
            return  # it did, and another is under way
        if self.viewer is not None:
            self._look(self.viewer)
        if url := self._errand or self._wanted:
            self.tasks.start(self.navigate(url))
