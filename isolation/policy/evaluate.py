"""Access policies: who is let in. Total, deterministic, three-valued; deny by default.

Order (Cloudflare's): first all Bypass policies in the order written, then Allow and Block together in the order written; the first
that matches decides. Within a policy: Include is OR, Require is AND, Exclude is NOT (:mod:`isolation.policy.matching`).

What a missing or old signal does. *identity* is every signal but the risk: groups, user type, an unreadable address.

========  ==================================  =============================================================================
policy    its result                          then
========  ==================================  =============================================================================
Bypass    true, without any stale value       lets pass, anonymously
Bypass    anything else                       not matched
Allow     true, firm                          lets in
Allow     true, on a stale value              lets in *degraded* (isolation or refusal), unless a later Allow lets in firmly
                                              before any Block matches or is unknown: that one does not need the stale value
Allow     unknown because of risk only        lets in *degraded*
Allow     unknown because of identity         not matched, remembered: a refusal then says "try again", not "not allowed"
Allow     false, on a stale value             not matched, remembered: a refusal for want of a match may be tried again
Block     true, firm or on a stale value      refuses
Block     unknown because of identity         refuses: we cannot tell that it does not match
Block     unknown because of risk only        does not end the search; whatever is let in later is *degraded*
Block     false, on a stale value             does not end the search; whatever is let in later is *degraded*
========  ==================================  =============================================================================

A degraded permission is never a pass-through: :mod:`isolation.routing.decide` isolates, or refuses where the policy set says so.
Hence, for every policy set: taking information away never turns a refusal or an isolation into a pass-through.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from isolation.policy.facts import FOREVER, Facts
from isolation.policy.matching import Kind, Outcome, match_rule
from isolation.policy.model import Action, IsolationRule, Policy, PolicySet, Truth

RISK = "risk"


class Effect(StrEnum):
    """What the Access policies say."""

    BYPASS = "bypass"  # pass, whoever it is
    SIGN_IN = "sign-in"  # no Bypass matched and nobody is signed in
    ALLOW = "allow"
    BLOCK = "block"  # a Block policy matched
    UNCHECKED = "unchecked"  # refused because a signal that the policies need cannot be read
    NONE = "none"  # nothing matched: deny by default


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the Access policies say, and why.

    ``policy``: the name of the policy that decided, or ``""``. ``degraded``: signals whose absence or age the permission rests on
    (only with ALLOW). ``missing``: signals for want of which it was refused. ``retry``: the refusal may pass by itself.
    ``until``: when a signal that was looked at may change by time alone (epoch seconds). ``outcomes``: every policy that was
    consulted, in the order of evaluation.
    """

    effect: Effect
    policy: str = ""
    degraded: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    retry: bool = False
    until: float = FOREVER
    outcomes: tuple[Outcome, ...] = ()


def ordered(policies: Iterable[Policy]) -> tuple[Policy, ...]:
    """Return policies in the order of evaluation: Bypass first, the rest after, each in the order written."""
    return tuple(sorted(policies, key=lambda policy: policy.action is not Action.BYPASS))


def evaluate(policies: PolicySet, facts: Facts) -> Verdict:
    """Say what the Access policies say of these facts."""
    return settle((match_rule(policy, facts) for policy in ordered(policies.policies)), facts)


def consults_address(policies: PolicySet) -> bool:
    """Say whether any rule looks at the request's address: then a decision may only be kept for the address it was made for."""
    rules: tuple[Policy | IsolationRule, ...] = (*policies.policies, *policies.isolation)
    return any(condition.selector == "ip" for rule in rules for condition in (*rule.include, *rule.require, *rule.exclude))


def settle(outcomes: Iterator[Outcome], facts: Facts) -> Verdict:
    """Fold the outcomes of policies, given in the order of evaluation, into the verdict. Takes no more of them than it needs."""
    search = _Search()
    for outcome in outcomes:
        if outcome.kind is Kind.BYPASS:
            search.see(outcome)
            if outcome.firm is Truth.TRUE:
                return search.verdict(Effect.BYPASS, outcome)
            continue
        if facts.person is None:
            return search.verdict(Effect.SIGN_IN)
        search.see(outcome)
        ended = search.block(outcome) if outcome.kind is Kind.DENY else search.allow(outcome)
        if ended is not None:
            return ended
    return search.verdict(Effect.SIGN_IN) if facts.person is None else search.end()


class _Search:
    """One walk down the policies."""

    __slots__ = ("candidate", "carried", "consulted", "old", "unchecked")

    def __init__(self) -> None:
        self.consulted: list[Outcome] = []
        self.carried: set[str] = set()  # signals for want of which a Block was passed by
        self.candidate: tuple[Outcome, frozenset[str]] | None = None  # the first Allow that matched on a stale value
        self.unchecked: set[str] = set()  # signals for want of which an Allow could not be checked
        self.old: set[str] = set()  # signals whose stale value kept an Allow from matching

    def see(self, outcome: Outcome) -> None:
        self.consulted.append(outcome)

    def block(self, outcome: Outcome) -> Verdict | None:
        if outcome.truth is Truth.TRUE:
            return self.permitted() or self.verdict(Effect.BLOCK, outcome)
        if outcome.truth is Truth.UNKNOWN and not _only_risk(outcome.unknown):
            # The Block might match. Whoever it is meant for must not slip past it because a directory is down.
            return self.permitted() or self.verdict(Effect.UNCHECKED, outcome, missing=outcome.unknown, retry=True)
        self.carried.update(outcome.rests_on)
        return None

    def allow(self, outcome: Outcome) -> Verdict | None:
        if outcome.truth is Truth.FALSE:
            self.old.update(outcome.rests_on)
            return None
        if outcome.truth is Truth.UNKNOWN and not _only_risk(outcome.unknown):
            self.unchecked.update(outcome.unknown)
            return None
        if self.candidate is None:
            self.candidate = (outcome, frozenset(self.carried) | frozenset(outcome.rests_on))
        if not outcome.rests_on and not self.carried:
            self.candidate = (outcome, frozenset())
            return self.permitted()
        # Degraded. Where risk is among the reasons, every later permission is degraded as well: risk is one signal per person.
        return self.permitted() if RISK in self.candidate[1] else None

    def permitted(self) -> Verdict | None:
        if self.candidate is None:
            return None
        outcome, degraded = self.candidate
        return self.verdict(Effect.ALLOW, outcome, degraded=tuple(sorted(degraded)))

    def end(self) -> Verdict:
        permitted = self.permitted()
        if permitted is not None:
            return permitted
        if self.unchecked:
            return self.verdict(Effect.UNCHECKED, missing=tuple(sorted(self.unchecked)), retry=True)
        return self.verdict(Effect.NONE, missing=tuple(sorted(self.old)), retry=bool(self.old))

    def verdict(
        self,
        effect: Effect,
        outcome: Outcome | None = None,
        *,
        degraded: tuple[str, ...] = (),
        missing: tuple[str, ...] = (),
        retry: bool = False,
    ) -> Verdict:
        until = min((seen.until for seen in self.consulted), default=FOREVER)
        name = "" if outcome is None else outcome.name
        return Verdict(effect, name, degraded, missing, retry, until, tuple(self.consulted))


def _only_risk(signals: tuple[str, ...]) -> bool:
    return signals == (RISK,)
