"""Rulings: made once, written down once, gone with whatever could change them, and never overtaken by an event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

import pytest

from isolation.audit.events import AuditEvent
from isolation.errors import StoreError
from isolation.identity.sessions.live import LiveRegistry
from isolation.identity.sessions.model import Session
from isolation.policy.conditions.ip import Ip
from isolation.policy.controls import Clipboard, Controls
from isolation.policy.facts import FOREVER, Context, Known, Person, RiskLevel
from isolation.policy.model import Mode
from isolation.routing.model import App, Because, Decision, Forward, Isolate, RefusalReason, Refuse, SignIn
from isolation.testing import builders
from isolation.testing.clock import FakeClock
from isolation.web import decisions
from isolation.web.decisions import Decisions, Ruling, outcome, transition

NOW = builders.NOW
APP = builders.app()
OTHER = builders.app("Wiki", "wiki.corp.example")


@dataclass
class People:
    """Reads people; ``before`` runs in the middle of a read, after what is returned was fixed."""

    risk: dict[str, RiskLevel] = field(default_factory=dict)
    until: float = FOREVER
    broken: bool = False
    reads: int = 0
    before: Callable[[], Awaitable[None]] | None = None

    async def read(self, person_key: str, session: Session) -> Person:
        self.reads += 1
        name = person_key.rpartition("/")[2]
        level = self.risk.get(name, RiskLevel.NONE)
        if self.before is not None:
            hook, self.before = self.before, None
            await hook()
        else:
            await asyncio.sleep(0)
        if self.broken:
            raise StoreError("the disk reports an error")
        person = builders.person("alice", risk=Known(level, NOW, self.until))
        return replace(person, key=person_key)


@dataclass
class Audit:
    events: list[AuditEvent] = field(default_factory=list)
    broken: bool = False
    gate: asyncio.Event | None = None

    async def record(self, event: AuditEvent) -> str:
        await asyncio.sleep(0)
        if self.gate is not None:
            await self.gate.wait()
        if self.broken:
            raise StoreError("the disk is full")
        self.events.append(event)
        return event.ref


@dataclass
class World:
    people: People = field(default_factory=People)
    audit: Audit = field(default_factory=Audit)
    live: LiveRegistry = field(default_factory=LiveRegistry)
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    ended: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.decisions = Decisions(self.people, self.audit, self.live, self.clock)

    def session(self, name: str = "alice") -> Session:
        return Session(
            id=name, digest=f"digest of {name}", person_key=f"tenant/{name}", idp="Entra", created_at=NOW, expires_at=NOW + 9e5,
            idle_seconds=9e5, last_seen_at=NOW,
        )  # fmt: skip

    def context(self, ip: str = "203.0.113.7") -> Context:
        return builders.context(ip=ip, now=self.clock.now())

    async def rule(self, name: str = "alice", app: App = APP, ip: str = "203.0.113.7") -> Ruling:
        ruling = await self.decisions.rule(self.session(name), app, self.context(ip))
        assert ruling is not None
        return ruling

    def open(self, name: str = "alice", app: App = APP) -> None:
        """Open a connection on behalf of somebody."""
        self.live.open(self.session(name).digest, app.name, lambda why: self.ended.append((f"{name} at {app.name}", why)))

    def cached(self, name: str = "alice", app: App = APP, ip: str = "203.0.113.7") -> Ruling | None:
        return self.decisions.cached(self.session(name).digest, app, ip)


# ---------------------------------------------------------------------- transitions

STRICT, MILD = Controls(), Controls(clipboard=Clipboard.TO_APP)
PASS, PUBLIC = Forward(), Forward(anonymous=True)
WINDOW, MILDER = Isolate(Mode.PIXELS, STRICT), Isolate(Mode.PIXELS, MILD)
NO, NOT_NOW = Refuse(RefusalReason.BLOCKED), Refuse(RefusalReason.RISK_UNKNOWN)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (PASS, PASS, ""),
        (PASS, replace(PASS, because=Because("another policy")), ""),
        (PASS, PUBLIC, ""),
        (PASS, WINDOW, "isolated"),
        (PASS, NO, "refused"),
        (PASS, SignIn(), "session-ended"),
        (WINDOW, WINDOW, ""),
        (WINDOW, replace(WINDOW, because=Because("another rule")), ""),
        (WINDOW, MILDER, "redecided"),
        (MILDER, WINDOW, "redecided"),
        (WINDOW, PASS, "released"),
        (WINDOW, NO, "refused"),
        (NO, NOT_NOW, ""),
        (NO, PASS, "released"),
        (NO, WINDOW, "isolated"),
    ],
)
def test_what_a_change_does_to_what_is_open(old: Decision, new: Decision, why: str) -> None:
    assert transition(old, new) == why


def test_outcomes_in_a_word() -> None:
    assert [outcome(each) for each in (PASS, WINDOW, NO, SignIn())] == ["forward", "isolate", "refuse", "sign-in"]


# ---------------------------------------------------------------------- keeping, repeating


async def test_a_ruling_is_made_once_and_kept() -> None:
    world = World()
    first = await world.rule()
    assert isinstance(first.decision, Forward)
    assert world.cached() is first
    assert await world.rule() is first
    assert world.people.reads == 1
    assert [event.ref for event in world.audit.events] == [first.ref]
    assert world.cached("bob") is None
    assert world.cached(app=OTHER) is None


async def test_requests_that_arrive_together_share_one_decision() -> None:
    world = World()
    rulings = await asyncio.gather(*(world.rule() for _ in range(20)))
    assert {id(ruling) for ruling in rulings} == {id(world.cached())}
    assert (world.people.reads, len(world.audit.events)) == (1, 1)


async def test_a_client_that_goes_away_takes_no_decision_with_it() -> None:
    world = World(audit=Audit(gate=asyncio.Event()))
    first, second = asyncio.create_task(world.rule()), asyncio.create_task(world.rule())
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0)
    assert world.audit.gate is not None
    world.audit.gate.set()
    assert isinstance((await second).decision, Forward)
    assert first.cancelled()


async def test_a_repeat_is_not_written_again_and_news_is() -> None:
    world = World()
    first = await world.rule()
    await world.decisions.person_changed("tenant/alice")
    again = world.cached()
    assert again is not None
    assert again is not first
    assert again.ref == first.ref
    world.people.risk["alice"] = RiskLevel.HIGH
    await world.decisions.person_changed("tenant/alice")
    raised = world.cached()
    assert raised is not None
    assert isinstance(raised.decision, Isolate)
    assert raised.ref != first.ref
    assert [event.outcome for event in world.audit.events] == ["forward", "isolate"]
    world.people.risk["alice"] = RiskLevel.NONE
    await world.decisions.person_changed("tenant/alice")
    assert [event.outcome for event in world.audit.events] == ["forward", "isolate", "forward"]


async def test_nothing_is_decided_that_cannot_be_written_down() -> None:
    world = World(audit=Audit(broken=True))
    with pytest.raises(StoreError):
        await world.rule()
    assert world.cached() is None
    world.audit.broken = False
    assert isinstance((await world.rule()).decision, Forward)


async def test_the_first_viewer_after_passing_is_fresh_again() -> None:
    world = World(people=People(risk={"alice": RiskLevel.HIGH}))
    ruling = await world.rule()
    assert ruling.fresh_viewer
    ruling.fresh_viewer = False
    await world.decisions.person_changed("tenant/alice")
    repeated = world.cached()
    assert repeated is not None
    assert not repeated.fresh_viewer
    for level in (RiskLevel.NONE, RiskLevel.HIGH):
        world.people.risk["alice"] = level
        await world.decisions.person_changed("tenant/alice")
    fresh = world.cached()
    assert fresh is not None
    assert fresh.fresh_viewer


async def test_an_address_counts_only_where_a_policy_asks_for_it() -> None:
    world = World()
    first = await world.rule(ip="10.0.0.1")
    assert world.cached(ip="192.0.2.1") is first
    inside = builders.isolate(Ip(ip_network("10.0.0.0/8")), name="From the office")
    office = builders.app("Office", "office.corp.example", policy=builders.policy_set(isolation=[inside]))
    assert isinstance((await world.rule(app=office, ip="10.0.0.1")).decision, Isolate)
    assert world.cached(app=office, ip="192.0.2.1") is None
    assert isinstance((await world.rule(app=office, ip="192.0.2.1")).decision, Forward)
    assert {world.cached(app=office, ip=ip) is not None for ip in ("10.0.0.1", "192.0.2.1")} == {True}


# ---------------------------------------------------------------------- what is open


async def test_a_raised_risk_ends_what_is_open_there_and_nowhere_else() -> None:
    world = World()
    for name in ("alice", "bob"):
        for app in (APP, OTHER):
            await world.rule(name, app)
            world.open(name, app)
    world.people.risk["alice"] = RiskLevel.HIGH
    await world.decisions.person_changed("tenant/alice")
    assert sorted(world.ended) == [("alice at Payroll", "isolated"), ("alice at Wiki", "isolated")]


async def test_a_repeat_ends_nothing() -> None:
    world = World()
    await world.rule()
    world.open()
    await world.decisions.everything_changed()
    await world.decisions.person_changed("tenant/alice")
    assert world.ended == []


async def test_what_lapses_is_decided_again_by_time_alone() -> None:
    world = World(people=People(until=NOW + 60))
    await world.rule()
    world.open()
    world.clock.advance(59.9)
    await world.decisions.expired()
    assert world.people.reads == 1
    world.people.risk["alice"] = RiskLevel.HIGH
    world.clock.advance(0.2)
    assert world.cached() is None
    await world.decisions.expired()
    assert world.ended == [("alice at Payroll", "isolated")]


async def test_a_request_that_comes_before_the_clock_is_looked_at_ends_it_just_the_same() -> None:
    """The lapsed ruling is replaced by a request; then nobody would find it any more."""
    world = World(people=People(until=NOW + 60))
    await world.rule()
    world.open()
    world.clock.advance(61)
    world.people.risk["alice"] = RiskLevel.HIGH
    world.people.until = FOREVER
    assert isinstance((await world.rule()).decision, Isolate)
    assert world.ended == [("alice at Payroll", "isolated")]
    await world.decisions.expired()


@pytest.mark.parametrize("what", ["people", "audit"])
async def test_what_cannot_be_confirmed_ends(what: str) -> None:
    world = World()
    await world.rule()
    world.open()
    world.people.risk["alice"] = RiskLevel.HIGH
    getattr(world, what).broken = True
    await world.decisions.person_changed("tenant/alice")
    assert world.ended == [("alice at Payroll", "redecided")]
    assert world.cached() is None
    with pytest.raises(StoreError):
        await world.rule()


async def test_a_store_that_hangs_keeps_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "CONFIRM_SECONDS", 0.02)
    world = World()
    await world.rule()
    world.open()
    world.audit.gate = asyncio.Event()
    world.people.risk["alice"] = RiskLevel.HIGH
    await world.decisions.person_changed("tenant/alice")
    assert world.ended == [("alice at Payroll", "redecided")]
    world.audit.gate.set()
    assert isinstance((await world.rule()).decision, Isolate)


async def test_a_ruling_that_is_forgotten_takes_what_rests_on_it_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions, "MAX_RULINGS", 2)
    world = World()
    for name in ("ann", "ben", "cat"):
        await world.rule(name)
        world.open(name)
    assert world.ended == [("ann at Payroll", "redecided")]
    assert world.cached("ann") is None
    assert world.cached("cat") is not None


async def test_everybody_is_decided_again_when_what_changed_concerns_everybody() -> None:
    world = World()
    names = [f"person{number}" for number in range(150)]  # more than are decided at the same time
    for name in names:
        await world.rule(name)
    world.people.risk = dict.fromkeys(names, RiskLevel.HIGH)
    for name in names[::7]:
        world.open(name)
    await world.decisions.everything_changed()
    assert {why for _, why in world.ended} == {"isolated"}
    assert len(world.ended) == len(names[::7])
    assert all(isinstance(found.decision, Isolate) for name in names if (found := world.cached(name)))


# ---------------------------------------------------------------------- races with events


async def test_an_event_during_a_decision_makes_it_again() -> None:
    """The person was read before the event and the event is handled before the ruling is kept: what was read must not count."""
    world = World()

    async def meanwhile() -> None:
        world.people.risk["alice"] = RiskLevel.HIGH
        await world.decisions.person_changed("tenant/alice")

    world.people.before = meanwhile
    ruling = await world.rule()
    assert isinstance(ruling.decision, Isolate)
    assert world.people.reads == 2
    assert world.cached() is ruling


async def test_an_event_while_it_is_written_down_makes_it_again() -> None:
    world = World(audit=Audit(gate=asyncio.Event()))
    deciding = asyncio.create_task(world.rule())
    await asyncio.sleep(0.01)
    world.people.risk["alice"] = RiskLevel.HIGH
    await world.decisions.everything_changed()
    assert world.audit.gate is not None
    world.audit.gate.set()
    assert isinstance((await deciding).decision, Isolate)


async def test_an_event_about_somebody_else_does_not() -> None:
    world = World()

    async def meanwhile() -> None:
        await world.decisions.person_changed("tenant/bob")

    world.people.before = meanwhile
    await world.rule()
    assert world.people.reads == 1


async def test_events_without_end_fail_rather_than_pass() -> None:
    world = World()

    async def meanwhile() -> None:
        await world.decisions.person_changed("tenant/alice")
        world.people.before = meanwhile

    world.people.before = meanwhile
    with pytest.raises(StoreError, match="kept changing"):
        await world.rule()
    assert world.cached() is None


async def test_a_session_that_ends_during_a_decision_gets_none() -> None:
    world = World(audit=Audit(gate=asyncio.Event()))
    deciding = [asyncio.create_task(world.decisions.rule(world.session(), APP, world.context())) for _ in range(3)]
    await asyncio.sleep(0.01)
    world.decisions.session_ended(world.session().digest)
    assert world.audit.gate is not None
    world.audit.gate.set()
    assert await asyncio.gather(*deciding) == [None] * 3
    assert world.cached() is None


async def test_a_session_that_ends_takes_everything_along() -> None:
    world = World()
    for app in (APP, OTHER):
        await world.rule(app=app)
        world.open(app=app)
    await world.rule("bob")
    world.open("bob")
    world.decisions.session_ended(world.session().digest)
    assert sorted(world.ended) == [("alice at Payroll", "session-ended"), ("alice at Wiki", "session-ended")]
    assert world.cached() is world.cached(app=OTHER) is None
    assert world.cached("bob") is not None
    assert world.decisions.sessions() == {world.session("bob").digest}


async def test_a_request_during_the_event_does_not_bring_the_old_ruling_back() -> None:
    """While everybody is decided again, a request in between finds no ruling from before."""
    world = World()
    await world.rule()
    world.open()
    world.people.risk["alice"] = RiskLevel.HIGH
    world.audit.gate = asyncio.Event()
    event = asyncio.create_task(world.decisions.person_changed("tenant/alice"))
    await asyncio.sleep(0.01)
    assert world.cached() is None
    request = asyncio.create_task(world.rule())
    await asyncio.sleep(0.01)
    world.audit.gate.set()
    assert isinstance((await request).decision, Isolate)
    await event
    assert world.ended == [("alice at Payroll", "isolated")]
    assert len(world.audit.events) == 2
