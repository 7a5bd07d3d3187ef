"""One client connection: parsing, the guard, order, flow, and time limits. Made by ``isolation.web.ingress``."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import Any, Protocol, cast

import httptools
import structlog
from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from isolation.limits import OWN_PREFIX
from isolation.proxy.exchange import EXCHANGE, RAW_TARGET, TARGET, UPGRADE, ClientTransport, TunnelEnd
from isolation.web.exchange import BODY_HIGH_WATER, Application, HttpExchange
from isolation.web.guard import MAX_HEAD, Checked, RejectionError, check, check_upgrade, stream_headers, without_upgrade
from isolation.web.limits import Limits

log = structlog.get_logger()

# limits
STREAM_PATH = (OWN_PREFIX + "stream").encode()
"""Path of our own WebSocket: the viewer's stream."""

MAX_PIPELINED = 32
"""Requests that wait for their turn on one connection. Browsers do not pipeline at all."""

MAX_LINGER_BYTES = 16 * 1024 * 1024
"""Bytes read and thrown away after a last response, so that the kernel does not reset the connection while the client still reads it."""


class Shared(Protocol):
    """What the connections of one worker have in common."""

    app: Application
    limits: Limits
    connections: set[IngressProtocol]
    now: float

    @property
    def stopping(self) -> bool:
        """Say whether the server is told to stop."""
        ...

    def joined(self, protocol: IngressProtocol) -> None:
        """Count a connection."""
        ...


class IngressProtocol(HttpToolsProtocol):
    """One client connection. ``channel`` is None for people; anything else marks traffic that the router accepted elsewhere.

    A client that closes its half of the connection has gone (as with nginx): uvicorn's ``eof_received`` lets the transport close.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        ingress: Shared,
        channel: object,
        scheme: str | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._ingress = ingress
        self._state = {**app_state, "channel": channel}
        self._as_proxy = channel is not None
        self._given_scheme = scheme
        self._scope_scheme = "http"
        self._current: HttpExchange | None = None  # being answered
        self._receiving: HttpExchange | None = None  # whose body the parser is in
        self._waiting: deque[HttpExchange] = deque()
        self._in_head = False
        self._fed = 0  # bytes of the head so far, or of a body's framing since its last byte
        self._since = 0.0  # when the present state began
        self._stalled_since: float | None = None
        self._reading = True
        self._served = False  # a response has been completed here
        self._last = False  # no further request is served on this connection
        self._ending = False  # the server is stopping
        self._discarding: float | None = None  # until when bytes are thrown away
        self._discarded = 0
        self._unsent = 0  # bytes that the client had not taken at the last look, after the last response
        self._upgrade: Checked | None = None
        self._early: list[bytes] | None = None
        self._tunnel: TunnelEnd | None = None
        self.writable = True

    # -- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        super().connection_made(cast("asyncio.Transport", transport))
        ingress = self._ingress
        self._scope_scheme = self._given_scheme or str(self.scheme)
        ingress.joined(self)
        self._since = ingress.now
        self.transport.set_write_buffer_limits(high=BODY_HIGH_WATER)
        if len(ingress.connections) > ingress.limits.connections:
            self._refuse(RejectionError("this worker has as many connections as it can hold", code="busy", status=503))
        elif ingress.stopping:  # accepted at the last moment: the server may have told its connections already
            self.shutdown()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody that the client has gone."""
        self.connections.discard(self)
        self._ingress.connections.discard(self)
        self.writable = True
        if self._tunnel is not None:
            self._tunnel.connection_lost()
            self._tunnel = None
        for exchange in (self._current, *self._waiting):
            if exchange is not None:
                exchange.lost()
        self._waiting.clear()
        self.parser = cast("Any", None)  # breaks a reference cycle

    @override
    def pause_writing(self) -> None:
        """Stop whoever writes: the client reads more slowly."""
        self.writable = False
        self._stalled_since = self._ingress.now
        if self._tunnel is not None:
            self._tunnel.pause()
        elif self._current is not None and self._current.source is not None:
            self._current.source.pause()

    @override
    def resume_writing(self) -> None:
        """Let them go on."""
        self.writable = True
        self._stalled_since = None
        if self._tunnel is not None:
            self._tunnel.resume()
        elif self._current is not None:
            if self._current.source is not None:
                self._current.source.resume()
            self._current.drained()

    @override
    def data_received(self, data: bytes) -> None:
        """Parse; hand out what is whole."""
        if self._tunnel is not None:
            self._tunnel.data_received(data)
            return
        if self._early is not None:
            self._early.append(data)
            return
        if self._discarding is not None or self._last:
            self._discarded += len(data)
            if self._discarded > MAX_LINGER_BYTES and self._discarding is not None:
                self.transport.abort()
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._on_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, RejectionError):
                raise
            self._refuse(cause)
            return
        except httptools.HttpParserError:
            self._refuse(RejectionError("this is not HTTP/1.1", code="syntax"))
            return
        if self._in_head:
            self._fed += len(data)
            if self._fed > MAX_HEAD:
                self._refuse(RejectionError(f"a request head of more than {MAX_HEAD} bytes", code="head-too-large", status=431))
        elif self._receiving is not None:
            self._fed += len(data)
            if self._fed > MAX_HEAD + len(data):
                self._refuse(RejectionError("a body with framing and no content", code="framing"))

    # -- httptools callbacks

    @override
    def on_message_begin(self) -> None:
        """Begin a request."""
        self.url = b""
        self.headers = []
        self._in_head = True
        self._fed = 0
        if self._current is None:
            self._since = self._ingress.now

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header line. Trailers are dropped: they could pass for headers that the guard never saw."""
        if self._in_head:
            self.headers.append((name.lower(), value))

    @override
    def on_headers_complete(self) -> None:
        """Check the head, and begin to answer. Raises RejectionError, which httptools hands on."""
        self._in_head = False
        self._fed = 0
        parser = self.parser
        method = parser.get_method().decode("ascii")
        version = parser.get_http_version()
        headers = self.headers
        checked = check(method, self.url, version, headers, as_proxy=self._as_proxy)
        if parser.should_upgrade():
            self.scope = self._scope("http", method, version, checked)
            self._upgrade = checked
            return
        http_10 = version == "1.0"
        exchange = self._exchange(
            self._scope("http", method, version, checked), checked, keep_alive=not http_10 and parser.should_keep_alive()
        )
        if self._current is None:
            self._run(exchange)
        else:
            if len(self._waiting) >= MAX_PIPELINED:
                raise RejectionError("too many pipelined requests", code="pipeline")
            self._waiting.append(exchange)
            self._adjust_reading()
        self._receiving = exchange

    @override
    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        exchange = self._receiving
        if exchange is not None:
            self._fed = 0
            self._since = self._ingress.now
            exchange.feed(body)
            if exchange.buffered > BODY_HIGH_WATER:
                self._adjust_reading()

    @override
    def on_message_complete(self) -> None:
        """Note that a request is whole."""
        exchange = self._receiving
        if exchange is not None:
            self._receiving = None
            exchange.feed_end()

    # -- requests

    def _scope(self, kind: str, method: str, version: str, checked: Checked) -> Any:
        target = checked.target
        return {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self._scope_scheme,
            "method": method,
            "root_path": "",
            "path": target.path,
            "raw_path": target.raw_path,
            "query_string": target.query,
            "headers": self.headers,
            "state": self._state.copy(),
            RAW_TARGET: self.url,
            TARGET: target,
        }

    def _exchange(self, scope: Any, checked: Checked, *, keep_alive: bool) -> HttpExchange:
        exchange = scope[EXCHANGE] = HttpExchange(self, scope, checked, keep_alive=keep_alive and not self._ending)
        return exchange

    def _run(self, exchange: HttpExchange) -> None:
        self._current = exchange
        exchange.task = self.loop.create_task(exchange.run(self._ingress.app))
        self.tasks.add(exchange.task)

    def _on_upgrade(self, rest: bytes) -> None:
        """Decide what an Upgrade header comes to. Nothing else may be under way on the connection then."""
        checked, self._upgrade = self._upgrade, None
        if checked is None:
            self._refuse(RejectionError("this is not HTTP/1.1", code="syntax"))
            return
        offered = [value.strip().lower() for name, value in self.headers if name == b"upgrade"]
        if offered != [b"websocket"]:
            self._again_without_upgrade(rest)
            return
        if self._current is not None:
            self._refuse(RejectionError("a handshake cannot wait behind another request", code="pipeline"))
            return
        try:
            check_upgrade(self.scope["method"], self.scope["http_version"], checked, self.headers)
        except RejectionError as rejection:
            self._refuse(rejection)
            return
        if checked.target.raw_path == STREAM_PATH:
            if self._ending:  # viewers connect again, and somebody else answers
                self._refuse(RejectionError("this worker is stopping", code="stopping", status=503))
                return
            self._own_stream(rest)
            return
        scope: Any = {**self.scope, "type": UPGRADE}
        exchange = self._exchange(scope, checked, keep_alive=False)
        exchange.body_complete = True
        self._early = [rest] if rest else []
        self._adjust_reading()
        self._run(exchange)

    def _again_without_upgrade(self, rest: bytes) -> None:
        """Parse the request once more without its Upgrade header: httptools would take its body for another protocol."""
        head = without_upgrade(self.scope["method"], self.url, self.scope["http_version"], self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def _own_stream(self, rest: bytes) -> None:
        self.scope["headers"] = stream_headers(self.headers)
        self.app_state = self._state
        self._ingress.connections.discard(self)
        self.handle_websocket_upgrade()
        if rest:
            cast("asyncio.Protocol", self.transport.get_protocol()).data_received(rest)

    def _refuse(self, rejection: RejectionError) -> None:
        """Answer with an error that nothing behind the listener saw, and serve nothing more on this connection."""
        log.info("ingress.refused", code=rejection.code, status=rejection.status)
        self._in_head = False
        self._last = True
        receiving, self._receiving = self._receiving, None
        if receiving is not None and receiving is self._current:
            # The request that is broken is one that an app has already: it fails as a whole.
            receiving.fail(rejection.status, rejection.text)
            return
        if receiving is not None:
            self._waiting.remove(receiving)
        if self._current is not None:
            return  # earlier responses come first; the connection closes behind them
        self.transport.write(rejection.response(self.date_line()))
        self._linger()

    # -- Line, for exchanges

    def send(self, data: bytes) -> None:
        """Write to the client."""
        if not self.transport.is_closing():  # uvloop raises where asyncio only warns
            self.transport.write(data)

    def date_line(self) -> bytes:
        """Return the Date header that uvicorn's server renews every second."""
        return b"".join(b"%b: %b\r\n" % header for header in self.server_state.default_headers)

    def body_taken(self) -> None:
        """Read on."""
        if not self._reading:
            self._adjust_reading()

    def body_awaited(self) -> None:
        """Start the time that a client may take for the next piece of a body."""
        self._since = self._ingress.now

    def finished(self, exchange: HttpExchange) -> None:
        """Go on after a response: serve the next request, wait for one, or close."""
        if exchange is not self._current:
            return
        self._current = None
        self._served = True
        self.server_state.total_requests += 1
        self._since = self._ingress.now
        if self.transport.is_closing():
            return
        if not exchange.keep_alive or (self._last and not self._waiting):
            self._linger()
        elif self._waiting:
            self._run(self._waiting.popleft())
            self._adjust_reading()

    def done(self, exchange: HttpExchange) -> None:
        """Let go of the task in which the application ran."""
        task, exchange.task = exchange.task, None
        if task is not None:
            self.tasks.discard(task)

    def break_off(self) -> None:
        """Reset the connection, with nothing more sent: neither a body that ends with the connection nor one in chunks looks whole then."""
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def tunnel(self, end: TunnelEnd) -> tuple[ClientTransport, bytes]:
        """Give the connection's bytes to ``end`` from now on."""
        early, self._early = b"".join(self._early or ()), None
        self._tunnel = end
        self._current = None
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._adjust_reading()
        if self._ending:
            self.loop.call_soon(end.end, "going-away")  # when it has been told that it is one
        return self.transport, early

    # -- flow and time

    def _adjust_reading(self) -> None:
        """Read unless requests wait, a body's reader is behind, or a handshake has not been answered."""
        receiving = self._receiving
        wanted = not self._waiting and self._early is None and (receiving is None or receiving.buffered <= BODY_HIGH_WATER)
        if wanted != self._reading and not self.transport.is_closing():
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def _linger(self) -> None:
        """Close after the last response. Unread bytes would make the kernel reset the connection, and the client lose the response."""
        self._last = True
        self._waiting.clear()
        self._receiving = self._early = None
        self._discarding = self._ingress.now + self._ingress.limits.linger
        self._adjust_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def tend(self, now: float) -> None:
        """Keep the time limits. Called about once a second."""
        limits = self._ingress.limits
        current = self._current
        if self._discarding is not None:
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:  # the end of a last response goes out at the client's pace
                self._unsent = unsent
                self._discarding = now + (limits.stall if unsent else limits.linger)
            elif now > self._discarding:
                self.transport.abort()
        elif self._stalled_since is not None:
            if now - self._stalled_since > limits.stall:
                self.break_off()
        elif self._tunnel is not None:
            return
        elif current is not None:
            if current.starving and now - self._since > limits.body:
                current.fail(408, b"408 Request Timeout: the body did not arrive\n")
        elif self._in_head:
            if now - self._since > limits.head:
                self._refuse(RejectionError("the request did not arrive in time", code="slow-head", status=408))
        elif now - self._since > (limits.idle if self._served else limits.head):
            self.transport.close()

    @override
    def shutdown(self) -> None:
        """Finish what is under way, then close: the server is stopping. A request that is on its way meanwhile is answered too (RFC 9112 §9.6)."""
        self._ending = True
        if self._tunnel is not None:
            self._tunnel.end("going-away")
        elif self._current is None:
            self.loop.call_later(self._ingress.limits.parting, self._part)
        else:
            newest = self._waiting[-1] if self._waiting else self._current
            newest.keep_alive = False

    def _part(self, looks: int = 2) -> None:
        """Close a connection on which nothing came. Timers run before the loop reads: what the kernel holds already is read first."""
        if self._current is not None or self._tunnel is not None or self._in_head or self._last:
            return
        if looks:
            self.loop.call_soon(self._part, looks - 1)
        else:
            self.transport.close()
