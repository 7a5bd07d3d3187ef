"""Every policy and rule against one set of facts, with each condition's value and age, and the verdict that applies.

The verdict is folded from the same outcomes, by the same function that enforces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from isolation.policy.evaluate import Effect, Verdict, ordered, settle
from isolation.policy.facts import Facts, Known, Signal, Unknown
from isolation.policy.freshness import age, current
from isolation.policy.isolation import Isolation, applies, isolation
from isolation.policy.matching import Kind, Outcome, match_rule
from isolation.policy.model import PolicySet, Truth

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One signal about the person: ``state`` is ``known``, ``stale`` or ``unknown``; ``age`` in seconds or None."""

    name: str
    state: str
    value: str
    age: float | None
    source: str


@dataclass(frozen=True, slots=True)
class Row:
    """One condition of one rule, as a line of a table. ``truth`` is ``matched``, ``not matched`` or ``unknown``.

    ``consulted``: whether the verdict looked at this rule at all. ``decided``: whether this rule decided or applies.
    """

    kind: str
    rule: str
    consulted: bool
    decided: bool
    rule_truth: str
    role: str
    words: str
    truth: str
    value: str
    age: float | None
    stale: bool


@dataclass(frozen=True, slots=True)
class Explanation:
    """The full matrix. ``policies``: every policy in the order of evaluation. ``applied``: what ``evaluate`` returns.

    ``isolation``: what the isolation rules ask for; it takes effect where ``applied`` lets somebody in.
    """

    applied: Verdict
    policies: tuple[Outcome, ...]
    isolation: Isolation
    signals: tuple[SignalRow, ...]

    def rows(self) -> Iterator[Row]:
        """Yield the matrix line by line: policies in the order of evaluation, then isolation rules in the order written."""
        consulted = len(self.applied.outcomes)
        for index, outcome in enumerate(self.policies):
            seen = index < consulted
            yield from _rows(outcome, consulted=seen, decided=seen and outcome.name == self.applied.policy)
        allowed = self.applied.effect is Effect.ALLOW
        for outcome in self.isolation.outcomes:
            yield from _rows(outcome, consulted=True, decided=allowed and applies(outcome))


def explain(policies: PolicySet, facts: Facts) -> Explanation:
    """Match everything, and say what applies. ``explain(p, f).applied == evaluate(p, f)`` for all p and f."""
    outcomes = tuple(match_rule(policy, facts) for policy in ordered(policies.policies))
    applied = settle(iter(outcomes), facts)
    return Explanation(applied, outcomes, isolation(policies, facts, applied), _signals(facts))


_WORDS = {Truth.TRUE: "matched", Truth.FALSE: "not matched", Truth.UNKNOWN: "unknown"}


def truth_words(outcome: Outcome) -> str:
    """Return what a rule said, in words, naming the signals it rests on."""
    words = _WORDS[outcome.truth]
    if not outcome.rests_on:
        return words
    reason = "for want of" if outcome.truth is Truth.UNKNOWN else "on an old value of"
    return f"{words}, {reason} {', '.join(outcome.rests_on)}"


def _rows(outcome: Outcome, *, consulted: bool, decided: bool) -> Iterator[Row]:
    kind = "isolation rule" if outcome.kind is Kind.ISOLATION else outcome.kind.value
    for line in outcome.lines:
        yield Row(
            kind=kind,
            rule=outcome.name,
            consulted=consulted,
            decided=decided,
            rule_truth=truth_words(outcome),
            role=line.role.value,
            words=line.condition.describe(),
            truth=_WORDS[line.match.truth],
            value=line.match.value,
            age=line.match.age,
            stale=line.match.stale,
        )


def _signals(facts: Facts) -> tuple[SignalRow, ...]:
    person = facts.person
    if person is None:
        return ()
    now = facts.context.now
    return (
        _signal("risk", person.risk, now, str),
        _signal("groups", person.groups, now, lambda groups: ", ".join(sorted(groups))),
        _signal("user_type", person.user_type, now, str),
    )


def _signal(name: str, signal: Signal[T], now: float, show: Callable[[T], str]) -> SignalRow:
    read = current(signal, now)
    if isinstance(read, Unknown):
        return SignalRow(name, "unknown", read.reason.value, age(read.as_of, now), read.source)
    state = "known" if isinstance(read, Known) else "stale"
    return SignalRow(name, state, show(read.value), age(read.as_of, now), read.source)
