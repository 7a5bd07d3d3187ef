"""When a value is too old to let anybody pass. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from isolation.policy.facts import Known, Stale, UnknownReason

T = TypeVar("T")

# ---- limits
MAX_SKEW = 300.0
"""Seconds by which a reading may be dated ahead of our own clock: the five minutes that Kerberos and Entra tolerate. Beyond it nobody can say
how old the value is, so it counts as stale until our clock has caught up."""

RECHECK_SECONDS = 30.0
"""Seconds after which a stale value is looked at again. A fresh reading that says the same as before sends no event, so somebody whose value had
gone stale is found by this edge; until then they only stay isolated for longer."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old a reading may be, in seconds, by signal. Settings give the values."""

    risk: float
    groups: float
    user_type: float


def aged(
    value: T, as_of: float, now: float, stale_after: float, *, source: str = "", failure: UnknownReason | None = None
) -> Known[T] | Stale[T]:
    """Return ``value`` as known while it is younger than ``stale_after`` seconds, else as stale.

    ``failure``: why no newer reading came, if that is known; it becomes the reason of a stale value. The edges are exact: the result at the
    moment ``until`` is the next one. A stale value ends after :data:`RECHECK_SECONDS` at the latest.
    """
    if as_of - MAX_SKEW > now:
        soon = min(as_of - MAX_SKEW, now + RECHECK_SECONDS)
        return Stale(value, as_of, failure or UnknownReason.STALE, until=soon, source=source)
    if now < as_of + stale_after:
        return Known(value, as_of, until=as_of + stale_after, source=source)
    return Stale(value, as_of, failure or UnknownReason.STALE, until=now + RECHECK_SECONDS, source=source)
