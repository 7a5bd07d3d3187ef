"""Tenant → Graph reader → sync → store → signals: what a rule sees after the directory has said, or failed to say, something."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from isolation.clock import SystemClock
from isolation.policy.facts import Known, RiskLevel, Signal, Stale, Unknown, UnknownReason, UserType
from isolation.signals.merge import groups_signal, merge_risk
from isolation.signals.model import RISK_PROVIDER, ProviderStatus
from isolation.signals.providers.entra import GraphReader, GraphSettings
from isolation.signals.sync import DIRECTORY_PROVIDER, DirectorySync, SyncSettings
from isolation.store.database import Store
from isolation.store.events import Event, EventKind, EventRepository
from isolation.store.people import PeopleRepository
from isolation.store.risk import RiskRepository, read_risk
from isolation.store.sessions import SessionRepository
from isolation.store.watcher import EventWatcher
from isolation.testing.tenant import Kind, Tenant
from isolation.testing.tenant.people import ALICE, CAROL, CONTRACTORS, EMPLOYEES, SECURITY, VENDORS, VENDORS_EMEA

STALE_AFTER = 900.0
QUICK = 0.05  # seconds that a pause of the loops lasts here at most


async def quick_sleep(seconds: float) -> None:
    await asyncio.sleep(min(seconds, QUICK))


@dataclass
class House:
    tenant: Tenant
    store: Store
    people: PeopleRepository
    risk: RiskRepository
    sessions: SessionRepository
    events: list[Event]

    async def risk_of(self, who: str, *, later: float = 0.0) -> Signal[RiskLevel]:
        key = self.tenant.person_key(who)
        reading = await self.store.read(lambda connection: read_risk(connection, key))
        now = self.store.clock.now() + later
        return merge_risk(reading, await self.risk.provider_state(), (), (), now, STALE_AFTER)

    async def groups_of(self, who: str) -> Signal[frozenset[str]]:
        reading = await self.people.groups(self.tenant.person_key(who))
        return groups_signal([reading] if reading else [], self.store.clock.now(), STALE_AFTER)

    async def sign_in(self, who: str) -> str:
        """Sign somebody in with a token that says nothing of groups; return the session's secret."""
        user = self.tenant.directory.find(who)
        at = self.store.clock.now()
        record = await self.people.upsert_from_sign_in(
            self.tenant.tenant_id, user.oid, user.upn, user.name, None, None, at, "Entra"
        )
        _, secret = await self.sessions.create(record.key, idp="Entra", lifetime=3600, idle_seconds=3600)
        await EventRepository(self.store).announce(EventKind.SYNC_WANTED, record.key)
        return secret

    async def settled(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        for _ in range(400):
            if await condition():
                return
            await asyncio.sleep(0.025)
        pytest.fail(f"never happened: {what}")

    async def risk_becomes(self, who: str, level: RiskLevel) -> None:
        async def there() -> bool:
            signal = await self.risk_of(who)
            return isinstance(signal, Known) and signal.value is level

        await self.settled(there, f"{who} at {level}")

    async def provider_becomes(self, name: str, status: ProviderStatus) -> None:
        async def there() -> bool:
            state = await self.risk.provider_state(name)
            return state is not None and state.status is status

        await self.settled(there, f"{name} {status}")

    async def polled_again(self) -> None:
        before = len([seen for seen in self.tenant.seen if seen.path.endswith("riskyUsers")])

        async def there() -> bool:
            return len([seen for seen in self.tenant.seen if seen.path.endswith("riskyUsers")]) > before + 1

        await self.settled(there, "another poll")

    def changed(self, who: str) -> list[object]:
        key = self.tenant.person_key(who)
        return [e.data.get("why") for e in self.events if e.kind is EventKind.PERSON_CHANGED and e.subject == key]


@pytest.fixture(scope="module")
def running() -> Iterator[Tenant]:
    with Tenant() as tenant:
        yield tenant


@pytest_asyncio.fixture
async def house(running: Tenant, tmp_path: Path) -> AsyncIterator[House]:
    running.directory.reset()
    running.heal()
    running.state.switches = type(running.state.switches)()
    running.state.seen.clear()
    clock = SystemClock()
    store = Store.open(f"sqlite:///{tmp_path}/store.db", clock=clock)
    reader = GraphReader(
        GraphSettings(
            login=running.base_url,
            graph=running.base_url,
            directory_id=running.tenant_id,
            client_id=running.client_id,
            secret=lambda: running.client_secret,
        ),
        clock,
        sleep=quick_sleep,
    )
    people, risk = PeopleRepository(store), RiskRepository(store, stale_after=STALE_AFTER)
    settings = SyncSettings(running.tenant_id, risk_interval=1.0, risk_stale_after=STALE_AFTER, refresh_interval=1.0)
    sync = DirectorySync(risk, people, reader, clock, settings, sleep=quick_sleep)
    watcher, events = EventWatcher(store, interval=0.02), list[Event]()
    await watcher.start()

    async def deliver(event: Event) -> None:
        events.append(event)
        if event.kind is EventKind.SYNC_WANTED:
            sync.wanted(event.subject)

    tasks = [asyncio.create_task(sync.run()), asyncio.create_task(watcher.run(deliver, sync.refresh_all))]
    yield House(running, store, people, risk, SessionRepository(store), events)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await reader.aclose()
    await watcher.close()
    store.close()


async def test_risk_follows_the_tenant(house: House) -> None:
    await house.risk_becomes("bob", RiskLevel.HIGH)
    await house.risk_becomes("alice", RiskLevel.NONE)
    house.tenant.set_risk("alice", "medium")
    await house.risk_becomes("alice", RiskLevel.MEDIUM)
    await house.settled(lambda: _told(house, "alice"), "alice announced")
    house.tenant.directory.forget_risk("alice")
    house.tenant.set_risk("bob", "none")
    await house.risk_becomes("alice", RiskLevel.NONE)
    await house.risk_becomes("bob", RiskLevel.NONE)


async def test_only_people_whose_risk_changed_are_announced(house: House) -> None:
    house.tenant.directory.populate(1_200, "low")
    await house.risk_becomes("bob", RiskLevel.HIGH)
    await house.settled(lambda: _counted(house, 1_201), "everybody of three pages")
    house.events.clear()
    house.tenant.set_risk("bob", "medium")
    await house.risk_becomes("bob", RiskLevel.MEDIUM)
    await house.settled(lambda: _told(house, "bob"), "bob announced")
    assert {event.subject for event in house.events if event.kind is EventKind.PERSON_CHANGED} == {house.tenant.person_key("bob")}


async def _counted(house: House, number: int) -> bool:
    return len({event.subject for event in house.events if event.kind is EventKind.PERSON_CHANGED}) == number


async def _told(house: House, who: str) -> bool:
    return bool(house.changed(who))


@pytest.mark.case(58)
@pytest.mark.parametrize(
    ("kind", "status", "state"),
    [
        (Kind.STATUS, 429, ProviderStatus.THROTTLED),
        (Kind.STATUS, 500, ProviderStatus.UNREACHABLE),
        (Kind.MALFORMED, 0, ProviderStatus.MALFORMED),
        (Kind.TRUNCATED, 0, ProviderStatus.UNREACHABLE),
        (Kind.HOSTILE_NEXT_LINK, 0, ProviderStatus.MALFORMED),
        (Kind.REPEATED_NEXT_LINK, 0, ProviderStatus.INCOMPLETE),
    ],
)
async def test_a_failing_graph_loosens_nothing_and_goes_stale(
    house: House, kind: Kind, status: int, state: ProviderStatus
) -> None:
    await house.risk_becomes("bob", RiskLevel.HIGH)
    await house.risk_becomes("alice", RiskLevel.NONE)
    house.tenant.set_risk("bob", "none")
    house.tenant.fail("risky-users", kind, status=status)
    await house.provider_becomes(RISK_PROVIDER, state)
    await house.polled_again()
    bob = await house.risk_of("bob")
    # A poll that was under way when the failure was switched on may still have brought bob's new level.
    assert isinstance(bob, Known)
    for who in ("alice", "bob"):
        later = await house.risk_of(who, later=STALE_AFTER + 1)
        assert isinstance(later, Stale)
        assert later.reason is state.reason
    house.tenant.heal()
    await house.provider_becomes(RISK_PROVIDER, ProviderStatus.OK)
    await house.risk_becomes("bob", RiskLevel.NONE)


@pytest.mark.parametrize(
    ("level", "reason"),
    [("hidden", UnknownReason.HIDDEN), ("someNewLevel", UnknownReason.UNRECOGNISED), (None, UnknownReason.UNRECOGNISED)],
)
async def test_levels_without_meaning_are_unknown_to_rules(house: House, level: str | None, reason: UnknownReason) -> None:
    house.tenant.set_risk("alice", level)

    async def unknown() -> bool:
        signal = await house.risk_of("alice")
        return isinstance(signal, Unknown) and signal.reason is reason

    await house.settled(unknown, "alice unknown")


async def test_nothing_read_yet_is_unknown(running: Tenant, tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/empty.db")
    state = await RiskRepository(store, stale_after=STALE_AFTER).provider_state()
    signal = merge_risk(None, state, (), (), store.clock.now(), STALE_AFTER)
    store.close()
    assert isinstance(signal, Unknown)


@pytest.mark.case(58)
async def test_licence_permission_and_credentials_are_named(house: House) -> None:
    house.tenant.switches.licensed = False
    await house.provider_becomes(RISK_PROVIDER, ProviderStatus.UNLICENSED)
    house.tenant.switches.licensed = True
    house.tenant.switches.permissions = frozenset()
    await house.provider_becomes(RISK_PROVIDER, ProviderStatus.FORBIDDEN)
    house.tenant.switches.permissions = frozenset({"IdentityRiskyUser.Read.All"})
    await house.provider_becomes(RISK_PROVIDER, ProviderStatus.OK)


async def test_somebody_who_signs_in_is_read_at_once(house: House) -> None:
    await house.sign_in("carol")

    async def known() -> bool:
        return isinstance(await house.groups_of("carol"), Known)

    await house.settled(known, "carol's groups")
    signal = await house.groups_of("carol")
    assert isinstance(signal, Known)
    assert signal.value == {CONTRACTORS, VENDORS, VENDORS_EMEA}
    record = await house.people.get(house.tenant.person_key("carol"))
    assert record is not None
    assert (record.user_type, record.email) == (UserType.MEMBER, CAROL.upn)
    await house.provider_becomes(DIRECTORY_PROVIDER, ProviderStatus.OK)


async def test_groups_of_people_with_sessions_stay_current(house: House) -> None:
    await house.sign_in("alice")
    house.tenant.directory.add_member("Security team", "alice")

    async def joined() -> bool:
        signal = await house.groups_of("alice")
        return isinstance(signal, Known) and signal.value == {EMPLOYEES, SECURITY}

    await house.settled(joined, "alice in the security team")
    await house.settled(lambda: _told(house, "alice"), "alice announced")


async def test_groups_that_cannot_be_read_are_unknown_not_none(house: House) -> None:
    house.tenant.switches.max_page = 1
    house.tenant.fail("member-of", status=500, after=1)
    await house.sign_in("carol")

    async def failed() -> bool:
        signal = await house.groups_of("carol")
        return isinstance(signal, Unknown) and signal.reason is UnknownReason.PROVIDER_DOWN

    await house.settled(failed, "carol's groups unknown")


@pytest.mark.parametrize("how", ["disabled", "removed", "revoked"])
async def test_the_directory_ends_sessions(house: House, how: str) -> None:
    secret, other = await house.sign_in("alice"), await house.sign_in("bob")
    assert await house.sessions.get(secret)
    match how:
        case "disabled":
            house.tenant.directory.set_enabled("alice", False)
        case "removed":
            key = house.tenant.person_key("alice")
            house.tenant.directory.delete_user("alice")
            await EventRepository(house.store).announce(EventKind.SYNC_WANTED, key)
        case _:
            house.tenant.directory.revoke_sessions("alice")

    async def ended() -> bool:
        return await house.sessions.get(secret) is None

    await house.settled(ended, "alice's session over")
    assert await house.sessions.get(other), "bob's goes on"

    async def announced() -> bool:
        return any(event.kind is EventKind.SESSION_ENDED for event in house.events)

    await house.settled(announced, "the event")


async def test_mail_of_the_directory_does_not_replace_the_address_of_the_sign_in(house: House) -> None:
    at = house.store.clock.now()
    record = await house.people.upsert_from_sign_in(
        house.tenant.tenant_id, ALICE.oid, "alice.archer@corp.example", "Alice", None, None, at, "Entra"
    )
    await house.sessions.create(record.key, idp="Entra", lifetime=3600, idle_seconds=3600)
    await EventRepository(house.store).announce(EventKind.SYNC_WANTED, record.key)

    async def read() -> bool:
        found = await house.people.get(record.key)
        return found is not None and found.user_type is UserType.MEMBER

    await house.settled(read, "alice's profile")
    found = await house.people.get(record.key)
    assert found is not None
    assert found.email == "alice.archer@corp.example"
