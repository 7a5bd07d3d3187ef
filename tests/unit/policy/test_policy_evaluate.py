"""Access policies against facts: order, combinators, and what missing and old signals do (the table in evaluate's docstring)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from isolation.policy.conditions.azure_ad import AzureAD
from isolation.policy.conditions.email import Email
from isolation.policy.conditions.everyone import Everyone
from isolation.policy.conditions.ip import Ip
from isolation.policy.conditions.user_risk import at_least
from isolation.policy.conditions.user_type import UserTypeIs
from isolation.policy.evaluate import Effect, consults_address, evaluate
from isolation.policy.explain import explain
from isolation.policy.facts import Known, RiskLevel, Stale, UserType
from isolation.policy.model import Condition, Policy
from isolation.testing.builders import (
    CONTRACTORS,
    EMPLOYEES,
    NOW,
    allow,
    block,
    bypass,
    facts,
    isolate,
    policy_set,
    stale_risk,
    unknown,
)

HIGH = at_least(RiskLevel.HIGH)
STAFF = AzureAD(EMPLOYEES)
OUTSIDERS = AzureAD(CONTRACTORS)
NOWHERE = Ip(ip_network("192.0.2.0/24"))


def stale_groups(*groups: str) -> Stale[frozenset[str]]:
    return Stale(frozenset(groups), NOW - 7200)


def test_order_is_bypass_first_then_allow_and_block_as_written() -> None:
    # Cloudflare's documented example, [Allow A, Block B, Service Auth C, Bypass D, Allow E] => C D A B E, without service auth.
    never = (NOWHERE,)
    policies = policy_set(
        allow(*never, name="A"), block(*never, name="B"), bypass(*never, name="D"), allow(*never, name="E"), isolation=[]
    )
    assert [outcome.name for outcome in evaluate(policies, facts()).outcomes] == ["D", "A", "B", "E"]


def test_first_match_wins_both_ways() -> None:
    assert evaluate(policy_set(allow(Everyone()), block(Everyone())), facts()).effect is Effect.ALLOW
    assert evaluate(policy_set(block(Everyone()), allow(Everyone())), facts()).effect is Effect.BLOCK


def test_deny_by_default() -> None:
    assert evaluate(replace(policy_set(), policies=()), facts()).effect is Effect.NONE
    assert evaluate(policy_set(allow(OUTSIDERS)), facts("alice")).effect is Effect.NONE
    # A Block that does not match grants nothing.
    assert evaluate(policy_set(block(OUTSIDERS)), facts("alice")).effect is Effect.NONE


def test_include_is_or_require_is_and_exclude_is_not() -> None:
    alice = Email("alice@contoso.example")
    assert evaluate(policy_set(allow(OUTSIDERS, alice)), facts()).effect is Effect.ALLOW
    assert evaluate(policy_set(allow(alice, require=[STAFF, OUTSIDERS])), facts()).effect is Effect.NONE
    assert evaluate(policy_set(allow(alice, require=[STAFF])), facts()).effect is Effect.ALLOW
    assert evaluate(policy_set(allow(alice, exclude=[OUTSIDERS, STAFF])), facts()).effect is Effect.NONE


def test_nobody_signs_in_even_where_a_block_matches_anybody() -> None:
    assert evaluate(policy_set(block(Everyone())), facts(None)).effect is Effect.SIGN_IN
    assert evaluate(policy_set(block(Everyone()), bypass(Everyone())), facts(None)).effect is Effect.BYPASS
    assert evaluate(replace(policy_set(), policies=()), facts(None)).effect is Effect.SIGN_IN


def test_a_bypass_built_with_an_identity_selector_does_not_open_on_a_stale_or_missing_value() -> None:
    # The grammar refuses such a policy; the evaluator does not depend on that.
    sneaky = policy_set(bypass(Everyone(), exclude=[OUTSIDERS]))
    assert evaluate(sneaky, facts(None)).effect is Effect.SIGN_IN
    assert evaluate(sneaky, facts("alice", groups=unknown())).effect is not Effect.BYPASS
    assert evaluate(sneaky, facts("alice", groups=stale_groups())).effect is not Effect.BYPASS


ALLOW_ALL = allow(Everyone(), name="All")

# One row of the docstring's table each: policies, facts, then effect, deciding policy, degraded, retry.
TABLE: list[tuple[str, list[Policy], dict[str, object], Effect, str, tuple[str, ...], bool]] = [
    ("allow true firm", [allow(STAFF, name="P")], {}, Effect.ALLOW, "P", (), False),
    ("allow true stale", [allow(STAFF, name="P")], {"groups": stale_groups(EMPLOYEES)}, Effect.ALLOW, "P", ("groups",), False),
    (
        "allow true stale, later allow firm",
        [allow(STAFF, name="P"), ALLOW_ALL],
        {"groups": stale_groups(EMPLOYEES)},
        Effect.ALLOW,
        "All",
        (),
        False,
    ),
    (
        "allow true stale, block before the firm one",
        [allow(STAFF, name="P"), block(Everyone()), ALLOW_ALL],
        {"groups": stale_groups(EMPLOYEES)},
        Effect.ALLOW,
        "P",
        ("groups",),
        False,
    ),
    (
        "allow true stale, unknown block before the firm one",
        [allow(STAFF, name="P"), block(UserTypeIs(UserType.GUEST)), ALLOW_ALL],
        {"groups": stale_groups(EMPLOYEES), "user_type": unknown()},
        Effect.ALLOW,
        "P",
        ("groups",),
        False,
    ),
    (
        "allow unknown risk",
        [allow(Everyone(), exclude=[HIGH], name="P")],
        {"risk": unknown()},
        Effect.ALLOW,
        "P",
        ("risk",),
        False,
    ),
    (
        "allow unknown risk and stale groups",
        [allow(STAFF, exclude=[HIGH], name="P")],
        {"risk": unknown(), "groups": stale_groups(EMPLOYEES)},
        Effect.ALLOW,
        "P",
        ("groups", "risk"),
        False,
    ),
    (
        "allow stale low risk",
        [allow(Everyone(), exclude=[HIGH], name="P")],
        {"risk": stale_risk("low")},
        Effect.ALLOW,
        "P",
        ("risk",),
        False,
    ),
    (
        "allow stale high risk",
        [allow(Everyone(), exclude=[HIGH], name="P")],
        {"risk": stale_risk("high")},
        Effect.NONE,
        "",
        (),
        True,
    ),
    ("allow unknown groups", [allow(STAFF)], {"groups": unknown()}, Effect.UNCHECKED, "", (), True),
    (
        "allow unknown groups in exclude",
        [allow(Everyone(), exclude=[OUTSIDERS])],
        {"groups": unknown()},
        Effect.UNCHECKED,
        "",
        (),
        True,
    ),
    (
        "allow unknown groups and risk",
        [allow(STAFF, exclude=[HIGH])],
        {"groups": unknown(), "risk": unknown()},
        Effect.UNCHECKED,
        "",
        (),
        True,
    ),
    (
        "allow unknown groups that do not matter",
        [allow(STAFF, Everyone(), exclude=[HIGH], name="P")],
        {"groups": unknown(), "risk": unknown()},
        Effect.ALLOW,
        "P",
        ("risk",),
        False,
    ),
    ("allow unknown groups, later allow firm", [allow(STAFF), ALLOW_ALL], {"groups": unknown()}, Effect.ALLOW, "All", (), False),
    ("allow unknown groups, later block", [allow(STAFF), block(name="B")], {"groups": unknown()}, Effect.BLOCK, "B", (), False),
    ("allow false stale", [allow(OUTSIDERS)], {"groups": stale_groups(EMPLOYEES)}, Effect.NONE, "", (), True),
    ("allow false firm", [allow(OUTSIDERS)], {}, Effect.NONE, "", (), False),
    ("block true firm", [block(STAFF, name="B"), ALLOW_ALL], {}, Effect.BLOCK, "B", (), False),
    ("block true stale", [block(STAFF, name="B"), ALLOW_ALL], {"groups": stale_groups(EMPLOYEES)}, Effect.BLOCK, "B", (), False),
    ("block true stale risk", [block(HIGH, name="B"), ALLOW_ALL], {"risk": stale_risk("high")}, Effect.BLOCK, "B", (), False),
    ("block unknown groups", [block(OUTSIDERS, name="B"), ALLOW_ALL], {"groups": unknown()}, Effect.UNCHECKED, "B", (), True),
    (
        "block unknown type",
        [block(UserTypeIs(UserType.GUEST), name="B"), ALLOW_ALL],
        {"user_type": unknown()},
        Effect.UNCHECKED,
        "B",
        (),
        True,
    ),
    ("block unknown risk", [block(HIGH, name="B"), ALLOW_ALL], {"risk": unknown()}, Effect.ALLOW, "All", ("risk",), False),
    ("block unknown risk, nothing later", [block(HIGH, name="B")], {"risk": unknown()}, Effect.NONE, "", (), False),
    (
        "block false stale",
        [block(OUTSIDERS, name="B"), ALLOW_ALL],
        {"groups": stale_groups()},
        Effect.ALLOW,
        "All",
        ("groups",),
        False,
    ),
    ("block false firm", [block(OUTSIDERS, name="B"), ALLOW_ALL], {}, Effect.ALLOW, "All", (), False),
]


@pytest.mark.parametrize(
    ("policies", "known", "effect", "policy", "degraded", "retry"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_what_missing_and_old_signals_do(policies, known, effect, policy, degraded, retry) -> None:
    verdict = evaluate(policy_set(*policies), facts("alice", **known))
    assert (verdict.effect, verdict.policy, verdict.degraded, verdict.retry) == (effect, policy, degraded, retry)


def test_a_known_value_past_its_time_counts_as_stale() -> None:
    expired = Known(frozenset({EMPLOYEES}), NOW - 900, until=NOW)
    verdict = evaluate(policy_set(allow(STAFF)), facts("alice", groups=expired))
    assert verdict.degraded == ("groups",)
    assert evaluate(policy_set(block(STAFF), ALLOW_ALL), facts("alice", groups=expired)).effect is Effect.BLOCK


def test_until_is_the_first_edge_of_any_signal_looked_at() -> None:
    someone = facts(
        "alice",
        groups=Known(frozenset({EMPLOYEES}), NOW, until=NOW + 900),
        risk=Known(RiskLevel.NONE, NOW, until=NOW + 60),
        user_type=Known(UserType.MEMBER, NOW, until=NOW + 5),
    )
    assert evaluate(policy_set(allow(STAFF)), someone).until == NOW + 900
    assert evaluate(policy_set(block(HIGH), allow(STAFF)), someone).until == NOW + 60
    # What comes after the deciding policy was not looked at.
    assert evaluate(policy_set(allow(STAFF), block(UserTypeIs(UserType.GUEST))), someone).until == NOW + 900


def test_rules_about_the_address_are_announced() -> None:
    inside: Condition = Ip(ip_network("10.0.0.0/8"))
    assert not consults_address(policy_set())
    assert consults_address(policy_set(allow(exclude=[inside])))
    assert consults_address(policy_set(isolation=[isolate(require=[inside])]))


def test_explanation_holds_everything_and_marks_what_decided() -> None:
    explanation = explain(
        policy_set(block(OUTSIDERS, name="B"), allow(STAFF, name="P"), allow(Everyone(), name="Later")), facts("bob")
    )
    rows = list(explanation.rows())
    assert [(row.rule, row.consulted, row.decided) for row in rows] == [
        ("B", True, False),
        ("P", True, True),
        ("Later", False, False),
        ("High-risk users", True, True),
        ("Contractors", True, False),
    ]
    high = rows[3]
    assert (high.words, high.truth, high.value, high.age, high.stale) == (
        "user risk is high",
        "matched",
        "high (entra)",
        5.0,
        False,
    )
    assert [(signal.name, signal.state, signal.value) for signal in explanation.signals] == [
        ("risk", "known", "high"),
        ("groups", "known", EMPLOYEES),
        ("user_type", "known", "member"),
    ]


def test_explanation_of_unknown_and_stale_signals_names_them() -> None:
    explanation = explain(policy_set(allow(STAFF)), facts("alice", groups=unknown(), risk=stale_risk("low")))
    assert explanation.policies[0].unknown == ("groups",)
    assert [(signal.state, signal.value, signal.age) for signal in explanation.signals][:2] == [
        ("stale", "low", 3600.0),
        ("unknown", "provider-down", None),
    ]
    assert [row.rule_truth for row in explanation.rows()][:2] == [
        "unknown, for want of groups",
        "not matched, on an old value of risk",
    ]
    # A refused person: isolation rules are shown, none of them decided.
    assert not any(row.decided for row in explanation.rows())
