"""Idle and total time, from the side of a viewer and a renderer that would like to have more of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.broker.hours import SAVE_SECONDS, Activity, Watch, is_deed, term
from isolation.broker.model import Grant, Lease
from isolation.broker.pace import Pace
from isolation.policy.controls import Controls
from isolation.testing.clock import FakeClock
from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer

S = "session"


class Leases:
    """One lease, as another worker could have written it."""

    def __init__(self, clock: FakeClock) -> None:
        self.lease: Lease | None = Lease("l", S, "t/bob", "n", Controls(), 100, "d", clock.now(), active_at=clock.now())
        self.touched: list[float] = []

    async def live(self, session_digest: str) -> Lease | None:
        return self.lease

    async def touch(self, session_digest: str, at: float) -> None:
        self.touched.append(at)


class Stream:
    """One watched stream."""

    def __init__(self, **controls: Any) -> None:
        self.clock = FakeClock()
        self.leases = Leases(self.clock)
        self.activity = Activity(self.leases, self.clock)
        grant = Grant(S, "t/bob", "Payroll", "https://payroll.corp.example", Controls(**controls))
        self.watch = Watch(grant, self.activity, self.leases, self.clock, self.clock.sleep)
        self.said: list[tuple[str, int]] = []
        self.running = asyncio.ensure_future(self.watch.run(self.send))

    async def send(self, data: bytes) -> None:
        message = decode_from_renderer(data)
        assert isinstance(message, m.Ending)
        self.said.append((message.reason.value, message.seconds))

    async def after(self, seconds: float) -> m.CloseCode | None:
        await self.clock.elapse(seconds)
        return self.running.result() if self.running.done() else None

    def end(self) -> None:
        self.running.cancel()


async def test_total_time_ends_with_a_warning_whatever_is_done() -> None:
    stream = Stream(total_minutes=10)
    for _ in range(9):
        assert await stream.after(59) is None
        stream.activity.deed(S)
    assert stream.said == []
    assert await stream.after(10) is None
    assert stream.said == [("time", 60)]
    stream.activity.deed(S)
    assert await stream.after(58) is None
    assert await stream.after(2) is m.CloseCode.TIME_UP
    assert stream.said == [("time", 60)]


async def test_idle_time_ends_with_a_warning_that_activity_takes_back() -> None:
    stream = Stream(idle_minutes=10)
    assert await stream.after(541) is None
    assert stream.said == [("idle", 60)]
    stream.activity.deed(S)
    assert await stream.after(1) is None
    assert stream.said == [("idle", 60), ("idle", 0)]
    assert await stream.after(598) is None
    assert stream.said[2:] == [("idle", 60)]
    assert await stream.after(1) is m.CloseCode.IDLE


async def test_who_has_one_minute_is_warned_half_of_it() -> None:
    stream = Stream(idle_minutes=1)
    assert await stream.after(29) is None
    assert stream.said == []
    assert await stream.after(2) is None
    assert stream.said == [("idle", 30)]
    assert await stream.after(30) is m.CloseCode.IDLE


async def test_the_sooner_of_two_ends() -> None:
    stream = Stream(idle_minutes=10, total_minutes=11)
    assert await stream.after(545) is None
    stream.activity.deed(S)
    assert await stream.after(60) is None
    assert stream.said == [("idle", 60), ("idle", 0), ("time", 60)]
    assert await stream.after(60) is m.CloseCode.TIME_UP


async def test_what_another_worker_saw_counts() -> None:
    stream = Stream(idle_minutes=10)
    assert stream.leases.lease is not None
    assert await stream.after(300) is None
    stream.leases.lease = replace(stream.leases.lease, active_at=stream.clock.now())
    assert await stream.after(310) is None
    assert await stream.after(300) is m.CloseCode.IDLE


async def test_a_lease_that_is_another_one_now_gives_no_more_time() -> None:
    stream = Stream(idle_minutes=10)
    assert await stream.after(1) is None
    assert stream.leases.lease is not None
    stream.leases.lease = replace(stream.leases.lease, id="new", active_at=stream.clock.now() + 500)
    assert await stream.after(601) is m.CloseCode.IDLE


async def test_activity_is_written_down_now_and_then() -> None:
    stream = Stream(idle_minutes=10)
    for _ in range(4 * int(SAVE_SECONDS)):
        stream.activity.deed(S)
        await stream.after(0.5)
    assert len(stream.leases.touched) == 2
    stream.end()


async def test_a_stream_that_broke_near_its_end_knows_why() -> None:
    stream = Stream(total_minutes=10)
    await stream.after(500)
    assert stream.watch.over() is None
    await stream.after(90)
    assert stream.watch.over() is m.CloseCode.TIME_UP
    stream.end()


async def test_no_limit_no_end() -> None:
    stream = Stream()
    assert not stream.watch.needed
    assert await stream.after(1e9) is None
    stream.end()


@pytest.mark.parametrize(
    ("message", "counts"),
    [
        (m.Pointer(m.PointerKind.MOVE, 1, 1, 0, 0, 0, 0), True),
        (m.Key(True, "a", "KeyA", 0, 0, False), True),
        (m.Wheel(0, 0, 0, 1, 0), True),
        (m.Hello(1, "", "/", 800, 600, 100, False, False), True),
        (m.Hello(1, "p1", "/", 800, 600, 100, False, False), False),
        (m.Ack(1), False),
        (m.Resize(800, 600, 100), False),
        (m.Focus(True, True), False),
        (m.Refresh(False), False),
        (m.DownloadAck(1, 1), False),
        (m.FileData(1, 0, 0, b"x"), False),
    ],
)
def test_what_a_viewer_says_by_itself_keeps_no_session(message: object, counts: bool) -> None:
    assert is_deed(message) is counts


@given(st.integers(1, 600), st.integers(1, 600), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_term_is_the_sooner_of_its_two(idle: int, total: int, started: float, active: float) -> None:
    both = term(Controls(idle_minutes=idle, total_minutes=total), started, active)
    one, other = term(Controls(idle_minutes=idle), started, active), term(Controls(total_minutes=total), started, active)
    assert both is not None
    assert one is not None
    assert other is not None
    assert both.at == min(one.at, other.at)
    assert one.at >= started + 60 * idle
    assert 0 < both.warning <= 60


# ---------------------------------------------------------------- pace


@given(st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 2)), min_size=1, max_size=40), st.floats(1_000, 1e6))
def test_a_pace_is_kept_whatever_comes(sent: list[tuple[int, float]], rate: float) -> None:
    """Whoever waits as long as he is told never has more than the burst beyond the rate."""
    pace, now, total = Pace(rate), 0.0, 0
    for size, idle in sent:
        total += size
        now += pace.take(size, now)
        assert total <= rate * (now + 1.0) + 1e-3 * total + 1
        now += idle


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    pace = Pace(1000)
    assert pace.take(1000, 10.0) == 0
    assert pace.take(500, 5.0) == 0.5
