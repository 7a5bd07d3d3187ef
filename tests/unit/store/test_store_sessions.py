"""Sessions: found by a secret, ended by many things, never found again after that."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from isolation import tokens
from isolation.errors import SignInError, StoreError
from isolation.identity.principals import PersonRecord
from isolation.identity.sessions.model import EndReason
from isolation.store.database import Store
from isolation.store.people import PeopleRepository
from isolation.store.sessions import MAX_SECRETS, SessionRepository
from isolation.testing.clock import FakeClock
from tests.support.store import TENANT, Bus


async def begin(sessions: SessionRepository, person: PersonRecord, **changed: object):
    return await sessions.create(person.key, **{"idp": "Entra", "lifetime": 3600.0, "idle_seconds": 600.0, **changed})  # type: ignore[arg-type]


async def test_a_session_is_found_by_its_secret_only(sessions: SessionRepository, alice: PersonRecord) -> None:
    session, secret = await begin(sessions, alice, sid="s1")

    assert await sessions.get(secret) == session
    assert session.person_key == alice.key
    assert session.digest.startswith(session.id)
    for wrong in ("", session.id, session.digest, secret[:-1], secret + "a", secret.swapcase(), f"{secret}\x00", "' OR 1=1 --"):
        assert await sessions.get(wrong) is None


async def test_secrets_have_256_bits_and_differ(sessions: SessionRepository, alice: PersonRecord) -> None:
    secrets = {(await begin(sessions, alice))[1] for _ in range(20)}

    assert len(secrets) == 20
    assert all(len(secret) == 43 for secret in secrets)


async def test_the_file_never_holds_a_secret(store: Store, sessions: SessionRepository, alice: PersonRecord) -> None:
    session, secret = await begin(sessions, alice)
    another = await sessions.add_secret(session.digest)
    assert another

    written = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert secret.encode() not in written
    assert another.encode() not in written
    assert session.digest.encode() in written


async def test_every_host_gets_a_secret_of_its_own_for_the_same_session(sessions: SessionRepository, alice: PersonRecord) -> None:
    session, secret = await begin(sessions, alice)
    another = await sessions.add_secret(session.digest)

    assert another is not None
    assert another != secret
    assert await sessions.get(another) == await sessions.get(secret) == session
    assert await sessions.by_digest(tokens.digest(another)) is None  # only the session's own digest names it

    await sessions.revoke(session.digest, EndReason.SIGNED_OUT)
    assert await sessions.get(another) is None
    assert await sessions.add_secret(session.digest) is None
    assert await sessions.add_secret("0" * 64) is None


async def test_secrets_of_one_session_are_bounded(sessions: SessionRepository, alice: PersonRecord) -> None:
    session, _ = await begin(sessions, alice)
    made = [await sessions.add_secret(session.digest) for _ in range(MAX_SECRETS)]

    assert made.count(None) == 1
    assert made[-1] is None


async def test_a_session_ends_at_its_time_however_busy_it_is(
    sessions: SessionRepository, alice: PersonRecord, clock: FakeClock
) -> None:
    session, secret = await begin(sessions, alice)
    for _ in range(11):
        clock.advance(300)
        session = await sessions.touch(session)
        assert await sessions.get(secret) is not None
    clock.advance(299)
    assert await sessions.get(secret) is not None
    clock.advance(1)
    assert await sessions.get(secret) is None
    assert await sessions.by_digest(session.digest) is None
    assert await sessions.list_active() == []


async def test_a_session_that_nobody_uses_ends(sessions: SessionRepository, alice: PersonRecord, clock: FakeClock) -> None:
    session, secret = await begin(sessions, alice)
    assert session.ends_at == clock.now() + 600
    clock.advance(600)

    assert await sessions.get(secret) is None
    assert await sessions.list_active() == []


async def test_touching_writes_at_most_once_a_minute(
    store: Store, sessions: SessionRepository, alice: PersonRecord, clock: FakeClock
) -> None:
    session, secret = await begin(sessions, alice)

    async def changes() -> int:
        return await store.write(lambda connection: connection.exec_driver_sql("SELECT total_changes()").scalar_one())

    before = await changes()
    for _ in range(59):
        clock.advance(1)
        session = await sessions.touch(session)
    assert await changes() == before
    clock.advance(1)
    session = await sessions.touch(session)
    assert await changes() == before + 1
    assert (await sessions.get(secret)) == session


async def test_a_touch_does_not_bring_a_session_back(sessions: SessionRepository, alice: PersonRecord, clock: FakeClock) -> None:
    session, secret = await begin(sessions, alice)
    await sessions.revoke(session.digest, EndReason.REVOKED)
    clock.advance(120)
    await sessions.touch(session)

    assert await sessions.get(secret) is None


async def test_revoking_is_announced_once(sessions: SessionRepository, alice: PersonRecord, bus: Bus) -> None:
    session, secret = await begin(sessions, alice)
    await bus.news()

    assert await sessions.revoke(session.digest, EndReason.REVOKED) is True
    assert await sessions.revoke(session.digest, EndReason.REVOKED) is False
    assert await sessions.get(secret) is None
    assert await bus.heard() == [("session-ended", session.digest)]


async def test_revoking_a_person_ends_theirs_and_nobody_elses(
    sessions: SessionRepository, people: PeopleRepository, alice: PersonRecord, bus: Bus, clock: FakeClock
) -> None:
    bob = await people.upsert_from_sign_in(TENANT, "b0b", "bob@contoso.example", "Bob", None, None, clock.now(), "Entra")
    mine = [(await begin(sessions, alice))[0].digest for _ in range(3)]
    theirs, secret = await begin(sessions, bob)
    await bus.news()

    assert set(await sessions.revoke_person(alice.key, EndReason.REVOKED)) == set(mine)
    assert await sessions.revoke_person(alice.key, EndReason.REVOKED) == []
    assert await sessions.get(secret) == theirs
    assert sorted(await bus.heard()) == sorted(("session-ended", digest) for digest in mine)


async def test_a_providers_sign_out_ends_its_session(sessions: SessionRepository, alice: PersonRecord) -> None:
    one, _ = await begin(sessions, alice, sid="sid-1")
    await begin(sessions, alice, sid="sid-2")
    await begin(sessions, alice, sid="sid-1", idp="Other")
    await begin(sessions, alice)

    assert await sessions.revoke_sid("Entra", "sid-1") == [one.digest]
    assert not await sessions.revoke_sid("Entra", "")
    assert len(await sessions.list_active()) == 3


async def test_a_disabled_account_loses_its_sessions_and_gets_none(
    sessions: SessionRepository, people: PeopleRepository, alice: PersonRecord, bus: Bus
) -> None:
    session, secret = await begin(sessions, alice)
    await bus.news()

    assert await people.disable(alice.key, "left the company") == [session.digest]
    assert await sessions.get(secret) is None
    assert sorted(await bus.heard()) == [("person-changed", alice.key), ("session-ended", session.digest)]
    with pytest.raises(SignInError) as caught:
        await begin(sessions, alice)
    assert caught.value.code == "disabled"

    await people.enable(alice.key)
    assert await sessions.get(secret) is None  # what ended stays ended
    await begin(sessions, alice)


async def test_a_session_needs_a_person(sessions: SessionRepository) -> None:
    with pytest.raises(StoreError):
        await sessions.create("t/nobody", idp="Entra", lifetime=1, idle_seconds=1)


async def test_ended_sessions_are_forgotten_after_a_week(
    store: Store, sessions: SessionRepository, alice: PersonRecord, clock: FakeClock
) -> None:
    session, _ = await begin(sessions, alice)
    long, secret = await begin(sessions, alice, lifetime=10 * 86_400.0, idle_seconds=10 * 86_400.0)
    await sessions.revoke(session.digest, "x")
    clock.advance(7 * 86_400 - 1)
    assert await sessions.prune() == 0
    clock.advance(2)
    assert await sessions.prune() == 1
    assert await sessions.get(secret) == long
    assert await store.read(lambda c: c.execute(text("SELECT count(*) FROM session_secrets")).scalar()) == 1
