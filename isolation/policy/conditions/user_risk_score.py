"""``user_risk_score``: Cloudflare's spelling of a risk rule. ``unscored`` there is ``none`` here."""

from __future__ import annotations

from dataclasses import dataclass

from isolation.policy.conditions.user_risk import UserRisk
from isolation.policy.facts import Facts, RiskLevel
from isolation.policy.model import Match
from isolation.policy.reading import Section, nearest, shown
from isolation.policy.selector import Argument, Selector

_SCORES = {"low": RiskLevel.LOW, "medium": RiskLevel.MEDIUM, "high": RiskLevel.HIGH, "unscored": RiskLevel.NONE}


@dataclass(frozen=True, slots=True)
class UserRiskScore:
    """The person's risk is one of ``levels``, by the same reading as ``user_risk``."""

    levels: frozenset[RiskLevel]

    @property
    def selector(self) -> str:
        """Return ``user_risk_score``."""
        return "user_risk_score"

    @property
    def needs_identity(self) -> bool:
        """Return True."""
        return True

    def describe(self) -> str:
        """Return the condition in words."""
        return UserRisk(self.levels).describe()

    def match(self, facts: Facts) -> Match:
        """Look the person's risk up among the levels."""
        return UserRisk(self.levels).match(facts)


def _parse(section: Section) -> UserRiskScore | None:
    texts = section.texts("user_risk_score", example="[low, unscored]")
    if texts is None:
        return None
    levels = set()
    for text in texts:
        if text in _SCORES:
            levels.add(_SCORES[text])
        else:
            section.error(
                "user_risk_score", f"unknown risk score {shown(text)}{nearest(text, _SCORES)} (scores: {', '.join(_SCORES)})"
            )
    return UserRiskScore(frozenset(levels)) if len(levels) == len(set(texts)) else None


SELECTOR = Selector(
    key="user_risk_score",
    meaning="Cloudflare's spelling of user_risk: the person's risk is one of these scores; unscored means no known risk.",
    arguments=(Argument("user_risk_score", "a list of low, medium, high and unscored"),),
    example={"user_risk_score": ["low", "unscored"]},
    identity=True,
    parse=_parse,
)
