"""Leases over real sockets to a node that is played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.broker.book import StoreLeaseBook
from isolation.broker.leases import LeaseBook, LeaseService, MemoryLeaseBook
from isolation.broker.model import EgressAddress, Grant, NodeAddress
from isolation.broker.watermark import watermark
from isolation.clock import SystemClock
from isolation.errors import BrokerError
from isolation.policy.controls import Clipboard, Controls
from isolation.store.database import Store
from isolation.store.leases import LeaseRepository
from isolation.testing.clock import FakeClock
from isolation.testing.fake_node import FakeNode
from isolation.testing.viewer_site import RecordedAudit
from isolation.tokens import digest
from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer
from renderer.wire.control import LeaseCode
from renderer.wire.controls import MAX_WATERMARK

ORIGIN = "http://payroll.localhost:8080"
STRICT, LOOSE = Controls(), Controls(clipboard=Clipboard.BOTH)
GRANT = Grant("s1", "contoso/bob", "Payroll", ORIGIN, LOOSE)
HELLO = m.Hello(1, "", "/run", 800, 600, 100, False, False)


class Broker:
    def __init__(self, service: LeaseService, audit: RecordedAudit, book: LeaseBook) -> None:
        self.service, self.audit, self.book = service, audit, book


@asynccontextmanager
async def broker(
    *nodes: FakeNode, book: LeaseBook | None = None, idle: float | None = None, clock: FakeClock | None = None
) -> AsyncIterator[Broker]:
    audit = RecordedAudit()
    used = book or MemoryLeaseBook()
    service = LeaseService(
        nodes=[NodeAddress(f"n{i}", node.url, node.token) for i, node in enumerate(nodes)],
        book=used,
        audit=audit,
        egress=EgressAddress("127.0.0.1", 9, "c3BraQ=="),
        clock=clock or SystemClock(),
        idle_seconds=idle,
        sleep=clock.sleep if clock is not None else asyncio.sleep,
    )
    running = asyncio.create_task(service.run())
    try:
        yield Broker(service, audit, used)
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


async def test_one_lease_for_many_who_ask_at_once() -> None:
    async with FakeNode() as node, broker(node) as it:
        leases = await asyncio.gather(*(it.service.ensure("s1", "contoso/bob", LOOSE, 100) for _ in range(20)))
        assert len({lease.id for lease in leases}) == 1
        assert len(node.starts) == 1
        other = await it.service.ensure("s2", "contoso/carol", LOOSE, 100)
        assert other.id != leases[0].id
        assert it.audit.entries == [f"started {leases[0].id}", f"started {other.id}"]


@pytest.mark.case(16)
async def test_credentials_are_good_for_their_own_lease_only() -> None:
    async with FakeNode() as node, broker(node) as it:
        one = await it.service.ensure("s1", "contoso/bob", LOOSE, 100)
        two = await it.service.ensure("s2", "contoso/carol", LOOSE, 100)
        first, second = (start.egress for start in node.starts)
        assert len(first.password) >= 43
        assert first.password not in repr(one)
        assert one.credential_digest == digest(first.password)
        assert await it.service.find(first.username, first.password) == one
        assert await it.service.find(first.username, second.password) is None
        assert await it.service.find(second.username, second.password) == two
        for username, password in (
            (first.username, ""),
            ("", first.password),
            ("x", "y"),
            (first.username, one.credential_digest),
        ):
            assert await it.service.find(username, password) is None
        assert await it.service.end("s1", "session-ended")
        assert await it.service.find(first.username, first.password) is None
        await until(lambda: node.ends == [one.id])
        assert it.audit.entries[-1] == f"ended {one.id} session-ended"
        assert not await it.service.end("s1", "session-ended")


async def test_changed_controls_reach_the_live_lease() -> None:
    async with FakeNode() as node, broker(node) as it:
        one = await it.service.ensure("s1", "contoso/bob", LOOSE, 100)
        again = await it.service.ensure("s1", "contoso/bob", STRICT, 100)
        assert again.id == one.id
        assert [start.controls["clipboard"] for start in node.starts] == ["both", "none"]
        # Whichever password Chromium has, it is this lease's.
        for start in node.starts:
            found = await it.service.find(start.egress.username, start.egress.password)
            assert found is not None
            assert found.id == one.id


@pytest.mark.parametrize("controls", [STRICT, LOOSE])
async def test_a_page_that_is_asked_for_changes_nothing_of_a_browser_that_is_there(controls: Controls) -> None:
    """Anybody's link can make a person's browser ask for the page of another app: only its viewer, when it comes, counts."""
    async with FakeNode() as node, broker(node) as it:
        await it.service.expect(GRANT)
        one = await it.book.live("s1")
        assert one is not None
        await it.service.ensure("s1", "contoso/bob", Controls(clipboard=Clipboard.FROM_APP), 100)
        before, starts = await it.book.live("s1"), len(node.starts)
        await it.service.expect(replace(GRANT, app="Lab", controls=controls))
        assert await it.book.live("s1") == before
        assert len(node.starts) == starts


@pytest.mark.case(35)
async def test_one_browser_runs_under_the_strictest_controls_of_its_viewers() -> None:
    async with FakeNode() as node, broker(node) as it:
        strict = replace(GRANT, app="Lab", controls=STRICT)
        async with it.service.attach(GRANT, HELLO):
            async with it.service.attach(strict, HELLO):
                assert node.starts[-1].controls["clipboard"] == "none"
                async with it.service.attach(GRANT, HELLO):
                    assert node.starts[-1].controls["clipboard"] == "none"
            assert len({start.lease for start in node.starts}) == 1
        async with it.service.attach(GRANT, HELLO):
            pass
        assert node.starts[-1].controls["clipboard"] == "both"
        lease = await it.book.live("s1")
        assert lease is not None
        assert lease.apps == {"Payroll", "Lab"}


async def test_a_crashed_browser_is_replaced_on_demand() -> None:
    async with FakeNode() as node, broker(node) as it:
        one = await it.service.ensure("s1", "contoso/bob", LOOSE, 100)
        await node.crash(one.id)
        await until(lambda: it.audit.entries[-1] == f"ended {one.id} crashed")
        two = await it.service.ensure("s1", "contoso/bob", LOOSE, 100)
        assert two.id != one.id
        assert await it.service.find(one.id, node.starts[0].egress.password) is None


async def test_a_killed_node_is_waited_for_and_asked_anew() -> None:
    async with FakeNode() as node, broker(node) as it:
        one = await it.service.ensure("s1", "contoso/bob", LOOSE, 100)
        await node.stop()
        attaching = it.service.attach(GRANT, HELLO)
        asking = asyncio.create_task(attaching.__aenter__())
        await asyncio.sleep(0.3)
        await node.start()
        page = await asyncio.wait_for(asking, 5)
        assert isinstance(decode_from_renderer(await page.receive()), m.Ready)
        two = await it.book.live("s1")
        assert two is not None
        assert two.id != one.id
        assert f"ended {one.id} lost" in it.audit.entries
        await attaching.__aexit__(None, None, None)


async def test_a_connection_lost_for_a_moment_loses_no_browser() -> None:
    async with FakeNode() as node, broker(node) as it:
        one = await it.service.ensure("s1", "contoso/bob", LOOSE, 100)
        for connection in list(node._controls):
            connection.transport.abort()
        async with it.service.attach(GRANT, HELLO) as page:
            assert isinstance(decode_from_renderer(await page.receive()), m.Ready)
        assert (await it.service.ensure("s1", "contoso/bob", LOOSE, 100)).id == one.id
        assert len(node.starts) == 1


async def test_the_node_with_most_room_is_chosen_and_another_when_one_dies() -> None:
    async with FakeNode(capacity=1) as small, FakeNode(capacity=5) as large, broker(small, large) as it:
        await it.service.ensure("warm", "x", LOOSE, 100)
        assert [len(large.starts), len(small.starts)] == [1, 0]
        await large.stop()
        lease = await it.service.ensure("warm", "x", LOOSE, 100)
        assert lease.node == "n0"


@pytest.mark.case(59)
async def test_full_is_said_and_leaves_nothing_behind() -> None:
    async with FakeNode(capacity=1) as node, broker(node) as it:
        await it.service.ensure("s1", "contoso/bob", LOOSE, 100)
        with pytest.raises(BrokerError) as caught:
            await it.service.ensure("s2", "contoso/carol", LOOSE, 100)
        assert caught.value.code == "no-capacity"
        assert await it.book.live("s2") is None
        await it.service.end("s1", "done")
        await until(lambda: not node.leases)
        await asyncio.sleep(0.05)
        await it.service.ensure("s2", "contoso/carol", LOOSE, 100)


async def test_a_launch_that_fails_is_an_error_and_no_lease() -> None:
    async with FakeNode() as node, broker(node) as it:
        node.refuse_with = LeaseCode.NO_SANDBOX
        with pytest.raises(BrokerError) as caught:
            await it.service.ensure("s1", "contoso/bob", LOOSE, 100)
        assert caught.value.code == "renderer-lost"
        assert await it.book.live("s1") is None
        assert await it.service.find(node.starts[0].egress.username, node.starts[0].egress.password) is None


async def test_a_foreign_token_opens_nothing() -> None:
    async with FakeNode() as node:
        stranger = FakeNode(token="wrong")
        stranger.port = node.port
        async with broker(stranger) as it:
            await asyncio.sleep(0.2)
            assert await it.book.live("s1") is None
            assert not node._controls


async def test_a_lease_nobody_looks_at_ends() -> None:
    async with FakeNode() as node, broker(node, idle=0.4) as it:
        async with it.service.attach(GRANT, HELLO):
            await asyncio.sleep(0.9)
            assert not node.ends
        await until(lambda: len(node.ends) == 1)
        await until(lambda: it.audit.entries[-1].endswith(" idle"))


async def test_two_workers_share_the_book_in_the_store(tmp_path: Path) -> None:
    clock = SystemClock()
    store = Store.open(f"sqlite:///{tmp_path}/store.db", clock=clock)
    try:
        book = StoreLeaseBook(LeaseRepository(store))
        async with FakeNode() as node, broker(node, book=book) as one, broker(node, book=book) as two:
            first = await one.service.ensure("s1", "contoso/bob", LOOSE, 125, app="Payroll")
            second = await two.service.ensure("s1", "contoso/bob", LOOSE, 125, app="Payroll")
            assert first == second
            egress = node.starts[0].egress
            assert await two.service.find(egress.username, egress.password) == first
            stricter = await two.service.ensure("s1", "contoso/bob", STRICT, 125, app="Lab")
            assert (stricter.id, stricter.apps, stricter.controls) == (first.id, {"Payroll", "Lab"}, STRICT)
            assert await one.service.find(egress.username, egress.password) == stricter
            await two.service.end("s1", "session-ended")
            assert await one.service.find(egress.username, egress.password) is None
    finally:
        store.close()


# ---------------------------------------------------------------- watermark


async def test_a_watermark_says_who_when_and_where_and_keeps_the_time() -> None:
    clock = FakeClock(1_764_150_059.0)  # 2025-11-26 09:40:59 UTC
    grant = replace(GRANT, session_digest="7f3a9c01ffff", person="bob@contoso.example", controls=Controls(watermark=True))
    async with FakeNode() as node, broker(node, clock=clock) as it, it.service.attach(grant, HELLO):
        assert node.starts[-1].controls["watermark"] == "bob@contoso.example · 2025-11-26 09:40 UTC · 7f3a9c01"
        plain = replace(GRANT, session_digest="other", person="carol@contoso.example")
        async with it.service.attach(plain, HELLO):
            assert node.starts[-1].controls["watermark"] == ""
            await clock.elapse(2.0)
            await until(lambda: bool(node.marks))
            text = "bob@contoso.example · 2025-11-26 09:41 UTC · 7f3a9c01"
            assert [(mark.lease, mark.text) for mark in node.marks] == [(node.starts[0].lease, text)]


@given(st.text(), st.floats(0, 4e9))
def test_a_watermark_is_one_short_line_whatever_people_are_called(person: str, at: float) -> None:
    text = watermark(person, "7f3a9c01ffff", at)
    assert len(text.encode()) <= MAX_WATERMARK
    assert text.isprintable()
    assert text.endswith(" UTC · 7f3a9c01")
