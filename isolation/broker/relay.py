"""Joins a viewer's stream to its page on a renderer node, with the gatekeeper in between.

Nothing is queued here: one message of each direction is in hand, and whoever is slow makes the other side wait. When the decision that
allowed the stream changes, the viewer is told in the router's own words and the stream ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

import structlog

from isolation.broker.allowance import EVENTS_BURST, EVENTS_PER_SECOND, INPUTS_BURST, INPUTS_PER_SECOND, Allowance, cost
from isolation.broker.figures import Figures, NoFigures
from isolation.broker.gatekeeper import Close, Drop, Gatekeeper, Pass
from isolation.broker.hours import Activity, Watch, is_deed
from isolation.broker.leases import LeaseService
from isolation.broker.model import Grant
from isolation.broker.nodes import PageLink
from isolation.broker.pace import Pace
from isolation.broker.transfers import Record
from isolation.clock import Clock
from isolation.errors import BrokerError, IsolationError, StoreError
from renderer.wire.codec import MAX_QUEUE_SHOWN, MAX_SECONDS, encode
from renderer.wire.messages import CloseCode, Closed, Frame, Hello, Loading, Notice, Queued

log = structlog.get_logger()

# ---------------------------------------------------------------- limits
HELLO_SECONDS = 10.0  # a viewer's script says hello in its first tick; who does not is not a viewer
HEARTBEAT_SECONDS = 4.0  # silence after which the viewer is told that the line still stands

# What the registry of live connections says, in the viewer's codes. Anything unforeseen makes the viewer ask again by reloading.
_GOING_AWAY = (
    "going-away"  # this worker stops: the line breaks without a word, and the viewer connects again until somebody answers
)
_WHY = {
    "released": CloseCode.RELEASED,
    "redecided": CloseCode.REDECIDED,
    "isolated": CloseCode.REDECIDED,
    "session-ended": CloseCode.SESSION_ENDED,
    "refused": CloseCode.REFUSED,
}


class ViewerGoneError(IsolationError):
    """The viewer's connection ended."""

    code = "viewer-gone"


class ViewerSocket(Protocol):
    """A viewer's accepted WebSocket."""

    async def receive(self) -> bytes:
        """Return the next binary message. Raises :class:`ViewerGoneError`; a text message is one of zero bytes."""
        ...

    async def send(self, data: bytes) -> None:
        """Send a binary message, waiting while the viewer reads slowly. Raises :class:`ViewerGoneError`."""
        ...

    async def close(self) -> None:
        """Close; never raises."""
        ...


class LiveHandle(Protocol):
    """A registration in the registry of live connections."""

    def close(self) -> None:
        """Take the registration back."""
        ...


class LiveConnections(Protocol):
    """The registry that ends what is live when a decision changes (``isolation.identity.sessions.live``)."""

    def open(self, session_digest: str, app_name: str, closer: Callable[[str], None]) -> LiveHandle:
        """Register ``closer``, to be called with the reason."""
        ...


class TransferAudit(Protocol):
    """The audit log, for what crosses between device and page."""

    async def transferred(self, grant: Grant, record: Record) -> None:
        """Write down one transfer. Raises :class:`~isolation.errors.StoreError` when it is not written."""
        ...


class Relay:
    """All streams of this worker."""

    def __init__(
        self,
        *,
        leases: LeaseService,
        live: LiveConnections,
        audit: TransferAudit,
        clock: Clock,
        figures: Figures = NoFigures(),  # noqa: B008 - has no state
        sleep: Callable[[float], Coroutine[None, None, None]] = asyncio.sleep,
    ) -> None:
        """``sleep``: how time is waited for."""
        self._figures = figures
        self._leases = leases
        self._audit = audit
        self._live = live
        self._clock = clock
        self._sleep = sleep
        self._activity = Activity(leases, clock)
        self._streams: dict[tuple[str, str], asyncio.Future[CloseCode | None]] = {}
        self._over: dict[str, CloseCode] = {}  # sessions whose browser is being ended by the clock
        self._expiring: set[asyncio.Task[None]] = set()
        self._starting: set[asyncio.Task[None]] = set()

    @property
    def streams(self) -> int:
        """Return how many streams are open."""
        return len(self._streams)

    def expect(self, grant: Grant) -> None:
        """Start the session's browser in the background: somebody is being sent a viewer page, whose stream comes a moment later.

        What goes wrong is said to the stream when it comes. A browser that nobody comes for ends like any that nobody uses.
        """
        task = asyncio.get_running_loop().create_task(self._start(grant))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _start(self, grant: Grant) -> None:
        try:
            await self._leases.expect(grant)
        except (BrokerError, StoreError) as error:
            log.debug("relay.not_expected", why=str(error))

    async def run(self, viewer: ViewerSocket, grant: Grant, instance: str) -> None:
        """Serve one accepted stream to its end. ``instance``: the viewer page's id; its newest stream replaces the one before."""
        told: asyncio.Future[CloseCode | None] = asyncio.get_running_loop().create_future()

        def tell(code: CloseCode | None) -> None:
            if not told.done():
                told.set_result(code)

        key = (grant.session_digest, instance)
        if (before := self._streams.get(key)) is not None and not before.done():
            before.set_result(CloseCode.REPLACED)
        self._streams[key] = told
        handle = self._live.open(grant.session_digest, grant.app, lambda why: tell(_code(why)))
        # A page that is opened again takes its own place; one more than the controls allow finds none, whatever the renderer thinks.
        crowded = sum(session == grant.session_digest for session, _ in self._streams) > grant.controls.tabs
        talk = asyncio.get_running_loop().create_task(self._converse(viewer, grant, crowded=crowded))
        try:
            waiting: list[asyncio.Future[CloseCode | None]] = [talk, told]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            code = told.result() if told.done() else talk.result()
        finally:
            handle.close()
            if self._streams.get(key) is told:
                del self._streams[key]
            talk.cancel()
            await asyncio.gather(talk, return_exceptions=True)
        try:
            if code is not None:
                log.info("stream.ended", app=grant.app, why=code.value)
                await viewer.send(encode(Closed(code)))
        except ViewerGoneError:
            pass
        finally:
            await viewer.close()

    async def _converse(self, viewer: ViewerSocket, grant: Grant, *, crowded: bool) -> CloseCode | None:
        """Return what the viewer has yet to be told, or None when it left or knows."""
        gate = Gatekeeper(grant.controls)
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                first = gate.from_viewer(await viewer.receive())
        except TimeoutError:
            return CloseCode.PROTOCOL
        except ViewerGoneError:
            return None
        if not isinstance(first, Pass) or not isinstance(first.message, Hello):
            return CloseCode.PROTOCOL
        if crowded:
            return CloseCode.TAB_LIMIT

        async def queued(position: int, waited: int) -> None:
            await viewer.send(encode(Queued(min(position, MAX_QUEUE_SHOWN), min(waited, MAX_SECONDS))))

        self._acted(grant, first.message)
        watch = Watch(grant, self._activity, self._leases, self._clock, self._sleep)
        try:
            async with self._leases.attach(grant, first.message, queued) as page:
                code = await self._pump(viewer, page, gate, grant, watch)
        except BrokerError as error:
            log.warning("stream.broken", app=grant.app, code=error.code, error=str(error))
            code = CloseCode.NO_CAPACITY if error.code == "no-capacity" else CloseCode.RENDERER_LOST
        except StoreError as error:
            log.warning("stream.unwatched", app=grant.app, error=str(error))
            code = CloseCode.RENDERER_LOST
        except ViewerGoneError:
            return None
        if code is CloseCode.RENDERER_LOST:
            # Its browser may be gone because the session's time is up, and another stream was the first to say so.
            return self._over.get(grant.session_digest) or watch.over() or code
        return code

    async def _write_down(self, grant: Grant, records: tuple[Record, ...]) -> None:
        for record in records:
            await self._audit.transferred(grant, record)

    def _acted(self, grant: Grant, message: object) -> None:
        if is_deed(message):
            self._activity.deed(grant.session_digest)

    async def _expire(self, grant: Grant, code: CloseCode) -> None:
        """End a session's browser, and tell every page of it that this worker serves."""
        if grant.session_digest in self._over:
            return
        self._over[grant.session_digest] = code
        try:
            await self._leases.end(grant.session_digest, code.value)
        finally:
            del self._over[grant.session_digest]
        for (session, _), told in self._streams.items():
            if session == grant.session_digest and not told.done():
                told.set_result(code)

    async def _pump(self, viewer: ViewerSocket, page: PageLink, gate: Gatekeeper, grant: Grant, watch: Watch) -> CloseCode | None:
        drawn = asyncio.Event()
        viewer = _OneAtATime(viewer)
        upward = asyncio.create_task(self._upward(viewer, page, gate, drawn, grant))
        downward = asyncio.create_task(self._downward(viewer, page, gate, drawn, grant))
        tasks = [upward, downward]
        if watch.needed:
            tasks.append(asyncio.create_task(self._keep_time(viewer, grant, watch)))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # The renderer's end is looked at first: it may have said why before it went.
            return next(task for task in (downward, upward, *tasks[2:]) if task.done()).result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._write_down(grant, gate.end())

    async def _keep_time(self, viewer: ViewerSocket, grant: Grant, watch: Watch) -> CloseCode | None:
        code = await watch.run(viewer.send)
        # Its page going away ends this task, and must not end what it began.
        ending = asyncio.get_running_loop().create_task(self._expire(grant, code))
        self._expiring.add(ending)
        ending.add_done_callback(self._expiring.discard)
        await asyncio.shield(ending)
        return code

    async def _downward(
        self, viewer: ViewerSocket, page: PageLink, gate: Gatekeeper, drawn: asyncio.Event, grant: Grant
    ) -> CloseCode | None:
        allowance = Allowance(EVENTS_PER_SECOND, EVENTS_BURST, self._clock.monotonic())
        kilobits = grant.controls.bandwidth_kbps
        pace = Pace(kilobits * 1000 / 8) if kilobits is not None else None
        heartbeat = encode(Loading(active=False))
        incoming = asyncio.ensure_future(page.receive())
        try:
            while True:
                await asyncio.wait([incoming], timeout=HEARTBEAT_SECONDS)
                if not incoming.done():
                    if gate.ready:
                        await viewer.send(heartbeat)
                    continue
                received = incoming.result()
                verdict = gate.from_renderer(received, self._clock.monotonic())
                await self._write_down(grant, verdict.records)
                match verdict:
                    case Close(code, rule):
                        log.warning("gate.closed", app=grant.app, rule=rule)
                        return code
                    case Drop(rule, back, onward):
                        log.info("gate.dropped", app=grant.app, rule=rule)
                        if onward:
                            await viewer.send(onward)
                        if back:
                            await page.send(back)
                    case Pass(message, data):
                        await viewer.send(data)
                        self._figures.sent("frame" if isinstance(message, Frame) else "event", len(data))
                        if isinstance(message, Notice):
                            self._figures.noticed(message.code.value)
                        if isinstance(message, Closed):
                            return None
                        if isinstance(message, Loading):
                            heartbeat = data
                passed = verdict.message if isinstance(verdict, Pass) else None
                now = self._clock.monotonic()
                waits = [allowance.spend(cost(passed, len(received)), now)]
                if pace is not None:
                    waits.append(pace.take(len(received), now))
                if (wait := max(waits)) > 0:
                    await self._sleep(wait)
                while gate.congested:
                    drawn.clear()
                    await drawn.wait()
                incoming = asyncio.ensure_future(page.receive())
        finally:
            incoming.cancel()
            await asyncio.gather(incoming, return_exceptions=True)

    async def _upward(
        self, viewer: ViewerSocket, page: PageLink, gate: Gatekeeper, drawn: asyncio.Event, grant: Grant
    ) -> CloseCode | None:
        allowance = Allowance(INPUTS_PER_SECOND, INPUTS_BURST, self._clock.monotonic())
        while True:
            received = await viewer.receive()
            verdict = gate.from_viewer(received, self._clock.monotonic())
            await self._write_down(grant, verdict.records)
            match verdict:
                case Close(code, rule):
                    log.warning("gate.closed", app=grant.app, rule=rule)
                    return code
                case Drop(rule, back, onward):
                    log.info("gate.dropped", app=grant.app, rule=rule)
                    if onward:
                        await page.send(onward)
                    if back:
                        await viewer.send(back)
                case Pass(message, data):
                    self._acted(grant, message)
                    await page.send(data)
            drawn.set()
            passed = verdict.message if isinstance(verdict, Pass) else None
            if (wait := allowance.spend(cost(passed, len(received)), self._clock.monotonic())) > 0:
                await self._sleep(wait)


class _OneAtATime:
    """A viewer's socket that several tasks send through, whole messages each."""

    def __init__(self, socket: ViewerSocket) -> None:
        self._socket = socket
        self._turn = asyncio.Lock()

    async def receive(self) -> bytes:
        return await self._socket.receive()

    async def send(self, data: bytes) -> None:
        async with self._turn:
            await self._socket.send(data)

    async def close(self) -> None:
        await self._socket.close()


def _code(why: str) -> CloseCode | None:
    """Return what a viewer is told; None: nothing, its page stands and is not to be loaded from a router that is not there."""
    return None if why == _GOING_AWAY else _WHY.get(why, CloseCode.REDECIDED)
