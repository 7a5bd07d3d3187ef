"""Selectors, seen from somebody who wants to match without belonging."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.policy.addresses import normal_domain, normal_email
from isolation.policy.conditions.azure_ad import AzureAD
from isolation.policy.conditions.email import Email
from isolation.policy.conditions.email_domain import EmailDomain
from isolation.policy.conditions.everyone import Everyone
from isolation.policy.conditions.ip import Ip
from isolation.policy.conditions.login_method import LoginMethod
from isolation.policy.conditions.user_risk import UserRisk, at_least
from isolation.policy.conditions.user_risk_score import UserRiskScore
from isolation.policy.conditions.user_type import UserTypeIs
from isolation.policy.facts import RiskLevel, UserType
from isolation.policy.model import Condition, Truth
from isolation.testing.builders import CONTRACTORS, EMPLOYEES, facts, person, stale_risk, unknown
from isolation.testing.strategies import any_facts, conditions

CORP = EmailDomain("corp.com")


def says(condition: Condition, **about: object) -> Truth:
    return condition.match(facts(**about)).truth


def with_email(email: str) -> object:
    return facts(person("alice", email=email))


@pytest.mark.parametrize("email", ["a@corp.com", "A@CORP.com", "first.last+tag@Corp.Com"])
def test_a_domain_matches_its_own_addresses(email: str) -> None:
    assert CORP.match(with_email(email)).truth is Truth.TRUE


@pytest.mark.parametrize(
    "email",
    [
        "a@evil.com@corp.com",
        '"a@evil.com"@corp.com',
        "a@corp.com.",
        "a@corp.com\x00",
        "a@corp.com\n",
        "a@sub.corp.com",
        "a@evilcorp.com",
        "a@corp.com.evil.tld",
        "a@evil.com,b@corp.com",
        "a@evil.com b@corp.com",
        "<a@evil.com>@corp.com",
        "@corp.com",
        "corp.com",
        "a@",
        "",
        "a@ｃｏｒｐ.com",
        "a@corp。com",
        "a@соrp.com",
        "a@[corp.com]",
        "a@corp.com#",
        "a@corp_com",
        "a\t@corp.com",
    ],
)
def test_no_other_address_matches(email: str) -> None:
    assert CORP.match(with_email(email)).truth is not Truth.TRUE
    assert Email("a@corp.com").match(with_email(email)).truth is not Truth.TRUE


def test_an_unreadable_address_is_unknown_so_that_a_block_on_it_refuses() -> None:
    assert CORP.match(with_email("a@evil.com@corp.com")).truth is Truth.UNKNOWN
    assert Email("a@corp.com").match(with_email("a@corp.com.")).truth is Truth.UNKNOWN
    assert CORP.match(with_email("")).truth is Truth.FALSE


def test_only_ascii_letters_fold_in_the_local_part() -> None:
    kelvin = "\N{KELVIN SIGN}ate@corp.com"
    assert Email("kate@corp.com").match(with_email(kelvin)).truth is Truth.FALSE
    assert Email("kate@corp.com").match(with_email("KATE@corp.com")).truth is Truth.TRUE
    assert Email("strasse@corp.com").match(with_email("straße@corp.com")).truth is Truth.FALSE


def test_unicode_domains_meet_in_their_a_labels() -> None:
    assert normal_domain("Bücher.example") == "xn--bcher-kva.example"
    assert EmailDomain("xn--bcher-kva.example").match(with_email("a@bücher.example")).truth is Truth.TRUE
    # IDNA 2003 would fold ß into ss, which is another domain.
    assert normal_domain("faß.example") == "xn--fa-hia.example"


@given(st.text(max_size=80))
def test_normal_forms_are_stable_and_plain(text: str) -> None:
    domain = normal_domain(text)
    if domain is not None:
        assert normal_domain(domain) == domain
        assert set(domain) <= set("abcdefghijklmnopqrstuvwxyz0123456789-.")
    email = normal_email(text)
    if email is not None:
        assert normal_email(email) == email
        assert email.count("@") == 1
        assert email.isprintable()


def test_groups() -> None:
    assert says(AzureAD(EMPLOYEES)) is Truth.TRUE
    assert says(AzureAD(CONTRACTORS)) is Truth.FALSE
    assert says(AzureAD(EMPLOYEES), groups=unknown()) is Truth.UNKNOWN
    assert says(AzureAD(EMPLOYEES, identity_provider_id="Entra")) is Truth.TRUE
    # A group of another provider is not this group, whatever its id.
    assert says(AzureAD(EMPLOYEES, identity_provider_id="Other")) is Truth.FALSE


def test_risk() -> None:
    assert at_least(RiskLevel.MEDIUM).levels == {RiskLevel.MEDIUM, RiskLevel.HIGH}
    assert says(at_least(RiskLevel.HIGH), risk="high") is Truth.TRUE
    assert says(at_least(RiskLevel.HIGH), risk="medium") is Truth.FALSE
    assert says(at_least(RiskLevel.NONE), risk=unknown()) is Truth.UNKNOWN
    assert says(UserRiskScore(frozenset({RiskLevel.NONE})), risk="none") is Truth.TRUE
    stale = at_least(RiskLevel.HIGH).match(facts(risk=stale_risk("high", age=100)))
    assert (stale.truth, stale.stale, stale.signal, stale.age) == (Truth.TRUE, True, "risk", 100.0)


def test_type_and_login_method() -> None:
    assert says(UserTypeIs(UserType.GUEST), user_type="guest") is Truth.TRUE
    assert says(UserTypeIs(UserType.GUEST), user_type="member") is Truth.FALSE
    assert says(UserTypeIs(UserType.GUEST), user_type=unknown()) is Truth.UNKNOWN
    assert says(LoginMethod("Entra")) is Truth.TRUE
    assert says(LoginMethod("entra")) is Truth.FALSE


@pytest.mark.parametrize(
    ("network", "address", "matches"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "::ffff:11.1.2.3", False),
        ("::/0", "::ffff:10.1.2.3", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("2001:db8::/32", "2001:db9::1", False),
    ],
)
def test_addresses(network: str, address: str, matches: bool) -> None:
    assert says(Ip(ip_network(network)), ip=address) is (Truth.TRUE if matches else Truth.FALSE)


@given(conditions, any_facts)
def test_every_selector_is_total_and_unknown_about_nobody(condition: Condition, known) -> None:
    match = condition.match(known)
    assert condition.describe()
    assert match == condition.match(known)
    assert not match.stale or match.signal
    if match.truth is Truth.UNKNOWN:
        assert match.signal
    if known.person is None and condition.needs_identity:
        assert match.truth is Truth.UNKNOWN


def test_words() -> None:
    assert at_least(RiskLevel.MEDIUM).describe() == "user risk is medium or higher"
    assert UserRisk(frozenset({RiskLevel.NONE, RiskLevel.HIGH})).describe() == "user risk is one of none, high"
    assert AzureAD(EMPLOYEES, "Employees", "Entra").describe().endswith(f"Employees ({EMPLOYEES}), signed in through Entra")
    assert Everyone().match(facts(None)).value == "anybody"
    assert not Everyone().needs_identity
