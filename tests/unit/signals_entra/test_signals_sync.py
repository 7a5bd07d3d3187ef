"""The loops of the sync process, with doubles for the directory and the store and a clock moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from isolation.errors import ProviderError, StoreError
from isolation.policy.facts import RiskLevel, UserType
from isolation.signals.model import RISK_PROVIDER, GroupsReading, ProviderStatus, RiskReading
from isolation.signals.providers import NoSuchPersonError, ThrottledError
from isolation.signals.providers.entra import Profile, RiskPoll
from isolation.signals.sync import DIRECTORY_PROVIDER, DirectorySync, SyncSettings, back_off, uniform
from isolation.testing.clock import FakeClock

TENANT = "tenant"
ALICE, BOB = f"{TENANT}/alice", f"{TENANT}/bob"


@dataclass
class Directory:
    """A reader that says what it is told to. An exception in place of a value is raised."""

    clock: FakeClock
    risk: Mapping[str, RiskReading] | Exception = field(default_factory=dict)
    groups: frozenset[str] | Exception = frozenset({"g"})
    enabled: bool | Exception = True
    polls: list[float] = field(default_factory=list)
    read: list[tuple[float, str]] = field(default_factory=list)

    async def risky_users(self) -> RiskPoll:
        self.polls.append(self.clock.monotonic())
        if isinstance(self.risk, Exception):
            raise self.risk
        return RiskPoll(self.risk, self.clock.now(), 1)

    async def groups_of(self, oid: str) -> GroupsReading:
        if isinstance(self.groups, Exception):
            raise self.groups
        return GroupsReading(self.groups, self.clock.now(), "graph")

    async def profile(self, oid: str) -> Profile:
        self.read.append((self.clock.monotonic(), oid))
        if isinstance(self.enabled, Exception):
            raise self.enabled
        return Profile(self.clock.now(), "x@example.org", "X", UserType.MEMBER, None, self.enabled, None)


@dataclass
class Person:
    key: str


@dataclass
class Memory:
    """A store in memory: risk and people in one."""

    signed_in: list[str] = field(default_factory=list)
    levels: Mapping[str, RiskReading] | None = None
    as_of: float = 0.0
    states: dict[str, tuple[str, bool]] = field(default_factory=dict)
    profiles: dict[str, bool | None] = field(default_factory=dict)
    groups: dict[str, set[str]] = field(default_factory=dict)
    failures: list[tuple[str, str, str]] = field(default_factory=list)
    broken: bool = False

    def _check(self) -> None:
        if self.broken:
            raise StoreError("disk full")

    async def replace_all(self, levels: Mapping[str, RiskReading], as_of: float) -> int:
        self._check()
        self.levels, self.as_of = levels, as_of
        return 1

    async def set_provider_state(
        self, name: str, status: ProviderStatus | str, message: str, at: float, *, success: bool = False
    ) -> bool:
        self._check()
        self.states[name] = (str(status), success)
        return True

    async def record_profile(
        self,
        key: str,
        *,
        as_of: float,
        name: str | None = None,
        user_type: UserType | None = None,
        enabled: bool | None = None,
        sessions_valid_from: float | None = None,
    ) -> None:
        self._check()
        self.profiles[key] = enabled

    async def record_groups(self, key: str, groups: Iterable[str], as_of: float, complete: bool) -> None:
        self._check()
        assert complete
        self.groups[key] = set(groups)

    async def record_failure(self, key: str, what: str, status: ProviderStatus | str, message: str, at: float) -> None:
        self._check()
        self.failures.append((key, what, str(status)))

    async def list_signed_in(self, since: float) -> Sequence[Person]:
        self._check()
        return [Person(key) for key in self.signed_in]


@dataclass
class House:
    clock: FakeClock
    directory: Directory
    memory: Memory
    sync: DirectorySync


@pytest_asyncio.fixture
async def house() -> AsyncIterator[House]:
    clock = FakeClock()
    directory, memory = Directory(clock), Memory()
    settings = SyncSettings(TENANT, risk_interval=30, risk_stale_after=900, refresh_interval=300)
    sync = DirectorySync(memory, memory, directory, clock, settings, sleep=clock.sleep, draw=lambda: 0.0)
    task = asyncio.create_task(sync.run())
    await clock.settle()
    yield House(clock, directory, memory, sync)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not clock.sleeping, "nothing is left behind"


def gaps(times: Sequence[float]) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in pairwise(times)]


# ------------------------------------------------------------------------------------------------------------ risk


async def test_risk_is_polled_at_once_and_then_every_interval(house: House) -> None:
    assert len(house.directory.polls) == 1
    house.directory.risk = {BOB: RiskReading(RiskLevel.HIGH)}
    await house.clock.elapse(95)
    assert gaps(house.directory.polls) == [30, 30, 30]
    assert house.memory.levels == {BOB: RiskReading(RiskLevel.HIGH)}


@pytest.mark.case(58)
async def test_failures_back_off_to_a_third_of_stale_after_and_recover_at_once(house: House) -> None:
    house.directory.risk = ProviderError("down")
    await house.clock.elapse(2_000)
    assert gaps(house.directory.polls)[:12] == [30, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    assert house.memory.states[RISK_PROVIDER] == ("unreachable", False)
    house.directory.risk = {}
    await house.clock.elapse(300)
    polls = len(house.directory.polls)
    await house.clock.elapse(60)
    assert len(house.directory.polls) == polls + 2


@pytest.mark.case(58)
async def test_throttling_keeps_the_distance_and_retry_after_is_honoured(house: House) -> None:
    house.directory.risk = ThrottledError("slow down")
    await house.clock.elapse(250)
    assert gaps(house.directory.polls) == [30, 30, 60, 120]
    assert house.memory.states[RISK_PROVIDER] == ("throttled", False)
    house.directory.risk = ThrottledError("slow down", retry_after=10_000)
    await house.clock.elapse(1_000)
    assert max(gaps(house.directory.polls)) == 300, "a wish for hours does not silence us"


async def test_a_failed_poll_leaves_the_last_reading_alone(house: House) -> None:
    house.directory.risk = {BOB: RiskReading(RiskLevel.HIGH)}
    await house.clock.elapse(31)
    as_of = house.memory.as_of
    house.directory.risk = ProviderError("half of it", code="incomplete")
    await house.clock.elapse(300)
    assert house.memory.levels == {BOB: RiskReading(RiskLevel.HIGH)}
    assert house.memory.as_of == as_of
    assert house.memory.states[RISK_PROVIDER] == ("incomplete", False)


async def test_a_mistake_of_ours_shows_as_a_failing_provider_and_ends_nothing(house: House) -> None:
    house.directory.risk = KeyError("oops")
    await house.clock.elapse(40)
    assert house.memory.states[RISK_PROVIDER] == ("unreachable", False)
    house.directory.risk = {}
    polls = len(house.directory.polls)
    await house.clock.elapse(300)
    assert len(house.directory.polls) > polls
    assert house.memory.levels == {}


async def test_a_store_that_cannot_be_written_ends_nothing(house: House) -> None:
    house.memory.broken = True
    await house.clock.elapse(100)
    house.memory.broken = False
    house.memory.levels = None
    house.memory.signed_in = [ALICE]
    await house.clock.elapse(400)
    assert house.memory.levels == {}
    assert house.memory.groups == {ALICE: {"g"}}


def test_the_interval_is_never_below_what_graph_allows() -> None:
    clock = FakeClock()
    sync = DirectorySync(Memory(), Memory(), Directory(clock), clock, SyncSettings(TENANT, risk_interval=0.01))
    assert sync._interval == 1.0


@given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.1, 100), st.floats(1, 1_000))
def test_back_off_is_bounded_and_jittered(failures: int, draw: float, first: float, longest: float) -> None:
    pause = back_off(failures, first=first, longest=longest, draw=draw)
    assert min(first, longest) / 2 <= pause <= longest
    assert pause <= back_off(failures, first=first, longest=longest, draw=0.0)


def test_uniform_is_between_nought_and_one() -> None:
    assert all(0.0 <= uniform() <= 1.0 for _ in range(50))


# ------------------------------------------------------------------------------------------------------------ people


async def test_somebody_who_signed_in_is_read_at_once(house: House) -> None:
    await house.clock.elapse(10)
    house.sync.wanted(ALICE)
    await house.clock.settle()
    assert house.memory.profiles == {ALICE: True}
    assert house.memory.groups == {ALICE: {"g"}}
    assert house.memory.states[DIRECTORY_PROVIDER] == ("ok", True)


async def test_people_of_another_tenant_are_not_ours(house: House) -> None:
    house.sync.wanted("other/alice")
    house.sync.wanted("tenant2/alice")
    await house.clock.elapse(10)
    assert house.memory.profiles == {}


async def test_everybody_signed_in_is_read_every_round(house: House) -> None:
    house.memory.signed_in = [f"{TENANT}/p{number}" for number in range(10)]
    await house.clock.elapse(601)
    times = [at for at, oid in house.directory.read if oid == "p7"]
    assert gaps(times) == [300]
    assert len(house.memory.groups) == 10


async def test_a_failure_is_recorded_and_tried_again(house: House) -> None:
    house.directory.groups = ProviderError("down")
    house.sync.wanted(ALICE)
    await house.clock.settle()
    assert house.memory.failures == [(ALICE, "groups", "unreachable")]
    assert house.memory.states[DIRECTORY_PROVIDER] == ("unreachable", False)
    assert ALICE not in house.memory.groups, "a partial reading is not the whole"
    house.directory.groups = frozenset({"g2"})
    await house.clock.elapse(2.1)
    assert house.memory.groups == {ALICE: {"g2"}}


async def test_tries_end_until_the_next_round(house: House) -> None:
    house.directory.groups = ProviderError("down")
    house.sync.wanted(ALICE)
    await house.clock.elapse(250)
    assert len(house.memory.failures) == 6


async def test_retry_after_silences_everybody(house: House) -> None:
    house.directory.groups = ThrottledError("slow down", retry_after=60)
    house.sync.wanted(ALICE)
    await house.clock.settle()
    reads = len(house.directory.read)
    house.sync.wanted(BOB)
    await house.clock.elapse(59)
    assert len(house.directory.read) == reads
    house.directory.groups = frozenset()
    await house.clock.elapse(2)
    assert house.memory.groups == {ALICE: set(), BOB: set()}


async def test_a_disabled_account_is_reported(house: House) -> None:
    house.directory.enabled = False
    house.sync.wanted(ALICE)
    await house.clock.settle()
    assert house.memory.profiles == {ALICE: False}


async def test_a_removed_account_is_reported_after_the_second_answer(house: House) -> None:
    house.directory.enabled = house.directory.groups = NoSuchPersonError("gone")
    house.sync.wanted(ALICE)
    await house.clock.settle()
    assert house.memory.profiles == {}
    assert house.memory.failures == []
    await house.clock.elapse(2.1)
    assert house.memory.profiles == {ALICE: False}


async def test_an_account_that_appears_after_all_is_left_alone(house: House) -> None:
    house.directory.enabled = house.directory.groups = NoSuchPersonError("not yet")
    house.sync.wanted(ALICE)
    await house.clock.settle()
    house.directory.enabled, house.directory.groups = True, frozenset()
    await house.clock.elapse(2.1)
    assert house.memory.profiles == {ALICE: True}


async def test_the_urgent_come_before_the_round(house: House) -> None:
    house.memory.signed_in = [f"{TENANT}/p{number:03}" for number in range(100)]
    await house.sync.refresh_all()
    house.sync.wanted(ALICE)
    await house.clock.settle()
    assert "alice" in [oid for _, oid in house.directory.read[:4]]
