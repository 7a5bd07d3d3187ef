"""Isolation rules: once somebody is let in, whether they work isolated, and what may cross.

A rule applies when its result is true, unknown, or rests on a stale value: what cannot be ruled out is done. All rules that apply
count together, and the strictest of each control wins. Whatever the rules say, a person whose risk is unknown or stale is never
passed through: that, and a permission that rests on an old or missing signal, is *degraded*.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from isolation.policy.controls import Controls, meet
from isolation.policy.evaluate import RISK, Verdict
from isolation.policy.facts import FOREVER, Facts, Known
from isolation.policy.freshness import current
from isolation.policy.matching import Outcome, match_rule
from isolation.policy.model import Mode, PolicySet, Truth


@dataclass(frozen=True, slots=True)
class Isolation:
    """What isolation rules and missing signals ask for.

    ``applied``: names of the rules that apply. ``degraded``: signals that are missing or old and matter. ``controls`` mean
    something only where ``required``. ``outcomes``: every rule, in the order written. ``until`` as in a verdict.
    """

    applied: tuple[str, ...]
    degraded: tuple[str, ...]
    mode: Mode
    controls: Controls
    outcomes: tuple[Outcome, ...]
    until: float

    @property
    def required(self) -> bool:
        """Say whether the person may not be passed through."""
        return bool(self.applied or self.degraded)


def isolation(policies: PolicySet, facts: Facts, verdict: Verdict) -> Isolation:
    """Say what applies to somebody whom ``verdict`` lets in. Total; without a person everything is unknown, so isolation applies."""
    outcomes = tuple(match_rule(rule, facts) for rule in policies.isolation)
    applying = [rule for rule, outcome in zip(policies.isolation, outcomes, strict=True) if applies(outcome)]
    until = min((outcome.until for outcome in outcomes), default=FOREVER)
    degraded = set(verdict.degraded)
    if facts.person is None:
        degraded.add("person")
    else:
        risk = current(facts.person.risk, facts.context.now)
        until = min(until, risk.until)
        if not isinstance(risk, Known):
            degraded.add(RISK)
    wanted = [rule.controls for rule in applying]
    if degraded:
        wanted.append(policies.unknown_controls)
    return Isolation(
        applied=tuple(rule.name for rule in applying),
        degraded=tuple(sorted(degraded)),
        mode=Mode.PIXELS,
        controls=strictest(wanted),
        outcomes=outcomes,
        until=until,
    )


def applies(outcome: Outcome) -> bool:
    """Say whether a rule with this outcome applies: unless it is firmly false."""
    return outcome.firm is not Truth.FALSE


def strictest(controls: Iterable[Controls]) -> Controls:
    """Return the meet of all; of none: the strictest there are."""
    wanted = list(controls)
    return reduce(meet, wanted) if wanted else Controls()


def no_looser(one: Controls, other: Controls) -> bool:
    """Say whether ``one`` permits nothing that ``other`` forbids."""
    return meet(one, other) == one
