"""How old a signal is at the moment of the decision.

A :class:`Known` value promises to hold until its ``until``. Facts may be kept for a while between the reading and the decision,
so the promise is checked again here: from ``until`` on, a known value counts as stale, whoever forgot to read it anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from isolation.policy.facts import Known, Signal, Stale, Unknown, UnknownReason
from isolation.policy.model import Match, Truth

T = TypeVar("T")


def current(signal: Signal[T], now: float) -> Signal[T]:
    """Return the signal as it counts at ``now`` (epoch seconds): a known value whose time is over is stale."""
    if isinstance(signal, Known) and now >= signal.until:
        return Stale(signal.value, signal.as_of, UnknownReason.STALE, signal.until, signal.source)
    return signal


def age(as_of: float | None, now: float) -> float | None:
    """Return seconds since ``as_of``, never negative (clocks of two machines differ), or None where nothing was ever read."""
    return None if as_of is None else max(0.0, now - as_of)


def over(signal: Signal[T], name: str, now: float, test: Callable[[T], bool], show: Callable[[T], str]) -> Match:
    """Return what ``test`` says of a signal, three-valued.

    Known: by the value. Stale: by the last value, and marked so. Unknown: unknown, never false. ``name`` is the signal's name
    (``"risk"``), ``show`` turns a value into words for explanations.
    """
    read = current(signal, now)
    if isinstance(read, Unknown):
        value = f"unknown: {read.reason.value}" + (f" ({read.source})" if read.source else "")
        return Match(Truth.UNKNOWN, value, age(read.as_of, now), name, until=read.until)
    words = show(read.value) + (f" ({read.source})" if read.source else "")
    truth = Truth.TRUE if test(read.value) else Truth.FALSE
    if isinstance(read, Stale):
        return Match(truth, words, age(read.as_of, now), name, stale=True, until=read.until)
    return Match(truth, words, age(read.as_of, now), until=read.until)


def nobody() -> Match:
    """Return what a selector about a person says before anybody has signed in: unknown, in every direction."""
    return Match(Truth.UNKNOWN, "nobody is signed in", signal="person")
