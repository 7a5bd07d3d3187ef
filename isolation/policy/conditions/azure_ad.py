"""``azureAD``: members of an Entra group, directly or through any number of nested groups."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isolation.policy.facts import Facts
from isolation.policy.freshness import nobody, over
from isolation.policy.model import Match, Truth
from isolation.policy.reading import Section, shown
from isolation.policy.references import parse_provider
from isolation.policy.selector import Argument, Selector

_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class AzureAD:
    """The person is a transitive member of the group with object id ``id`` (lower-case).

    ``name`` is for reading only. With ``identity_provider_id`` the person must have signed in through that provider.
    """

    id: str
    name: str = ""
    identity_provider_id: str = ""

    @property
    def selector(self) -> str:
        """Return ``azureAD``."""
        return "azureAD"

    @property
    def needs_identity(self) -> bool:
        """Return True."""
        return True

    def describe(self) -> str:
        """Return the condition in words."""
        group = f"{self.name} ({self.id})" if self.name else self.id
        through = f", signed in through {self.identity_provider_id}" if self.identity_provider_id else ""
        return f"member of the Entra group {group}{through}"

    def match(self, facts: Facts) -> Match:
        """Look the group up among the person's transitive groups."""
        person = facts.person
        if person is None:
            return nobody()
        if self.identity_provider_id and person.login_method != self.identity_provider_id:
            return Match(Truth.FALSE, f"signed in through {person.login_method}")
        return over(person.groups, "groups", facts.context.now, self._contains, self._show)

    def _contains(self, groups: frozenset[str]) -> bool:
        return self.id in groups

    def _show(self, groups: frozenset[str]) -> str:
        count = f"{len(groups)} group" + ("" if len(groups) == 1 else "s")
        return f"a member ({count} in all)" if self.id in groups else f"not a member ({count} in all)"


def _parse(section: Section) -> AzureAD | None:
    group = section.text("id", example="61503835-b6fe-4630-af88-de551dd59a2b")
    name = section.text("name", example="Contractors", required=False)
    provider = parse_provider(section, "identity_provider_id", required=False)
    if group is None:
        return None
    group = group.lower()
    if not _GUID.fullmatch(group):
        section.problems.warn(
            (*section.path, "id"),
            f"{shown(group)} is not an Entra object id (8-4-4-4-12 hexadecimal digits): no group will ever have it. "
            "Copy the Object ID from the group's page in the Entra admin center; names go into the key name",
        )
    return AzureAD(group, name or "", provider or "")


SELECTOR = Selector(
    key="azureAD",
    meaning="The person is a member of an Entra group, directly or through nested groups.",
    arguments=(
        Argument("id", "the group's object id"),
        Argument("name", "the group's name, for readers of the policy", required=False),
        Argument("identity_provider_id", "only people who signed in through the identity provider of this name", required=False),
    ),
    example={"id": "61503835-b6fe-4630-af88-de551dd59a2b", "name": "Contractors"},
    identity=True,
    parse=_parse,
)
