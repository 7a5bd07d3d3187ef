"""The controls of an isolated session: what may cross between the person's device and the page, how much of it, and for how long.

The defaults permit nothing that must be asked for. Two sets of controls meet in what both permit (:func:`meet`), so that of several
rules the strictest of each control wins, in whatever order they are looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TypeVar

from renderer.wire.controls import (
    MAX_BANDWIDTH_KBPS,
    MAX_CLIPBOARD_KB,
    MAX_CLIPBOARD_PER_MINUTE,
    MAX_FILE_MB,
    MAX_TABS,
    MIN_BANDWIDTH_KBPS,
    ClipboardKind,
    FileKind,
    Value,
)

E = TypeVar("E", bound=StrEnum)

# ---- limits
MAX_MINUTES = 7 * 24 * 60  # a week: longer than any session lives
MAX_NOTICE = 300  # characters of one notice: a bar of two lines on a phone
MAX_DOMAINS = 500  # patterns of one rule: every tunnel is compared with each

BOUNDS: Mapping[str, tuple[int, int]] = {
    "clipboard_max_kb": (1, MAX_CLIPBOARD_KB),
    "clipboard_per_minute": (1, MAX_CLIPBOARD_PER_MINUTE),
    "download_max_mb": (1, MAX_FILE_MB),
    "upload_max_mb": (1, MAX_FILE_MB),
    "idle_minutes": (1, MAX_MINUTES),
    "total_minutes": (1, MAX_MINUTES),
    "tabs": (1, MAX_TABS),
    "bandwidth_kbps": (MIN_BANDWIDTH_KBPS, MAX_BANDWIDTH_KBPS),
}
"""Least and greatest value of every control that is a number."""


class Clipboard(StrEnum):
    """Directions in which the clipboard may cross, from least to most permissive ends of a lattice."""

    NONE = "none"
    TO_APP = "to_app"  # paste into the app
    FROM_APP = "from_app"  # copy out of the app
    BOTH = "both"

    @property
    def to_app(self) -> bool:
        """Say whether something may be pasted into the app."""
        return self in {Clipboard.TO_APP, Clipboard.BOTH}

    @property
    def from_app(self) -> bool:
        """Say whether something may be copied out of the app."""
        return self in {Clipboard.FROM_APP, Clipboard.BOTH}


_CLIPBOARD = {(kind.to_app, kind.from_app): kind for kind in Clipboard}


class Transfer(StrEnum):
    """Whether files may cross in one direction."""

    NONE = "none"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class Controls:
    """What may cross between the person's device and the isolated page.

    ``clipboard_max_kb``: KiB of one copy or paste. ``clipboard_per_minute``: copies and pastes of one viewer, each direction by itself.
    ``download_types``, ``upload_types``: kinds told by content; None: every file. ``print``: as PDF. ``idle_minutes``,
    ``total_minutes``: after which the session's browser ends; None: never for this reason. ``bandwidth_kbps``: kilobits a second from
    the page to one viewer; None: no bound. ``domains``: patterns (``host``, ``*.parent``) that narrow the public hosts the app
    permits; None: no narrower. ``notice``: texts that every viewer shows.
    """

    clipboard: Clipboard = Clipboard.NONE
    clipboard_types: frozenset[ClipboardKind] = frozenset({ClipboardKind.TEXT})
    clipboard_max_kb: int = 256
    clipboard_per_minute: int = 30
    download: Transfer = Transfer.NONE
    download_max_mb: int = 100
    download_types: frozenset[FileKind] | None = None
    upload: Transfer = Transfer.NONE
    upload_max_mb: int = 100
    upload_types: frozenset[FileKind] | None = None
    print: bool = False
    keyboard: bool = True
    watermark: bool = False
    idle_minutes: int | None = None
    total_minutes: int | None = None
    tabs: int = 20
    bandwidth_kbps: int | None = None
    domains: frozenset[str] | None = None
    notice: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, Value]:
        """Return every control as plain values: what is stored, logged and explained."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    def for_node(self, watermark: str = "") -> dict[str, Value]:
        """Return what a renderer node is told. ``watermark``: the text to draw, where the control asks for one."""
        known = {name: value for name, value in self.as_json().items() if name not in _ROUTER_ONLY}
        return known | {"watermark": watermark if self.watermark else ""}

    def for_viewer(self) -> dict[str, Value]:
        """Return what a viewer is told: what it shows, or does not even offer."""
        return {name: value for name, value in self.as_json().items() if name not in _NOT_IN_VIEWER}


_ROUTER_ONLY = frozenset({"idle_minutes", "total_minutes", "domains", "notice"})
_NOT_IN_VIEWER = frozenset({"idle_minutes", "total_minutes", "domains", "bandwidth_kbps", "watermark"})

CONTROL_KEYS = tuple(field.name for field in fields(Controls))


def _plain(value: object) -> Value:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, frozenset):
        return sorted(str(item) for item in value)
    if value is None or isinstance(value, bool | int):
        return value
    raise TypeError("not a control's value")


# ---------------------------------------------------------------- the lattice


def meet(one: Controls, other: Controls) -> Controls:
    """Return the controls that permit what both permit. Clipboard directions meet: to_app and from_app leave none. Notices add up."""
    return Controls(
        clipboard=_CLIPBOARD[
            one.clipboard.to_app and other.clipboard.to_app, one.clipboard.from_app and other.clipboard.from_app
        ],
        clipboard_types=one.clipboard_types & other.clipboard_types,
        clipboard_max_kb=min(one.clipboard_max_kb, other.clipboard_max_kb),
        clipboard_per_minute=min(one.clipboard_per_minute, other.clipboard_per_minute),
        download=_either_none(one.download, other.download),
        download_max_mb=min(one.download_max_mb, other.download_max_mb),
        download_types=_common(one.download_types, other.download_types),
        upload=_either_none(one.upload, other.upload),
        upload_max_mb=min(one.upload_max_mb, other.upload_max_mb),
        upload_types=_common(one.upload_types, other.upload_types),
        print=one.print and other.print,
        keyboard=one.keyboard and other.keyboard,
        watermark=one.watermark or other.watermark,
        idle_minutes=_sooner(one.idle_minutes, other.idle_minutes),
        total_minutes=_sooner(one.total_minutes, other.total_minutes),
        tabs=min(one.tabs, other.tabs),
        bandwidth_kbps=_sooner(one.bandwidth_kbps, other.bandwidth_kbps),
        domains=_within_both(one.domains, other.domains),
        notice=one.notice | other.notice,
    )


def _either_none(one: Transfer, other: Transfer) -> Transfer:
    return Transfer.ALLOW if one is other is Transfer.ALLOW else Transfer.NONE


def _common(one: frozenset[FileKind] | None, other: frozenset[FileKind] | None) -> frozenset[FileKind] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _sooner(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)


def _within_both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    # Two patterns are disjoint, or one lies within the other: what both sets reach is what each has within the other.
    return frozenset(pattern for pattern in one | other if _reached(one, pattern) and _reached(other, pattern))


def _reached(patterns: frozenset[str], pattern: str) -> bool:
    return any(covers(wider, pattern) for wider in patterns)


def covers(wider: str, narrower: str) -> bool:
    """Say whether every host of the pattern ``narrower`` is one of ``wider``. ``*.parent`` is every name below ``parent``, not itself."""
    return wider == narrower or (wider.startswith("*.") and narrower.removeprefix("*").endswith(wider[1:]))


def narrowest(patterns: Iterable[str]) -> frozenset[str]:
    """Return the patterns without those that another one covers: one set for one meaning."""
    given = frozenset(patterns)
    return frozenset(pattern for pattern in given if not any(covers(wider, pattern) for wider in given if wider != pattern))


# ---------------------------------------------------------------- reading


def read_controls(document: Mapping[str, object]) -> Controls:
    """Return the controls of :meth:`Controls.as_json`. What cannot be read is at its strictest."""

    def number(name: str) -> int:
        least, most = BOUNDS[name]
        value = document.get(name)
        return value if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most else least

    def limit(name: str) -> int | None:
        return None if name in document and document[name] is None else number(name)

    def words(name: str) -> list[str]:
        value = document.get(name)
        return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []

    def kinds(name: str) -> frozenset[FileKind] | None:
        if name in document and document[name] is None:
            return None
        return _members(FileKind, words(name))

    return Controls(
        clipboard=_member(Clipboard, document.get("clipboard"), Clipboard.NONE),
        clipboard_types=_members(ClipboardKind, words("clipboard_types")),
        clipboard_max_kb=number("clipboard_max_kb"),
        clipboard_per_minute=number("clipboard_per_minute"),
        download=_member(Transfer, document.get("download"), Transfer.NONE),
        download_max_mb=number("download_max_mb"),
        download_types=kinds("download_types"),
        upload=_member(Transfer, document.get("upload"), Transfer.NONE),
        upload_max_mb=number("upload_max_mb"),
        upload_types=kinds("upload_types"),
        print=document.get("print") is True,
        keyboard=document.get("keyboard") is True,
        watermark=document.get("watermark") is not False,
        idle_minutes=limit("idle_minutes"),
        total_minutes=limit("total_minutes"),
        tabs=number("tabs"),
        bandwidth_kbps=limit("bandwidth_kbps"),
        domains=None if "domains" in document and document["domains"] is None else frozenset(words("domains")),
        notice=frozenset(words("notice")),
    )


def _member(kind: type[E], value: object, strictest: E) -> E:
    return next((member for member in kind if member.value == value), strictest)


def _members(kind: type[E], words: Iterable[str]) -> frozenset[E]:
    given = set(words)
    return frozenset(member for member in kind if member.value in given)
