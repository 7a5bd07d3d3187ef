"""Polls replace each other whole; tags and overrides come and go; only news is announced."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from isolation.audit.events import Kind
from isolation.errors import StoreError
from isolation.identity.principals import PersonRecord
from isolation.policy.facts import RiskLevel, UnknownReason
from isolation.signals.model import RISK_PROVIDER, ProviderStatus, RiskReading
from isolation.store.audit import AuditLog
from isolation.store.database import Store
from isolation.store.people import PeopleRepository
from isolation.store.risk import MAX_OVERRIDE_SECONDS, OverrideRepository, RiskRepository, TagRepository, read_risk
from isolation.testing.clock import FakeClock
from tests.support.store import Bus

HIGH, LOW, NONE = RiskReading(RiskLevel.HIGH), RiskReading(RiskLevel.LOW), RiskReading(RiskLevel.NONE)
HIDDEN = RiskReading(UnknownReason.HIDDEN)
STALE_AFTER = 900.0


@pytest.fixture
def risk(store: Store) -> RiskRepository:
    return RiskRepository(store, stale_after=STALE_AFTER)


@pytest.fixture
def tags(store: Store) -> TagRepository:
    return TagRepository(store)


@pytest.fixture
def overrides(store: Store) -> OverrideRepository:
    return OverrideRepository(store)


async def levels(store: Store, *keys: str) -> list[object]:
    found = [await store.read(lambda c, key=key: read_risk(c, key)) for key in keys]
    return [reading.level if reading else None for reading in found]


async def test_the_first_poll_concerns_everybody(risk: RiskRepository, clock: FakeClock, bus: Bus) -> None:
    assert await risk.replace_all({"t/a": HIGH, "t/b": NONE}, clock.now()) == 1
    assert await bus.heard() == [("person-changed", "t/a"), ("provider-changed", RISK_PROVIDER)]
    state = await risk.provider_state()
    assert state is not None
    assert (state.status, state.last_success, state.last_attempt) == (ProviderStatus.OK, clock.now(), clock.now())


async def test_only_changed_levels_are_announced(store: Store, risk: RiskRepository, clock: FakeClock, bus: Bus) -> None:
    await risk.replace_all({"t/a": HIGH, "t/b": LOW, "t/c": LOW, "t/d": NONE, "t/e": HIDDEN}, clock.now())
    await bus.news()
    clock.advance(60)

    changed = await risk.replace_all(
        {"t/a": RiskReading(RiskLevel.HIGH, 5.0, "moved"), "t/b": HIGH, "t/e": LOW, "t/f": NONE, "t/g": HIDDEN}, clock.now()
    )

    assert changed == 4
    assert sorted(await bus.heard()) == [("person-changed", f"t/{who}") for who in "bceg"]
    assert await levels(store, "t/a", "t/b", "t/c", "t/d", "t/e") == ["high", "high", None, None, "low"]
    state = await risk.provider_state()
    assert state is not None
    assert state.last_success == clock.now()


async def test_a_refreshed_poll_announces_nothing(risk: RiskRepository, clock: FakeClock, bus: Bus) -> None:
    for _ in range(3):
        await risk.replace_all({"t/a": HIGH}, clock.now())
        clock.advance(60)
    assert len(await bus.news()) == 2  # the first


async def test_a_poll_is_stored_whole_or_not_at_all(store: Store, risk: RiskRepository, clock: FakeClock, bus: Bus) -> None:
    await risk.replace_all({"t/a": HIGH}, clock.now())
    await bus.news()
    state = await risk.provider_state()
    clock.advance(60)

    with pytest.raises(ValueError, match="tenant id"):
        await risk.replace_all({"t/b": HIGH, "no key": HIGH}, clock.now())
    await store.write(
        lambda c: c.execute(text("CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'disk trouble'); END"))
    )
    with pytest.raises(StoreError):
        await risk.replace_all({"t/b": HIGH}, clock.now())

    assert await levels(store, "t/a", "t/b") == ["high", None]
    assert await risk.provider_state() == state
    assert await bus.heard() == []


async def test_a_poll_that_arrives_late_does_not_undo_a_newer_one(store: Store, risk: RiskRepository, clock: FakeClock) -> None:
    await risk.replace_all({"t/a": HIGH}, clock.now())
    assert await risk.replace_all({}, clock.now() - 1) == 0
    assert await levels(store, "t/a") == ["high"]


async def test_the_end_of_a_failure_concerns_everybody(store: Store, risk: RiskRepository, clock: FakeClock, bus: Bus) -> None:
    await risk.replace_all({}, clock.now())
    await bus.news()
    assert await risk.set_provider_state(RISK_PROVIDER, "throttled", "429 from Graph", clock.now()) is True
    assert await risk.set_provider_state(RISK_PROVIDER, "throttled", "again", clock.now() + 1) is False
    assert await bus.heard() == [("provider-changed", RISK_PROVIDER)]
    # An operator finds in the audit log when a provider went away, and when it came back; a repeat is no news.
    entries = [entry for entry in await AuditLog(store).list() if entry.kind is Kind.PROVIDER_STATE]
    assert [entry.outcome for entry in entries] == ["throttled", "ok"]
    state = await risk.provider_state()
    assert state is not None
    assert (state.status, state.message, state.last_success) == (ProviderStatus.THROTTLED, "again", clock.now())
    clock.advance(5)
    await risk.replace_all({}, clock.now())
    assert await bus.heard() == [("provider-changed", RISK_PROVIDER)]


async def test_the_end_of_a_silence_concerns_everybody(risk: RiskRepository, clock: FakeClock, bus: Bus) -> None:
    """The sync process was dead: no failure was recorded, yet what everybody holds has gone stale."""
    await risk.replace_all({}, clock.now())
    await bus.news()
    begun = clock.now() + STALE_AFTER - 1
    clock.advance(STALE_AFTER)
    await risk.replace_all({}, begun)

    assert await bus.heard() == [("provider-changed", RISK_PROVIDER)]


async def test_people_nobody_has_seen_can_be_found_and_are_not_overwritten(
    risk: RiskRepository, people: PeopleRepository, alice: PersonRecord, clock: FakeClock
) -> None:
    await risk.replace_all(
        {
            "t/mallory": RiskReading(RiskLevel.HIGH, email="Mallory@contoso.example", name="Mallory"),
            alice.key: RiskReading(RiskLevel.LOW, email="somebody.else@contoso.example", name="X"),
        },
        clock.now(),
    )

    [mallory] = await people.find("mallory@contoso.example")
    assert (mallory.key, mallory.signed_in_at) == ("t/mallory", None)
    assert await people.get(alice.key) == alice


async def test_provider_states_are_listed(risk: RiskRepository, clock: FakeClock) -> None:
    assert await risk.provider_state() is None
    await risk.set_provider_state("entra-groups", ProviderStatus.OK, "", clock.now(), success=True)
    await risk.set_provider_state("apples", "no such state", "m", clock.now())

    assert [(state.name, state.status, state.last_success) for state in await risk.provider_states()] == [
        ("apples", ProviderStatus.UNREACHABLE, None),
        ("entra-groups", ProviderStatus.OK, clock.now()),
    ]


async def test_a_tag_is_announced_when_it_comes_and_when_it_goes(
    tags: TagRepository, alice: PersonRecord, clock: FakeClock, bus: Bus
) -> None:
    tag = await tags.add(alice.key, RiskLevel.HIGH, " phishing ", "erin", until=clock.now() + 60)
    assert await tags.list(alice.key) == await tags.list() == [tag]
    assert (tag.reason, tag.at) == ("phishing", clock.now())
    assert await tags.remove(tag.id) == tag
    assert await tags.remove(tag.id) is None
    assert await tags.list() == []
    assert await bus.heard() == [("person-changed", alice.key)] * 2


async def test_a_tag_ends_by_itself_or_never(tags: TagRepository, alice: PersonRecord, clock: FakeClock, bus: Bus) -> None:
    await tags.add(alice.key, RiskLevel.HIGH, "phishing", "erin", until=clock.now() + 60)
    forever = await tags.add(alice.key, RiskLevel.LOW, "watch", "erin")
    await bus.news()
    clock.advance(60)

    assert await tags.list(alice.key) == [forever]
    assert forever.until == float("inf")
    assert await bus.heard() == []


@pytest.mark.parametrize(
    ("reason", "by", "seconds"),
    [
        ("", "erin", 60),
        ("  ", "erin", 60),
        ("x" * 501, "erin", 60),
        ("r", "", 60),
        ("r", "e", 0),
        ("r", "e", -1),
        ("r", "e", float("nan")),
    ],
)
async def test_a_tag_without_reason_author_or_future_is_refused(
    tags: TagRepository,
    overrides: OverrideRepository,
    alice: PersonRecord,
    clock: FakeClock,
    reason: str,
    by: str,
    seconds: float,
) -> None:
    with pytest.raises(ValueError, match=r"reason|who|past"):
        await tags.add(alice.key, RiskLevel.HIGH, reason, by, until=clock.now() + seconds)
    with pytest.raises(ValueError, match=r"reason|who|past"):
        await overrides.add(alice.key, RiskLevel.NONE, reason, by, until=clock.now() + seconds)


async def test_an_override_comes_and_goes_and_always_ends(
    overrides: OverrideRepository, alice: PersonRecord, clock: FakeClock, bus: Bus
) -> None:
    for seconds in (MAX_OVERRIDE_SECONDS + 1, float("inf")):
        with pytest.raises(ValueError, match="at most 90 days"):
            await overrides.add(alice.key, RiskLevel.NONE, "r", "erin", until=clock.now() + seconds)
    override = await overrides.add(alice.key, RiskLevel.NONE, "false alarm", "erin", until=clock.now() + 60)
    assert await overrides.list(alice.key) == [override]
    assert await overrides.remove(override.id) == override
    assert await overrides.remove(override.id) is None
    assert await bus.heard() == [("person-changed", alice.key)] * 2
    await overrides.add(alice.key, RiskLevel.NONE, "false alarm", "erin", until=clock.now() + 60)
    clock.advance(60)
    assert await overrides.list() == []


async def test_somebody_never_seen_can_be_tagged(tags: TagRepository, people: PeopleRepository) -> None:
    await tags.add("t/mallory", RiskLevel.HIGH, "seen in a leak", "erin")
    assert await people.get("t/mallory") is not None
