"""Hypothesis strategies for facts and policy sets, drawn from a small world so that rules and people often meet.

Needs the ``dev`` extra. ``whole_facts`` has a value for every signal; ``poorer`` takes information away from facts.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TypeVar

from hypothesis import strategies as st

from isolation.policy.conditions.azure_ad import AzureAD
from isolation.policy.conditions.email import Email
from isolation.policy.conditions.email_domain import EmailDomain
from isolation.policy.conditions.everyone import Everyone
from isolation.policy.conditions.ip import Ip
from isolation.policy.conditions.login_method import LoginMethod
from isolation.policy.conditions.user_risk import UserRisk
from isolation.policy.conditions.user_risk_score import UserRiskScore
from isolation.policy.conditions.user_type import UserTypeIs
from isolation.policy.controls import BOUNDS, Clipboard, Controls, Transfer, narrowest
from isolation.policy.facts import Facts, Known, Person, RiskLevel, Signal, Stale, Unknown, UnknownReason, UserType
from isolation.policy.model import Action, Condition, IsolationRule, OnUnknown, Policy, PolicySet
from isolation.testing import builders
from renderer.wire.controls import ClipboardKind, FileKind

T = TypeVar("T")

GROUPS = (builders.EMPLOYEES, builders.CONTRACTORS, builders.SECURITY)
_UNTIL = st.sampled_from([builders.NOW + 30.0, builders.NOW + 900.0, float("inf")])
_AGES = st.sampled_from([0.0, 5.0, 600.0])

levels = st.sampled_from(RiskLevel)
user_types = st.sampled_from(UserType)
group_sets = st.frozensets(st.sampled_from(GROUPS))


def known(values: st.SearchStrategy[T]) -> st.SearchStrategy[Signal[T]]:
    """Return known signals over values."""
    return st.builds(lambda value, age, until: Known(value, builders.NOW - age, until, "entra"), values, _AGES, _UNTIL)


def stale(values: st.SearchStrategy[T]) -> st.SearchStrategy[Signal[T]]:
    """Return stale signals over values."""
    return st.builds(lambda value: Stale(value, builders.NOW - 7200.0, source="entra"), values)


def missing() -> st.SearchStrategy[Unknown]:
    """Return signals without a value."""
    return st.builds(Unknown, st.sampled_from(UnknownReason))


def any_signal(values: st.SearchStrategy[T]) -> st.SearchStrategy[Signal[T]]:
    """Return signals in any of the three states."""
    return st.one_of(known(values), stale(values), missing())


def whole_persons() -> st.SearchStrategy[Person]:
    """Return people about whom everything is known."""
    return st.builds(
        builders.person,
        st.sampled_from(["alice", "bob", "carol", "dave", "erin"]),
        email=st.sampled_from([None, "", "alice@evil.example", "a@evil.example@contoso.example"]),
        risk=known(levels),
        groups=known(group_sets),
        user_type=known(user_types),
        login_method=st.sampled_from(["Entra", "Other"]),
    )


def persons() -> st.SearchStrategy[Person]:
    """Return people with signals in any state."""
    return st.builds(
        lambda person, risk, groups, kind: replace(person, risk=risk, groups=groups, user_type=kind),
        whole_persons(),
        any_signal(levels),
        any_signal(group_sets),
        any_signal(user_types),
    )


def facts_about(people: st.SearchStrategy[Person]) -> st.SearchStrategy[Facts]:
    """Return facts about some of these people, from one of three addresses."""
    return st.builds(
        lambda who, ip: builders.facts(who, ip=ip), people, st.sampled_from(["10.1.2.3", "203.0.113.7", "2001:db8::1"])
    )


# Made once: Hypothesis checks a strategy that is new at every draw.
_LOSSES = st.sampled_from(["none", "value", "freshness"])
_MISSING = missing()

whole_facts: st.SearchStrategy[Facts] = facts_about(whole_persons())
any_facts: st.SearchStrategy[Facts] = st.one_of(
    facts_about(persons()), facts_about(whole_persons()), st.builds(lambda ip: builders.facts(None, ip=ip), st.just("10.1.2.3"))
)


@st.composite
def poorer(draw: st.DrawFn, facts: Facts, *, same_value: bool = False) -> Facts:
    """Return the same facts with some signals unknown, or stale: with any last value, or with ``same_value`` the true one."""
    person = facts.person
    if person is None:
        return facts

    def less(signal: Signal[T], values: st.SearchStrategy[T]) -> Signal[T]:
        if isinstance(signal, Unknown):
            return signal
        match draw(_LOSSES):
            case "none":
                return signal
            case "value":
                return draw(_MISSING)
            case _:
                return Stale(signal.value if same_value else draw(values), builders.NOW - 7200.0, source="entra")

    return replace(
        facts,
        person=replace(
            person,
            risk=less(person.risk, levels),
            groups=less(person.groups, group_sets),
            user_type=less(person.user_type, user_types),
        ),
    )


_anonymous: st.SearchStrategy[Condition] = st.one_of(
    st.just(Everyone()), st.sampled_from(["10.0.0.0/8", "203.0.113.0/24", "2001:db8::/32"]).map(lambda text: Ip(ip_network(text)))
)
conditions: st.SearchStrategy[Condition] = st.one_of(
    _anonymous,
    st.sampled_from(["alice@contoso.example", "bob@contoso.example"]).map(Email),
    st.sampled_from(["contoso.example", "evil.example"]).map(EmailDomain),
    st.builds(AzureAD, st.sampled_from(GROUPS), st.just(""), st.sampled_from(["", "Entra"])),
    st.builds(AzureAD, st.sampled_from(GROUPS)),
    st.frozensets(levels, min_size=1).map(UserRisk),
    st.frozensets(levels, min_size=1).map(UserRiskScore),
    user_types.map(UserTypeIs),
    st.sampled_from(["Entra", "Other"]).map(LoginMethod),
)


def _some(of: st.SearchStrategy[Condition], *, at_least: int) -> st.SearchStrategy[tuple[Condition, ...]]:
    return st.lists(of, min_size=at_least, max_size=at_least + 1).map(tuple)


_names = st.integers(0, 10_000).map(lambda number: f"rule {number}")
policies: st.SearchStrategy[Policy] = st.one_of(
    st.builds(
        Policy,
        _names,
        st.sampled_from([Action.ALLOW, Action.ALLOW, Action.DENY]),
        _some(conditions, at_least=1),
        _some(conditions, at_least=0),
        _some(conditions, at_least=0),
    ),
    st.builds(Policy, _names, st.just(Action.ALLOW), _some(conditions, at_least=1)),
    st.builds(Policy, _names, st.just(Action.ALLOW), st.just((Everyone(),))),
    st.builds(
        Policy,
        _names,
        st.just(Action.BYPASS),
        _some(_anonymous, at_least=1),
        _some(_anonymous, at_least=1),
        _some(_anonymous, at_least=0),
    ),
)
_kinds = st.none() | st.frozensets(st.sampled_from(FileKind), max_size=3)
_domains = st.frozensets(
    st.sampled_from(["cdn.example.com", "*.example.com", "*.cdn.example.com", "a.cdn.example.com", "maps.test.net", "*.test.net"])
).map(narrowest)


def _bounded(name: str) -> st.SearchStrategy[int]:
    least, most = BOUNDS[name]
    return st.sampled_from([least, min(most, least + 100), most]) | st.integers(least, most)


controls: st.SearchStrategy[Controls] = st.builds(
    Controls,
    clipboard=st.sampled_from(Clipboard),
    clipboard_types=st.frozensets(st.sampled_from(ClipboardKind)),
    clipboard_max_kb=_bounded("clipboard_max_kb"),
    clipboard_per_minute=_bounded("clipboard_per_minute"),
    download=st.sampled_from(Transfer),
    download_max_mb=_bounded("download_max_mb"),
    download_types=_kinds,
    upload=st.sampled_from(Transfer),
    upload_max_mb=_bounded("upload_max_mb"),
    upload_types=_kinds,
    print=st.booleans(),
    keyboard=st.booleans(),
    watermark=st.booleans(),
    idle_minutes=st.none() | _bounded("idle_minutes"),
    total_minutes=st.none() | _bounded("total_minutes"),
    tabs=_bounded("tabs"),
    bandwidth_kbps=st.none() | _bounded("bandwidth_kbps"),
    domains=st.none() | _domains,
    notice=st.frozensets(st.sampled_from(["Mind the data.", "Work here is recorded."])),
)
isolation_rules: st.SearchStrategy[IsolationRule] = st.builds(
    IsolationRule,
    _names,
    _some(conditions, at_least=1),
    _some(conditions, at_least=0),
    _some(conditions, at_least=0),
    controls=controls,
)
policy_sets: st.SearchStrategy[PolicySet] = st.builds(
    PolicySet,
    st.lists(policies, max_size=4).map(tuple),
    st.lists(isolation_rules, max_size=3).map(tuple),
    st.sampled_from([OnUnknown.ISOLATE, OnUnknown.ISOLATE, OnUnknown.REFUSE]),
    controls,
)
