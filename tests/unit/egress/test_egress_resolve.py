from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence
from ipaddress import ip_address, ip_network

import pytest

from isolation.audit.events import AuditEvent
from isolation.egress.address import Address, EgressRefusedError, Name, Reason
from isolation.egress.journal import MAX_OPEN_WINDOWS, OTHER, AuditSink, Blocked, Journal
from isolation.egress.leases import Lease
from isolation.egress.resolve import (
    CACHE_SECONDS,
    FAILURE_SECONDS,
    LOOKUP_THREADS,
    MAX_WAITING_LOOKUPS,
    Resolver,
    SystemLookup,
    connect,
    dial,
    is_own,
)
from isolation.errors import StoreError
from isolation.testing.clock import FakeClock


class Names:
    """A resolver whose answers change with every question."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def _reason(resolver: Resolver, host: Address | Name) -> Reason:
    with pytest.raises(EgressRefusedError) as refused:
        await resolver.resolve(host)
    return refused.value.reason


@pytest.mark.case(6)
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (["10.0.0.1"], Reason.PRIVATE),
        (["8.8.8.8", "127.0.0.1"], Reason.LOOPBACK),
        (["127.0.0.1", "8.8.8.8"], Reason.LOOPBACK),
        (["8.8.8.8", "fd00:ec2::254"], Reason.METADATA),
        (["2606:4700::1111", "::ffff:10.0.0.1"], Reason.PRIVATE),
        (["::1"], Reason.LOOPBACK),
        (["fe80::1%lo"], Reason.LINK_LOCAL),
        (["64:ff9b::a00:1"], Reason.PRIVATE),
        ([], Reason.UNRESOLVED),
        (["8.8.8.8"] * 17, Reason.UNRESOLVED),
        (["nonsense"], Reason.MALFORMED),
        (socket.gaierror(-2, "unknown"), Reason.UNRESOLVED),
        (TimeoutError(), Reason.UNRESOLVED),
        (UnicodeError(), Reason.UNRESOLVED),
    ],
)
async def test_one_bad_address_refuses_the_name(answer: Sequence[str] | Exception, reason: Reason) -> None:
    assert await _reason(Resolver(FakeClock(), Names(answer)), Name("a.example")) is reason


@pytest.mark.case(6)
async def test_rebinding_finds_the_judged_address_only() -> None:
    """First public, then private: while the first answer is kept it is used; the second is judged before anything connects."""
    clock, names = FakeClock(), Names(["8.8.8.8"], ["127.0.0.1"])
    resolver = Resolver(clock, names)
    assert await resolver.resolve(Name("a.example")) == (ip_address("8.8.8.8"),)
    assert await resolver.resolve(Name("a.example")) == (ip_address("8.8.8.8"),)
    clock.advance(CACHE_SECONDS + 1)
    assert await _reason(resolver, Name("a.example")) is Reason.LOOPBACK
    assert names.asked == ["a.example"] * 2


async def test_a_failure_is_kept_for_a_moment_only() -> None:
    clock, names = FakeClock(), Names(TimeoutError(), ["8.8.8.8"])
    resolver = Resolver(clock, names)
    assert await _reason(resolver, Name("a.example")) is Reason.UNRESOLVED
    assert await _reason(resolver, Name("a.example")) is Reason.UNRESOLVED
    clock.advance(FAILURE_SECONDS + 0.1)
    assert await resolver.resolve(Name("a.example")) == (ip_address("8.8.8.8"),)


async def test_one_lookup_serves_all_who_ask_and_survives_one_that_goes_away() -> None:
    names = Names(["8.8.8.8"])
    resolver = Resolver(FakeClock(), names)
    tasks = [asyncio.create_task(resolver.resolve(Name("a.example"))) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1:] == [(ip_address("8.8.8.8"),)] * 4
    assert names.asked == ["a.example"]


async def test_literals_and_networks_of_the_configuration_are_judged() -> None:
    resolver = Resolver(FakeClock(), Names(["203.0.114.7"]), refused=[ip_network("203.0.114.0/24")])
    assert await _reason(resolver, ip_address("127.0.0.1")) is Reason.LOOPBACK
    assert await _reason(resolver, Name("a.example")) is Reason.PRIVATE
    assert await resolver.resolve(ip_address("8.8.8.8")) == (ip_address("8.8.8.8"),)


def test_addresses_of_this_machine_are_known_without_sending_anything() -> None:
    assert is_own(ip_address("127.0.0.1"))
    assert not is_own(ip_address("8.8.8.8"))


async def test_lookups_run_in_bounded_threads_and_a_hanging_resolver_is_given_up() -> None:
    release = threading.Event()
    running: list[str] = []

    def slow(name: str) -> list[str]:
        running.append(name)
        release.wait(10)
        return ["8.8.8.8"]

    lookup = SystemLookup(slow, seconds=0.05)
    try:
        results = await asyncio.gather(
            *(lookup(f"n{number}.example") for number in range(MAX_WAITING_LOOKUPS + 5)), return_exceptions=True
        )
        assert len(running) == LOOKUP_THREADS
        assert sum(isinstance(result, TimeoutError) for result in results) == MAX_WAITING_LOOKUPS
        assert sum(type(result) is OSError for result in results) == 5
        release.set()
        for _ in range(200):  # given-up lookups free their places when they end
            with contextlib.suppress(OSError, TimeoutError):
                assert await lookup("n.example") == ["8.8.8.8"]
                break
            await asyncio.sleep(0.01)
        else:
            pytest.fail("the places were never freed")
    finally:
        release.set()
        lookup.close()


async def test_the_next_address_is_tried_and_an_end_is_reported() -> None:
    tried: list[str] = []
    left, right = socket.socketpair()

    async def dialer(address: Address, port: int) -> socket.socket:
        tried.append(f"{address}:{port}")
        if str(address) != "8.8.4.4":
            raise ConnectionRefusedError
        return left

    addresses = [ip_address(text) for text in ("8.8.8.8", "8.8.4.4")]
    connection, address = await connect(addresses, 443, dialer)
    assert connection is left
    assert str(address) == "8.8.4.4"
    assert tried == ["8.8.8.8:443", "8.8.4.4:443"]
    with pytest.raises(EgressRefusedError) as refused:
        await connect([ip_address("9.9.9.9")] * 9, 80, dialer)
    assert refused.value.reason is Reason.UNREACHABLE
    assert len(tried) == 5  # three attempts, not nine
    left.close()
    right.close()


async def test_dial_connects_and_closes_on_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        connection = await dial(ip_address("127.0.0.1"), port)
        assert connection.getpeername() == ("127.0.0.1", port)
        connection.close()
    with pytest.raises(OSError):
        await dial(ip_address("127.0.0.1"), port)


class Sink:
    def __init__(self, *, broken: bool = False) -> None:
        self.records: list[Blocked] = []
        self.broken = broken

    async def blocked(self, record: Blocked) -> None:
        if self.broken:
            raise StoreError("disk full")
        self.records.append(record)


A, B = Lease("a", "sa", "pa"), Lease("b", "sb", "pb")


async def test_repeats_are_counted_and_nothing_is_dropped() -> None:
    sink = Sink()
    journal = Journal(sink)
    for _ in range(5):
        await journal.refuse(A, "127.0.0.1", 80, Reason.LOOPBACK)
    await journal.refuse(B, "127.0.0.1", 80, Reason.LOOPBACK)
    await journal.refuse(A, "127.0.0.1", 80, Reason.PORT)
    assert [(record.lease.id, record.count) for record in sink.records] == [("a", 1), ("b", 1), ("a", 1)]
    await journal.flush("a")
    assert [(record.lease.id, record.count) for record in sink.records[3:]] == [("a", 4)]
    await journal.refuse(A, "127.0.0.1", 80, Reason.LOOPBACK)
    await journal.flush()
    assert sum(record.count for record in sink.records) == 8
    assert journal.refused[Reason.LOOPBACK] == 7


async def test_a_window_ends_by_itself() -> None:
    sink = Sink()
    journal = Journal(sink, window=0.01)
    await journal.refuse(A, "h.example", 443, Reason.NOT_ALLOWED)
    await journal.refuse(A, "h.example", 443, Reason.NOT_ALLOWED)
    for _ in range(200):
        if len(sink.records) == 2:
            break
        await asyncio.sleep(0.01)
    assert [record.count for record in sink.records] == [1, 1]


async def test_a_page_that_invents_hosts_does_not_fill_memory_and_is_counted() -> None:
    sink = Sink()
    journal = Journal(sink)
    attempts = MAX_OPEN_WINDOWS * 3
    for number in range(attempts):
        await journal.refuse(A, f"h{number}.example", 443, Reason.NOT_ALLOWED)
    assert len(sink.records) == MAX_OPEN_WINDOWS + 1
    assert sink.records[-1].host == OTHER
    await journal.flush()
    assert sum(record.count for record in sink.records) == attempts


async def test_hostile_text_is_cut_and_a_failing_sink_does_not_open_the_gate() -> None:
    journal = Journal(Sink(broken=True))
    await journal.refuse(A, "x" * 10_000, 0, Reason.MALFORMED)
    assert journal.refused[Reason.MALFORMED] == 1
    sink = Sink()
    await Journal(sink).refuse(A, "x" * 10_000, 0, Reason.MALFORMED)
    assert len(sink.records[0].host) <= 253


async def test_the_audit_trail_gets_who_where_and_how_often() -> None:
    events: list[AuditEvent] = []

    class Recorder:
        async def record(self, event: AuditEvent) -> str:
            events.append(event)
            return event.ref

    await AuditSink(Recorder(), FakeClock()).blocked(Blocked(A, "127.0.0.1", 22, Reason.LOOPBACK, 3))
    assert (events[0].person, events[0].session, events[0].outcome) == ("pa", "sa", "blocked")
    assert (
        dict(events[0].detail).items() >= {"lease": "a", "host": "127.0.0.1", "port": 22, "why": "loopback", "count": 3}.items()
    )


async def test_forged_credentials_are_counted() -> None:
    journal = Journal(Sink(), window=60.0)
    for _ in range(3):
        journal.stranger()
    assert journal.strangers == 3
    await journal.flush()
