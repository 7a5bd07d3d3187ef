"""The controls of a lease as the router tells them to a node: names, sets and bounds, each in one place.

A node learns what it enforces or draws itself. Time limits, domains and notices stay with the router.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TypeAlias

from renderer.wire.fields import BOOLEAN, Field, WireError, integer, text

Value: TypeAlias = str | bool | int | list[str] | None

# ---------------------------------------------------------------- limits
MAX_CLIPBOARD_KB = 4096  # a screenshot of a 4K screen; text is also bound by what one message may hold
MAX_CLIPBOARD_PER_MINUTE = 600  # ten a second: above every person, below every program
MAX_FILE_MB = 10 * 1024  # beyond, a browser is not how files should travel
MAX_TABS = 100
MIN_BANDWIDTH_KBPS = 100  # kilobits a second: below, the first picture of a page takes longer than people wait
MAX_BANDWIDTH_KBPS = 1_000_000
MINUTE = 60.0  # seconds
MAX_WATERMARK = 200  # bytes: an address, a minute and a reference


class ClipboardKind(StrEnum):
    """What a clipboard may carry."""

    TEXT = "text"
    IMAGE = "image"


class FileKind(StrEnum):
    """Kinds of files that can be told by their content (magic bytes), never by their name."""

    PDF = "pdf"
    PNG = "png"
    JPEG = "jpeg"
    GIF = "gif"
    WEBP = "webp"
    ZIP = "zip"
    OFFICE = "office"  # OOXML, OpenDocument and the older compound files
    CSV = "csv"
    TEXT = "text"


class PerMinute:
    """Counts what happens within a minute that slides along. It is told the time (monotonic seconds)."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def take(self, most: int, now: float) -> bool:
        """Say whether it may happen once more, and count it if so."""
        while self._times and now - self._times[0] >= MINUTE:
            self._times.popleft()
        if len(self._times) >= most:
            return False
        self._times.append(now)
        return True


class _Word:
    """One word of a few."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def dump(self, value: object) -> object:
        return self.load(value)

    def load(self, value: object) -> object:
        if not isinstance(value, str) or value not in self._words:
            raise WireError("controls: not a value of its set")
        return str(value)


class _Words:
    """Some words of a set, each once; ``every``: None stands for all there are and ever will be."""

    def __init__(self, words: Collection[str], *, every: bool = False) -> None:
        self._words = frozenset(words)
        self._every = every

    def dump(self, value: object) -> object:
        return self.load(value)

    def load(self, value: object) -> object:
        if value is None and self._every:
            return None
        if not isinstance(value, list) or len(value) > len(self._words) or not all(isinstance(word, str) for word in value):
            raise WireError("controls: not a list of words")
        if len(set(value)) != len(value) or not self._words.issuperset(value):
            raise WireError("controls: not a value of its set")
        return [str(word) for word in value]


class _Unless:
    """A rule, or None for no limit."""

    def __init__(self, rule: Field) -> None:
        self._rule = rule

    def dump(self, value: object) -> object:
        return self.load(value)

    def load(self, value: object) -> object:
        return None if value is None else self._rule.load(value)


_TRANSFER = _Word("none", "allow")
_KINDS = _Words(tuple(FileKind), every=True)
_FILE_MB = integer(1, MAX_FILE_MB)

RULES: Mapping[str, Field] = {
    "clipboard": _Word("none", "to_app", "from_app", "both"),
    "clipboard_types": _Words(tuple(ClipboardKind)),
    "clipboard_max_kb": integer(1, MAX_CLIPBOARD_KB),
    "clipboard_per_minute": integer(1, MAX_CLIPBOARD_PER_MINUTE),
    "download": _TRANSFER,
    "download_max_mb": _FILE_MB,
    "download_types": _KINDS,
    "upload": _TRANSFER,
    "upload_max_mb": _FILE_MB,
    "upload_types": _KINDS,
    "print": BOOLEAN,
    "keyboard": BOOLEAN,
    "watermark": text(MAX_WATERMARK),
    "tabs": integer(1, MAX_TABS),
    "bandwidth_kbps": _Unless(integer(MIN_BANDWIDTH_KBPS, MAX_BANDWIDTH_KBPS)),
}


class ControlsField:
    """The closed set of controls: every one of them, and nothing else."""

    def dump(self, value: object) -> object:
        """See :meth:`~renderer.wire.fields.Field.dump`."""
        return self.load(value)

    def load(self, value: object) -> object:
        """See :meth:`~renderer.wire.fields.Field.load`."""
        if not isinstance(value, dict) or value.keys() != RULES.keys():
            raise WireError("controls: wrong fields")
        return {name: rule.load(value[name]) for name, rule in RULES.items()}
