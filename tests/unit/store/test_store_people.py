"""People and the readings of their groups and profile."""

from __future__ import annotations

import pytest

from isolation.errors import SignInError
from isolation.identity.principals import PersonRecord
from isolation.policy.facts import UserType
from isolation.signals.model import GroupsReading, ProviderStatus
from isolation.store.people import PeopleRepository
from isolation.store.sessions import SessionRepository
from isolation.testing.clock import FakeClock
from tests.support.store import TENANT, Bus

CHANGED = "person-changed"


async def sign_in(people: PeopleRepository, at: float, **changed: object) -> PersonRecord:
    said = {"email": "alice@contoso.example", "name": "Alice", "user_type": None, "groups": None, **changed}
    return await people.upsert_from_sign_in(TENANT, "a11ce", at=at, idp="Entra", **said)  # type: ignore[arg-type]


async def test_a_sign_in_is_recorded(people: PeopleRepository, clock: FakeClock) -> None:
    record = await people.upsert_from_sign_in(
        TENANT.upper(),
        "A11CE",
        "Alice@Contoso.Example",
        "Alice\u202e \x07Archer",
        UserType.GUEST,
        ["G2", "g1", "G1"],
        clock.now(),
        "Entra",
    )

    assert record == await people.get(f"{TENANT}/a11ce")
    assert (record.email, record.name, record.user_type, record.login_method) == (
        "alice@contoso.example",
        "Alice Archer",
        UserType.GUEST,
        "Entra",
    )
    assert await people.groups(record.key) == GroupsReading(frozenset({"g1", "g2"}), clock.now(), "token")
    assert await people.get("t/nobody") is None


@pytest.mark.parametrize("email", ["a@b@c", "no-at", "\u212aelly@contoso.example", "a b@c", "", "x" * 300 + "@c", "a@b\n"])
async def test_an_address_that_could_be_mistaken_is_no_address(people: PeopleRepository, clock: FakeClock, email: str) -> None:
    assert (await sign_in(people, clock.now(), email=email)).email == ""


async def test_the_same_sign_in_again_announces_nothing(
    people: PeopleRepository, alice: PersonRecord, clock: FakeClock, bus: Bus
) -> None:
    await sign_in(people, clock.now(), groups=["g1"], user_type=UserType.MEMBER)
    assert await bus.heard() == [(CHANGED, alice.key)]
    clock.advance(60)
    await sign_in(people, clock.now(), groups=["G1"], user_type=UserType.MEMBER)
    await sign_in(people, clock.now())
    assert await bus.heard() == []


@pytest.mark.parametrize(
    "change", [{"groups": ["g2"]}, {"groups": []}, {"user_type": UserType.GUEST}, {"email": "new@contoso.example"}]
)
async def test_what_a_rule_could_see_is_announced(
    people: PeopleRepository, alice: PersonRecord, clock: FakeClock, bus: Bus, change: dict[str, object]
) -> None:
    await sign_in(people, clock.now(), groups=["g1"], user_type=UserType.MEMBER)
    await bus.news()
    clock.advance(1)
    await sign_in(people, clock.now(), **change)

    assert await bus.heard() == [(CHANGED, alice.key)]


async def test_overage_leaves_the_last_groups(people: PeopleRepository, alice: PersonRecord, clock: FakeClock) -> None:
    await people.record_groups(alice.key, ["g1"], clock.now(), complete=True)
    clock.advance(1)
    await sign_in(people, clock.now(), groups=None)

    reading = await people.groups(alice.key)
    assert reading is not None
    assert (reading.groups, reading.source) == (frozenset({"g1"}), "graph")


async def test_the_newest_complete_reading_stays(people: PeopleRepository, alice: PersonRecord, clock: FakeClock) -> None:
    await people.record_groups(alice.key, ["new"], clock.now(), complete=True)
    await people.record_groups(alice.key, ["late arrival"], clock.now() - 10, complete=True)

    reading = await people.groups(alice.key)
    assert reading is not None
    assert reading.groups == frozenset({"new"})


async def test_a_partial_reading_is_a_failure_not_a_shorter_list(
    people: PeopleRepository, alice: PersonRecord, clock: FakeClock
) -> None:
    await people.record_groups(alice.key, ["contractors", "g1"], clock.now(), complete=True)
    clock.advance(5)
    await people.record_groups(alice.key, ["g1"], clock.now(), complete=False)

    reading = await people.groups(alice.key)
    assert reading is not None
    assert reading.groups == frozenset({"contractors", "g1"})
    assert (reading.as_of, reading.failure, reading.failed_at) == (clock.now() - 5, ProviderStatus.INCOMPLETE, clock.now())


async def test_a_failure_is_announced_where_there_is_nothing_to_fall_back_on(
    people: PeopleRepository, alice: PersonRecord, clock: FakeClock, bus: Bus
) -> None:
    await people.record_failure(alice.key, "groups", "throttled", "429", clock.now())
    await people.record_failure(alice.key, "groups", "throttled", "429", clock.now())
    assert await bus.heard() == [(CHANGED, alice.key)]

    await people.record_groups(alice.key, ["g1"], clock.now(), complete=True)
    assert await bus.heard() == [(CHANGED, alice.key)]
    await people.record_failure(alice.key, "groups", "a state nobody knows", "x" * 9999, clock.now())
    assert await bus.heard() == []
    reading = await people.groups(alice.key)
    assert reading is not None
    assert (reading.failure, len(reading.message)) == (ProviderStatus.UNREACHABLE, 500)

    await people.record_groups(alice.key, ["g1"], clock.now() + 1, complete=True)  # it may have gone stale meanwhile
    assert await bus.heard() == [(CHANGED, alice.key)]


async def test_only_known_readings_can_fail(people: PeopleRepository, alice: PersonRecord) -> None:
    with pytest.raises(ValueError, match="nothing called"):
        await people.record_failure(alice.key, "shoe size", "throttled", "", 0.0)


async def test_a_profile_reading_changes_what_it_says_only(
    people: PeopleRepository, alice: PersonRecord, clock: FakeClock, bus: Bus
) -> None:
    await people.record_failure(alice.key, "profile", "forbidden", "", clock.now())
    assert await bus.heard() == [(CHANGED, alice.key)]
    await people.record_profile(alice.key, as_of=clock.now(), user_type=UserType.GUEST)
    record = await people.get(alice.key)
    assert record is not None
    assert (record.user_type, record.user_type_source, record.email, record.profile_failure) == (
        UserType.GUEST,
        "graph",
        alice.email,
        "",
    )
    assert await bus.heard() == [(CHANGED, alice.key)]
    await people.record_profile(alice.key, as_of=clock.now() + 5, user_type=UserType.GUEST)
    assert await bus.heard() == []


async def test_the_directory_disables_and_enables(
    people: PeopleRepository, sessions: SessionRepository, alice: PersonRecord, clock: FakeClock, bus: Bus
) -> None:
    session, secret = await sessions.create(alice.key, idp="Entra", lifetime=3600, idle_seconds=3600)
    await people.record_profile(alice.key, as_of=clock.now(), enabled=False)
    await people.record_profile(alice.key, as_of=clock.now(), enabled=False)

    assert await sessions.get(secret) is None
    assert sorted(await bus.heard()) == [(CHANGED, alice.key), ("session-ended", session.digest)]
    await people.record_profile(alice.key, as_of=clock.now(), enabled=True)
    await sessions.create(alice.key, idp="Entra", lifetime=3600, idle_seconds=3600)


async def test_a_newer_sign_in_undoes_what_the_directory_said_but_nothing_else(
    people: PeopleRepository, sessions: SessionRepository, alice: PersonRecord, clock: FakeClock
) -> None:
    await people.record_profile(alice.key, as_of=clock.now(), enabled=False)
    assert (await sign_in(people, clock.now())).disabled_at is not None  # not newer
    clock.advance(1)
    assert (await sign_in(people, clock.now())).disabled_at is None


@pytest.mark.parametrize("directory_first", [True, False])
async def test_the_directory_cannot_enable_what_an_administrator_disabled(
    people: PeopleRepository, sessions: SessionRepository, alice: PersonRecord, clock: FakeClock, directory_first: bool
) -> None:
    if directory_first:
        await people.record_profile(alice.key, as_of=clock.now(), enabled=False)
    await people.disable(alice.key, "investigation")
    await people.record_profile(alice.key, as_of=clock.now(), enabled=False)
    clock.advance(1)
    await people.record_profile(alice.key, as_of=clock.now(), enabled=True)
    await sign_in(people, clock.now())

    with pytest.raises(SignInError):
        await sessions.create(alice.key, idp="Entra", lifetime=1, idle_seconds=1)


async def test_sessions_older_than_the_directory_accepts_end(
    people: PeopleRepository, sessions: SessionRepository, alice: PersonRecord, clock: FakeClock, bus: Bus
) -> None:
    old, secret = await sessions.create(alice.key, idp="Entra", lifetime=3600, idle_seconds=3600)
    clock.advance(10)
    _, new = await sessions.create(alice.key, idp="Entra", lifetime=3600, idle_seconds=3600)
    await people.record_profile(alice.key, as_of=clock.now(), sessions_valid_from=clock.now())

    assert await sessions.get(secret) is None
    assert await sessions.get(new) is not None
    assert await bus.heard() == [("session-ended", old.digest)]


async def test_people_are_found_by_what_an_administrator_has_at_hand(people: PeopleRepository, alice: PersonRecord) -> None:
    for text in ("alice@contoso.example", " ALICE@contoso.example ", "a11ce", alice.key, "alice"):
        assert [record.key for record in await people.find(text)] == [alice.key], text
    for text in ("", "ali", "%", "_lice", "contoso.example", "alice@"):
        assert await people.find(text) == [], text


async def test_those_with_sessions_in_use_are_listed(
    people: PeopleRepository, sessions: SessionRepository, alice: PersonRecord, clock: FakeClock
) -> None:
    assert await people.list_signed_in(clock.now()) == []
    session, _ = await sessions.create(alice.key, idp="Entra", lifetime=3600, idle_seconds=3600)
    assert [record.key for record in await people.list_signed_in(clock.now())] == [alice.key]
    assert await people.list_signed_in(clock.now() + 1) == []
    await sessions.revoke(session.digest, "x")
    assert await people.list_signed_in(clock.now()) == []


@pytest.mark.parametrize("key", ["", "t", "t/", "/o", "t/o/x", "T/o", "t/ö", "t/o "])
async def test_what_is_no_person_key_is_refused(people: PeopleRepository, key: str) -> None:
    with pytest.raises(ValueError, match=r"person key|tenant id"):
        await people.record_groups(key, [], 1.0, complete=True)
