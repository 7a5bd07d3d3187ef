"""The rules a single field of a message obeys: how it is checked, dumped to JSON and loaded from it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from renderer.wire.images import png_size

ICON_SIDE = 32  # pixels: what browsers show in a tab, twice over for fine screens
MAX_ICON = 16 * 1024  # characters of base64: a noisy 32 × 32 RGBA PNG needs 6 KiB


class WireError(ValueError):
    """The bytes, or the message, are not part of the contract. The text says which rule; it holds nothing of the data."""


class Field(Protocol):
    """One field's rule."""

    def dump(self, value: object) -> object:
        """Check a value and give its JSON form. Raises :class:`WireError`."""

    def load(self, value: object) -> object:
        """Check a JSON form and give its value. Raises :class:`WireError`."""


@dataclass(frozen=True, slots=True)
class _Boolean:
    def dump(self, value: object) -> object:
        return self.load(value)

    def load(self, value: object) -> object:
        if not isinstance(value, bool):
            raise WireError("not a boolean")
        return value


@dataclass(frozen=True, slots=True)
class _Integer:
    low: int
    high: int

    def dump(self, value: object) -> object:
        return self.load(value)

    def load(self, value: object) -> object:
        # bool is an int in Python and is not one here.
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise WireError("a number is out of range")
        return value


@dataclass(frozen=True, slots=True)
class _Text:
    least: int
    most: int
    shape: re.Pattern[str] | None

    def dump(self, value: object) -> object:
        return self.load(value)

    def load(self, value: object) -> object:
        if not isinstance(value, str):
            raise WireError("not text")
        if len(value) > self.most:
            raise WireError("text too long")
        try:
            size = len(value.encode())
        except UnicodeEncodeError:  # a lone surrogate: legal in JSON escapes, no text anywhere else
            raise WireError("text is not Unicode") from None
        if not self.least <= size <= self.most:
            raise WireError("text length out of range")
        if self.shape is not None and self.shape.fullmatch(value) is None:
            raise WireError("text has the wrong shape")
        return str(value)


@dataclass(frozen=True, slots=True)
class _Icon:
    def dump(self, value: object) -> object:
        return self.load(value)

    def load(self, value: object) -> object:
        if not isinstance(value, str) or len(value) > MAX_ICON:
            raise WireError("not an icon")
        try:
            data = base64.b64decode(value.encode("ascii"), validate=True)
        except (ValueError, binascii.Error):
            raise WireError("not base64") from None
        if png_size(data) != (ICON_SIDE, ICON_SIDE):
            raise WireError("not a PNG of the icon's size")
        return value


@dataclass(frozen=True, slots=True)
class Bounded:
    """A rule that, when told so, also lets the empty text pass."""

    rule: Field
    allow_empty: bool

    def dump(self, value: object) -> object:
        """See :meth:`Field.dump`."""
        return "" if value == "" and self.allow_empty else self.rule.dump(value)

    def load(self, value: object) -> object:
        """See :meth:`Field.load`."""
        return "" if value == "" and self.allow_empty else self.rule.load(value)


@dataclass(frozen=True, slots=True)
class Keyword:
    """One word of a closed set."""

    words: type[StrEnum]

    def dump(self, value: object) -> object:
        """See :meth:`Field.dump`."""
        if not isinstance(value, self.words):
            raise WireError("not a word of its set")
        return value.value

    def load(self, value: object) -> object:
        """See :meth:`Field.load`."""
        if not isinstance(value, str):
            raise WireError("not a word")
        try:
            return self.words(value)
        except ValueError:
            raise WireError("not a word of its set") from None


@dataclass(frozen=True, slots=True)
class Many:
    """A tuple here, a list in JSON, of at most ``most`` members."""

    member: Field
    most: int

    def dump(self, value: object) -> object:
        """See :meth:`Field.dump`."""
        if not isinstance(value, tuple) or len(value) > self.most:
            raise WireError("not a list, or too long")
        return [self.member.dump(item) for item in value]

    def load(self, value: object) -> object:
        """See :meth:`Field.load`."""
        if not isinstance(value, list) or len(value) > self.most:
            raise WireError("not a list, or too long")
        return tuple(self.member.load(item) for item in value)


@dataclass(frozen=True, slots=True)
class Object:
    """A dataclass here, an object in JSON, with exactly these fields."""

    shape: type
    spec: Mapping[str, Field]

    def dump(self, value: object) -> object:
        """See :meth:`Field.dump`."""
        if not isinstance(value, self.shape):
            raise WireError("not the right kind of object")
        return {name: rule.dump(getattr(value, name)) for name, rule in self.spec.items()}

    def load(self, value: object) -> object:
        """See :meth:`Field.load`."""
        if not isinstance(value, dict) or value.keys() != self.spec.keys():
            raise WireError("wrong fields")
        return self.shape(**{name: rule.load(value[name]) for name, rule in self.spec.items()})


def integer(low: int, high: int) -> Field:
    """Allow a whole number, ``low`` to ``high`` inclusive."""
    return _Integer(low, high)


def text(most: int, *, least: int = 0) -> Field:
    """Allow Unicode text of ``least`` to ``most`` bytes of UTF-8."""
    return _Text(least, most, None)


def path(most: int) -> Field:
    """Allow an origin-form target: a slash, then visible ASCII, as browsers serialise it."""
    return _Text(1, most, re.compile(r"/[\x21-\x7e]*"))


BOOLEAN: Field = _Boolean()
BASE64_PNG: Field = _Icon()
PAGE: Field = _Text(1, 64, re.compile(r"[A-Za-z0-9_-]+"))
# Serialised http(s) origins only. Others (about:blank, opaque ones) travel as "".
ORIGIN: Field = _Text(1, 300, re.compile(r"https?://(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?"))
# Links for other programs of the device: RFC 6068, RFC 3966, RFC 5724. Visible ASCII, as browsers serialise an address.
EXTERNAL: Field = _Text(1, 2048, re.compile(r"(?:mailto|tel|sms):[\x21-\x7e]*"))
CURSORS = frozenset(
    (
        "alias",
        "all-scroll",
        "auto",
        "cell",
        "col-resize",
        "context-menu",
        "copy",
        "crosshair",
        "default",
        "e-resize",
        "ew-resize",
        "grab",
        "grabbing",
        "help",
        "move",
        "n-resize",
        "ne-resize",
        "nesw-resize",
        "no-drop",
        "none",
        "not-allowed",
        "ns-resize",
        "nw-resize",
        "nwse-resize",
        "pointer",
        "progress",
        "row-resize",
        "s-resize",
        "se-resize",
        "sw-resize",
        "text",
        "vertical-text",
        "w-resize",
        "wait",
        "zoom-in",
        "zoom-out",
    )
)
CURSOR: Field = _Text(1, 20, re.compile("|".join(sorted(CURSORS))))
