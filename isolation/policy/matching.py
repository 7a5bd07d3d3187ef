"""The one matcher: a policy or an isolation rule against facts, in Kleene's three values.

Include is OR, Require is AND, Exclude is NOT; together ``include AND require AND NOT exclude``. Every condition is asked, always:
conditions are cheap, and enforcing and explaining then are the same computation.

Two answers come out of it. ``truth`` takes stale values as they are. ``firm`` takes them as unknown. Where the two differ, the
result rests on a value that is too old, and that is exactly when somebody could be let through on its strength.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from isolation.policy.facts import FOREVER, Facts
from isolation.policy.model import Action, Condition, IsolationRule, Match, Policy, Truth

_TRUTHS = (Truth.FALSE, Truth.UNKNOWN, Truth.TRUE)
_FALSE, _UNKNOWN, _TRUE = 0, 1, 2


class Role(StrEnum):
    """Where in a rule a condition stands."""

    INCLUDE = "include"
    REQUIRE = "require"
    EXCLUDE = "exclude"


class Kind(StrEnum):
    """What the matched thing is."""

    BYPASS = "bypass"
    ALLOW = "allow"
    DENY = "deny"
    ISOLATION = "isolation"


@dataclass(frozen=True, slots=True)
class Line:
    """One condition of a rule, and what it said."""

    role: Role
    condition: Condition
    match: Match


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one rule said of one set of facts.

    ``unknown``: signals that make ``truth`` unknown (empty unless it is). ``rests_on``: those, and the signals whose stale value
    ``truth`` hangs on; empty exactly when the result is firm. ``until``: when a signal that was looked at may change by time alone.
    """

    name: str
    kind: Kind
    lines: tuple[Line, ...]
    truth: Truth
    firm: Truth
    unknown: tuple[str, ...]
    rests_on: tuple[str, ...]
    until: float


@dataclass(frozen=True, slots=True)
class _Part:
    """One of the three blocks of a rule, folded."""

    truth: int
    firm: int
    unknown: frozenset[str]
    stale: frozenset[str]


_NOTHING_INCLUDED = _Part(_FALSE, _FALSE, frozenset(), frozenset())
_NOTHING_REQUIRED = _Part(_TRUE, _TRUE, frozenset(), frozenset())
_KINDS = {Action.BYPASS: Kind.BYPASS, Action.ALLOW: Kind.ALLOW, Action.DENY: Kind.DENY}


def match_rule(rule: Policy | IsolationRule, facts: Facts) -> Outcome:
    """Match a policy or an isolation rule. Total and deterministic."""
    include = [Line(Role.INCLUDE, condition, condition.match(facts)) for condition in rule.include]
    require = [Line(Role.REQUIRE, condition, condition.match(facts)) for condition in rule.require]
    exclude = [Line(Role.EXCLUDE, condition, condition.match(facts)) for condition in rule.exclude]
    included = _fold(include, any_of=True) if include else _NOTHING_INCLUDED
    required = _fold(require, any_of=False) if require else _NOTHING_REQUIRED
    allowed = _negated(_fold(exclude, any_of=True)) if exclude else _NOTHING_REQUIRED
    parts = (included, required, allowed)
    truth = min(part.truth for part in parts)
    firm = min(part.firm for part in parts)
    unknown: frozenset[str] = frozenset()
    stale: frozenset[str] = frozenset()
    for part in parts:
        if truth == _UNKNOWN and part.truth == _UNKNOWN:
            unknown |= part.unknown
        if firm == _UNKNOWN and part.firm == _UNKNOWN:
            stale |= part.stale
    lines = (*include, *require, *exclude)
    return Outcome(
        name=rule.name,
        kind=_KINDS[rule.action] if isinstance(rule, Policy) else Kind.ISOLATION,
        lines=lines,
        truth=_TRUTHS[truth],
        firm=_TRUTHS[firm],
        unknown=tuple(sorted(unknown)),
        rests_on=tuple(sorted(unknown | stale)),
        until=min((line.match.until for line in lines), default=FOREVER),
    )


def _fold(lines: Iterable[Line], *, any_of: bool) -> _Part:
    pick = max if any_of else min
    truths, firms, unknown, stale = [], [], set(), set()
    for line in lines:
        match = line.match
        truths.append(match.truth.value)
        firms.append(_UNKNOWN if match.stale else match.truth.value)
        if match.truth is Truth.UNKNOWN:
            unknown.add(match.signal or line.condition.selector)
        elif match.stale:
            stale.add(match.signal or line.condition.selector)
    return _Part(pick(truths), pick(firms), frozenset(unknown), frozenset(stale))


def _negated(part: _Part) -> _Part:
    return _Part(_TRUE - part.truth, _TRUE - part.firm, part.unknown, part.stale)
