"""The proxy listener that every isolated Chromium is tied to.

A connection begins with one head, which is read without taking it from the socket: so what follows goes, untouched, to whoever
is to handle it. Four ways from there:

- no or dead credentials → 407;
- ``CONNECT`` to an app's origin → 200, then TLS or plain by the first byte (Chromium tunnels even ``ws://``), served by the ingress
  with the lease's identity;
- an absolute ``http://`` request → the ingress, which asks :meth:`isolation.egress.requests.Requests.intercept` about every request of that connection;
- ``CONNECT`` to a permitted public host → a blind tunnel to an address that was judged; all else → 403, with a record.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import structlog
from typing_extensions import override

from isolation.clock import Clock
from isolation.egress import head as heads
from isolation.egress.address import EgressRefusedError, Reason, normalise, parse_authority
from isolation.egress.certificates import Certificates
from isolation.egress.journal import BlockedSink, Journal
from isolation.egress.leases import Lease, LeaseLookup, parse_basic
from isolation.egress.requests import CHALLENGE, REFUSED_TEXT, WARM_UP_HOST, Channel, Opener, Requests, Via, status_of
from isolation.egress.resolve import Dial, Resolver, dial
from isolation.egress.rules import Destinations
from isolation.egress.tunnel import Counted, carry, peek
from isolation.errors import IsolationError
from isolation.tokens import digest

# limits
FIRST_BYTE_SECONDS = 60.0
"""Chromium opens sockets ahead of need and keeps idle ones this long at most."""
HEAD_SECONDS = 10.0
"""From a head's first byte to its last. Chromium writes a head at once."""
HANDSHAKE_SECONDS = 10.0
TUNNEL_IDLE_SECONDS = 300.0
"""A public tunnel in which nothing moves. Common WebSocket pings come every 20 to 60 s."""
MAX_CONNECTIONS_PER_LEASE = 256
"""Chromium opens at most 32 sockets per proxy for pages, and 255 for WebSockets."""
MAX_UNNAMED = 512
"""Connections that have not said yet who they are."""
MAX_ENDED = 8_192
"""Ended leases remembered, against a lookup that still knows them for a moment."""
ACCEPT_PAUSE_SECONDS = 0.2
"""Pause when the machine has no file descriptors left."""
BACKLOG = 256
LINGER_BYTES = 262_144
LINGER_SECONDS = 1.0
"""After a refusal the rest of a request is read and dropped for a moment; closing on unread bytes would reset the refusal away."""

_TEXT = b"Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"
_STATUS = {
    400: b"400 Bad Request",
    403: b"403 Forbidden",
    407: b"407 Proxy Authentication Required",
    431: b"431 Request Header Fields Too Large",
    502: b"502 Bad Gateway",
    503: b"503 Service Unavailable",
}

_log = structlog.get_logger()

Serve = Callable[[asyncio.Transport, Channel], object]


class _HandOver(asyncio.Protocol):
    """Stands in until the transport is there, then leaves it to the ingress."""

    def __init__(self, serve: Serve, channel: Channel) -> None:
        self._serve = serve
        self._channel = channel

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._serve(cast("asyncio.Transport", transport), self._channel)


@dataclass(eq=False, slots=True)
class _Connection:
    task: asyncio.Task[None] | None = None
    transport: asyncio.Transport | None = None

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()
        if self.task is not None:
            self.task.cancel()

    @property
    def gone(self) -> bool:
        if self.transport is not None:
            return self.transport.is_closing()
        return self.task is None or self.task.done()


class Gateway:
    """See the module's docstring. ``serve`` speaks HTTP on a transport (the ingress): it sets the transport's protocol."""

    def __init__(
        self,
        *,
        clock: Clock,
        leases: LeaseLookup,
        serve: Serve,
        destinations: Destinations,
        certificates: Certificates,
        resolver: Resolver,
        audit: BlockedSink,
        dialer: Dial = dial,
        tunnel_idle: float = TUNNEL_IDLE_SECONDS,
        first_byte: float = FIRST_BYTE_SECONDS,
        head_seconds: float = HEAD_SECONDS,
    ) -> None:
        self._clock = clock
        self._leases = leases
        self._serve = serve
        self._destinations = destinations
        self._certificates = certificates
        self._tunnel_idle = tunnel_idle
        self._first_byte = first_byte
        self._head_seconds = head_seconds
        self.journal = Journal(audit)
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._unnamed: set[_Connection] = set()
        self._named: dict[str, set[_Connection]] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._opener = Opener(destinations, resolver, dialer)
        self.requests = Requests(destinations=destinations, opener=self._opener, journal=self.journal, ended=self._ended)

    @property
    def spki(self) -> str:
        """Return the value for Chromium's ``--ignore-certificate-errors-spki-list``."""
        return self._certificates.spki

    @property
    def address(self) -> tuple[str, int]:
        """Return host and port of the listener."""
        if self._listener is None:
            raise IsolationError("the egress gateway is not listening")
        name = self._listener.getsockname()
        return str(name[0]), int(name[1])

    @property
    def connections(self) -> int:
        """Return how many connections of leases are open."""
        return sum(not connection.gone for kept in self._named.values() for connection in kept)

    async def start(self, host: str = "127.0.0.1", port: int = 0, *, listener: socket.socket | None = None) -> None:
        """Listen on ``listener`` (bound and listening already; several workers may share it), or on ``host`` and ``port``.

        Raises :class:`OSError` when the address cannot be had.
        """
        if listener is None:
            listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((host, port))
                listener.listen(BACKLOG)
            except OSError:
                listener.close()
                raise
        listener.setblocking(False)
        self._listener = listener
        self._accepting = asyncio.get_running_loop().create_task(self._accept(listener))
        _log.info("egress.listening", host=host, port=self.address[1])

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()
        tasks = [connection.task for connection in self._unnamed if connection.task is not None]
        for connection in [*self._unnamed, *(one for kept in self._named.values() for one in kept)]:
            if connection.task is not None:
                tasks.append(connection.task)
            connection.abort()
        self._named.clear()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.journal.flush()

    async def close_lease(self, lease_id: str) -> None:
        """End all connections of a lease at once and take its credentials no more; counts of its refusals are told."""
        self._ended[lease_id] = None
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
        for connection in self._named.pop(lease_id, ()):
            connection.abort()
        await self.journal.flush(lease_id)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listener)
            except OSError as error:
                _log.error("egress.accept_failed", error=error.strerror)
                await asyncio.sleep(ACCEPT_PAUSE_SECONDS)
                continue
            if len(self._unnamed) >= MAX_UNNAMED:
                accepted.close()
                continue
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = _Connection()
            self._unnamed.add(connection)
            connection.task = loop.create_task(self._run(connection, accepted))

    async def _run(self, connection: _Connection, inner: socket.socket) -> None:
        try:
            await self._handle(connection, inner)
        except heads.HeadError as error:
            await _refuse(inner, error.status)
        except (OSError, TimeoutError):
            pass  # the browser went away, or never spoke
        except Exception as error:  # noqa: BLE001 - one connection's failure is not the gateway's
            _log.error("egress.connection_failed", error=type(error).__name__)
        finally:
            self._unnamed.discard(connection)
            if connection.transport is None:
                inner.close()

    async def _handle(self, connection: _Connection, inner: socket.socket) -> None:
        head = await self._head(inner)
        if head is None:
            return
        lease = await self._lease(head)
        # From here to the registration nothing waits: a lease that ends meanwhile finds the connection, or is found ended here.
        if lease is None or lease.id in self._ended:
            if head.credentials is not None:
                self.journal.stranger()
            await _refuse(inner, 407, b"Proxy-Authenticate: " + CHALLENGE + b"\r\n")
            return
        self._unnamed.discard(connection)
        kept = self._named.setdefault(lease.id, set())
        kept -= {one for one in kept if one.gone}
        kept.add(connection)
        try:
            if len(kept) > MAX_CONNECTIONS_PER_LEASE:
                raise EgressRefusedError(Reason.CAPACITY)
            if head.method == "CONNECT":
                inner.recv(head.size)
                await self._connect(connection, inner, lease, head)
            else:
                await self._absolute(connection, inner, lease, head)
        except EgressRefusedError as refused:
            host, port = _named_in(head)
            await self.journal.refuse(lease, host, port, refused.reason)
            await _refuse(inner, status_of(refused.reason))
        finally:
            if connection.transport is None:
                kept.discard(connection)

    async def _head(self, inner: socket.socket) -> heads.Head | None:
        data = b""
        async with asyncio.timeout(self._first_byte) as deadline:
            while True:
                more = await peek(inner, heads.MAX_HEAD_BYTES, len(data))
                if len(more) <= len(data):
                    return None
                if not data:
                    deadline.reschedule(asyncio.get_running_loop().time() + self._head_seconds)
                data = more
                head = heads.parse_head(data)
                if head is not None:
                    return head

    async def _lease(self, head: heads.Head) -> Lease | None:
        credentials = parse_basic(head.credentials) if head.credentials is not None else None
        if credentials is None:
            return None
        try:
            async with asyncio.timeout(self._head_seconds):
                return await self._leases.find(*credentials)
        except IsolationError as error:
            _log.error("egress.lookup_failed", code=error.code)
            return None

    async def _absolute(self, connection: _Connection, inner: socket.socket, lease: Lease, head: heads.Head) -> None:
        scheme, separator, rest = head.target.partition("://")
        if not separator or scheme.lower() != "http":
            raise EgressRefusedError(Reason.MALFORMED)
        host, _ = parse_authority(rest.partition("/")[0].partition("?")[0], 80)
        if normalise(host) == WARM_UP_HOST:
            await _answer(
                inner,
                b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: no-store\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )
            return
        channel = Channel(lease, Via.PROXY, credentials=digest(head.credentials or ""))
        await self._hand_over(connection, inner, channel)

    async def _connect(self, connection: _Connection, inner: socket.socket, lease: Lease, head: heads.Head) -> None:
        written, port = parse_authority(head.target)
        host = normalise(written)
        loop = asyncio.get_running_loop()
        if self._destinations.is_app(host, port):
            await loop.sock_sendall(inner, b"HTTP/1.1 200 Connection Established\r\n\r\n")
            async with asyncio.timeout(self._first_byte):
                first = await peek(inner, 1)
            if first:
                channel = Channel(lease, Via.TUNNEL, host, port, secure=first == b"\x16")
                await self._hand_over(connection, inner, channel)
            return
        outer = await self._opener.open(lease, written, port)
        counted, began = Counted(), self._clock.monotonic()
        with contextlib.closing(outer):
            peer = outer.getpeername()[0]
            try:
                await loop.sock_sendall(inner, b"HTTP/1.1 200 Connection Established\r\n\r\n")
                await carry(inner, outer, idle=self._tunnel_idle, counted=counted)
            finally:
                _log.info(
                    "egress.tunnel",
                    lease=lease.id,
                    host=host,
                    port=port,
                    address=peer,
                    sent=counted.sent,
                    received=counted.received,
                    seconds=round(self._clock.monotonic() - began, 3),
                )

    async def _hand_over(self, connection: _Connection, inner: socket.socket, channel: Channel) -> None:
        context = self._certificates.context(channel.host) if channel.secure else None
        try:
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _HandOver(self._serve, channel),
                inner,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if context else None,
            )
        except OSError as error:  # includes ssl.SSLError: a browser that does not take our key, or is none
            _log.warning("egress.handshake_failed", lease=channel.lease.id, host=channel.host, error=type(error).__name__)
            raise
        connection.transport = transport
        if channel.lease.id in self._ended:  # it ended while the handshake ran
            transport.abort()


def _named_in(head: heads.Head) -> tuple[str, int]:
    """Return host and port for the record of a refusal; of an unreadable target the text itself."""
    text = head.target if head.method == "CONNECT" else head.target.partition("://")[2].partition("/")[0].partition("?")[0]
    try:
        return parse_authority(text, 80)
    except EgressRefusedError:
        return text.partition("?")[0], 0


async def _refuse(inner: socket.socket, status: int, extra: bytes = b"") -> None:
    body = REFUSED_TEXT if status != 407 else b""
    await _answer(inner, b"HTTP/1.1 %b\r\n%b%bContent-Length: %d\r\n\r\n%b" % (_STATUS[status], extra, _TEXT, len(body), body))


async def _answer(inner: socket.socket, data: bytes) -> None:
    """Send the last bytes of a connection so that they arrive."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            await loop.sock_sendall(inner, data)
            inner.shutdown(socket.SHUT_WR)
            left = LINGER_BYTES
            while left > 0 and (dropped := await loop.sock_recv(inner, 65_536)):
                left -= len(dropped)
