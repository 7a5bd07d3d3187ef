"""Which source counts. The laws: never milder than a tag, unknown never turns into "none", and nothing changes before ``until``."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolation.policy.facts import FOREVER, Known, RiskLevel, Signal, Stale, Unknown, UnknownReason, UserType
from isolation.signals.freshness import MAX_SKEW, RECHECK_SECONDS, aged
from isolation.signals.merge import groups_signal, merge_risk, user_type_signal
from isolation.signals.model import (
    GroupsReading,
    ProviderState,
    ProviderStatus,
    RiskOverride,
    RiskReading,
    RiskTag,
    parse_risk_level,
)

NOW = 10_000.0
STALE_AFTER = 900.0
OK = ProviderState("entra-risk", ProviderStatus.OK, last_attempt=NOW, last_success=NOW)


def merged(reading: RiskReading | None = None, provider: ProviderState | None = OK, tags=(), overrides=(), now: float = NOW):
    return merge_risk(reading, provider, tags, overrides, now, STALE_AFTER)


def tag(level: RiskLevel, until: float = FOREVER, number: int = 1) -> RiskTag:
    return RiskTag(number, "t/a", level, "because", "erin", NOW - 5, until)


def override(level: RiskLevel, until: float = NOW + 60, at: float = NOW - 1, number: int = 1) -> RiskOverride:
    return RiskOverride(number, "t/a", level, "false alarm", "erin", at, until)


# ---- one source


def test_absent_from_a_complete_poll_is_no_risk() -> None:
    assert merged() == Known(RiskLevel.NONE, NOW, NOW + STALE_AFTER, "entra")


def test_without_any_poll_nothing_is_known() -> None:
    assert merged(provider=None) == Unknown(UnknownReason.NEVER_READ, source="entra")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (ProviderStatus.NEVER_READ, UnknownReason.NEVER_READ),
        (ProviderStatus.THROTTLED, UnknownReason.THROTTLED),
        (ProviderStatus.FORBIDDEN, UnknownReason.FORBIDDEN),
        (ProviderStatus.UNLICENSED, UnknownReason.UNLICENSED),
        (ProviderStatus.CREDENTIALS, UnknownReason.FORBIDDEN),
        (ProviderStatus.MALFORMED, UnknownReason.MALFORMED),
        (ProviderStatus.UNREACHABLE, UnknownReason.PROVIDER_DOWN),
        (ProviderStatus.INCOMPLETE, UnknownReason.INCOMPLETE),
        (ProviderStatus.NOT_SUPPORTED, UnknownReason.NOT_SUPPORTED),
        (ProviderStatus.OK, UnknownReason.NEVER_READ),
    ],
)
def test_a_provider_that_never_answered_is_named(status: ProviderStatus, reason: UnknownReason) -> None:
    assert merged(provider=ProviderState("entra-risk", status, last_attempt=NOW - 1)) == Unknown(reason, NOW - 1, source="entra")


def test_every_provider_state_has_a_reason() -> None:
    assert all(isinstance(status.reason, UnknownReason) for status in ProviderStatus)
    assert ProviderStatus.parse("okay") is ProviderStatus.UNREACHABLE


def test_a_failing_provider_leaves_the_last_poll_until_it_is_stale() -> None:
    failing = ProviderState("entra-risk", ProviderStatus.THROTTLED, last_attempt=NOW, last_success=NOW - 100)
    assert merged(RiskReading(RiskLevel.LOW), failing) == Known(RiskLevel.LOW, NOW - 100, NOW + 800, "entra")
    assert merged(RiskReading(RiskLevel.LOW), failing, now=NOW + 800) == Stale(
        RiskLevel.LOW, NOW - 100, UnknownReason.THROTTLED, NOW + 800 + RECHECK_SECONDS, "entra"
    )


@pytest.mark.parametrize("reason", [UnknownReason.HIDDEN, UnknownReason.UNRECOGNISED])
def test_a_withheld_level_is_unknown_however_fresh(reason: UnknownReason) -> None:
    assert merged(RiskReading(reason)) == Unknown(reason, NOW, source="entra")


@pytest.mark.parametrize(
    ("raw", "level"),
    [
        ("none", RiskLevel.NONE),
        ("low", RiskLevel.LOW),
        ("medium", RiskLevel.MEDIUM),
        ("high", RiskLevel.HIGH),
        ("hidden", UnknownReason.HIDDEN),
        ("unknownFutureValue", UnknownReason.UNRECOGNISED),
        ("critical", UnknownReason.UNRECOGNISED),
        ("High", UnknownReason.UNRECOGNISED),
        ("", UnknownReason.UNRECOGNISED),
        (None, UnknownReason.UNRECOGNISED),
    ],
)
def test_levels_as_graph_writes_them(raw: str | None, level: RiskLevel | UnknownReason) -> None:
    assert parse_risk_level(raw) is level


@given(st.text())
def test_no_text_but_the_four_levels_is_a_level(raw: str) -> None:
    assert isinstance(parse_risk_level(raw), RiskLevel) == (raw in set(RiskLevel))


# ---- several sources


def test_a_tag_raises_and_never_lowers() -> None:
    assert merged(tags=[tag(RiskLevel.HIGH, NOW + 5)]) == Known(RiskLevel.HIGH, NOW - 5, NOW + 5, "tag by erin: because")
    lowered = merged(RiskReading(RiskLevel.HIGH), tags=[tag(RiskLevel.LOW, NOW + 5)])
    assert lowered == Known(RiskLevel.HIGH, NOW, NOW + 5, "entra")


def test_the_strictest_of_several_tags_counts_until_it_expires() -> None:
    tags = [tag(RiskLevel.HIGH, NOW + 5, 1), tag(RiskLevel.MEDIUM, NOW + 50, 2), tag(RiskLevel.LOW, NOW - 1, 3)]
    assert merged(tags=tags).value is RiskLevel.HIGH
    assert merged(tags=tags).until == NOW + 5
    assert merged(tags=tags, now=NOW + 5).value is RiskLevel.MEDIUM
    assert merged(tags=tags, now=NOW + 50).value is RiskLevel.NONE


def test_a_high_tag_isolates_even_when_entra_is_unknown() -> None:
    assert merged(provider=None, tags=[tag(RiskLevel.HIGH)]) == Known(RiskLevel.HIGH, NOW - 5, FOREVER, "tag by erin: because")


@pytest.mark.parametrize("level", [RiskLevel.NONE, RiskLevel.LOW, RiskLevel.MEDIUM])
def test_a_milder_tag_does_not_make_an_unknown_level_known(level: RiskLevel) -> None:
    assert merged(RiskReading(UnknownReason.HIDDEN), tags=[tag(level, NOW + 5)]) == Unknown(
        UnknownReason.HIDDEN, NOW, NOW + 5, "entra"
    )


def test_a_milder_tag_does_not_refresh_a_stale_level() -> None:
    stale = merged(tags=[tag(RiskLevel.MEDIUM)], now=NOW + STALE_AFTER)
    assert isinstance(stale, Stale)
    assert (stale.value, stale.as_of, stale.source) == (RiskLevel.MEDIUM, NOW, "tag by erin: because")


def test_an_override_wins_over_everything_until_it_ends() -> None:
    sources = {"reading": RiskReading(RiskLevel.HIGH), "tags": [tag(RiskLevel.HIGH)], "overrides": [override(RiskLevel.NONE)]}
    expected = Known(RiskLevel.NONE, NOW - 1, NOW + 60, "override by erin: false alarm")
    assert merged(**sources) == merged(**{**sources, "provider": None}) == expected
    assert merged(**sources, now=NOW + 60).value is RiskLevel.HIGH


def test_of_several_overrides_the_newest_counts() -> None:
    both = [override(RiskLevel.HIGH, at=NOW - 1, number=1), override(RiskLevel.NONE, at=NOW - 2, number=2)]
    assert merged(overrides=both).value is merged(overrides=both[::-1]).value is RiskLevel.HIGH


# ---- laws

levels = st.sampled_from(RiskLevel)
times = st.sampled_from(
    [NOW + offset for offset in (-2000, -901, -900, -899, -600, -301, -300, -1, 0, 1, 299, 300, 301, 900, 2000)]
)
ends = times | st.just(FOREVER)
readings = st.none() | st.builds(RiskReading, levels | st.sampled_from([UnknownReason.HIDDEN, UnknownReason.UNRECOGNISED]))
providers = st.none() | st.builds(
    ProviderState, st.just("entra-risk"), st.sampled_from(ProviderStatus), st.just(""), st.none() | times, st.none() | times
)
some_tags = st.lists(st.builds(tag, levels, ends, st.integers(1, 9)), max_size=4)
some_overrides = st.lists(st.builds(override, levels, times, times, st.integers(1, 9)), max_size=2, unique_by=lambda one: one.id)


@given(readings, providers, some_tags)
def test_law_never_milder_than_an_unexpired_tag(reading, provider, tags) -> None:
    signal = merged(reading, provider, tags)
    for one in tags:
        if one.until > NOW and not isinstance(signal, Unknown):
            assert signal.value.rank >= one.level.rank


@given(readings, providers, some_tags)
def test_law_never_milder_than_entra(reading, provider, tags) -> None:
    alone, signal = merged(reading, provider), merged(reading, provider, tags)
    if not isinstance(alone, Unknown) and not isinstance(signal, Unknown):
        assert signal.value.rank >= alone.value.rank


@given(readings, providers, some_tags)
def test_law_a_missing_source_is_never_papered_over(reading, provider, tags) -> None:
    if isinstance(merged(reading, provider, tags), Known) and not isinstance(merged(reading, provider), Known):
        assert merged(reading, provider, tags).value is RiskLevel.HIGH


@settings(max_examples=500)
@given(readings, providers, some_tags, some_overrides, times)
def test_law_nothing_changes_before_until(reading, provider, tags, overrides, later) -> None:
    first = merged(reading, provider, tags, overrides)
    assert first.until > NOW
    if NOW <= later < first.until:
        second = merged(reading, provider, tags, overrides, later)
        assert same(first, second)


def same(left: Signal[RiskLevel], right: Signal[RiskLevel]) -> bool:
    if isinstance(left, Unknown) or isinstance(right, Unknown):
        return type(left) is type(right) and left.reason == right.reason  # type: ignore[union-attr]
    return type(left) is type(right) and left.value is right.value


@given(readings, providers, some_tags, some_overrides, st.randoms())
def test_law_the_order_of_sources_does_not_matter(reading, provider, tags, overrides, random) -> None:
    shuffled = list(tags)
    random.shuffle(shuffled)
    left, right = merged(reading, provider, tags, overrides), merged(reading, provider, shuffled, overrides[::-1])
    assert same(left, right)
    assert left.until == right.until


# ---- freshness, groups, user type


@given(st.floats(0, 1e10), st.floats(0, 1e10), st.floats(1, 1e6))
def test_law_a_value_is_known_or_stale_and_the_edge_is_exact(as_of: float, now: float, stale_after: float) -> None:
    signal = aged("x", as_of, now, stale_after)
    assert signal.until > now
    assert isinstance(signal, Known) == (now < as_of + stale_after and as_of - MAX_SKEW <= now)


def test_a_reading_from_the_future_is_not_believed_for_longer() -> None:
    assert isinstance(aged("x", NOW + MAX_SKEW, NOW, 900), Known)
    assert isinstance(aged("x", NOW + MAX_SKEW + 1, NOW, 900), Stale)
    assert isinstance(aged("x", NOW + 1e9, NOW, 900), Stale)


def test_the_newest_complete_groups_count() -> None:
    token = GroupsReading(frozenset({"a"}), NOW - 10, "token")
    graph = GroupsReading(frozenset({"a", "b"}), NOW - 5, "graph")
    assert groups_signal([token, graph], NOW, 900) == Known(frozenset({"a", "b"}), NOW - 5, NOW + 895, "graph")
    assert groups_signal([graph], NOW + 895, 900) == Stale(
        frozenset({"a", "b"}), NOW - 5, UnknownReason.STALE, NOW + 895 + RECHECK_SECONDS, "graph"
    )


def test_no_groups_and_groups_never_read_are_different_things() -> None:
    assert groups_signal([GroupsReading(frozenset(), NOW, "graph")], NOW, 900) == Known(frozenset(), NOW, NOW + 900, "graph")
    assert groups_signal([], NOW, 900) == Unknown(UnknownReason.NEVER_READ)
    assert groups_signal([], NOW, 900, default=UnknownReason.NOT_SUPPORTED) == Unknown(UnknownReason.NOT_SUPPORTED)
    partial = GroupsReading(failure=ProviderStatus.INCOMPLETE, failed_at=NOW)
    assert groups_signal([partial], NOW, 900) == Unknown(UnknownReason.INCOMPLETE, NOW)


def test_a_failure_keeps_the_last_groups_until_they_are_stale_and_then_says_why() -> None:
    failed = GroupsReading(frozenset({"a"}), NOW, "graph", ProviderStatus.THROTTLED, NOW + 100)
    assert groups_signal([failed], NOW + 200, 900) == Known(frozenset({"a"}), NOW, NOW + 900, "graph")
    stale = groups_signal([failed], NOW + 900, 900)
    assert isinstance(stale, Stale)
    assert stale.reason is UnknownReason.THROTTLED


def test_user_type_is_known_stale_or_unknown() -> None:
    assert user_type_signal(UserType.GUEST, NOW, NOW, 900, source="token") == Known(UserType.GUEST, NOW, NOW + 900, "token")
    assert isinstance(user_type_signal(UserType.GUEST, NOW, NOW + 900, 900), Stale)
    assert user_type_signal(None, None, NOW, 900) == Unknown(UnknownReason.NEVER_READ)
    forbidden = user_type_signal(None, None, NOW, 900, failure=ProviderStatus.FORBIDDEN)
    assert forbidden == Unknown(UnknownReason.FORBIDDEN)
