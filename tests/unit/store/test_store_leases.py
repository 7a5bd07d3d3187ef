"""One live lease per session, whoever asks first."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from isolation.store.database import Store
from isolation.store.leases import LeaseRecord, LeaseRepository
from isolation.testing.clock import FakeClock
from tests.support.store import Bus

LEASE = LeaseRecord(
    "l1", "session", "t/a", "node-1", "digest", {"clipboard": "none", "print": False}, 100, 5.0, frozenset({"Data"})
)


@pytest.fixture
def leases(store: Store) -> LeaseRepository:
    return LeaseRepository(store)


async def test_a_lease_lives_and_ends(leases: LeaseRepository, bus: Bus) -> None:
    assert await leases.live("session") is None
    assert await leases.open(LEASE) == LEASE
    assert await leases.live("session") == await leases.by_id("l1") == LEASE
    assert await leases.list_live() == [LEASE]
    assert await leases.close("l1", at=9.0, why="crashed") is True
    assert await leases.close("l1", at=9.0, why="crashed") is False
    assert await leases.live("session") is None
    assert await leases.by_id("l1") is None
    assert await bus.heard() == [("lease-ended", "l1")]


async def test_a_session_has_one_live_lease(store: Store, leases: LeaseRepository, clock: FakeClock) -> None:
    second = Store.open(f"sqlite:///{store.path}", clock=clock)
    try:
        both = [leases, LeaseRepository(second)]
        opened = await asyncio.gather(
            *[both[n % 2].open(replace(LEASE, id=f"l{n}", credential_digest=f"{n}")) for n in range(20)]
        )
    finally:
        second.close()

    assert len({lease.id for lease in opened}) == 1
    assert await leases.list_live() == [opened[0]]
    await leases.close(opened[0].id, at=1.0, why="x")
    assert (await leases.open(replace(LEASE, id="later"))).id == "later"


async def test_controls_apps_and_credentials_change_while_it_lives(leases: LeaseRepository) -> None:
    await leases.open(LEASE)
    changed = replace(LEASE, controls={"clipboard": "to_app"}, apps=frozenset({"Data", "Lab"}), credential_digest="d1,d2")
    await leases.change(replace(changed, node="elsewhere", session_digest="stolen"))
    assert await leases.live("session") == changed
    await leases.close("l1", at=1.0, why="x")
    await leases.change(LEASE)
    assert await leases.by_id("l1") is None


async def test_a_node_that_is_gone_takes_its_leases_along(leases: LeaseRepository, bus: Bus) -> None:
    for number in range(3):
        await leases.open(replace(LEASE, id=f"l{number}", session_digest=f"s{number}", node="node-1" if number else "node-2"))
    assert sorted(await leases.close_node("node-1", at=1.0, why="node-lost")) == ["l1", "l2"]
    assert [lease.id for lease in await leases.list_live()] == ["l0"]
    assert sorted(await bus.heard()) == [("lease-ended", "l1"), ("lease-ended", "l2")]


async def test_ended_leases_are_forgotten_after_a_day(leases: LeaseRepository, clock: FakeClock) -> None:
    await leases.open(LEASE)
    await leases.close("l1", at=clock.now(), why="x")
    await leases.open(replace(LEASE, id="l2"))
    assert await leases.prune() == 0
    clock.advance(86_401)
    assert await leases.prune() == 1
    assert await leases.by_id("l2") is not None


def test_credentials_do_not_show_in_a_repr() -> None:
    assert "digest='digest'" not in repr(LEASE)
