"""What is known about a request: person × device × app × context. Frozen, complete, and read without I/O.

Every signal that can be missing or old is a :data:`Signal`: ``Known`` (with its age), ``Stale`` (a last value that is
too old to let anybody pass) or ``Unknown``. There is no default value for a signal: code that reads one has to say
what it does in each of the three cases.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")

FOREVER = float("inf")


class RiskLevel(StrEnum):
    """Entra's user risk levels that mean something. ``hidden`` and unknown members are :class:`Unknown`, not a level."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"

    @property
    def rank(self) -> int:
        """Return 0 (none) to 3 (high)."""
        return _RISK_ORDER.index(self)


_RISK_ORDER = (RiskLevel.NONE, RiskLevel.LOW, RiskLevel.MEDIUM, RiskLevel.HIGH)


class UnknownReason(StrEnum):
    """Why a signal has no usable value. Shown in explanations, logs and the console."""

    NEVER_READ = "never-read"  # no complete reading has happened yet
    STALE = "stale"  # the last reading is older than stale_after
    PROVIDER_DOWN = "provider-down"
    THROTTLED = "throttled"
    UNLICENSED = "unlicensed"  # e.g. Graph riskyUsers without Entra ID P2
    FORBIDDEN = "forbidden"  # the application lacks the permission
    MALFORMED = "malformed"  # the provider's answer could not be understood
    HIDDEN = "hidden"  # the provider withholds the value
    UNRECOGNISED = "unrecognised"  # a member this version does not know
    INCOMPLETE = "incomplete"  # a partial reading: never treated as the whole
    NOT_SUPPORTED = "not-supported"  # this cloud or tenant does not have it


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """A value that may be relied on until ``until``.

    ``as_of``: when the source said so (epoch seconds). ``until``: the moment at which this very signal would change by
    the passing of time alone (it goes stale, or a tag expires); ``FOREVER`` where time does not matter.
    ``source``: who said so, in words (``"entra"``, ``"tag by erin@contoso.example: phishing"``).
    """

    value: T
    as_of: float
    until: float = FOREVER
    source: str = ""


@dataclass(frozen=True, slots=True)
class Stale(Generic[T]):
    """A last value too old to let anybody pass. Rules may use it to refuse; it can only ever permit in isolation."""

    value: T
    as_of: float
    reason: UnknownReason = UnknownReason.STALE
    until: float = FOREVER
    source: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No usable value. Never equal to "no", "none" or "false"."""

    reason: UnknownReason
    as_of: float | None = None
    until: float = FOREVER
    source: str = ""


Signal: TypeAlias = Known[T] | Stale[T] | Unknown


class UserType(StrEnum):
    """Entra's ``userType``, lower-cased."""

    MEMBER = "member"
    GUEST = "guest"


@dataclass(frozen=True, slots=True)
class Person:
    """A signed-in person. ``key`` is ``"{tenant}/{oid}"``: the only identity; e-mail and name are for reading.

    ``email`` is lower-cased and has exactly one ``@``, or is ``""`` (which no rule matches).
    ``groups``: object ids, lower-case, transitive. ``login_method``: the name of the identity provider.
    """

    key: str
    email: str
    name: str
    login_method: str
    signed_in_at: float
    user_type: Signal[UserType]
    groups: Signal[frozenset[str]]
    risk: Signal[RiskLevel]


@dataclass(frozen=True, slots=True)
class Device:
    """The device in front of us. Nothing about it is believed before it is proven; today: nothing is."""

    id: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """The request itself. ``now`` is read once, at the edge (epoch seconds). ``ip`` is the peer or a trusted proxy's word."""

    now: float
    ip: IPv4Address | IPv6Address
    method: str = "GET"
    host: str = ""
    path: str = "/"


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision may look at. ``person`` is None before sign-in."""

    context: Context
    person: Person | None = None
    device: Device = field(default_factory=Device)
