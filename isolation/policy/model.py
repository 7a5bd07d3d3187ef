"""What the administrator wrote, checked and frozen: policies, rules, isolation rules and their controls.

The vocabulary is Cloudflare Access's (decision ``allow | deny | bypass``, Include / Require / Exclude), so that a policy
can be pasted over. See ``shapes`` of the Access API: https://developers.cloudflare.com/api/resources/zero_trust/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Protocol

from isolation.policy.facts import FOREVER, Facts


class Truth(Enum):
    """Kleene's three values."""

    FALSE = 0
    UNKNOWN = 1
    TRUE = 2


@dataclass(frozen=True, slots=True)
class Match:
    """What one selector said of one set of facts.

    ``value``: the value it looked at, as text for people. ``age``: seconds since the value was read, None where age has no meaning.
    ``signal``: the name of the signal that made the answer unknown or that came from a stale value (``"risk"``, ``"groups"``,
    ``"user_type"``), else ``""``. ``stale``: the answer rests on a stale value. ``until``: when it could change by time alone.
    """

    truth: Truth
    value: str = ""
    age: float | None = None
    signal: str = ""
    stale: bool = False
    until: float = FOREVER


class Condition(Protocol):
    """One selector with its arguments, e.g. ``email_domain corp.example``. Immutable and pure."""

    @property
    def selector(self) -> str:
        """Return the selector's key in a policy document (``email_domain``)."""
        ...

    @property
    def needs_identity(self) -> bool:
        """Say whether the selector needs to know who is there (such selectors are refused in Bypass policies)."""
        ...

    def describe(self) -> str:
        """Return the condition in words (``e-mail ends in @corp.example``)."""
        ...

    def match(self, facts: Facts) -> Match:
        """Say whether the facts satisfy this condition. Total: never raises."""
        ...


class Action(StrEnum):
    """What a policy does (API ``decision``). ``deny`` is shown as Block."""

    ALLOW = "allow"
    DENY = "deny"
    BYPASS = "bypass"


@dataclass(frozen=True, slots=True)
class Policy:
    """One Access policy. ``include``: any must match; ``require``: all; ``exclude``: none. ``include`` is never empty."""

    name: str
    action: Action
    include: tuple[Condition, ...]
    require: tuple[Condition, ...] = ()
    exclude: tuple[Condition, ...] = ()


class Mode(StrEnum):
    """How an app is isolated. ``pixels`` is the only mode today."""

    PIXELS = "pixels"


class Clipboard(StrEnum):
    """Directions in which clipboard text may cross, from least to most permissive ends of a lattice."""

    NONE = "none"
    TO_APP = "to_app"  # paste into the app
    FROM_APP = "from_app"  # copy out of the app
    BOTH = "both"


class Transfer(StrEnum):
    """Whether files may cross in one direction. Only ``none`` is offered until file transfer exists."""

    NONE = "none"


@dataclass(frozen=True, slots=True)
class Controls:
    """What may cross between the person's device and the isolated page. The defaults are the strictest."""

    clipboard: Clipboard = Clipboard.NONE
    download: Transfer = Transfer.NONE
    upload: Transfer = Transfer.NONE
    print: bool = False
    keyboard: bool = True

    def as_json(self) -> Mapping[str, str | bool]:
        """Return the controls as plain values, as the renderer and the viewer receive them."""
        return {
            "clipboard": self.clipboard.value,
            "download": self.download.value,
            "upload": self.upload.value,
            "print": self.print,
            "keyboard": self.keyboard,
        }


@dataclass(frozen=True, slots=True)
class IsolationRule:
    """Applied after an allow. All rules that match apply; the strictest of each control wins."""

    name: str
    include: tuple[Condition, ...]
    require: tuple[Condition, ...] = ()
    exclude: tuple[Condition, ...] = ()
    mode: Mode = Mode.PIXELS
    controls: Controls = field(default_factory=Controls)


class OnUnknown(StrEnum):
    """What an unknown risk does to somebody a policy lets in. There is no ``pass``."""

    ISOLATE = "isolate"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class PolicySet:
    """Everything that decides for one app. ``unknown_controls`` apply when a missing signal isolates."""

    policies: tuple[Policy, ...]
    isolation: tuple[IsolationRule, ...] = ()
    on_unknown: OnUnknown = OnUnknown.ISOLATE
    unknown_controls: Controls = field(default_factory=Controls)
