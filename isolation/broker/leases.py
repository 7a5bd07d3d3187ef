"""One Chromium for one signed-in session: started on demand, kept while it is used, ended with the session.

The service asks, the node decides: whether a lease is alive is known for certain only when a page is opened on it. So a lease in the
book is used as it stands; where the node has no such lease (it was restarted, Chromium died), the book is corrected and another is started.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Protocol

import structlog

from isolation.broker.figures import Figures, NoFigures
from isolation.broker.model import EgressAddress, Grant, Lease, NodeAddress
from isolation.broker.nodes import NodeLink, NodePool, PageLink, UnknownLeaseError, first
from isolation.broker.queue import FullLineError, Place, WaitingLine
from isolation.broker.watermark import watermark
from isolation.clock import Clock
from isolation.errors import BrokerError, StoreError
from isolation.policy.controls import Controls, meet
from isolation.policy.isolation import strictest
from isolation.tokens import digest, equal, new_secret
from renderer.wire.control import Egress, LeaseCode, StartLease
from renderer.wire.messages import Hello

log = structlog.get_logger()

# ---------------------------------------------------------------- limits
KNOWN_NODE_SECONDS = 2.0  # a node that holds the person's pages is waited for: a restarted one is back in one second
ANY_NODE_SECONDS = 8.0  # with no node at all, the viewer waits this long before it is told
ATTEMPTS = 3  # one for the lease in the book, one for a new one, one for a node that died in between
MINUTE = 60.0  # seconds between two times that a watermark says
IDLE_SECONDS = 150.0  # a lease without viewers; longer than a node's own grace (120 s), so that this is only the back-stop
TELL_SECONDS = 4.0  # between two words to a viewer that waits: it takes thirteen seconds of silence for a dead line
REFUSED_SECONDS = 0.25  # after a node that seemed to have room refused: what it says of itself is on its way
SWEEP_SECONDS = 10.0  # how exactly that is kept
USUAL_SCALE = 100  # device pixels per CSS pixel in hundredths, until a viewer says its own


Queued = Callable[[int, int], Awaitable[None]]
"""Told a viewer's place in the line, and how many seconds people waited lately."""


class LeaseBook(Protocol):
    """Where live leases are written down. With several router workers it is shared between them."""

    async def live(self, session_digest: str) -> Lease | None:
        """Return the session's live lease."""
        ...

    async def by_id(self, lease: str) -> Lease | None:
        """Return a live lease by its id."""
        ...

    async def open(self, lease: Lease) -> Lease:
        """Write a lease down, unless its session has a live one; return the one that is live now. Atomic."""
        ...

    async def change(self, lease: Lease) -> None:
        """Write down new controls and a new credential of a live lease."""
        ...

    async def touch(self, lease: str, at: float) -> None:
        """Note that somebody did something in a live lease, at ``at`` (epoch seconds)."""
        ...

    async def close(self, lease: str, *, at: float, why: str) -> bool:
        """Mark a lease as ended; say whether it was live until now."""
        ...


class MemoryLeaseBook:
    """The book of one process."""

    def __init__(self) -> None:
        self._by_id: dict[str, Lease] = {}
        self._by_session: dict[str, str] = {}

    async def live(self, session_digest: str) -> Lease | None:
        """See :class:`LeaseBook`."""
        return self._by_id.get(self._by_session.get(session_digest, ""))

    async def by_id(self, lease: str) -> Lease | None:
        """See :class:`LeaseBook`."""
        return self._by_id.get(lease)

    async def open(self, lease: Lease) -> Lease:
        """See :class:`LeaseBook`."""
        if (known := await self.live(lease.session_digest)) is not None:
            return known
        self._by_id[lease.id] = lease
        self._by_session[lease.session_digest] = lease.id
        return lease

    async def change(self, lease: Lease) -> None:
        """See :class:`LeaseBook`."""
        known = self._by_id.get(lease.id)
        if known is not None:
            self._by_id[lease.id] = replace(lease, active_at=known.active_at)

    async def touch(self, lease: str, at: float) -> None:
        """See :class:`LeaseBook`."""
        known = self._by_id.get(lease)
        if known is not None:
            self._by_id[lease] = replace(known, active_at=max(at, known.active_at))

    async def close(self, lease: str, *, at: float, why: str) -> bool:  # noqa: ARG002 - memory keeps no history
        """See :class:`LeaseBook`."""
        known = self._by_id.pop(lease, None)
        if known is not None:
            self._by_session.pop(known.session_digest, None)
        return known is not None


class LeaseAudit(Protocol):
    """Writes the start and the end of isolation into the audit log, before the effect is visible."""

    async def isolation_started(self, lease: Lease) -> None:
        """Record that a browser starts for a session."""
        ...

    async def isolation_ended(self, lease: Lease, why: str) -> None:
        """Record that it ended. ``why``: a :class:`~renderer.wire.control.LeaseCode` value or the router's own reason."""
        ...


class LeaseService:
    """Leases of this worker's viewers. ``run`` keeps the nodes connected and ends what nobody uses."""

    def __init__(
        self,
        *,
        nodes: Sequence[NodeAddress],
        book: LeaseBook,
        audit: LeaseAudit,
        egress: EgressAddress,
        clock: Clock,
        idle_seconds: float | None = IDLE_SECONDS,
        figures: Figures = NoFigures(),  # noqa: B008 - has no state
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``idle_seconds``: None leaves idle leases to the nodes, as several workers must: each sees its own viewers only.

        ``sleep``: how the next minute is waited for.
        """
        self._sleep = sleep
        self._pool = NodePool(tuple(nodes), egress=egress, on_ended=self._node_ended)
        self._book = book
        self._audit = audit
        self._egress = egress
        self._clock = clock
        self._idle_seconds = idle_seconds
        self._figures = figures
        self._ensuring: dict[str, asyncio.Task[Lease]] = {}
        self._viewers: dict[str, Counter[Controls]] = {}
        self._idle_since: dict[str, float] = {}
        self._people: dict[str, str] = {}  # names for watermarks, by session
        self._closing: set[asyncio.Task[None]] = set()
        self.line = WaitingLine()
        self._moved = asyncio.Event()  # set at the next change of the line; a waiter clears nothing, a new one replaces it

    @property
    def nodes(self) -> Mapping[str, NodeLink]:
        """Return the control connections by node name, for metrics, readiness and the console."""
        return self._pool.links

    async def run(self) -> None:
        """Keep the nodes' control connections open and end idle leases, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pool.run())
            group.create_task(self._mark())
            if self._idle_seconds is not None:
                group.create_task(self._sweep(self._idle_seconds))

    def _node_ended(self, lease: str, code: LeaseCode) -> None:
        task = asyncio.get_running_loop().create_task(self._forget(lease, code.value))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def ensure(self, session_digest: str, person_key: str, controls: Controls, scale: int, *, app: str = "") -> Lease:
        """Return the session's lease, started or adjusted as needed. Single-flight per session. Raises :class:`BrokerError`.

        Several apps may be open in one Chromium: it runs under the strictest controls of the viewers it has and the one that asks.
        """
        for _ in range(ATTEMPTS):
            task = self._ensuring.get(session_digest)
            if task is None:
                task = asyncio.get_running_loop().create_task(self._ensure(session_digest, person_key, controls, scale, app))
                self._ensuring[session_digest] = task
                task.add_done_callback(lambda _: self._ensuring.pop(session_digest, None))
            # A viewer that leaves while its browser starts must not take the browser from the others that wait for it.
            lease = await asyncio.shield(task)
            if meet(lease.controls, controls) == lease.controls and (not app or app in lease.apps):
                return lease
        raise BrokerError("the controls of this session change faster than its browser can follow", code="renderer-lost")

    async def expect(self, grant: Grant) -> None:
        """Start the session's browser where it has none: a viewer of it is on its way. Raises :class:`BrokerError`.

        A browser that is there is left as it is: its controls follow the viewers that come, not the pages that were asked for.
        """
        if await self._book.live(grant.session_digest) is not None:
            return
        if grant.person:
            self._people[grant.session_digest] = grant.person
        await self.ensure(grant.session_digest, grant.person_key, grant.controls, USUAL_SCALE, app=grant.app)

    @asynccontextmanager
    async def attach(self, grant: Grant, hello: Hello, queued: Queued | None = None) -> AsyncIterator[PageLink]:
        """Open a page connection on the session's lease, starting one where needed, and say hello. Raises :class:`BrokerError`.

        When every browser is in use, the viewer waits its turn; ``queued`` is told its place and how many seconds people waited lately, on every
        change and every few seconds. What ``queued`` raises ends the wait. Without ``queued`` nobody waits.
        """
        async with AsyncExitStack() as stack:
            lease, page = await self._admitted(stack, grant, hello, queued)
            viewers = self._viewers.setdefault(lease.id, Counter())
            viewers[grant.controls] += 1
            self._idle_since.pop(lease.id, None)
            try:
                yield page
            finally:
                viewers[grant.controls] -= 1
                if not viewers.total() and self._viewers.get(lease.id) is viewers:
                    del self._viewers[lease.id]
                    self._idle_since[lease.id] = self._clock.monotonic()

    async def find(self, username: str, password: str) -> Lease | None:
        """Return the live lease these egress credentials belong to, or None. Compares in constant time."""
        lease = await self._book.by_id(username)
        # The digest is computed for unknown names too: time does not tell which names exist.
        given = digest(password)
        if lease is None or not any(equal(given, known) for known in lease.credential_digest.split(",")):
            return None
        return lease

    async def live(self, session_digest: str) -> Lease | None:
        """Return the session's live lease, or None."""
        return await self._book.live(session_digest)

    async def touch(self, session_digest: str, at: float) -> None:
        """Note that somebody did something in a session, at ``at`` (epoch seconds)."""
        lease = await self._book.live(session_digest)
        if lease is not None:
            await self._book.touch(lease.id, at)

    async def end(self, session_digest: str, why: str) -> bool:
        """End the session's lease; say whether it had one."""
        task = self._ensuring.get(session_digest)
        if task is not None:
            await asyncio.wait([task])
        lease = await self._book.live(session_digest)
        if lease is None:
            return False
        await self._close(lease, why)
        return True

    # ------------------------------------------------------------ inside

    async def _admitted(self, stack: AsyncExitStack, grant: Grant, hello: Hello, queued: Queued | None) -> tuple[Lease, PageLink]:
        try:
            return await self._enter(stack, grant, hello)
        except BrokerError as error:
            if error.code != "no-capacity" or queued is None:
                raise
        while True:
            try:
                place = self.line.join(grant.session_digest, self._clock.monotonic())
            except FullLineError:
                raise BrokerError("too many wait for an isolated browser", code="no-capacity") from None
            try:
                await self._turn(place, queued)
                entered = await self._enter(stack, grant, hello)
                now = self._clock.monotonic()
                self.line.served(place, now)
                self._figures.waited(now - place.since)
                return entered
            except BrokerError as error:
                if error.code != "no-capacity":
                    raise
                await asyncio.sleep(REFUSED_SECONDS)
            finally:
                self.line.leave(place, self._clock.monotonic())
                self._line_moved()

    async def _turn(self, place: Place, queued: Queued) -> None:
        """Return when as many browsers are free as sessions wait up to this place. ``queued`` is told while it waits."""
        told: tuple[int, int] | None = None
        loop = asyncio.get_running_loop()
        again = 0.0
        while self.line.holds(place):
            moved = self._moved
            news = self._pool.news()
            now = self._clock.monotonic()
            ahead = self.line.ahead(place.session, now)
            if self._pool.free > ahead:
                return
            shown = (ahead + 1, self.line.waited(now))
            if shown != told or loop.time() >= again:
                told, again = shown, loop.time() + TELL_SECONDS
                await queued(*shown)
            await first([*news, moved], max(0.0, again - loop.time()))

    def _line_moved(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _enter(self, stack: AsyncExitStack, grant: Grant, hello: Hello) -> tuple[Lease, PageLink]:
        last: BrokerError | None = None
        for _ in range(ATTEMPTS):
            if grant.person:
                self._people[grant.session_digest] = grant.person
            lease = await self.ensure(grant.session_digest, grant.person_key, grant.controls, hello.scale, app=grant.app)
            link = self._pool.get(lease.node)
            if link is None:
                await self._close(lease, "node-removed")
                continue
            try:
                async with AsyncExitStack() as attempt:
                    page = await attempt.enter_async_context(link.page(lease.id, grant.origin))
                    await page.greet(hello)
                    await stack.enter_async_context(attempt.pop_all())
                    return lease, page
            except UnknownLeaseError as error:
                last = error
                await self._forget(lease.id, "lost")
            except BrokerError as error:
                # The node went away between the control connection's word and ours: the next round waits for it.
                last = error
                await asyncio.sleep(0.05)
        raise last or BrokerError("no renderer node can be reached", code="renderer-lost")

    async def _ensure(self, session_digest: str, person_key: str, controls: Controls, scale: int, app: str) -> Lease:
        apps = frozenset({app} if app else ())
        lease = await self._book.live(session_digest)
        if lease is not None:
            link = await self._pool.wait_up(lease.node, wait=KNOWN_NODE_SECONDS)
            if link is not None:
                controls = strictest([controls, *(+self._viewers.get(lease.id, Counter()))])
                if not apps <= lease.apps:
                    lease = replace(lease, apps=lease.apps | apps)
                    await self._book.change(lease)
                if lease.controls == controls:
                    return lease
                try:
                    return await self._adjust(link, lease, controls)
                except BrokerError:
                    log.warning("lease.not_adjusted", lease=lease.id, node=lease.node)
            await self._close(lease, "node-lost")
        return await self._start(session_digest, person_key, controls, scale, apps)

    async def _adjust(self, link: NodeLink, lease: Lease, controls: Controls) -> Lease:
        """Give a live lease new controls. Should the node have lost it meanwhile, it starts one: hence a new password beside the old."""
        password = new_secret()
        known = lease.credential_digest.split(",")[-1]
        lease = replace(lease, controls=controls, credential_digest=f"{known},{digest(password)}")
        await self._book.change(lease)
        await link.start(self._order(lease, password))
        return lease

    async def _start(self, session_digest: str, person_key: str, controls: Controls, scale: int, apps: frozenset[str]) -> Lease:
        for attempt in range(ATTEMPTS):
            ahead = self.line.ahead(session_digest, self._clock.monotonic())
            if ahead and self._pool.free <= ahead:
                raise BrokerError("others wait for an isolated browser", code="no-capacity")
            link = await self._pool.choose(wait=ANY_NODE_SECONDS)
            password = new_secret()
            wanted = Lease(
                id=new_secret(16),
                session_digest=session_digest,
                person_key=person_key,
                node=link.address.name,
                controls=controls,
                scale=scale,
                credential_digest=digest(password),
                started_at=self._clock.now(),
                apps=apps,
            )
            lease = await self._book.open(wanted)
            if lease.id != wanted.id:
                return lease  # another worker was faster
            await self._audit.isolation_started(lease)
            asked = self._clock.monotonic()
            try:
                await link.start(self._order(lease, password))
            except BrokerError as error:
                self._figures.started(error.code, self._clock.monotonic() - asked)
                await self._close(lease, error.code)
                if error.code == "no-capacity" or attempt == ATTEMPTS - 1:
                    raise
            except asyncio.CancelledError:
                await self._close(lease, "cancelled")
                raise
            else:
                self._figures.started("started", self._clock.monotonic() - asked)
                log.info("lease.started", lease=lease.id, node=lease.node)
                self._idle_since[lease.id] = self._clock.monotonic()
                return lease
        raise BrokerError("no renderer node could start a browser", code="renderer-lost")

    def _order(self, lease: Lease, password: str) -> StartLease:
        egress = Egress(self._egress.host, self._egress.port, lease.id, password, self._egress.spki)
        return StartLease(lease.id, egress, lease.controls.for_node(self._watermark(lease)), lease.scale)

    def _watermark(self, lease: Lease) -> str:
        person = self._people.get(lease.session_digest) or lease.person_key
        return watermark(person, lease.session_digest, self._clock.now())

    async def _mark(self) -> None:
        """Keep the time in the watermarks of this worker's viewers, minute by minute."""
        while True:
            await self._sleep(MINUTE - self._clock.now() % MINUTE)
            marked = [key for key, viewers in self._viewers.items() if any(controls.watermark for controls in +viewers)]
            for lease_id in marked:
                try:
                    lease = await self._book.by_id(lease_id)
                except StoreError as error:
                    log.warning("lease.mark_unread", lease=lease_id, error=str(error))
                    continue
                link = self._pool.get(lease.node) if lease is not None else None
                if lease is not None and link is not None:
                    await link.mark(lease.id, self._watermark(lease))

    async def _close(self, lease: Lease, why: str) -> None:
        await self._forget(lease.id, why)
        link = self._pool.get(lease.node)
        if link is not None:
            await link.end(lease.id)

    async def _forget(self, lease_id: str, why: str) -> None:
        lease = await self._book.by_id(lease_id)
        self._idle_since.pop(lease_id, None)
        self._viewers.pop(lease_id, None)
        if lease is not None:
            self._people.pop(lease.session_digest, None)
        if lease is not None and await self._book.close(lease_id, at=self._clock.now(), why=why):
            self._figures.ended(why)
            log.info("lease.ended", lease=lease_id, node=lease.node, why=why)
            await self._audit.isolation_ended(lease, why)

    async def _sweep(self, idle_seconds: float) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, idle_seconds / 2))
            now = self._clock.monotonic()
            for lease_id in [key for key, since in self._idle_since.items() if now - since >= idle_seconds]:
                lease = await self._book.by_id(lease_id)
                if lease is not None and lease_id not in self._viewers:
                    await self._close(lease, LeaseCode.IDLE.value)
