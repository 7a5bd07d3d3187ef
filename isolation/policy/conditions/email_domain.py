"""``email_domain``: everybody whose address ends in ``@domain``. Sub-domains do not count."""

from __future__ import annotations

from dataclasses import dataclass

from isolation.policy.addresses import normal_domain, normal_email
from isolation.policy.facts import Facts
from isolation.policy.freshness import nobody
from isolation.policy.model import Match, Truth
from isolation.policy.reading import Section, shown
from isolation.policy.selector import Argument, Selector


@dataclass(frozen=True, slots=True)
class EmailDomain:
    """The whole domain after the only ``@`` equals ``domain`` (in normal spelling), label by label."""

    domain: str

    @property
    def selector(self) -> str:
        """Return ``email_domain``."""
        return "email_domain"

    @property
    def needs_identity(self) -> bool:
        """Return True."""
        return True

    def describe(self) -> str:
        """Return the condition in words."""
        return f"e-mail ends in @{self.domain}"

    def match(self, facts: Facts) -> Match:
        """Compare domains in normal spelling; an unreadable address is unknown, a missing one matches nothing."""
        if facts.person is None:
            return nobody()
        if not facts.person.email:
            return Match(Truth.FALSE, "no e-mail address")
        email = normal_email(facts.person.email)
        if email is None:
            return Match(Truth.UNKNOWN, "unreadable e-mail address", signal="email")
        return Match(Truth.TRUE if email.partition("@")[2] == self.domain else Truth.FALSE, email)


def _parse(section: Section) -> EmailDomain | None:
    text = section.text("domain", example="corp.example")
    if text is None:
        return None
    domain = normal_domain(text)
    if domain is not None:
        return EmailDomain(domain)
    bare = text.rpartition("@")[2].removeprefix("*.").strip(".")
    better = normal_domain(bare)
    hint = f"; did you mean {better}? (sub-domains need a rule each)" if better else "; write for example corp.example"
    section.error("domain", f"{shown(text)} is not a plain domain name{hint}")
    return None


SELECTOR = Selector(
    key="email_domain",
    meaning="The person's e-mail address ends in @ and this domain. Sub-domains do not count.",
    arguments=(Argument("domain", "the domain, without @"),),
    example={"domain": "corp.example"},
    identity=True,
    parse=_parse,
)
