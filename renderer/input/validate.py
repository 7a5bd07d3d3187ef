"""What a viewer may do: the session's controls, rates, and the order in which input reaches the page. Pure.

Ranges and shapes were checked by the codec; here is what depends on the session and on what came before.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

from renderer.wire.codec import MAX_WHEEL
from renderer.wire.controls import PerMinute, Value
from renderer.wire.messages import (
    Ack,
    AuthReply,
    Clipboard,
    ClipboardImage,
    Composition,
    CopyRequest,
    DialogReply,
    DownloadAck,
    FileData,
    Find,
    Key,
    MenuAction,
    MenuReply,
    Navigate,
    NoticeCode,
    Paste,
    PasteImage,
    Pointer,
    PointerKind,
    Reload,
    Text,
    ToRenderer,
    Touch,
    TouchKind,
    TouchPoint,
    Wheel,
)

# ---------------------------------------------------------------- limits
MOTION_RATE = (
    400.0  # moves and wheels a second: a 240 Hz mouse and room; they have a bucket of their own, so that no click is lost to them
)
MOTION_BURST = 1200.0  # three seconds' worth: what piles up while the network pauses
INPUT_RATE = 200.0  # other messages a second: a held key repeats 30 times, the fastest hands do 20 things
INPUT_BURST = 600.0
TEXT_RATE = 64 * 1024.0  # bytes a second of typed and pasted text
TEXT_BURST = 512 * 1024.0  # two pastes of the largest size
NAVIGATION_RATE = 4.0  # addresses, reloads and steps through history a second
NAVIGATION_BURST = 20.0
FIND_RATE = 10.0  # searches a second: each reads the whole page; fast typing is about this
FIND_BURST = 30.0
MAX_MOTION = 8  # moves and wheels in turns, which do not add up
MAX_QUEUE = 256  # messages waiting for the page; moves and wheels are merged, so this is hundreds of clicks
MAX_STROKE = 64  # moves with a button held that wait for the page: a quarter of a second of a fine mouse


@dataclass(frozen=True, slots=True)
class Controls:
    """What the policy lets this session do. Made from the checked dictionary of ``StartLease``; the defaults permit nothing.

    ``clipboard_types``, ``download_types``, ``upload_types``: kinds; None (files only): every kind. ``clipboard_bytes``, ``download_bytes``,
    ``upload_bytes``: of one copy, paste or file. ``watermark``: text to draw over the page, or "". ``bandwidth``: bytes a second to one
    viewer, or None.
    """

    to_app: bool = False
    from_app: bool = False
    keyboard: bool = False
    printing: bool = False
    clipboard_types: frozenset[str] = frozenset()
    clipboard_bytes: int = 0
    clipboard_per_minute: int = 0
    download: bool = False
    download_bytes: int = 0
    download_types: frozenset[str] | None = frozenset()
    upload: bool = False
    upload_bytes: int = 0
    upload_types: frozenset[str] | None = frozenset()
    watermark: str = ""
    tabs: int = 1
    bandwidth: float | None = None

    @classmethod
    def of(cls, controls: Mapping[str, Value]) -> Controls:
        """Read the control dictionary; what is missing is forbidden."""

        def number(name: str) -> int:
            value = controls.get(name)
            return value if isinstance(value, int) and not isinstance(value, bool) else 0

        def kinds(name: str) -> frozenset[str] | None:
            value = controls.get(name, [])
            return None if value is None else frozenset(value if isinstance(value, list) else ())

        clipboard = controls.get("clipboard", "none")
        bandwidth = number("bandwidth_kbps")
        return cls(
            to_app=clipboard in {"to_app", "both"},
            from_app=clipboard in {"from_app", "both"},
            keyboard=controls.get("keyboard") is True,
            printing=controls.get("print") is True,
            clipboard_types=kinds("clipboard_types") or frozenset(),
            clipboard_bytes=number("clipboard_max_kb") * 1024,
            clipboard_per_minute=number("clipboard_per_minute"),
            download=controls.get("download") == "allow",
            download_bytes=number("download_max_mb") * 1024 * 1024,
            download_types=kinds("download_types"),
            upload=controls.get("upload") == "allow",
            upload_bytes=number("upload_max_mb") * 1024 * 1024,
            upload_types=kinds("upload_types"),
            watermark=str(controls.get("watermark") or ""),
            tabs=max(1, number("tabs")),
            bandwidth=bandwidth * 1000 / 8 if bandwidth else None,
        )


class Verdict(Enum):
    """What happens to a message that gets no notice."""

    ACCEPT = "accept"
    DROP = "drop"  # too fast: nobody's hands do that


class _Bucket:
    """A token bucket that is told the time."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._level = burst
        self._at: float | None = None

    def take(self, amount: float, now: float) -> bool:
        if self._at is not None:
            self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
        if amount > self._level:
            return False
        self._level -= amount
        return True


class Fingers:
    """The order of touches: what is lifted or moved is down, what is put down was not. Anything else would confuse the page's gestures."""

    def __init__(self) -> None:
        self._down: frozenset[int] = frozenset()

    def take(self, touch: Touch) -> bool:
        """Say whether a touch can follow what came before, and remember it."""
        now = frozenset(point.id for point in touch.points)
        fits = {
            TouchKind.START: now > self._down,
            TouchKind.MOVE: bool(now) and now == self._down,
            TouchKind.END: now < self._down,
            TouchKind.CANCEL: not now and bool(self._down),
        }[touch.kind]
        if fits:
            self._down = now
        return fits


class InputGate:
    """Decides on each message of one viewer."""

    def __init__(self) -> None:
        self._pastes, self._copies = PerMinute(), PerMinute()
        self._motion = _Bucket(MOTION_RATE, MOTION_BURST)
        self._messages = _Bucket(INPUT_RATE, INPUT_BURST)
        self._text = _Bucket(TEXT_RATE, TEXT_BURST)
        self._navigation = _Bucket(NAVIGATION_RATE, NAVIGATION_BURST)
        self._find = _Bucket(FIND_RATE, FIND_BURST)
        self._fingers = Fingers()

    def copied(self, message: Clipboard | ClipboardImage, controls: Controls, now: float) -> NoticeCode | None:
        """Say why something copied in the page may not leave it now, or None."""
        if not controls.from_app:
            return NoticeCode.CLIPBOARD_BLOCKED
        return self.crossing(message, controls, self._copies, now)

    @staticmethod
    def crossing(
        message: Paste | PasteImage | Clipboard | ClipboardImage, controls: Controls, counted: PerMinute, now: float
    ) -> NoticeCode | None:
        """Say why something may not cross the clipboard now: its kind, its size, or how often it happens."""
        picture = isinstance(message, PasteImage | ClipboardImage)
        if ("image" if picture else "text") not in controls.clipboard_types:
            return NoticeCode.CLIPBOARD_BLOCKED
        size = len(message.png) if isinstance(message, PasteImage | ClipboardImage) else len(message.text.encode())
        if size > controls.clipboard_bytes:
            return NoticeCode.CLIPBOARD_LARGE
        return None if counted.take(controls.clipboard_per_minute, now) else NoticeCode.CLIPBOARD_FAST

    def judge(self, message: ToRenderer, controls: Controls, now: float) -> Verdict | NoticeCode:
        """Pass, drop, or refuse with a notice. ``now``: monotonic seconds."""
        match message:
            case Paste() | PasteImage() if not controls.to_app:
                return NoticeCode.CLIPBOARD_BLOCKED
            case CopyRequest() if not controls.from_app:
                return NoticeCode.CLIPBOARD_BLOCKED
            case Key() | Text() | Composition() | Paste() | PasteImage() | CopyRequest(cut=True) if not controls.keyboard:
                return NoticeCode.KEYBOARD_BLOCKED
            case DialogReply(text=text) if text and not controls.keyboard:
                return NoticeCode.KEYBOARD_BLOCKED
            case AuthReply(accept=True) if not controls.keyboard:
                return NoticeCode.KEYBOARD_BLOCKED
            case Paste() | PasteImage():
                refused = self.crossing(message, controls, self._pastes, now)
                if refused is not None:
                    return refused
            case MenuReply(_, MenuAction.SAVE_LINK | MenuAction.SAVE_IMAGE) if not controls.download:
                return NoticeCode.DOWNLOAD_BLOCKED
            case MenuReply(_, MenuAction.COPY_IMAGE) if not controls.from_app:
                return NoticeCode.CLIPBOARD_BLOCKED
            case Touch(TouchKind.END | TouchKind.CANCEL):
                # Never too fast: there are at most as many as fingers were put down, and a finger must not hang in the page for ever.
                return Verdict.ACCEPT if self._fingers.take(message) else Verdict.DROP
            case _:
                pass
        if isinstance(message, FileData | DownloadAck):
            return Verdict.ACCEPT  # their window holds them back; a piece that is lost would break its file
        bucket = self._motion if is_motion(message) else self._messages
        if not isinstance(message, Ack) and not bucket.take(
            1.0, now
        ):  # the router lets no acknowledgement pass that it did not wait for
            return Verdict.DROP
        match message:
            case Text(text) | Composition(text) | Paste(text) if not self._text.take(len(text.encode()), now):
                return Verdict.DROP
            case Touch() if not self._fingers.take(message):
                return Verdict.DROP
            case Find() if not self._find.take(1.0, now):
                return Verdict.DROP
            case Navigate() | Reload() if not self._navigation.take(1.0, now):
                return Verdict.DROP
            case _:
                return Verdict.ACCEPT


class InputQueue:
    """Input waiting for the page. Moves and wheels that follow each other become one, so clicks and keys never wait behind a queue of them.

    Moves with a button held are kept, for their path counts: it may be a signature. Of a long one those go that matter least to its shape.
    """

    def __init__(self) -> None:
        self._waiting: deque[list[ToRenderer]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def only_motion(self) -> bool:
        """Whether nothing but a few moves and wheels waits, which may add up for longer."""
        return len(self._waiting) <= MAX_MOTION and all(is_motion(messages[-1]) for messages in self._waiting)

    def put(self, message: ToRenderer) -> bool:
        """Add a message. False: the queue is full and the message was not taken."""
        if self._waiting:
            last = self._waiting[-1]
            merged = _merged(last[-1], message)
            if merged is not None:
                if not _draws(merged):
                    last[-1] = merged
                    return True
                last.append(merged)
                if len(last) > MAX_STROKE:
                    del last[_least(last)]
                return True
        if len(self._waiting) >= MAX_QUEUE:
            return False
        self._waiting.append([message])
        return True

    def get(self) -> list[ToRenderer]:
        """Take the oldest message, or the moves of a stroke that follow each other. Empty: nothing waits."""
        return self._waiting.popleft() if self._waiting else []

    def clear(self) -> None:
        """Forget everything (the page changed hands: old input must not reach it)."""
        self._waiting.clear()


def is_motion(message: ToRenderer) -> bool:
    """Say whether a message is one of a stream of moves, of which only the last or their sum counts."""
    match message:
        case Wheel() | Pointer(kind=PointerKind.MOVE) | Touch(kind=TouchKind.MOVE):
            return True
        case _:
            return False


def _draws(message: ToRenderer) -> bool:
    return isinstance(message, Pointer) and message.kind is PointerKind.MOVE and message.buttons != 0


def _least(stroke: list[ToRenderer]) -> int:
    """Return which move but the first and the last can be left out with the least harm: without it the way is shortened least."""
    places = [(move.x, move.y) for move in stroke if isinstance(move, Pointer)]
    lost = [
        math.dist(one, two) + math.dist(two, three) - math.dist(one, three)
        for one, two, three in zip(places, places[1:], places[2:], strict=False)
    ]
    return 1 + lost.index(min(lost))


def _ids(points: tuple[TouchPoint, ...]) -> list[int]:
    return [point.id for point in points]


def _merged(last: ToRenderer, message: ToRenderer) -> ToRenderer | None:
    match last, message:
        case Pointer(kind=PointerKind.MOVE), Pointer(kind=PointerKind.MOVE) if last.buttons == message.buttons:
            return message
        case Touch(kind=TouchKind.MOVE), Touch(kind=TouchKind.MOVE) if _ids(last.points) == _ids(message.points):
            return message
        case Wheel(), Wheel() if last.modifiers == message.modifiers:
            dx, dy = last.dx + message.dx, last.dy + message.dy
            if abs(dx) > MAX_WHEEL or abs(dy) > MAX_WHEEL:
                return None
            return replace(message, dx=dx, dy=dy)
        case _:
            return None
