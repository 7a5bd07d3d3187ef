"""The ladder, rung by rung, for the cast of the built-in tenant."""

from __future__ import annotations

import pytest

from isolation.policy.conditions.azure_ad import AzureAD
from isolation.policy.conditions.everyone import Everyone
from isolation.policy.conditions.user_risk import at_least
from isolation.policy.controls import Clipboard, Controls
from isolation.policy.facts import Known, RiskLevel, Stale, UnknownReason
from isolation.policy.model import OnUnknown
from isolation.routing.decide import decide
from isolation.routing.model import Forward, Isolate, RefusalReason, Refuse, SignIn
from isolation.routing.reasons import TEXTS, TRY_AGAIN, refusal_text
from isolation.testing.builders import (
    CONTRACTORS,
    DAVE_BLOCKED,
    EMPLOYEES,
    NOW,
    STAFF_POLICY,
    allow,
    app,
    block,
    bypass,
    facts,
    isolate,
    known_risk,
    policy_set,
    stale_risk,
    unknown,
)

STRICT = policy_set(on_unknown=OnUnknown.REFUSE)


def test_the_cast() -> None:
    payroll = app()
    assert isinstance(decide(payroll, facts("alice")), Forward)
    assert isinstance(decide(payroll, facts("erin")), Forward)
    bob, carol, dave = (decide(payroll, facts(name)) for name in ("bob", "carol", "dave"))
    assert isinstance(bob, Isolate)
    assert bob.controls == Controls()
    assert bob.because.rules == ("High-risk users",)
    assert isinstance(carol, Isolate)
    assert carol.controls == Controls(clipboard=Clipboard.TO_APP)
    assert carol.because.rules == ("Contractors",)
    assert isinstance(dave, Refuse)
    assert (dave.reason, dave.retry) == (RefusalReason.NOT_ALLOWED, False)


def test_nobody_signs_in_first() -> None:
    assert isinstance(decide(app(), facts(None)), SignIn)
    assert isinstance(decide(app(policy=policy_set(block(Everyone()))), facts(None)), SignIn)


def test_a_bypass_passes_anonymously_and_is_not_isolated() -> None:
    public = app(policy=policy_set(STAFF_POLICY, bypass(Everyone()), isolation=[isolate(Everyone())]))
    for who in (None, "bob", "dave"):
        made = decide(public, facts(who, risk=None if who is None else unknown()))
        assert isinstance(made, Forward)
        assert made.anonymous
        assert made.because.policy == "Public"


def test_a_block_refuses() -> None:
    made = decide(app(policy=policy_set(DAVE_BLOCKED, allow(Everyone()))), facts("dave"))
    assert isinstance(made, Refuse)
    assert (made.reason, made.because.policy, made.retry) == (RefusalReason.BLOCKED, "Dave is blocked", False)


def test_an_unreadable_group_refuses_for_now() -> None:
    for policy in (policy_set(), policy_set(block(AzureAD(CONTRACTORS)), allow(Everyone()))):
        made = decide(app(policy=policy), facts("alice", groups=unknown()))
        assert isinstance(made, Refuse)
        assert (made.reason, made.retry, made.because.signals) == (RefusalReason.SIGNAL_UNAVAILABLE, True, ("groups",))


@pytest.mark.parametrize("risk", [unknown(reason) for reason in UnknownReason] + [stale_risk("none"), stale_risk("high")])
def test_a_risk_that_is_not_known_isolates_or_refuses_whatever_the_rules_say(risk: object) -> None:
    controls = Controls(clipboard=Clipboard.FROM_APP, print=True)
    made = decide(app(policy=policy_set(isolation=[], unknown_controls=controls)), facts("alice", risk=risk))
    assert isinstance(made, Isolate)
    assert made.controls == controls
    assert made.because.signals == ("risk",)
    refused = decide(app(policy=STRICT), facts("alice", risk=risk))
    assert isinstance(refused, Refuse)
    assert (refused.reason, refused.retry) == (RefusalReason.RISK_UNKNOWN, True)


def test_a_risk_whose_time_is_over_does_not_pass() -> None:
    kept_too_long = facts("alice", risk=known_risk("none", age=900, until=NOW))
    assert isinstance(decide(app(), kept_too_long), Isolate)
    assert isinstance(decide(app(policy=STRICT), kept_too_long), Refuse)


def test_a_permission_on_old_groups_isolates_or_refuses() -> None:
    old = Stale(frozenset({EMPLOYEES}), NOW - 7200)
    made = decide(app(policy=policy_set(isolation=[])), facts("alice", groups=old))
    assert isinstance(made, Isolate)
    assert made.because.signals == ("groups",)
    refused = decide(app(policy=STRICT), facts("alice", groups=old))
    assert isinstance(refused, Refuse)
    assert refused.reason is RefusalReason.SIGNAL_UNAVAILABLE


@pytest.mark.parametrize(
    "groups", [unknown(), Stale(frozenset({EMPLOYEES}), NOW - 7200), Stale(frozenset({CONTRACTORS}), NOW - 7200)]
)
def test_an_isolation_rule_that_cannot_be_ruled_out_applies(groups: object) -> None:
    made = decide(app(policy=policy_set(allow(Everyone()))), facts("alice", groups=groups))
    assert isinstance(made, Isolate)
    assert made.because.rules == ("Contractors",)
    # An exclusion that cannot be confirmed does not spare anybody.
    spared = policy_set(allow(Everyone()), isolation=[isolate(Everyone(), exclude=[AzureAD(EMPLOYEES)])])
    assert isinstance(decide(app(policy=spared), facts("alice")), Forward)
    assert isinstance(decide(app(policy=spared), facts("alice", groups=groups)), Isolate)


def test_the_strictest_of_each_control_wins() -> None:
    rules = [
        isolate(Everyone(), name="In", controls=Controls(clipboard=Clipboard.TO_APP, print=True)),
        isolate(Everyone(), name="Out", controls=Controls(clipboard=Clipboard.FROM_APP, print=True, keyboard=False)),
        isolate(at_least(RiskLevel.HIGH), name="Not this one"),
    ]
    made = decide(app(policy=policy_set(isolation=rules)), facts("alice"))
    assert isinstance(made, Isolate)
    assert made.controls == Controls(clipboard=Clipboard.NONE, print=True, keyboard=False)
    assert made.because.rules == ("In", "Out")
    # A missing signal adds its own controls.
    missing = decide(app(policy=policy_set(isolation=rules)), facts("alice", risk=unknown()))
    assert isinstance(missing, Isolate)
    assert missing.controls == Controls(keyboard=False)
    assert missing.because.rules == ("In", "Out", "Not this one")


def test_a_decision_is_kept_until_the_first_edge() -> None:
    made = decide(
        app(), facts("alice", risk=known_risk("none", until=NOW + 60), groups=Known(frozenset({EMPLOYEES}), NOW, until=NOW + 90))
    )
    assert made.valid_until == NOW + 60
    # The risk counts even where no rule mentions it.
    bare = policy_set(allow(Everyone()), isolation=[])
    assert decide(app(policy=bare), facts("alice", risk=known_risk("none", until=NOW + 60))).valid_until == NOW + 60
    tag_ends = decide(app(), facts("alice", risk=known_risk("high", until=NOW + 7200, source="tag by erin: phishing")))
    assert tag_ends.valid_until == NOW + 7200


def test_every_decision_says_why_with_values_and_ages() -> None:
    made = decide(app(), facts("bob"))
    steps = [(step.rung, step.text, step.value, step.age) for step in made.because.steps]
    assert steps == [
        ("policy", 'allow "Staff and contractors": matched', "", None),
        ("policy", f"include: member of the Entra group Employees ({EMPLOYEES}) (yes)", "a member (1 group in all) (entra)", 5.0),
        ("isolation", 'rule "High-risk users": matched', "", None),
        ("isolation", "include: user risk is high (yes)", "high (entra)", 5.0),
        ("isolation", 'rule "Contractors": not matched', "", None),
        ("decision", 'let in by "Staff and contractors"; not straight through because of "High-risk users"', "", None),
    ]
    refused = decide(app(), facts("dave"))
    assert [step.text for step in refused.because.steps] == [
        'allow "Staff and contractors": not matched',
        f"include: member of the Entra group Employees ({EMPLOYEES}) (no)",
        f"include: member of the Entra group Contractors ({CONTRACTORS}) (no)",
        "refused: no policy lets them in",
    ]


def test_people_are_told_what_happened_without_jargon() -> None:
    assert set(TEXTS) == set(RefusalReason)
    for text in TEXTS.values():
        assert text.title
        assert text.sentence.endswith(".")
        assert text.status in {401, 403, 503}
        for jargon in ("policy", "Entra", "Graph", "signal", "token", "renderer", "upstream", "isolat", "risk"):
            assert jargon not in text.title + text.sentence
    old = decide(app(), facts("dave", groups=Stale(frozenset(), NOW - 7200)))
    assert isinstance(old, Refuse)
    assert old.retry
    assert refusal_text(old).sentence.endswith(TRY_AGAIN)
    assert refusal_text(Refuse(RefusalReason.BLOCKED)) is TEXTS[RefusalReason.BLOCKED]
