"""Readings: what a source said about a person, and when. Pure shapes; ``merge`` says what they mean together."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from isolation.policy.facts import FOREVER, RiskLevel, UnknownReason

RISK_PROVIDER: Final = "entra-risk"
"""Name of the provider state that stands behind Entra's user risk levels."""


class ProviderStatus(StrEnum):
    """A provider's named state. Every one but ``ok`` is shown in the console and named in explanations."""

    OK = "ok"
    NEVER_READ = "never-read"  # no attempt has finished yet
    THROTTLED = "throttled"
    FORBIDDEN = "forbidden"  # the application lacks the permission
    UNLICENSED = "unlicensed"  # e.g. riskyUsers without Entra ID P2
    CREDENTIALS = "credentials"  # our own secret is wrong or has expired
    MALFORMED = "malformed"
    UNREACHABLE = "unreachable"
    INCOMPLETE = "incomplete"  # some pages came, not all
    NOT_SUPPORTED = "not-supported"  # this cloud does not have it

    @classmethod
    def parse(cls, text: str) -> ProviderStatus:
        """Return the state of this name. A name nobody knows is a failure like any other: ``unreachable``, never ``ok``."""
        try:
            return cls(text)
        except ValueError:
            return cls.UNREACHABLE

    @property
    def reason(self) -> UnknownReason:
        """Return why a signal has no value while its provider is in this state."""
        return _REASONS[self]


_REASONS = {
    ProviderStatus.OK: UnknownReason.NEVER_READ,
    ProviderStatus.NEVER_READ: UnknownReason.NEVER_READ,
    ProviderStatus.THROTTLED: UnknownReason.THROTTLED,
    ProviderStatus.FORBIDDEN: UnknownReason.FORBIDDEN,
    ProviderStatus.UNLICENSED: UnknownReason.UNLICENSED,
    ProviderStatus.CREDENTIALS: UnknownReason.FORBIDDEN,
    ProviderStatus.MALFORMED: UnknownReason.MALFORMED,
    ProviderStatus.UNREACHABLE: UnknownReason.PROVIDER_DOWN,
    ProviderStatus.INCOMPLETE: UnknownReason.INCOMPLETE,
    ProviderStatus.NOT_SUPPORTED: UnknownReason.NOT_SUPPORTED,
}


@dataclass(frozen=True, slots=True)
class ProviderState:
    """How a provider is doing. ``last_attempt``: when it was last asked. ``last_success``: as of when its last *complete* answer was. Epoch seconds."""

    name: str
    status: ProviderStatus = ProviderStatus.NEVER_READ
    message: str = ""
    last_attempt: float | None = None
    last_success: float | None = None


@dataclass(frozen=True, slots=True)
class RiskReading:
    """One row of a complete poll of Entra's risky users.

    ``level``: a level, or why there is none (``hidden``, a member nobody knows): such a row is *unknown*, never "no risk".
    ``reported_at``: when Entra last changed it (epoch seconds). ``email`` and ``name`` are for reading only.
    """

    level: RiskLevel | UnknownReason
    reported_at: float | None = None
    detail: str = ""
    email: str = ""
    name: str = ""


def parse_risk_level(raw: str | None) -> RiskLevel | UnknownReason:
    """Return the level that Graph's ``riskLevel`` stands for, or why it stands for none. Total.

    None means an enumeration member that this version of the SDK does not know: msgraph-sdk reads such a member as None.
    """
    if raw == "hidden":
        return UnknownReason.HIDDEN
    try:
        return RiskLevel(raw) if raw is not None else UnknownReason.UNRECOGNISED
    except ValueError:
        return UnknownReason.UNRECOGNISED


@dataclass(frozen=True, slots=True)
class RiskTag:
    """A level given by the security team: ``reason``, ``by`` whom, ``at`` when, in force before ``until`` (epoch seconds)."""

    id: int
    person_key: str
    level: RiskLevel
    reason: str
    by: str
    at: float
    until: float = FOREVER


@dataclass(frozen=True, slots=True)
class RiskOverride:
    """An administrator's last word on somebody's risk, for a limited time. It wins over every other source, also over *unknown*."""

    id: int
    person_key: str
    level: RiskLevel
    reason: str
    by: str
    at: float
    until: float


@dataclass(frozen=True, slots=True)
class GroupsReading:
    """The last complete set of somebody's groups (object ids, lower case, transitive), and what happened since.

    ``groups`` and ``as_of`` are None while there has been no complete reading. ``source``: ``"token"`` or ``"graph"``.
    ``failure``: the named state of the last attempt when it failed after that reading, else None.
    """

    groups: frozenset[str] | None = None
    as_of: float | None = None
    source: str = ""
    failure: ProviderStatus | None = None
    failed_at: float | None = None
    message: str = ""
