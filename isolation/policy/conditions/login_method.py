"""``login_method``: how somebody signed in."""

from __future__ import annotations

from dataclasses import dataclass

from isolation.policy.facts import Facts
from isolation.policy.freshness import nobody
from isolation.policy.model import Match, Truth
from isolation.policy.reading import Section
from isolation.policy.references import parse_provider
from isolation.policy.selector import Argument, Selector


@dataclass(frozen=True, slots=True)
class LoginMethod:
    """The person signed in through the identity provider of this name."""

    id: str

    @property
    def selector(self) -> str:
        """Return ``login_method``."""
        return "login_method"

    @property
    def needs_identity(self) -> bool:
        """Return True."""
        return True

    def describe(self) -> str:
        """Return the condition in words."""
        return f"signed in through {self.id}"

    def match(self, facts: Facts) -> Match:
        """Compare the provider's name exactly."""
        if facts.person is None:
            return nobody()
        return Match(Truth.TRUE if facts.person.login_method == self.id else Truth.FALSE, facts.person.login_method)


def _parse(section: Section) -> LoginMethod | None:
    provider = parse_provider(section, "id", required=True)
    return None if provider is None else LoginMethod(provider)


SELECTOR = Selector(
    key="login_method",
    meaning="The person signed in through this identity provider.",
    arguments=(Argument("id", "the provider's name in identity_providers"),),
    example={"id": "Entra"},
    identity=True,
    parse=_parse,
)
