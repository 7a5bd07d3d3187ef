"""``user_risk``: the person's risk level, from Entra and from the security team's tags."""

from __future__ import annotations

from dataclasses import dataclass

from isolation.policy.facts import Facts, RiskLevel
from isolation.policy.freshness import nobody, over
from isolation.policy.model import Match
from isolation.policy.reading import Section, nearest, shown
from isolation.policy.selector import Argument, Selector


@dataclass(frozen=True, slots=True)
class UserRisk:
    """The person's risk is one of ``levels``. An unknown risk is unknown, never none."""

    levels: frozenset[RiskLevel]

    @property
    def selector(self) -> str:
        """Return ``user_risk``."""
        return "user_risk"

    @property
    def needs_identity(self) -> bool:
        """Return True."""
        return True

    def describe(self) -> str:
        """Return the condition in words."""
        levels = sorted(self.levels, key=lambda level: level.rank)
        if len(levels) == 1:
            return f"user risk is {levels[0].value}"
        if levels and levels[-1] is RiskLevel.HIGH and levels == list(RiskLevel)[levels[0].rank :]:
            return f"user risk is {levels[0].value} or higher"
        return "user risk is one of " + ", ".join(level.value for level in levels)

    def match(self, facts: Facts) -> Match:
        """Look the person's risk up among the levels."""
        if facts.person is None:
            return nobody()
        return over(facts.person.risk, "risk", facts.context.now, self.levels.__contains__, lambda level: level.value)


def at_least(level: RiskLevel) -> UserRisk:
    """Return the condition for this level and everything above it."""
    return UserRisk(frozenset(other for other in RiskLevel if other.rank >= level.rank))


def parse_level(text: str, section: Section, key: str) -> RiskLevel | None:
    """Return a risk level, or None (reported)."""
    try:
        return RiskLevel(text)
    except ValueError:
        known = [level.value for level in RiskLevel]
        section.error(key, f"unknown risk level {shown(text)}{nearest(text, known)} (levels: {', '.join(known)})")
        return None


def _parse(section: Section) -> UserRisk | None:
    given = [key for key in ("at_least", "levels") if key in section.raw]
    if len(given) != 1:
        what = "both at_least and levels" if given else "neither at_least nor levels"
        section.problems.error(section.path, f"user_risk has {what}; write either at_least: high or levels: [medium, high]")
        return None
    if given == ["at_least"]:
        text = section.text("at_least", example="high")
        level = None if text is None else parse_level(text, section, "at_least")
        return None if level is None else at_least(level)
    texts = section.texts("levels", example="[medium, high]")
    levels = [parse_level(text, section, "levels") for text in texts or ()]
    usable = frozenset(level for level in levels if level is not None)
    return UserRisk(usable) if usable and None not in levels else None


SELECTOR = Selector(
    key="user_risk",
    meaning="The person's risk level, from Entra ID Protection and from tags of the security team: the strictest counts.",
    arguments=(
        Argument("at_least", "this level or a higher one: none, low, medium or high", required=False),
        Argument("levels", "a list of levels, instead of at_least", required=False),
    ),
    example={"at_least": "high"},
    identity=True,
    parse=_parse,
)
