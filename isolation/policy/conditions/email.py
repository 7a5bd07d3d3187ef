"""``email``: one person by address. Addresses can change hands; prefer groups for anything that matters."""

from __future__ import annotations

from dataclasses import dataclass

from isolation.policy.addresses import normal_email
from isolation.policy.facts import Facts
from isolation.policy.freshness import nobody
from isolation.policy.model import Match, Truth
from isolation.policy.reading import Section, shown
from isolation.policy.selector import Argument, Selector


@dataclass(frozen=True, slots=True)
class Email:
    """The person's e-mail address is this one. ``email`` is in normal spelling."""

    email: str

    @property
    def selector(self) -> str:
        """Return ``email``."""
        return "email"

    @property
    def needs_identity(self) -> bool:
        """Return True."""
        return True

    def describe(self) -> str:
        """Return the condition in words."""
        return f"e-mail is {self.email}"

    def match(self, facts: Facts) -> Match:
        """Compare addresses in normal spelling; an unreadable address is unknown, a missing one matches nothing."""
        if facts.person is None:
            return nobody()
        if not facts.person.email:
            return Match(Truth.FALSE, "no e-mail address")
        email = normal_email(facts.person.email)
        if email is None:
            return Match(Truth.UNKNOWN, "unreadable e-mail address", signal="email")
        return Match(Truth.TRUE if email == self.email else Truth.FALSE, email)


def _parse(section: Section) -> Email | None:
    text = section.text("email", example="alice@corp.example")
    if text is None:
        return None
    email = normal_email(text)
    if email is None:
        section.error("email", f"{shown(text)} is not a plain e-mail address; write for example alice@corp.example")
        return None
    return Email(email)


SELECTOR = Selector(
    key="email",
    meaning="The person's e-mail address is exactly this one (letter case does not matter).",
    arguments=(Argument("email", "the address"),),
    example={"email": "alice@corp.example"},
    identity=True,
    parse=_parse,
)
