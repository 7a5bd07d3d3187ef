"""One call puts a person together; what is unknown stays unknown."""

from __future__ import annotations

import pytest

from isolation.errors import StoreError
from isolation.identity.principals import PersonRecord
from isolation.identity.sessions.model import Session
from isolation.policy.facts import Known, RiskLevel, Stale, Unknown, UnknownReason, UserType
from isolation.signals.freshness import RECHECK_SECONDS, Freshness
from isolation.signals.model import RiskReading
from isolation.store.database import Store
from isolation.store.people import PeopleRepository
from isolation.store.principals import PrincipalReader
from isolation.store.risk import OverrideRepository, RiskRepository, TagRepository
from isolation.store.sessions import SessionRepository
from isolation.testing.clock import FakeClock
from tests.support.store import TENANT


@pytest.fixture
async def session(sessions: SessionRepository, alice: PersonRecord) -> Session:
    return (await sessions.create(alice.key, idp="Entra", lifetime=1e9, idle_seconds=1e9))[0]


@pytest.fixture
def reader(store: Store) -> PrincipalReader:
    return PrincipalReader(store, Freshness(risk=900, groups=3600, user_type=7200))


async def test_somebody_of_whom_nothing_was_read_is_unknown(reader: PrincipalReader, session: Session, clock: FakeClock) -> None:
    person = await reader.read(session.person_key, session)

    assert (person.email, person.login_method, person.signed_in_at) == ("alice@contoso.example", "Entra", clock.now())
    assert [person.risk, person.groups, person.user_type] == [
        Unknown(UnknownReason.NEVER_READ, source="entra"),
        Unknown(UnknownReason.NEVER_READ),
        Unknown(UnknownReason.NEVER_READ),
    ]


async def test_signals_come_with_age_source_and_end(
    store: Store, reader: PrincipalReader, people: PeopleRepository, session: Session, clock: FakeClock
) -> None:
    at = clock.now()
    await people.upsert_from_sign_in(TENANT, "a11ce", "alice@contoso.example", "Alice", UserType.GUEST, ["g1"], at, "Entra")
    await RiskRepository(store, stale_after=900).replace_all({}, at)
    clock.advance(10)

    person = await reader.read(session.person_key, session)

    assert person.risk == Known(RiskLevel.NONE, at, at + 900, "entra")
    assert person.groups == Known(frozenset({"g1"}), at, at + 3600, "token")
    assert person.user_type == Known(UserType.GUEST, at, at + 7200, "token")

    clock.advance(900)
    person = await reader.read(session.person_key, session)
    assert person.risk == Stale(RiskLevel.NONE, at, until=clock.now() + RECHECK_SECONDS, source="entra")


async def test_a_failed_poll_and_a_tag_and_an_override(
    store: Store, reader: PrincipalReader, session: Session, clock: FakeClock
) -> None:
    key, at = session.person_key, clock.now()
    risk = RiskRepository(store, stale_after=900)
    await risk.set_provider_state("entra-risk", "unlicensed", "Your tenant is not licensed", at)
    assert (await reader.read(key, session)).risk == Unknown(UnknownReason.UNLICENSED, at, source="entra")

    await TagRepository(store).add(key, RiskLevel.HIGH, "phishing", "erin", until=at + 60)
    assert (await reader.read(key, session)).risk == Known(RiskLevel.HIGH, at, at + 60, "tag by erin: phishing")

    await OverrideRepository(store).add(key, RiskLevel.NONE, "false alarm", "erin", until=at + 30)
    assert (await reader.read(key, session)).risk == Known(RiskLevel.NONE, at, at + 30, "override by erin: false alarm")

    clock.advance(30)
    assert isinstance((await reader.read(key, session)).risk, Known)
    clock.advance(30)
    assert isinstance((await reader.read(key, session)).risk, Unknown)


async def test_a_hidden_level_is_unknown(store: Store, reader: PrincipalReader, session: Session, clock: FakeClock) -> None:
    reading = RiskReading(UnknownReason.HIDDEN)
    await RiskRepository(store, stale_after=900).replace_all({session.person_key: reading}, clock.now())

    assert (await reader.read(session.person_key, session)).risk == Unknown(UnknownReason.HIDDEN, clock.now(), source="entra")


async def test_nobody_and_somebody_else_are_refused(
    reader: PrincipalReader, session: Session, people: PeopleRepository, clock: FakeClock
) -> None:
    with pytest.raises(StoreError):
        await reader.read("t/nobody", session)
    bob = await people.upsert_from_sign_in(TENANT, "b0b", "bob@contoso.example", "Bob", None, None, clock.now(), "Entra")
    with pytest.raises(ValueError, match="somebody else"):
        await reader.read(bob.key, session)
