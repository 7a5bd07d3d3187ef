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
    moment ``until`` is the next one.
    """
    if as_of - MAX_SKEW > now:
        return Stale(value, as_of, failure or UnknownReason.STALE, until=as_of - MAX_SKEW, source=source)
    if now < as_of + stale_after:
        return Known(value, as_of, until=as_of + stale_after, source=source)
    return Stale(value, as_of, failure or UnknownReason.STALE, source=source)
