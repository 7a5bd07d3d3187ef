"""Renderer nodes, seen from the router: one control connection to each, and a page connection for each viewer.

A control connection is kept open for ever, with back-off; what the node says on it (its load, leases that ended) is kept here. Redirects,
proxies from the environment and compression are off: a node is exactly the address in the configuration.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from typing_extensions import override
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException
from websockets.typing import Subprotocol

from isolation.broker.model import EgressAddress, NodeAddress
from isolation.errors import BrokerError
from renderer.wire.codec import encode
from renderer.wire.control import (
    SUBPROTOCOL,
    EndLease,
    LeaseCode,
    LeaseReport,
    LeaseState,
    Mark,
    NodeState,
    NodeStatus,
    Prepare,
    StartLease,
    ToNode,
)
from renderer.wire.control_codec import MAX_CONTROL_BYTES, PageAddress, decode_from_node, encode_control
from renderer.wire.fields import WireError
from renderer.wire.frames import MAX_FRAME_BYTES
from renderer.wire.messages import CloseCode, Closed, Hello

log = structlog.get_logger()

# ---------------------------------------------------------------- limits
OPEN_SECONDS = 5.0  # a node is one network hop away; beyond this it is not well
CLOSE_SECONDS = 0.1  # a goodbye that unread frames hold up is not waited for: people are told of an end within the second
START_SECONDS = 20.0  # launching Chromium takes 0.3 s; on a machine that swaps, twenty times that, thrice
FIRST_BACK_OFF = 0.05  # seconds: a restarted node is back within a second, and people wait for it
LAST_BACK_OFF = 0.25  # seconds: what a dead node costs is one refused connection in this time; people wait for its return
PING_SECONDS = 5.0  # a node that vanished without a word is noticed within twice this

_NO_LEASE = encode(Closed(CloseCode.RENDERER_LOST))  # a node's answer to hello on a lease it does not have


class UnknownLeaseError(BrokerError):
    """The node does not have this lease (any more)."""

    code = "renderer-lost"


class _Connect(connect):
    """``connect`` without redirects: the bearer token goes nowhere but to the configured address."""

    @override
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class PageLink:
    """One page connection: a viewer's way to its page. Frames and events come in order; nothing is kept beyond one message."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._first: bytes | None = None

    async def greet(self, hello: Hello) -> None:
        """Say hello and wait for the answer, which the first :meth:`receive` returns. Raises :class:`UnknownLeaseError`, :class:`BrokerError`."""
        await self.send(encode(hello))
        self._first = await self.receive()
        if self._first == _NO_LEASE:
            raise UnknownLeaseError("the renderer node has no such lease")

    async def send(self, data: bytes) -> None:
        """Send one message, waiting while the node reads slowly. Raises :class:`BrokerError` when the node is gone."""
        try:
            await self._connection.send(data)
        except (ConnectionClosed, OSError) as error:
            raise _lost() from error

    async def receive(self) -> bytes:
        """Return the node's next message. Raises :class:`BrokerError` when the node is gone."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            data = await self._connection.recv(decode=False)
        except (ConnectionClosed, OSError) as error:
            raise _lost() from error
        return bytes(data)


class NodeLink:
    """The control connection to one node. ``run`` keeps it open until cancelled."""

    def __init__(
        self,
        address: NodeAddress,
        *,
        prepare: Prepare,
        on_ended: Callable[[str, LeaseCode], None],
        on_lost: Callable[[str], None] | None = None,
    ) -> None:
        """``prepare`` is said on every connection: the gateway that browsers are kept ready for."""
        self.address = address
        self.status: NodeStatus | None = None
        self._prepare = prepare
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._connection: ClientConnection | None = None
        self._starting: dict[str, asyncio.Future[LeaseReport]] = {}
        self._changed = asyncio.Event()

    @property
    def up(self) -> bool:
        """Say whether the node is connected and has told its capacity."""
        return self._connection is not None and self.status is not None

    @property
    def free(self) -> int:
        """Return how many more leases the node takes, as far as it has said."""
        if self.status is None or self.status.state is not NodeState.OPEN:
            return 0
        return max(0, self.status.capacity - self.status.live - len(self._starting))

    @property
    def changed(self) -> asyncio.Event:
        """Return the event set at the next change of ``up`` or ``status``; a waiter clears nothing, a new one replaces it."""
        return self._changed

    async def run(self) -> None:
        """Keep the connection open, with back-off, until cancelled."""
        wait = FIRST_BACK_OFF
        while True:
            try:
                async with self._open("/control", MAX_CONTROL_BYTES) as connection:
                    log.info("node.up", node=self.address.name)
                    self._connection = connection
                    await self._say(self._prepare)
                    async for text in connection:
                        self._heard(text)
                        wait = FIRST_BACK_OFF
            except (WebSocketException, WireError, OSError, TimeoutError, BrokerError) as error:
                if wait < LAST_BACK_OFF:  # told a few times, not for ever
                    log.warning("node.unreachable", node=self.address.name, error=type(error).__name__, retry_in=wait)
            finally:
                self._drop()
            await asyncio.sleep(wait)
            wait = min(LAST_BACK_OFF, wait * 2)

    async def start(self, order: StartLease) -> LeaseReport:
        """Start a lease, or give a live one new controls. Raises :class:`BrokerError`."""
        future = self._starting.get(order.lease)
        if future is not None:
            raise BrokerError("this lease is being started already", code="renderer-lost")
        future = asyncio.get_running_loop().create_future()
        self._starting[order.lease] = future
        try:
            await self._say(order)
            async with asyncio.timeout(START_SECONDS):
                report = await future
        except TimeoutError:
            raise BrokerError("the renderer node did not start a browser in time", code="renderer-lost") from None
        finally:
            self._starting.pop(order.lease, None)
        if report.state is not LeaseState.STARTED:
            code = "no-capacity" if report.code is LeaseCode.NO_CAPACITY else "renderer-lost"
            raise BrokerError(f"the renderer node could not start a browser: {report.code.value}", code=code)
        return report

    async def end(self, lease: str) -> None:
        """End a lease; a node that cannot be told ends it by itself after its grace time."""
        try:
            await self._say(EndLease(lease))
        except BrokerError:
            log.info("lease.end_untold", node=self.address.name, lease=lease)

    async def mark(self, lease: str, text: str) -> None:
        """Change a lease's watermark; a node that cannot be told now is told the next minute."""
        try:
            await self._say(Mark(lease, text))
        except BrokerError:
            log.info("lease.mark_untold", node=self.address.name, lease=lease)

    @asynccontextmanager
    async def page(self, lease: str, origin: str) -> AsyncIterator[PageLink]:
        """Open a page connection for a viewer on ``origin``. Raises :class:`BrokerError`."""
        opening = self._open(PageAddress(lease, origin).target(), MAX_FRAME_BYTES)
        try:
            connection = await opening.__aenter__()
        except (InvalidHandshake, ConnectionClosed, OSError, TimeoutError) as error:
            raise _lost() from error
        try:
            yield PageLink(connection)
        finally:
            await opening.__aexit__(None, None, None)

    def _open(self, path: str, most: int) -> _Connect:
        return _Connect(
            self.address.url + path,
            additional_headers={"Authorization": f"Bearer {self.address.token}"},
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            proxy=None,
            user_agent_header=None,
            open_timeout=OPEN_SECONDS,
            close_timeout=CLOSE_SECONDS,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            max_size=most,
            max_queue=1,
            ssl=self._tls(),
        )

    def _tls(self) -> ssl.SSLContext | None:
        if not self.address.url.startswith("wss:"):
            return None
        return ssl.create_default_context(cafile=self.address.ca_file)

    async def _say(self, message: ToNode) -> None:
        if self._connection is None:
            raise _lost()
        try:
            await self._connection.send(encode_control(message))
        except (ConnectionClosed, OSError) as error:
            raise _lost() from error

    def _heard(self, text: str | bytes) -> None:
        message = decode_from_node(text)
        if isinstance(message, NodeStatus):
            self.status = message
            self._announce()
            return
        future = self._starting.get(message.lease)
        if future is not None and not future.done():
            future.set_result(message)
        if message.state is LeaseState.ENDED:
            self._on_ended(message.lease, message.code)

    def _drop(self) -> None:
        was_up = self._connection is not None
        self._connection, self.status = None, None
        for future in self._starting.values():
            if not future.done():
                future.set_exception(_lost())
        if was_up:
            log.warning("node.down", node=self.address.name)
            self._announce()
            if self._on_lost is not None:
                self._on_lost(self.address.name)

    def _announce(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class NodePool:
    """All configured nodes. ``run`` keeps their control connections open."""

    def __init__(
        self, addresses: tuple[NodeAddress, ...], *, egress: EgressAddress, on_ended: Callable[[str, LeaseCode], None]
    ) -> None:
        prepare = Prepare(egress.host, egress.port, egress.spki)
        self.links: Mapping[str, NodeLink] = {
            address.name: NodeLink(address, prepare=prepare, on_ended=on_ended) for address in addresses
        }

    async def run(self) -> None:
        """Keep every control connection open until cancelled."""
        async with asyncio.TaskGroup() as group:
            for link in self.links.values():
                group.create_task(link.run())

    def get(self, name: str) -> NodeLink | None:
        """Return the node of that name, or None when the configuration no longer has it."""
        return self.links.get(name)

    @property
    def free(self) -> int:
        """Return how many more leases all nodes together take."""
        return sum(link.free for link in self.links.values() if link.up)

    def news(self) -> list[asyncio.Event]:
        """Return the events that are set at the next change of any node."""
        return [link.changed for link in self.links.values()]

    async def choose(self, *, wait: float) -> NodeLink:
        """Return the node with most room; wait up to ``wait`` seconds for one. Raises :class:`BrokerError` ``no-capacity`` or ``renderer-lost``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            # Events first, then the look: a change in between is not missed.
            events = self.news()
            best = max((link for link in self.links.values() if link.up), key=lambda link: link.free, default=None)
            if best is not None and best.free > 0:
                return best
            remaining = deadline - loop.time()
            if best is not None:
                raise BrokerError("all isolated browsers are in use", code="no-capacity")
            if remaining <= 0 or not events:
                raise BrokerError("no renderer node can be reached", code="renderer-lost")
            await first(events, remaining)

    async def wait_up(self, name: str, *, wait: float) -> NodeLink | None:
        """Return the node once it is connected, or None when it stays away for ``wait`` seconds."""
        link = self.links.get(name)
        if link is None:
            return None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while True:
            event = link.changed
            if link.up:
                return link
            if (remaining := deadline - loop.time()) <= 0:
                return None
            await first([event], remaining)


async def first(events: list[asyncio.Event], seconds: float) -> None:
    """Return when one of the events is set, or after some seconds."""
    waiting = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _lost() -> BrokerError:
    return BrokerError("the renderer node is gone", code="renderer-lost")
