"""What the administrator wrote, checked and frozen: policies, rules and isolation rules (:mod:`isolation.policy.controls` has their controls).

The vocabulary is Cloudflare Access's (decision ``allow | deny | bypass``, Include / Require / Exclude), so that a policy
can be pasted over. See ``shapes`` of the Access API: https://developers.cloudflare.com/api/resources/zero_trust/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Protocol

from isolation.policy.controls import Controls
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
