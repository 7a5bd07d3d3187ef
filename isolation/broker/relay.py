"""Joins a viewer's stream to its page on a renderer node, with the gatekeeper in between.

Nothing is queued here: one message of each direction is in hand, and whoever is slow makes the other side wait. When the decision that
allowed the stream changes, the viewer is told in the router's own words and the stream ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from isolation.broker.figures import Figures, NoFigures
from isolation.broker.gatekeeper import Close, Drop, Gatekeeper, Pass
from isolation.broker.leases import LeaseService
from isolation.broker.model import Grant
from isolation.broker.nodes import PageLink
from isolation.clock import Clock
from isolation.errors import BrokerError, IsolationError
from renderer.wire.codec import MAX_QUEUE_SHOWN, MAX_SECONDS, encode
from renderer.wire.messages import CloseCode, Closed, Frame, Hello, Loading, Notice, Queued

log = structlog.get_logger()

# ---------------------------------------------------------------- limits
HELLO_SECONDS = 10.0  # a viewer's script says hello in its first tick; who does not is not a viewer
HEARTBEAT_SECONDS = 4.0  # silence after which the viewer is told that the line still stands
EVENTS_PER_SECOND = (
    200.0  # a renderer's events but frames: a page that changes its title in a loop must not stall a person's browser
)
EVENTS_BURST = 400.0

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


class Relay:
    """All streams of this worker."""

    def __init__(
        self,
        *,
        leases: LeaseService,
        live: LiveConnections,
        clock: Clock,
        figures: Figures = NoFigures(),  # noqa: B008 - has no state
    ) -> None:
        self._figures = figures
        self._leases = leases
        self._live = live
        self._clock = clock
        self._streams: dict[tuple[str, str], asyncio.Future[CloseCode | None]] = {}

    @property
    def streams(self) -> int:
        """Return how many streams are open."""
        return len(self._streams)

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
        talk = asyncio.get_running_loop().create_task(self._converse(viewer, grant))
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

    async def _converse(self, viewer: ViewerSocket, grant: Grant) -> CloseCode | None:
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

        async def queued(position: int, waited: int) -> None:
            await viewer.send(encode(Queued(min(position, MAX_QUEUE_SHOWN), min(waited, MAX_SECONDS))))

        try:
            async with self._leases.attach(grant, first.message, queued) as page:
                return await self._pump(viewer, page, gate, grant)
        except BrokerError as error:
            log.warning("stream.broken", app=grant.app, code=error.code, error=str(error))
            return CloseCode.NO_CAPACITY if error.code == "no-capacity" else CloseCode.RENDERER_LOST
        except ViewerGoneError:
            return None

    async def _pump(self, viewer: ViewerSocket, page: PageLink, gate: Gatekeeper, grant: Grant) -> CloseCode | None:
        drawn = asyncio.Event()
        viewer = _OneAtATime(viewer)
        upward = asyncio.create_task(self._upward(viewer, page, gate, drawn, grant))
        downward = asyncio.create_task(self._downward(viewer, page, gate, drawn, grant))
        try:
            await asyncio.wait([upward, downward], return_when=asyncio.FIRST_COMPLETED)
            # The renderer's end is looked at first: it may have said why before it went.
            return (downward if downward.done() else upward).result()
        finally:
            for task in (upward, downward):
                task.cancel()
            await asyncio.gather(upward, downward, return_exceptions=True)

    async def _downward(
        self, viewer: ViewerSocket, page: PageLink, gate: Gatekeeper, drawn: asyncio.Event, grant: Grant
    ) -> CloseCode | None:
        allowance, last = EVENTS_BURST, self._clock.monotonic()
        heartbeat = encode(Loading(active=False))
        incoming = asyncio.ensure_future(page.receive())
        try:
            while True:
                await asyncio.wait([incoming], timeout=HEARTBEAT_SECONDS)
                if not incoming.done():
                    if gate.ready:
                        await viewer.send(heartbeat)
                    continue
                verdict = gate.from_renderer(incoming.result(), self._clock.monotonic())
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
                if not (isinstance(verdict, Pass) and isinstance(verdict.message, Frame)):
                    now = self._clock.monotonic()
                    allowance = min(EVENTS_BURST, allowance + (now - last) * EVENTS_PER_SECOND) - 1
                    last = now
                    if allowance < 0:
                        await asyncio.sleep(1 / EVENTS_PER_SECOND)
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
        while True:
            match gate.from_viewer(await viewer.receive(), self._clock.monotonic()):
                case Close(code, rule):
                    log.warning("gate.closed", app=grant.app, rule=rule)
                    return code
                case Drop(rule, back, onward):
                    log.info("gate.dropped", app=grant.app, rule=rule)
                    if onward:
                        await page.send(onward)
                    if back:
                        await viewer.send(back)
                case Pass(_, data):
                    await page.send(data)
            drawn.set()


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
