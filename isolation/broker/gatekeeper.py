"""The gate between a person's browser and a renderer that may have been taken over. Pure: bytes in, verdict out.

One :class:`Gatekeeper` stands in each stream and sees every message of both directions. What it passes, it has decoded, checked
against the state of the stream and the session's controls, and (all but frames, whose packing leaves no freedom) encoded anew: no
byte of a renderer's JSON reaches a viewer. A message that breaks the contract ends the stream; one that is merely not permitted is dropped.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, replace

from isolation.broker import cleaning, transfers
from isolation.policy.controls import Controls, Transfer
from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer, decode_to_renderer, encode
from renderer.wire.controls import ClipboardKind, PerMinute
from renderer.wire.fields import WireError
from renderer.wire.memory import FrameMemory

# ---------------------------------------------------------------- limits
MAX_UNACKED_FRAMES = 8  # a viewer draws in order; more in flight only adds delay
MAX_UNACKED_BYTES = 16 * 1024 * 1024  # what a viewer's browser may have to hold: a few whole noisy surfaces

WINDOWS_PER_MINUTE = (
    20  # that a page may open: as many as a session holds (the control "tabs"); each makes the person's browser act
)

ROUNDED = 4  # device pixels a surface may have more than was asked for: a CSS pixel, rounded up, on the finest screens

OWN_PREFIX = "/.isolation"  # the router's own URLs: an isolated page is never sent there by its viewer

# What a renderer may say of its own end. The others are the router's words, and would make a viewer believe in a decision.
_RENDERER_MAY_SAY = frozenset(
    {
        m.CloseCode.PAGE_CLOSED,
        m.CloseCode.BROWSER_CRASHED,
        m.CloseCode.REPLACED,
        m.CloseCode.PROTOCOL,
        m.CloseCode.NO_CAPACITY,
        m.CloseCode.LIMIT_REACHED,
        m.CloseCode.TAB_LIMIT,
    }
)

# Values of the HTML inputs, as the HTML standard writes them (§2.3.5 dates and times, §4.10.5.1.15 colour). "" is "not set".
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,3})?)?"
_DATE = r"\d{4,6}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])"
_VALUES = {
    m.SelectKind.DATE: re.compile(_DATE),
    m.SelectKind.TIME: re.compile(_TIME),
    m.SelectKind.DATETIME: re.compile(rf"{_DATE}T{_TIME}"),
    m.SelectKind.MONTH: re.compile(r"\d{4,6}-(?:0[1-9]|1[0-2])"),
    m.SelectKind.WEEK: re.compile(r"\d{4,6}-W(?:0[1-9]|[1-4]\d|5[0-3])"),
    m.SelectKind.COLOR: re.compile(r"#[0-9a-fA-F]{6}"),
}
_LISTS = frozenset({m.SelectKind.OPTIONS, m.SelectKind.DATALIST})  # answered by indices
_INDEX = re.compile(r"0|[1-9]\d{0,4}")


@dataclass(frozen=True, slots=True)
class Pass:
    """Send ``data``, which is ``message`` encoded, as soon as ``records`` are in the audit log."""

    message: m.ToRenderer | m.FromRenderer
    data: bytes
    records: tuple[transfers.Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """Do not send it; the stream goes on. ``rule`` says why and holds nothing of the message.

    ``back``: what its sender is answered, ``onward``: what the other side gets instead; each encoded, b"" for nothing.
    """

    rule: str
    back: bytes = b""
    onward: bytes = b""
    records: tuple[transfers.Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Close:
    """End the stream: the sender does not keep to the contract. ``code`` is what the viewer is told."""

    code: m.CloseCode
    rule: str
    records: tuple[transfers.Record, ...] = ()


Verdict = Pass | Drop | Close


class Gatekeeper:
    """Checks one stream. Not shared between streams: it remembers surface, sequence, open dialog and open pop-up."""

    def __init__(self, controls: Controls) -> None:
        self._keyboard = controls.keyboard
        self._paste = controls.clipboard.to_app
        self._copy = controls.clipboard.from_app
        self._controls = controls
        self._download = controls.download is not Transfer.NONE
        self._transfers = transfers.Transfers(controls)
        self._pastes, self._copies, self._windows = PerMinute(), PerMinute(), PerMinute()
        self._greeted = False
        self._ready = False
        self._memory = FrameMemory()
        self._asked = (0, 0, 0)  # the largest width, height (CSS pixels) and scale the viewer ever asked for
        self._unacked: deque[tuple[int, int]] = deque()
        self._unacked_bytes = 0
        self._dialog = 0
        self._auth = 0
        self._menu = 0
        self._select: m.Select | None = None

    @property
    def ready(self) -> bool:
        """Say whether the renderer has attached the page."""
        return self._ready

    @property
    def congested(self) -> bool:
        """Say whether so much waits to be drawn that nothing more should be read from the renderer."""
        return len(self._unacked) >= MAX_UNACKED_FRAMES or self._unacked_bytes >= MAX_UNACKED_BYTES

    def end(self) -> tuple[transfers.Record, ...]:
        """Return what the audit log must know of transfers that were under way when the stream ended."""
        return self._transfers.end()

    # ------------------------------------------------------------ viewer → renderer

    def from_viewer(self, data: bytes, now: float = 0.0) -> Verdict:
        """Judge a message of the viewer. ``now``: monotonic seconds, for rates; where it stands still, nothing is forgotten."""
        try:
            message = decode_to_renderer(data)
        except WireError as problem:
            return Close(m.CloseCode.PROTOCOL, f"viewer: {problem}")
        rule = self._viewer_rule(message, now)
        if isinstance(rule, (Drop, Close)):
            return rule
        if rule:
            return Drop(rule)
        if isinstance(message, transfers.ToRenderer):
            return _ruled(self._transfers.from_viewer(message), m.CloseCode.PROTOCOL)
        return Pass(message, encode(message))

    def _viewer_rule(self, message: m.ToRenderer, now: float) -> str | Drop | Close:
        """Return "" to pass, why to drop (with a notice: as Drop), or Close."""
        if isinstance(message, m.Hello):
            if self._greeted:
                return Close(m.CloseCode.PROTOCOL, "viewer: a second hello")
            if own_path(message.path):
                return Close(m.CloseCode.PROTOCOL, "viewer: hello for a path of the router's own")
            self._greeted = True
            self._memory = FrameMemory(video=message.video)
            self._ask(message)
            return ""
        if not self._greeted:
            return Close(m.CloseCode.PROTOCOL, "viewer: spoke before its hello")
        match message:
            case m.Resize():
                self._ask(message)
            case m.Key() | m.Text() | m.Composition() if not self._keyboard:
                return "keyboard is off"
            case m.DialogReply() | m.AuthReply() if not self._keyboard and types(message):
                return "keyboard is off"
            case m.Paste() if not self._paste:
                return "clipboard to the app is off"
            case m.PasteImage() if not self._paste:
                return Drop("clipboard to the app is off", records=(_picture(message, "off"),))
            case m.Paste() | m.PasteImage():
                return self._crossing(message, self._pastes, now) or ""
            case m.MenuReply(_, m.MenuAction.SAVE_LINK | m.MenuAction.SAVE_IMAGE) if not self._download:
                return "download is off"
            case m.MenuReply(_, m.MenuAction.COPY_IMAGE) if not self._copy:
                return "clipboard from the app is off"
            case m.CopyRequest() if not self._copy:
                return "clipboard from the app is off"
            case m.CopyRequest(cut=True) if not self._keyboard:
                return "keyboard is off"
            case m.Navigate(path) if own_path(path):
                return "a path of the router's own"
            case m.Ack(seq):
                return self._acknowledge(seq)
            case m.DialogReply(identifier):
                if identifier != self._dialog:
                    return "no such dialog"
                self._dialog = 0
            case m.AuthReply(identifier):
                if identifier != self._auth:
                    return "nobody asked who is there"
                self._auth = 0
            case m.SelectReply():
                return self._answer(message)
            case m.MenuReply(identifier):
                if identifier != self._menu:
                    return "no such menu"
                self._menu = 0
            case _:
                pass
        return ""

    def _crossing(
        self, message: m.Paste | m.PasteImage | m.Clipboard | m.ClipboardImage, counted: PerMinute, now: float
    ) -> Drop | None:
        """Say why something may not cross the clipboard now: its kind, its size, or how often it happens. The viewer is told either way."""
        if isinstance(message, m.PasteImage | m.ClipboardImage):
            kind, size = ClipboardKind.IMAGE, len(message.png)
        else:
            kind, size = ClipboardKind.TEXT, len(message.text.encode())
        if kind not in self._controls.clipboard_types:
            rule, code = f"clipboard: no {kind}", m.NoticeCode.CLIPBOARD_BLOCKED
        elif size > self._controls.clipboard_max_kb * 1024:
            rule, code = "clipboard: too much at once", m.NoticeCode.CLIPBOARD_LARGE
        elif not counted.take(self._controls.clipboard_per_minute, now):
            rule, code = "clipboard: too often", m.NoticeCode.CLIPBOARD_FAST
        else:
            return None
        told = encode(m.Notice(code))
        records = (_picture(message, code.value),) if isinstance(message, m.PasteImage | m.ClipboardImage) else ()
        if isinstance(message, m.Paste | m.PasteImage):
            return Drop(rule, back=told, records=records)
        return Drop(rule, onward=told, records=records)

    def _acknowledge(self, seq: int) -> str | Close:
        if seq > self._memory.seq:
            return Close(m.CloseCode.PROTOCOL, "viewer: acknowledged a frame it was never sent")
        if not self._unacked or seq < self._unacked[0][0]:
            return "acknowledged before"
        while self._unacked and self._unacked[0][0] <= seq:
            self._unacked_bytes -= self._unacked.popleft()[1]
        return ""

    def _answer(self, reply: m.SelectReply) -> str:
        select = self._select
        if select is None or reply.id != select.id:
            return "no such pop-up"
        if len(reply.values) > 1 and not select.multiple:
            return "several values for one"
        for value in reply.values:
            if select.kind in _LISTS:
                if not _INDEX.fullmatch(value) or int(value) >= len(select.options) or select.options[int(value)].disabled:
                    return "no such option"
            elif value and not _VALUES[select.kind].fullmatch(value):
                return "not a value of this input"
        self._select = None
        return ""

    # ------------------------------------------------------------ renderer → viewer

    def from_renderer(self, data: bytes, now: float = 0.0) -> Verdict:
        """Judge a message of the renderer. A renderer that breaks the contract is reported to the viewer as lost. ``now`` as in :meth:`from_viewer`."""
        try:
            message = decode_from_renderer(data)
        except WireError as problem:
            return Close(m.CloseCode.RENDERER_LOST, f"renderer: {problem}")
        if not self._ready and not isinstance(message, (m.Ready, m.Closed)):
            return Close(m.CloseCode.RENDERER_LOST, "renderer: spoke before it was ready")
        if isinstance(message, m.Frame):
            return self._frame(message, data)
        if isinstance(message, transfers.FromRenderer) and not isinstance(message, m.ClipboardImage):
            return _ruled(self._transfers.from_renderer(message), m.CloseCode.RENDERER_LOST)
        clean = self._clean(message, now)
        if isinstance(clean, m.ClipboardImage):
            return _ruled(self._transfers.from_renderer(clean), m.CloseCode.RENDERER_LOST)
        if isinstance(clean, (Drop, Close)):
            return clean
        return Pass(clean, encode(clean))

    def _ask(self, message: m.Hello | m.Resize) -> None:
        width, height, scale = self._asked
        self._asked = (max(width, message.width), max(height, message.height), max(scale, message.scale))

    def _frame(self, frame: m.Frame, data: bytes) -> Verdict:
        *sides, scale = self._asked
        # Chromium rounds up to whole pixels. A new scale may come before a new size: so all three are bounded each by itself.
        if any(side > -(-most * scale // 100) + ROUNDED for side, most in zip((frame.width, frame.height), sides, strict=True)):
            return Close(m.CloseCode.RENDERER_LOST, "renderer: a larger surface than was asked for")
        try:
            self._memory.take(frame)
        except WireError as problem:
            return Close(m.CloseCode.RENDERER_LOST, f"renderer: {problem}")
        self._unacked.append((frame.seq, len(data)))
        self._unacked_bytes += len(data)
        return Pass(frame, data)

    def _clean(self, message: m.FromRenderer, now: float) -> m.FromRenderer | Drop | Close:
        match message:
            case m.Ready():
                if self._ready:
                    return Close(m.CloseCode.RENDERER_LOST, "renderer: ready twice")
                self._ready = True
            case m.Closed(code) if code not in _RENDERER_MAY_SAY:
                return Close(m.CloseCode.RENDERER_LOST, "renderer: spoke in the router's name")
            case m.Title(text):
                return m.Title(cleaning.line(text))
            case m.Icon(png) if png:
                again = cleaning.icon(png)
                return Drop("not an icon") if again is None else m.Icon(again)
            case m.Queued() | m.Ending():
                return Close(m.CloseCode.RENDERER_LOST, "renderer: spoke in the router's name")
            case m.ClipboardImage() if not self._copy:
                return Drop("clipboard from the app is off", records=(_picture(message, "off"),))
            case m.Clipboard() if not self._copy:
                return Drop("clipboard from the app is off")
            case m.Clipboard() | m.ClipboardImage():
                refused = self._crossing(message, self._copies, now)
                if refused is not None:
                    return refused
                return m.Clipboard(cleaning.clipboard(message.text)) if isinstance(message, m.Clipboard) else message
            case m.Opened() if not self._windows.take(WINDOWS_PER_MINUTE, now):
                return Drop("windows: too often", onward=encode(m.Notice(m.NoticeCode.POPUP_BLOCKED)))
            case m.LinkHint(text):
                return m.LinkHint(cleaning.line(text))
            case m.Menu():
                self._menu = message.id
                return replace(message, link=cleaning.line(message.link))
            case m.Auth():
                self._auth = message.id
                return replace(message, realm=cleaning.line(message.realm))
            case m.Dialog():
                self._dialog = message.id
                return replace(message, message=cleaning.lines(message.message), default=cleaning.line(message.default))
            case m.DialogClosed(identifier):
                if identifier == self._dialog:
                    self._dialog = 0
                if identifier == self._auth:
                    self._auth = 0
            case m.Select():
                self._select = _clean_select(message)
                return self._select
            case m.SelectClosed(identifier):
                if self._select is not None and identifier == self._select.id:
                    self._select = None
            case _:
                pass
        return message


def _picture(message: m.PasteImage | m.ClipboardImage, why: str) -> transfers.Record:
    direction = "paste" if isinstance(message, m.PasteImage) else "copy"
    return transfers.Record(direction, "refused", size=len(message.png), kind="png", why=why)


def _ruled(ruling: transfers.Ruling, code: m.CloseCode) -> Verdict:
    if ruling.message is not None:
        return Pass(ruling.message, encode(ruling.message), ruling.records)
    if ruling.broken:
        return Close(code, ruling.rule, ruling.records)
    back = encode(ruling.back) if ruling.back is not None else b""
    onward = encode(ruling.onward) if ruling.onward is not None else b""
    return Drop(ruling.rule, back, onward, ruling.records)


def types(message: m.DialogReply | m.AuthReply) -> bool:
    """Say whether an answer brings typed text into the page."""
    return bool(message.text) if isinstance(message, m.DialogReply) else message.accept


def own_path(path: str) -> bool:
    """Say whether a target lies among the router's own URLs (``/.isolation/…``), however it is spelled."""
    bare = re.split(r"[?#]", path, maxsplit=1)[0].replace("\\", "/")
    for _ in range(3):  # as often as any layer could decode it
        bare = re.sub(r"%([0-9A-Fa-f]{2})", lambda hit: chr(int(hit[1], 16)), bare)
    parts: list[str] = []
    for part in bare.replace("\\", "/").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in {"", "."}:
            parts.append(part)
    return bool(parts) and "/" + parts[0].lower() == OWN_PREFIX


def _clean_select(select: m.Select) -> m.Select:
    if select.kind in _LISTS:
        options = tuple(
            replace(option, label=cleaning.line(option.label), group=cleaning.line(option.group)) for option in select.options
        )
        multiple = select.multiple and select.kind is m.SelectKind.OPTIONS
        return replace(select, options=options, multiple=multiple, value="", low="", high="")
    shape = _VALUES[select.kind]
    return replace(
        select,
        options=(),
        multiple=False,
        value=select.value if shape.fullmatch(select.value) else "",
        low=select.low if shape.fullmatch(select.low) else "",
        high=select.high if shape.fullmatch(select.high) else "",
    )
