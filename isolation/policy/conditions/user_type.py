"""``user_type``: members of the tenant, or guests invited into it."""

from __future__ import annotations

from dataclasses import dataclass

from isolation.policy.facts import Facts, UserType
from isolation.policy.freshness import nobody, over
from isolation.policy.model import Match
from isolation.policy.reading import Section, nearest, shown
from isolation.policy.selector import Argument, Selector


@dataclass(frozen=True, slots=True)
class UserTypeIs:
    """Entra's ``userType`` of the person is this one."""

    type: UserType

    @property
    def selector(self) -> str:
        """Return ``user_type``."""
        return "user_type"

    @property
    def needs_identity(self) -> bool:
        """Return True."""
        return True

    def describe(self) -> str:
        """Return the condition in words."""
        return f"is a {self.type.value} of the tenant"

    def match(self, facts: Facts) -> Match:
        """Compare the person's type."""
        if facts.person is None:
            return nobody()
        return over(facts.person.user_type, "user_type", facts.context.now, self.type.__eq__, lambda kind: kind.value)


def _parse(section: Section) -> UserTypeIs | None:
    text = section.text("type", example="guest")
    if text is None:
        return None
    try:
        return UserTypeIs(UserType(text.lower()))
    except ValueError:
        known = [kind.value for kind in UserType]
        section.error("type", f"unknown user type {shown(text)}{nearest(text, known)} (types: {', '.join(known)})")
        return None


SELECTOR = Selector(
    key="user_type",
    meaning="Entra's userType: member (of the tenant) or guest (invited into it).",
    arguments=(Argument("type", "member or guest"),),
    example={"type": "guest"},
    identity=True,
    parse=_parse,
)
