"""WebSockets: the handshake is checked on both sides, then bytes go through as they are, both ways, with back-pressure.

Frames are not decoded. Those towards the client are counted, so that a tunnel that has to end can say so with a close frame (RFC 6455 §5.5.1)
when it stands between two frames; in the middle of one it is cut.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import structlog
from typing_extensions import override

from isolation.errors import UpstreamError
from isolation.identity.sessions.live import LiveRegistry
from isolation.proxy.connection import Connection
from isolation.proxy.exchange import EXCHANGE, ClientTransport, Exchange
from isolation.proxy.http import Lane, Lanes, Transfer, request_head
from isolation.proxy.pool import Pools
from isolation.routing.model import App, Target

log = structlog.get_logger()

# limits
MAX_EARLY = 64 * 1024
"""Bytes that a client may send before the app has accepted the handshake. Clients that follow RFC 6455 §4.1 send none."""

CLOSE_SECONDS = 0.5
"""How long a client may take to read our close frame before the connection is cut; the bound for the whole is one second."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3
_POLICY = 1008  # RFC 6455 §7.4.1: the endpoint's policy was violated
_GOING_AWAY = 1001

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class OriginRefusedError(UpstreamError):
    """A page of another origin tried to open a WebSocket with the person's cookies (CSWSH)."""

    def __init__(self) -> None:
        super().__init__("a page of another origin may not open a WebSocket here", code="origin")


def origin_allowed(headers: Sequence[tuple[bytes, bytes]], target: Target) -> bool:
    """Say whether a handshake's Origin is the app's own host, or absent (programs send none).

    Browsers always send it and scripts cannot change it. The scheme is not compared: TLS may end in front of the router.
    """
    origins = [value for name, value in headers if name == b"origin"]
    if not origins:
        return True
    if len(origins) > 1:
        return False
    try:
        parts = urlsplit(origins[0].decode("ascii"))
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(scheme)
    if default is None or host is None or parts.path or parts.query or parts.username is not None:
        return False
    return host.removesuffix(".") == target.host and (port or default) == (target.port or default)


def accept_key(key: bytes) -> bytes:
    """Return the ``Sec-WebSocket-Accept`` that proves that the app has read a key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


class FrameCounter:
    """Follows frame boundaries in a stream of WebSocket frames, whatever pieces it comes in. Keeps at most one frame header."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    @property
    def at_boundary(self) -> bool:
        """Say whether the next byte begins a frame."""
        return not self._head and not self._left

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        position, size = 0, len(data)
        while position < size:
            if self._left:
                step = min(self._left, size - position)
                self._left -= step
                position += step
                continue
            head = self._head
            head.append(data[position])
            position += 1
            if len(head) < 2:
                continue
            short = head[1] & 0x7F
            extra = 2 if short == 126 else 8 if short == 127 else 0
            masked = 4 if head[1] & 0x80 else 0
            if len(head) == 2 + extra + masked:
                self._left = int.from_bytes(head[2 : 2 + extra], "big") if extra else short
                head.clear()


def close_frame(code: int, reason: str) -> bytes:
    """Return an unmasked close frame, as a server sends it. ``reason`` is cut to what a control frame holds (123 bytes)."""
    payload = code.to_bytes(2, "big") + reason.encode("ascii", "replace")[:123]
    return bytes((0x88, len(payload))) + payload


class Tunneler:
    """Opens tunnels. One per worker."""

    def __init__(self, pools: Pools, live: LiveRegistry) -> None:
        self._lanes = Lanes(pools)
        self._live = live

    async def tunnel(
        self,
        scope: Mapping[str, Any],
        app: App,
        target: Target,
        identity: tuple[tuple[bytes, bytes], ...],
        session: str,
    ) -> None:
        """Hand a WebSocket handshake (a scope of type ``isolation.upgrade``) to the app, and tunnel until either side or a decision ends it.

        Whatever the app answers other than a correct 101 goes to the client as a plain response. Raises UpstreamError as ``HttpForwarder.forward``
        does, and :class:`OriginRefusedError` for a handshake from another origin's page.
        """
        headers = scope["headers"]
        if not origin_allowed(headers, target):
            raise OriginRefusedError
        exchange: Exchange = scope[EXCHANGE]
        if exchange.disconnected:
            return
        lane = self._lanes.of(app)
        head = request_head(scope, lane, target, identity)
        head.append(b"connection: Upgrade\r\nupgrade: websocket\r\n")
        key = next(value for name, value in headers if name == b"sec-websocket-key")
        handshake = Handshake(exchange, lane, key.strip())
        handle = self._live.open(session, app.name, handshake.end)
        exchange.source = handshake
        try:
            await handshake.run(head)
            if handshake.tunnel is not None:
                await handshake.tunnel.over
        finally:
            handle.close()
            exchange.source = None
            handshake.release()
            if handshake.tunnel is not None:
                handshake.tunnel.cut()


class Handshake(Transfer):
    """The request that asks for a tunnel, and its answer."""

    upgrading = True

    def __init__(self, exchange: Exchange, lane: Lane, key: bytes) -> None:
        super().__init__(exchange, lane, repeatable=True)
        self._key = key
        self.tunnel: Tunnel | None = None

    @override
    def upgraded(self, reason: bytes, headers: list[tuple[bytes, bytes]], rest: bytes) -> None:
        """Check the app's 101, pass it on, and join the two connections."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        answer: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            answer.setdefault(name.lower(), []).append(value.strip())
        tokens = [token.strip().lower() for value in answer.get(b"connection", ()) for token in value.split(b",")]
        if (
            [value.lower() for value in answer.get(b"upgrade", ())] != [b"websocket"]
            or b"upgrade" not in tokens
            or answer.get(b"sec-websocket-accept") != [accept_key(self._key)]
        ):
            connection.abort()
            self.failed(
                UpstreamError("the app's answer to a WebSocket handshake is not one", code="bad-response"), untouched=False
            )
            return
        try:
            block = self._lane.response_rules.head(headers).block
        except UpstreamError as error:
            connection.abort()
            self.failed(error, untouched=False)
            return
        tunnel = Tunnel(connection, self._loop)
        try:
            client, early = self._exchange.take_over(tunnel)
        except ConnectionError:
            connection.abort()
            self.client_gone()
            return
        if len(early) > MAX_EARLY:
            client.abort()
            connection.abort()
            self.client_gone()
            return
        self._lane.pool.detach(connection)
        self.tunnel = tunnel
        client.write(
            b"HTTP/1.1 101 %b\r\nupgrade: websocket\r\nconnection: Upgrade\r\n%b\r\n" % (reason or b"Switching Protocols", block)
        )
        tunnel.join(client, early, rest)
        self._finish()

    @override
    def end(self, why: str) -> None:
        """End the tunnel where there is one, else the handshake."""
        if self.tunnel is not None:
            self.tunnel.end(why)
        else:
            super().end(why)


class Tunnel:
    """Two connections joined. It is both ends: the client's (``TunnelEnd``), and through :class:`_AppEnd` the app's."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._app = connection
        self._client: ClientTransport | None = None
        self._loop = loop
        self._frames = FrameCounter()
        self._ending = False
        self.over: asyncio.Future[None] = loop.create_future()

    def join(self, client: ClientTransport, early: bytes, rest: bytes) -> None:
        """Begin: pass on what either side has sent already."""
        self._client = client
        self._app.hand_over(_AppEnd(self))
        if early:
            self.data_received(early)
        if rest:
            self.from_app(rest)

    @property
    def _open(self) -> ClientTransport | None:
        """Return the client's connection as long as anything may be done with it."""
        client = self._client
        return None if client is None or self._ending or client.is_closing() else client

    # -- TunnelEnd

    def data_received(self, data: bytes) -> None:
        """Pass on what the client sent."""
        if not self._ending:
            self._app.send(data, done=True)

    def connection_lost(self) -> None:
        """Close the app's side: the client has gone."""
        self._client = None
        self._app.transport.close()
        self._finish()

    def pause(self) -> None:
        """Read no more from the app: the client is slow."""
        self._app.pause()

    def resume(self) -> None:
        """Read from the app again."""
        self._app.resume()

    def end(self, why: str) -> None:
        """End now: with a close frame where the stream is between two frames, else by cutting it."""
        client = self._open
        if client is None:
            return
        self._ending = True
        self._app.abort()
        if self._frames.at_boundary:
            code = _GOING_AWAY if why == "going-away" else _POLICY
            client.write(close_frame(code, why))
            client.resume_reading()  # a client that is still sending must not be reset before it has read the close frame
            self._loop.call_later(CLOSE_SECONDS, self._close_client)
        else:
            self._close_client(abort=True)
        self._finish()

    # -- the app's side

    def from_app(self, data: bytes) -> None:
        """Pass on what the app sent."""
        client = self._open
        if client is not None:
            self._frames.feed(data)
            client.write(data)

    def app_lost(self) -> None:
        """Let the client read what is left, then close: the app has gone."""
        client = self._open
        if client is not None:
            client.close()
        self._finish()

    def app_slow(self) -> None:
        """Read no more from the client."""
        client = self._open
        if client is not None:
            client.pause_reading()

    def app_ready(self) -> None:
        """Read from the client again."""
        client = self._open
        if client is not None:
            client.resume_reading()

    def cut(self) -> None:
        """Leave nothing open (the task that tunnels was cancelled)."""
        if not self._ending:
            if not self._app.transport.is_closing():  # what a client sent last before it left still goes to the app
                self._app.abort()
            self._close_client()

    def _close_client(self, *, abort: bool = False) -> None:
        client, self._client = self._client, None
        if client is not None and not client.is_closing():
            if abort or client.get_write_buffer_size():
                client.abort()  # it has not even taken the close frame
            else:
                client.close()

    def _finish(self) -> None:
        if not self.over.done():
            self.over.set_result(None)


class _AppEnd:
    """The app's side of a :class:`Tunnel`."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel

    def data_received(self, data: bytes) -> None:
        self._tunnel.from_app(data)

    def connection_lost(self) -> None:
        self._tunnel.app_lost()

    def pause(self) -> None:
        self._tunnel.app_slow()

    def resume(self) -> None:
        self._tunnel.app_ready()
