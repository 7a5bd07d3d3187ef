"""``everyone``: anybody. In an allow: anybody who can sign in. In a bypass: the whole network."""

from __future__ import annotations

from dataclasses import dataclass

from isolation.policy.facts import Facts
from isolation.policy.model import Match, Truth
from isolation.policy.reading import Section
from isolation.policy.selector import Selector


@dataclass(frozen=True, slots=True)
class Everyone:
    """Always matches."""

    @property
    def selector(self) -> str:
        """Return ``everyone``."""
        return "everyone"

    @property
    def needs_identity(self) -> bool:
        """Return False."""
        return False

    def describe(self) -> str:
        """Return the condition in words."""
        return "everyone"

    def match(self, facts: Facts) -> Match:
        """Return a match for anybody."""
        return Match(Truth.TRUE, facts.person.email or facts.person.key if facts.person else "anybody")


def _parse(section: Section) -> Everyone | None:
    del section  # has no arguments; unknown keys were reported
    return Everyone()


SELECTOR = Selector(
    key="everyone",
    meaning="Anybody. In an allow that is anybody who can sign in; in a bypass it makes the app public.",
    arguments=(),
    example={},
    identity=False,
    parse=_parse,
)
