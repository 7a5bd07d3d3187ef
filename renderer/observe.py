"""What happens in a page, told to its viewer: address, title, icon, loading, cursor, dialogs, pop-ups of controls, and what was refused."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from playwright.async_api import Dialog as BrowserDialog
from playwright.async_api import Error, Frame, Page

from renderer.cdp import Cdp, Event, Tasks
from renderer.location import is_external, may_show, split_address
from renderer.sign_in import SignIn
from renderer.wire import messages as m
from renderer.wire.codec import MAX_CLIPBOARD, MAX_COORDINATE, MAX_DIALOG, MAX_HINT, MAX_LABEL, MAX_OPTIONS, MAX_TITLE, MAX_VALUE
from renderer.wire.fields import CURSORS, ICON_SIDE, MAX_ICON
from renderer.wire.images import png_size
from renderer.world import Place, WorldHost, clean, whole

if TYPE_CHECKING:
    from renderer.page import Tab

# ---------------------------------------------------------------- limits
MAX_CHANGE = 64  # characters of the number of a change of the clipboard; Chromium's have 39
MAX_ICON_SOURCE = 256 * 1024  # bytes of an icon file; real ones are below 100 KB
MAX_ADDRESS = 2 * 1024 * 1024  # bytes of a picture's address: of a data: one, all of it
ICON_SECONDS = 1.0  # an icon is looked at this often at most: some pages animate theirs
DIALOG_BURST = 8  # dialogs within DIALOG_SECONDS that are shown; the rest of an alert loop is dismissed
DIALOG_SECONDS = 10.0
OPENING_SECONDS = 0.3  # how long Chromium's word on whose dialog it is is waited for
PRESS_SECONDS = 5.0  # a link for the device follows what the person did so shortly before
EXTERNAL_SECONDS = 1.0  # between two of them
ASKED_SECONDS = 30.0  # between two notes that a page asked for the same


NOT_EDITING = m.Editing(m.EditingMode.OFF, 0, 0, 0, 0)


class Observer:
    """The eyes on one page. State that a later viewer needs is kept in :meth:`state`."""

    def __init__(self, tab: Tab, page: Page, tasks: Tasks) -> None:
        self._tab, self._page, self._tasks = tab, page, tasks
        self.world = WorldHost(tasks, self._said)
        self.cdp: Cdp  # set by start()
        self.url = ""  # full address of the last http(s) page, for coming back after a crash
        self.keyboard: Place | None = None
        self.copy_wanted = 0.0
        self._main_frame = ""
        self._location = m.Location("", "", 0, 1, replace=False)
        self._title = ""
        self._icon = m.Icon("")
        self._loading = False
        self._cursor = "default"
        self._number = 0
        self._dialog: tuple[m.Dialog, BrowserDialog] | None = None
        self._dialog_times: list[float] = []
        self._select: tuple[m.Select, Place, int] | None = None
        self._menu: tuple[int, Place, int] | None = None  # our number, and the frame's
        self._hint = ""
        self._editing = NOT_EDITING
        self._editing_place: Place | None = None
        self._fullscreen = False
        self._icon_wanted = ""
        self._icon_busy = False
        self._locating = asyncio.Lock()
        self._asked_at: dict[m.PermissionKind, float] = {}
        self._external_at = 0.0
        self._opening = ""  # address of the frame whose dialog opens, as Chromium says it
        self._opened = asyncio.Event()
        self.sign_in = SignIn(page, tasks, tab.send, self._next, self._may_ask)
        # From the first moment: a dialog nobody listens to is dismissed by Playwright.
        page.on("dialog", self._dialog_opened)
        page.on("framenavigated", self._frame_moved)

    async def start(self, cdp: Cdp) -> None:
        """Listen on the page's own session."""
        self.cdp = cdp
        cdp.on("Page.frameNavigated", self._navigated)
        cdp.on("Page.navigatedWithinDocument", self._moved_within)
        cdp.on("Page.frameStartedLoading", lambda event: self._load(event, active=True))
        cdp.on("Page.frameStoppedLoading", lambda event: self._load(event, active=False))
        cdp.on("Page.frameRequestedNavigation", self._requested)
        cdp.on("Page.javascriptDialogOpening", self._dialog_opening)
        cdp.on("Page.javascriptDialogClosed", lambda _: self._dialog_closed())
        await cdp.send("Page.enable")
        tree = await cdp.send("Page.getFrameTree")
        self._main_frame = tree["frameTree"]["frame"]["id"]
        await self.world.install(cdp, "")
        await self._locate()

    def state(self) -> list[m.FromRenderer]:
        """Return what a viewer that comes now must be told."""
        self._select = self._menu = None
        if self._fullscreen:
            # Only a press of the new viewer's own could make its window fill the screen.
            self._tasks.start(self.leave_fullscreen())
        told: list[m.FromRenderer] = [self._location, m.Title(self._title), self._icon]
        told += [m.Loading(self._loading), m.Cursor(self._cursor), self._editing]
        if self._dialog is not None:
            told.append(self._dialog[0])
        if self.sign_in.question is not None:
            told.append(self.sign_in.question)
        return told

    def typing_place(self) -> Place | None:
        """Return the frame that has the keyboard, as far as we know."""
        return self.keyboard or self.world.of_frame(self._main_frame)

    # ------------------------------------------------------------ address

    def _is_main(self, event: Event) -> bool:
        return event.get("frameId") == self._main_frame

    def _navigated(self, event: Event) -> None:
        frame = event.get("frame", {})
        if "parentId" in frame or not isinstance(frame.get("id"), str):
            return
        self._main_frame = frame["id"]
        self.sign_in.navigated(str(frame.get("url", "")))
        self.keyboard = self._menu = None
        if self._select is not None:
            self._close_select(self._select[0].id)
        self._hinted("")
        self._edited(NOT_EDITING)
        self._filled(active=False)
        url = str(frame.get("url", ""))
        if not may_show(url):
            self._tab.notice(m.NoticeCode.NAVIGATION_BLOCKED)
            self._tasks.start(self.cdp.send("Page.navigate", {"url": "about:blank"}))
            return
        self._set_icon("")
        self._icon_wanted = ""
        self._tasks.start(self._locate())

    def _moved_within(self, event: Event) -> None:
        if self._is_main(event):
            self._tasks.start(self._locate())

    def _requested(self, event: Event) -> None:
        url = str(event.get("url", ""))
        if is_external(url):
            self._external(url)
        elif not may_show(url) and not url.lower().startswith(("javascript:", "about:", "data:")):
            self._tab.notice(m.NoticeCode.NAVIGATION_BLOCKED)

    def _external(self, url: str) -> None:
        """Offer a link for another program of the device, if the person just did something: no page opens one by itself."""
        now = time.monotonic()
        if now - self._tab.last_input < PRESS_SECONDS and now - self._external_at > EXTERNAL_SECONDS:
            self._external_at = now
            self._tab.send(m.External(url))

    async def _history(self) -> tuple[list[dict[str, Any]], int]:
        """Return the entries a person can go to, and the current one's place. The empty page every tab begins with is none of them."""
        answer = await self.cdp.send("Page.getNavigationHistory")
        entries, index = list(answer["entries"]), int(answer["currentIndex"])
        if len(entries) > 1 and entries[0].get("url") == "about:blank" and index > 0:
            return entries[1:], index - 1
        return entries, index

    async def _locate(self) -> None:
        async with self._locating:
            entries, index = await self._history()
            length = min(max(len(entries), 1), 65_535)
            index = min(max(index, 0), length - 1)
            url = str(entries[index].get("url", "")) if entries else ""
            origin, path = split_address(url)
            if origin:
                self.url = origin + path
            same_place = (index, length) == (self._location.index, self._location.length)
            location = m.Location(origin, path, index, length, same_place)
            if (origin, path, index, length) != (
                self._location.origin,
                self._location.path,
                self._location.index,
                self._location.length,
            ):
                self._location = location
                self._tab.send(location)

    async def _entitle(self, title: str) -> None:
        # A page's address is asked for when it has come, and told first: who reads the title and goes back must have somewhere to go back from.
        async with self._locating:
            if title != self._title:
                self._title = title
                self._tab.send(m.Title(title))

    async def go(self, delta: int) -> None:
        """Move through the page's history."""
        entries, index = await self._history()
        if delta and 0 <= index + delta < len(entries):
            await self.cdp.send("Page.navigateToHistoryEntry", {"entryId": entries[index + delta]["id"]})

    @property
    def title(self) -> str:
        """The page's title."""
        return self._title

    def has_frame(self, frame: str) -> bool:
        """Say whether a frame is one of the page's."""
        return frame == self._main_frame or self.world.of_frame(frame) is not None

    @property
    def loading(self) -> bool:
        """Whether the main frame is on its way somewhere."""
        return self._loading

    @property
    def address(self) -> tuple[str, str]:
        """Origin and path of the page now."""
        return self._location.origin, self._location.path

    def _load(self, event: Event, *, active: bool) -> None:
        if self._is_main(event) and self._loading is not active:
            self._loading = active
            self._tab.send(m.Loading(active))
            if not active and self._tab.pump is not None and self._tab.dispatcher is not None:
                self._tab.pump.expect()
                self._tab.dispatcher.arrived()

    def _frame_moved(self, frame: Frame) -> None:
        if frame.parent_frame is not None:
            self._tasks.start(self._frame_of_its_own(frame))

    async def _frame_of_its_own(self, frame: Frame) -> None:
        """Install our script in a frame that lives in a process of its own (another site); others refuse a session."""
        try:
            cdp: Cdp = await self._page.context.new_cdp_session(frame)
        except Error:
            return
        tree = await cdp.send("Page.getFrameTree")
        await self.world.install(cdp, str(tree["frameTree"]["frame"]["id"]))
        await self._tab.desk.listen(cdp)

    # ------------------------------------------------------------ dialogs

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _may_ask(self) -> bool:
        """Whether the person may be asked something more: a page that asks in a loop is not shown for ever."""
        now = time.monotonic()
        self._dialog_times = [at for at in self._dialog_times if now - at < DIALOG_SECONDS] + [now]
        return len(self._dialog_times) <= DIALOG_BURST

    def _dialog_opening(self, event: Event) -> None:
        self._opening = str(event.get("url", ""))
        self._opened.set()

    def _dialog_opened(self, dialog: BrowserDialog) -> None:
        if not self._may_ask() or self._dialog is not None:
            self._tasks.start(dialog.dismiss())
            return
        self._tasks.start(self._show_dialog(dialog))

    async def _show_dialog(self, dialog: BrowserDialog) -> None:
        # Whose dialog it is, Chromium says in an event of its own, a moment before or after.
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                await self._opened.wait()
        except TimeoutError:
            self._opening = self._page.url
        self._opened.clear()
        if self._dialog is not None:
            await dialog.dismiss()
            return
        origin, _ = split_address(self._opening)
        shown = m.Dialog(
            self._next(),
            m.DialogKind(dialog.type),
            origin,
            clean(dialog.message, MAX_DIALOG),
            clean(dialog.default_value, MAX_DIALOG),
        )
        self._dialog = (shown, dialog)
        self._tab.send(shown)

    @property
    def dialog_open(self) -> bool:
        """Whether the page stands still because a dialog waits for its answer."""
        return self._dialog is not None

    async def answer_dialog(self, number: int, *, accept: bool, text: str) -> None:
        """Answer the open dialog (an answer to another one is late and means nothing)."""
        if self._dialog is None or self._dialog[0].id != number:
            return
        shown, dialog = self._dialog
        self._dialog = None
        if accept:
            await (dialog.accept(text) if shown.kind is m.DialogKind.PROMPT else dialog.accept())
        else:
            await dialog.dismiss()

    def _dialog_closed(self) -> None:
        if self._dialog is not None:
            self._tab.send(m.DialogClosed(self._dialog[0].id))
            self._dialog = None

    # ------------------------------------------------------------ what the isolated world says

    def _said(self, place: Place, kind: str, said: dict[str, Any]) -> None:
        match kind:
            case "here":
                self.keyboard = place
            case "cursor":
                name = said.get("name")
                name = name if isinstance(name, str) and name in CURSORS else "default"
                if name != self._cursor:
                    self._cursor = name
                    self._tab.send(m.Cursor(name))
            case "title":
                self._tasks.start(self._entitle(clean(said.get("text"), MAX_TITLE)))
            case "icon":
                self._icon_wanted = clean(said.get("url"), MAX_ICON_SOURCE)
                if not self._icon_busy:
                    self._icon_busy = True
                    self._tasks.start(self._look_at_icons(place))
            case "select":
                self._ask(place, said)
            case "selectClosed":
                if self._select is not None and self._select[1] == place and self._select[2] == said.get("id"):
                    self._close_select(self._select[0].id)
            case "copied":
                self._tab.desk.text_copied = time.monotonic()
                self._tab.copied(clean(said.get("text"), MAX_CLIPBOARD), fits=said.get("fits") is True)
            case "hint":
                self._hinted(clean(said.get("text"), MAX_HINT))
            case "editing":
                self._edit(place, said)
            case "menu":
                self._placed(place, said, lambda x, y: self._offer_menu(place, said, x, y))
            case "fullscreen":
                self._filled(active=said.get("active") is True)
            case "asked":
                self._denied(str(said.get("what")))
            case "print":
                self._tab.desk.page_prints()
            case "picture":
                self._tab.desk.picture_chosen(place, whole(said.get("id"), 0, 2**31), clean(said.get("url"), MAX_ADDRESS))
            case "clipboard":
                self._tab.desk.clipboard_changed(clean(said.get("change"), MAX_CHANGE))
            case _:
                pass

    def _placed(self, place: Place, said: dict[str, Any], then: Callable[[int, int], None]) -> None:
        """Go on with where something is in the page's viewport; a frame says where it is in the frame."""
        x, y = whole(said.get("x"), -MAX_COORDINATE, MAX_COORDINATE), whole(said.get("y"), -MAX_COORDINATE, MAX_COORDINATE)
        if place == self.world.of_frame(self._main_frame):
            then(x, y)
        else:
            self._tasks.start(self._placed_in_frame(place, x, y, then))

    async def _placed_in_frame(self, place: Place, x: int, y: int, then: Callable[[int, int], None]) -> None:
        left, top = await self.world.origin(place)
        main = self.world.of_frame(self._main_frame)
        shown = None if main is None else await self.world.call(main, "shown", {"x": x + left, "y": y + top})
        if isinstance(shown, dict):
            x, y = (whole(shown.get(name), -MAX_COORDINATE, MAX_COORDINATE) for name in ("x", "y"))
            then(x, y)

    def _hinted(self, text: str) -> None:
        if text != self._hint:
            self._hint = text
            self._tab.send(m.LinkHint(text))

    def _edit(self, place: Place, said: dict[str, Any]) -> None:
        try:
            mode = m.EditingMode(str(said.get("mode")))
        except ValueError:
            return
        if mode is not m.EditingMode.OFF:
            self._editing_place = place
            width, height = whole(said.get("width"), 0, MAX_COORDINATE), whole(said.get("height"), 0, MAX_COORDINATE)
            self._placed(place, said, lambda x, y: self._edited(m.Editing(mode, x, y, width, height)))
        elif place == self._editing_place:
            self._edited(NOT_EDITING)

    def _edited(self, editing: m.Editing) -> None:
        if editing != self._editing:
            self._editing = editing
            self._tab.send(editing)

    async def reveal(self) -> None:
        """Bring the text field that has the keyboard into view."""
        if self._editing is not NOT_EDITING and self._editing_place is not None:
            await self.world.call(self._editing_place, "reveal")

    def _filled(self, *, active: bool) -> None:
        if active is not self._fullscreen:
            self._fullscreen = active
            self._tab.send(m.Fullscreen(active))

    async def leave_fullscreen(self) -> None:
        """Leave full screen, as by Escape."""
        main = self.world.of_frame(self._main_frame)
        if main is not None:
            await self.world.call(main, "leaveFullscreen")

    def _offer_menu(self, place: Place, said: dict[str, Any], x: int, y: int) -> None:
        number = self._next()
        self._menu = (number, place, whole(said.get("id"), 0, 2**31))
        self._tab.send(
            m.Menu(
                number,
                x,
                y,
                link=clean(said.get("link"), MAX_HINT),
                image=said.get("image") is True,
                editable=said.get("editable") is True,
                selection=said.get("selection") is True,
            )
        )

    async def choose_from_menu(self, number: int, action: m.MenuAction) -> None:
        """Do what the person chose (a choice from another menu is late and means nothing)."""
        if self._menu is None or self._menu[0] != number:
            return
        _, place, theirs = self._menu
        self._menu = None
        await self.world.call(place, "menu", theirs, action.value)

    def _denied(self, what: str) -> None:
        """Tell that the page asked for what it never gets. The page may say so as often as it likes; the person hears it now and then."""
        kind = next((kind for kind in m.PermissionKind if kind.value == what), None)
        now = time.monotonic()
        if kind is not None and now - self._asked_at.get(kind, -ASKED_SECONDS) >= ASKED_SECONDS:
            self._asked_at[kind] = now
            self._tab.send(m.Permission(kind))

    def _ask(self, place: Place, said: dict[str, Any]) -> None:
        self._placed(place, said, lambda x, y: self._offer_select(place, said, x, y))

    def _offer_select(self, place: Place, said: dict[str, Any], x: int, y: int) -> None:
        try:
            kind = m.SelectKind(str(said.get("type")))
        except ValueError:
            return
        options = said.get("options")
        shown = m.Select(
            self._next(),
            kind,
            x,
            y,
            whole(said.get("width"), 0, MAX_COORDINATE),
            whole(said.get("height"), 0, MAX_COORDINATE),
            multiple=False,
            options=tuple(_option(o) for o in options[:MAX_OPTIONS]) if isinstance(options, list) else (),
            value=clean(said.get("value"), MAX_VALUE),
            low=clean(said.get("low"), MAX_VALUE),
            high=clean(said.get("high"), MAX_VALUE),
        )
        if self._select is not None:
            self._close_select(self._select[0].id)
        self._select = (shown, place, whole(said.get("id"), 0, 2**31))
        self._tab.send(shown)

    def _close_select(self, number: int) -> None:
        self._select = None
        self._tab.send(m.SelectClosed(number))

    async def answer_select(self, number: int, values: tuple[str, ...]) -> None:
        """Set what the person chose."""
        if self._select is None or self._select[0].id != number:
            return
        _, place, theirs = self._select
        self._select = None
        await self.world.call(place, "answer", theirs, list(values))

    # ------------------------------------------------------------ the icon

    def _set_icon(self, png: str) -> None:
        if png != self._icon.png:
            self._icon = m.Icon(png)
            self._tab.send(self._icon)

    async def _look_at_icons(self, place: Place) -> None:
        try:
            seen = None
            while self._icon_wanted != seen:
                seen = self._icon_wanted
                png = ""
                try:
                    source = await self._fetch_icon(seen)
                    if source:
                        drawn = await self.world.call(place, "draw", base64.b64encode(source).decode(), ICON_SIDE)
                        png = await asyncio.to_thread(small_icon, drawn)
                except Error:
                    png = ""
                if seen == self._icon_wanted:
                    self._set_icon(png)
                await asyncio.sleep(ICON_SECONDS)
        finally:
            self._icon_busy = False

    async def _fetch_icon(self, url: str) -> bytes:
        inline = re.fullmatch(r"data:image/[a-z+.-]+;base64,([A-Za-z0-9+/=]+)", url)
        if inline is not None:
            return base64.b64decode(inline[1] + "==")
        if not url.startswith(("http://", "https://")):
            return b""
        # Through the page's own network: the same proxy, cookies and rules.
        options = {"disableCache": False, "includeCredentials": True}
        answer = await self.cdp.send("Network.loadNetworkResource", {"frameId": self._main_frame, "url": url, "options": options})
        resource = answer["resource"]
        stream = resource.get("stream")
        data = bytearray()
        if stream is not None:
            while len(data) <= MAX_ICON_SOURCE:
                part = await self.cdp.send("IO.read", {"handle": stream, "size": 65_536})
                text = str(part.get("data", ""))
                data += base64.b64decode(text) if part.get("base64Encoded") else text.encode()
                if part.get("eof"):
                    break
            await self.cdp.send("IO.close", {"handle": stream})
        usable = resource.get("success") and resource.get("httpStatusCode") == 200 and len(data) <= MAX_ICON_SOURCE
        return bytes(data) if usable else b""


def small_icon(drawn: object) -> str:
    """Decode a drawn icon and encode it again: not a byte the browser made goes on. "" when it is not what we asked for."""
    if not isinstance(drawn, str) or len(drawn) > MAX_ICON:
        return ""
    try:
        data = base64.b64decode(drawn, validate=True)
        if png_size(data) != (ICON_SIDE, ICON_SIDE):
            return ""
        pixels = imagecodecs.png_decode(data)
    except (binascii.Error, ValueError, RuntimeError):
        return ""
    if pixels.shape != (ICON_SIDE, ICON_SIDE, 4) or pixels.dtype != np.uint8:
        return ""
    encoded = base64.b64encode(bytes(imagecodecs.png_encode(pixels))).decode()
    return encoded if len(encoded) <= MAX_ICON else ""


def _option(said: object) -> m.Option:
    said = said if isinstance(said, dict) else {}
    return m.Option(
        clean(said.get("label"), MAX_LABEL),
        clean(said.get("group"), MAX_LABEL),
        said.get("disabled") is True,
        said.get("selected") is True,
    )
