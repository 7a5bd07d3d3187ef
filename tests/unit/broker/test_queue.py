"""The line of those who wait for an isolated browser: first come, first served, and nobody loses the place to a bad network."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.broker import queue
from isolation.broker.queue import KEEP_SECONDS, LATELY_SECONDS, FullLineError, WaitingLine
from isolation.errors import BrokerError
from isolation.testing.fake_node import FakeNode
from renderer.wire.control import NodeState
from tests.unit.broker.test_leases import GRANT, HELLO, LOOSE, Broker, broker, until


def test_first_come_first_served() -> None:
    line = WaitingLine()
    first, second, third = (line.join(name, 0.0) for name in "abc")
    assert [line.ahead(name, 1.0) for name in "abcd"] == [0, 1, 2, 3]
    line.served(first, 2.0)
    assert [line.ahead(name, 2.0) for name in "bcd"] == [0, 1, 2]
    line.leave(second, 2.0)
    assert line.ahead("c", 3.0) == 0, "nobody waits behind one who is not there"
    assert line.ahead("b", 3.0) == 0
    again = line.join("b", 2.0 + KEEP_SECONDS)
    assert again is second
    assert [line.ahead(name, 22.0) for name in "bc"] == [0, 1]
    line.leave(again, 22.0)
    line.leave(third, 23.0)
    line.join("e", 22.0 + KEEP_SECONDS + 1)
    late = line.join("b", 22.0 + KEEP_SECONDS + 1)
    assert late is not second
    assert line.ahead("b", 43.0) == 1, "who stays away too long comes last"
    assert len(line) == 2


def test_a_session_has_one_place_for_all_its_viewers() -> None:
    line = WaitingLine()
    one, other = line.join("a", 0.0), line.join("a", 1.0)
    assert one is other
    line.join("b", 2.0)
    line.leave(one, 3.0)
    assert line.ahead("b", 4.0) == 1
    line.served(other, 5.0)
    assert not line.holds(one)
    line.leave(one, 6.0)
    assert line.ahead("b", 6.0) == 0


def test_how_long_people_waited_lately() -> None:
    line = WaitingLine()
    assert line.waited(0.0) == 0
    for seconds in (10.0, 500.0, 30.0):
        line.served(line.join("x", 0.0), seconds)
    assert line.waited(600.0) == 30
    assert line.waited(500.0 + LATELY_SECONDS + 1) == 0


def test_a_line_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "MOST", 2)
    line = WaitingLine()
    line.join("a", 0.0)
    line.join("b", 0.0)
    line.join("a", 0.0)
    with pytest.raises(FullLineError):
        line.join("c", 0.0)


@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "serve"]), st.integers(0, 5), st.integers(0, 9)), max_size=60))
def test_whatever_happens_the_order_is_that_of_coming(steps: list[tuple[str, int, int]]) -> None:
    line, places, came, now = WaitingLine(), dict[str, list[queue.Place]](), list[str](), 0.0
    for what, who, seconds in steps:
        now += seconds
        name = str(who)
        held = places.setdefault(name, [])
        if what == "join":
            if name not in came:
                came.append(name)
            held.append(line.join(name, now))
        elif held and what == "leave":
            line.leave(held.pop(), now)
        elif held:
            line.served(held.pop(), now)
            held.clear()
            came.remove(name)
        waiting = [name for name in came if places[name]]
        seen = sorted(waiting, key=lambda name: line.ahead(name, now))
        if seconds * 60 < KEEP_SECONDS:
            assert [line.ahead(name, now) for name in seen] == list(range(len(waiting)))
        assert len(line) == len(waiting)


# ---------------------------------------------------------------- with nodes


class Waiting:
    """A viewer of a session that waits for a browser, and what it was told."""

    def __init__(self, it: Broker, session: str) -> None:
        self.told: list[int] = []
        self.arrived = asyncio.Event()
        self.leave = asyncio.Event()
        self._task = asyncio.ensure_future(self._run(it, session))

    async def _run(self, it: Broker, session: str) -> None:
        async with it.service.attach(replace(GRANT, session_digest=session), HELLO, self._queued):
            self.arrived.set()
            await self.leave.wait()

    async def _queued(self, position: int, waited: int) -> None:
        assert waited >= 0
        self.told.append(position)

    async def at(self, position: int) -> None:
        await until(lambda: self.told[-1:] == [position])

    async def go(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


@pytest.mark.case(59)
async def test_viewers_wait_their_turn_and_come_in_by_themselves() -> None:
    async with FakeNode(capacity=1) as node, broker(node) as it:
        first = await it.service.ensure("s0", "contoso/bob", LOOSE, 100)
        b, c, d = Waiting(it, "b"), Waiting(it, "c"), Waiting(it, "d")
        for place, waiting in enumerate((b, c, d), start=1):
            await waiting.at(place)
        await c.go()
        await d.at(2)
        c = Waiting(it, "c")  # its network came back
        await c.at(2)
        await d.at(3)
        await it.service.end("s0", "done")
        await until(b.arrived.is_set)
        await c.at(1)
        assert not c.arrived.is_set()
        assert first.id not in node.leases
        with pytest.raises(BrokerError) as refused:
            await it.service.ensure("overtakes", "contoso/eve", LOOSE, 100)
        assert refused.value.code == "no-capacity"
        assert len(it.service.line) == 2
        for waiting in (b, c, d):
            await waiting.go()


@pytest.mark.case(59)
async def test_a_hundred_at_once_are_served_one_after_the_other() -> None:
    async with FakeNode(capacity=8) as node, broker(node) as it:
        crowd = [Waiting(it, f"s{n}") for n in range(100)]
        served: list[Waiting] = []
        while len(served) < len(crowd):
            await until(lambda: any(one.arrived.is_set() for one in crowd if one not in served))
            assert len(node.leases) <= 8
            for one in [one for one in crowd if one.arrived.is_set() and one not in served]:
                served.append(one)
                one.leave.set()
                await it.service.end(f"s{crowd.index(one)}", "done")
        assert len(it.service.line) == 0


async def test_a_node_that_drains_or_lacks_memory_is_passed_over() -> None:
    async with FakeNode(capacity=9) as large, FakeNode(capacity=2) as small, broker(large, small) as it:
        await until(lambda: all(link.up for link in it.service.nodes.values()) and large.prepared)
        for state in (NodeState.DRAINING, NodeState.LOW_MEMORY):
            await large.become(state)
            await until(lambda: it.service.nodes["n0"].free == 0)
            assert (await it.service.ensure(state.value, "x", LOOSE, 100)).node == "n1"
        waiting = Waiting(it, "more")
        await waiting.at(1)
        await large.become(NodeState.OPEN)
        await until(waiting.arrived.is_set)
        assert len(large.leases) == 1
        await waiting.go()
