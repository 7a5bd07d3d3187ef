"""What holds for every policy set and all facts."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from isolation.policy.evaluate import Effect, evaluate
from isolation.policy.explain import explain
from isolation.policy.facts import Facts, Known
from isolation.policy.isolation import isolation, no_looser
from isolation.policy.model import Action, Condition, OnUnknown, PolicySet
from isolation.routing.decide import decide
from isolation.routing.model import Decision, Forward, Isolate, Refuse, SignIn
from isolation.testing import builders
from isolation.testing.strategies import any_facts, conditions, policy_sets, poorer, whole_facts

MANY = settings(max_examples=400, deadline=None)


def decision(policies: PolicySet, facts: Facts) -> Decision:
    return decide(builders.app(policy=policies), facts)


def strictness(made: Decision) -> int:
    return {Forward: 0, Isolate: 1, Refuse: 2, SignIn: 3}[type(made)]


def in_words(policies: PolicySet) -> str:
    return "\n".join(map(repr, (*policies.policies, *policies.isolation)))


@MANY
@given(policy_sets, any_facts)
def test_deciding_is_total_and_deterministic(policies: PolicySet, facts: Facts) -> None:
    assert decision(policies, facts) == decision(policies, facts)
    assert isinstance(decision(policies, facts), Forward | Isolate | Refuse | SignIn)


@MANY
@given(policy_sets, any_facts)
def test_explaining_is_enforcing(policies: PolicySet, facts: Facts) -> None:
    explanation = explain(policies, facts)
    assert explanation.applied == evaluate(policies, facts)
    assert explanation.isolation == isolation(policies, facts, explanation.applied)
    assert explanation.policies[: len(explanation.applied.outcomes)] == explanation.applied.outcomes
    assert len(list(explanation.rows())) == sum(
        len((*rule.include, *rule.require, *rule.exclude)) for rule in (*policies.policies, *policies.isolation)
    )


@MANY
@given(policy_sets, st.data())
def test_taking_information_away_never_opens_a_pass_through(policies: PolicySet, data: st.DataObject) -> None:
    facts = data.draw(whole_facts)
    less = data.draw(poorer(facts))
    if isinstance(decision(policies, less), Forward):
        assert isinstance(decision(policies, facts), Forward), in_words(policies)


@MANY
@given(policy_sets, st.data())
def test_taking_information_away_never_loosens_but_an_unknown_risk_isolates(policies: PolicySet, data: st.DataObject) -> None:
    """Signals unknown, or stale with their true value: never looser, controls included.

    The one exception is wanted: where only the risk is missing, "refused" may become "isolated" (fail to isolation).
    """
    facts = data.draw(whole_facts)
    less = data.draw(poorer(facts, same_value=True))
    full, poor = decision(policies, facts), decision(policies, less)
    assert less.person is not None
    if strictness(poor) < strictness(full):
        assert isinstance(poor, Isolate)
        assert isinstance(full, Refuse)
        assert not isinstance(less.person.risk, Known)
    elif isinstance(full, Isolate) and isinstance(poor, Isolate):
        assert no_looser(poor.controls, full.controls)


@MANY
@given(policy_sets, any_facts)
def test_an_unknown_or_stale_risk_never_passes_a_person_through(policies: PolicySet, facts: Facts) -> None:
    made = decision(policies, facts)
    if isinstance(made, Forward) and not made.anonymous:
        assert facts.person is not None
        assert isinstance(facts.person.risk, Known)
    if isinstance(made, Isolate):
        assert policies.on_unknown is OnUnknown.ISOLATE or not made.because.signals


@MANY
@given(policy_sets, whole_facts, st.data())
def test_narrowing_an_allow_never_loosens(policies: PolicySet, facts: Facts, data: st.DataObject) -> None:
    facts = data.draw(poorer(facts))
    extra: Condition = data.draw(conditions)
    field = data.draw(st.sampled_from(["require", "exclude"]))
    narrowed = replace(
        policies,
        policies=tuple(
            replace(policy, **{field: (*getattr(policy, field), extra)})
            if policy.action is Action.ALLOW and data.draw(st.booleans())
            else policy
            for policy in policies.policies
        ),
    )
    assert strictness(decision(narrowed, facts)) >= strictness(decision(policies, facts)), in_words(narrowed)


@MANY
@given(policy_sets, any_facts, st.data())
def test_adding_an_isolation_rule_or_widening_it_never_loosens(policies: PolicySet, facts: Facts, data: st.DataObject) -> None:
    fewer = replace(policies, isolation=policies.isolation[:-1])
    before, after = decision(fewer, facts), decision(policies, facts)
    assert strictness(after) >= strictness(before)
    if isinstance(before, Isolate) and isinstance(after, Isolate):
        assert no_looser(after.controls, before.controls)


@MANY
@given(policy_sets, any_facts)
def test_a_bypass_says_nothing_about_the_person_and_needs_none(policies: PolicySet, facts: Facts) -> None:
    made = decision(policies, facts)
    assert (isinstance(made, Forward) and made.anonymous) == (evaluate(policies, facts).effect is Effect.BYPASS)
    if isinstance(made, Forward) and made.anonymous:
        assert isinstance(decision(policies, replace(facts, person=None)), Forward)
    elif facts.person is None:
        assert isinstance(made, SignIn)
