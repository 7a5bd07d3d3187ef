"""Time, tabs and pace of a session over real WebSockets: the client lies, the renderer lies, and the router keeps its own count."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection

from isolation.policy.controls import Controls
from isolation.testing.clock import FakeClock
from isolation.testing.fake_node import FakePage, whole
from isolation.testing.viewer_site import ViewerSite
from renderer.wire import messages as m
from renderer.wire.codec import encode
from tests.app.test_viewer import HELLO, configuration, opened, stream, until


class Site(ViewerSite):
    """A site whose time is moved by hand."""

    def __init__(self, **controls: Any) -> None:
        self.clock = FakeClock()
        super().__init__(controls=Controls(**controls), clock=self.clock)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass once everybody who waits for it waits."""
        async with asyncio.timeout(10):
            while not self.clock.sleeping:  # noqa: ASYNC110 - nothing tells when a stream has come to rest
                await asyncio.sleep(0.01)
        await self.clock.elapse(seconds)


async def heard(connection: ClientConnection, page: FakePage, text: str) -> None:
    """Wait until a typed text has passed the router."""
    await connection.send(encode(m.Text(text)))
    await page.wait_for(lambda it: m.Text(text) in it.received)


async def test_an_unused_session_is_warned_and_ends_for_all_its_pages() -> None:
    async with Site(idle_minutes=10) as site, stream(site) as one, stream(site) as two:
        page = site.node.pages[(await opened(one)).page]
        await opened(two)
        await site.pass_time(545)
        assert await until(one, m.Ending) == m.Ending(m.EndingReason.IDLE, 60)
        assert (await until(two, m.Ending)).seconds > 0
        # Somebody is there after all, in one of the pages: both are told.
        await heard(one, page, "here")
        assert await until(one, m.Ending) == m.Ending(m.EndingReason.IDLE, 0)
        assert await until(two, m.Ending) == m.Ending(m.EndingReason.IDLE, 0)
        await site.pass_time(600)
        assert await until(one, m.Closed) == m.Closed(m.CloseCode.IDLE)
        assert await until(two, m.Closed) == m.Closed(m.CloseCode.IDLE)
        lease = page.lease
        assert site.node.ends == [lease]
        assert site.audit.entries == [f"started {lease}", f"ended {lease} idle"]


async def test_a_viewer_that_says_much_and_does_nothing_is_idle() -> None:
    """The client lies: acknowledgements, sizes and focus come as if somebody were there."""
    async with Site(idle_minutes=1) as site, stream(site) as connection:
        page = site.node.pages[(await opened(connection)).page]
        for n in range(6):
            await site.pass_time(9.0)
            for message in (m.Resize(320, 240 + n, 100), m.Focus(True, bool(n % 2)), m.Refresh(False)):
                await connection.send(encode(message))
            await page.wait_for(lambda it, n=n: m.Resize(320, 240 + n, 100) in it.received)
        await site.pass_time(8.0)
        assert await until(connection, m.Closed) == m.Closed(m.CloseCode.IDLE)


@pytest.mark.parametrize("limit", [{"idle_minutes": 2}, {"total_minutes": 2}])
async def test_a_renderer_cannot_prolong_a_session(limit: dict[str, int]) -> None:
    """The renderer lies: whatever it sends, its time is the router's."""
    async with Site(**limit) as site, stream(site) as connection:
        page = site.node.pages[(await opened(connection)).page]
        for n in range(11):
            await site.pass_time(10.0)
            await page.send(m.Title(f"busy {n}"))
            assert (await until(connection, m.Title)).text == f"busy {n}"
        await site.pass_time(11.0)
        assert (await until(connection, m.Closed)).code in {m.CloseCode.IDLE, m.CloseCode.TIME_UP}


async def test_a_renderer_that_speaks_of_the_end_is_cut_off() -> None:
    async with Site(idle_minutes=10) as site, stream(site) as connection:
        page = site.node.pages[(await opened(connection)).page]
        await page.send(m.Ending(m.EndingReason.IDLE, 0))
        assert await until(connection, m.Closed) == m.Closed(m.CloseCode.RENDERER_LOST)


async def test_after_its_time_a_session_may_begin_anew() -> None:
    async with Site(total_minutes=5) as site:
        async with stream(site) as connection:
            await opened(connection)
            await site.pass_time(301)
            assert await until(connection, m.Closed) == m.Closed(m.CloseCode.TIME_UP)
        async with stream(site) as connection:
            assert not (await opened(connection)).resumed
            assert len(site.node.starts) == 2
            assert re.fullmatch(r"started \S+;ended \S+ time-up;started \S+", ";".join(site.audit.entries))


# ---------------------------------------------------------------- tabs


async def test_one_page_more_than_allowed_finds_no_place_whatever_the_renderer_thinks() -> None:
    """The client lies (it opens another), and so does the renderer (it would take it)."""
    async with Site(tabs=2) as site, stream(site) as one, stream(site) as two:
        await opened(one)
        await opened(two)
        ticket = (await configuration(site))["ticket"]
        async with stream(site, ticket) as three:
            await three.send(encode(HELLO))
            assert await until(three, m.Closed) == m.Closed(m.CloseCode.TAB_LIMIT)
        assert len(site.node.pages) == 2
        # The two others go on, and the place of one that left is free.
        await heard(two, list(site.node.pages.values())[-1], "still here")
        await one.close()
        async with asyncio.timeout(10):
            while site.relay.streams > 1:  # noqa: ASYNC110 - nothing tells when the router has noticed
                await asyncio.sleep(0.01)
        async with stream(site) as three:
            await opened(three)


# ---------------------------------------------------------------- bandwidth


async def test_a_renderer_is_read_no_faster_than_allowed() -> None:
    """The renderer lies: it sends without regard for its pace; the viewer lies: it acknowledges at once. 100 kilobits are 12,500 bytes a second."""

    async def flood(page: FakePage, message: m.ToRenderer) -> None:
        if isinstance(message, m.Hello):
            noise = np.random.default_rng(1).integers(0, 255, (64, 64, 3), dtype=np.uint8)
            page.seq += 1
            await page.send(whole(page.seq, noise))
            for n in range(2, 12):
                await page.send(m.Title("x" * 1000 + str(n)))

    site = Site(bandwidth_kbps=100)
    site.node.script = flood
    async with site, stream(site) as connection:
        await opened(connection)
        sizes: list[int] = []
        began = site.clock.monotonic()
        while len(sizes) < 11:
            try:
                async with asyncio.timeout(0.3):
                    sizes.append(len(await connection.recv(decode=False)))
            except TimeoutError:
                await site.clock.elapse(0.05)  # everybody waits for time to pass
        waited = site.clock.monotonic() - began
        before_last = sum(sizes[:-1])
        assert before_last > 20_000
        assert before_last <= 12_500 * waited + 12_500  # a second's worth may come at once
