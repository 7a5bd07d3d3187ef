"""Plain requests: from a client's exchange to the app, and the answer back, streaming both ways.

What fails before the response has started is raised as :class:`UpstreamError`, so that the gate can show a page. What fails later cuts the
client's connection: a truncated response must never look like a whole one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import structlog

from isolation.errors import UpstreamError
from isolation.identity.sessions.live import LiveRegistry
from isolation.proxy.connection import FOREVER, Connection
from isolation.proxy.exchange import EXCHANGE, ClientGoneError, Exchange
from isolation.proxy.headers import RequestRules, ResponseRules, forwarded_lines, identity_lines
from isolation.proxy.pool import Pool, Pools
from isolation.routing.model import App, Target

log = structlog.get_logger()

# limits
MAX_LANES = 4_096
"""Apps whose header rules are remembered. More apps than that still work, with rules made again now and then."""

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that may be sent again after a kept connection turned out to be dead. Other methods are idempotent on paper (RFC 9110 §9.2.2), but
apps do not always keep to it."""

BODILESS = frozenset({204, 304})

CUT = "cut"
"""Code of the UpstreamError raised when the decision changed before the response had started, and the request may be decided again: the app has not
seen it, or may see it twice."""

INTERRUPTED = "interrupted"
"""The same where the app has seen (part of) a request that must not be sent again."""


class Lane:
    """What is worked out once per app: its pool and its header rules."""

    __slots__ = ("app", "pool", "request_rules", "response_rules")

    def __init__(self, app: App, pools: Pools) -> None:
        names = [name for _, name in app.identity_headers]
        self.app = app
        self.pool = pools.of(app.upstream)
        self.request_rules = RequestRules(names)
        self.response_rules = ResponseRules(names)


class Lanes:
    """The lanes of one worker."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._lanes: dict[str, Lane] = {}

    def of(self, app: App) -> Lane:
        """Return the lane of an app; a new configuration makes a new one."""
        lane = self._lanes.get(app.audience)
        if lane is None or lane.app is not app:
            if len(self._lanes) >= MAX_LANES:
                self._lanes.clear()
            lane = self._lanes[app.audience] = Lane(app, self._pools)
        return lane


@lru_cache(maxsize=1_024)
def authority(host: str, port: int | None) -> bytes:
    """Return a Host header's value."""
    text = f"[{host}]" if ":" in host else host
    return (text if port is None else f"{text}:{port}").encode("ascii")


def request_head(scope: Mapping[str, Any], lane: Lane, target: Target, identity: tuple[tuple[bytes, bytes], ...]) -> list[bytes]:
    """Return the head of the request to the app up to its framing, as lines with their CRLF.

    ``scope["client"]`` and ``scope["scheme"]`` are taken as they are: where proxies in front of us are trusted, the gate has put the person's own
    address and scheme there.
    """
    upstream = lane.app.upstream
    asked = authority(target.host, target.port)
    host = asked if lane.app.preserve_host else authority(upstream.host, upstream.port)
    client = scope["client"]
    method: str = scope["method"]
    lines = lane.request_rules.lines(scope["headers"])
    head = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (method.encode("ascii"), target.raw, host)]
    if lines:
        head.append(b"\r\n".join(lines))
        head.append(b"\r\n")
    head.append(forwarded_lines(client[0] if client else "", asked, scope["scheme"], target.port))
    if identity:
        head.append(identity_lines(identity))
    return head


class HttpForwarder:
    """Forwards requests. One per worker."""

    def __init__(self, pools: Pools, live: LiveRegistry) -> None:
        self._lanes = Lanes(pools)
        self._live = live

    async def forward(
        self,
        scope: Mapping[str, Any],
        app: App,
        target: Target,
        identity: tuple[tuple[bytes, bytes], ...],
        session: str,
    ) -> None:
        """Answer the request of ``scope`` with the app's response.

        ``target``: what was decided on; sent exactly so. ``identity``: headers that say who is there, added last. ``session``: the digest under
        which the response is registered as live ("" for anonymous). Returns when the response has been handed over whole, or the client has
        gone, or the response was cut. Raises UpstreamError only while no byte of the response has been sent; code ``cut`` says that the decision
        changed meanwhile and the request may be decided again, ``interrupted`` that it may not.
        """
        exchange: Exchange = scope[EXCHANGE]
        if exchange.disconnected:
            return
        lane = self._lanes.of(app)
        head = request_head(scope, lane, target, identity)
        transfer = Transfer(exchange, lane, repeatable=scope["method"] in REPEATABLE and not exchange.has_body)
        handle = self._live.open(session, app.name, transfer.end)
        exchange.source = transfer
        try:
            await transfer.run(head)
        finally:
            handle.close()
            exchange.source = None
            transfer.release()


class Transfer:
    """One request and its response. Receiver of the upstream connection, source of the client's."""

    upgrading = False

    def __init__(self, exchange: Exchange, lane: Lane, *, repeatable: bool) -> None:
        self.head_only = exchange.head_only
        self._exchange = exchange
        self._lane = lane
        self._repeatable = repeatable
        self._connection: Connection | None = None
        self._loop = lane.pool.loop
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._error: UpstreamError | None = None
        self._stale = False
        self._sent = False
        self._over = False  # nothing more is to be done: complete, client gone, or ended

    async def run(self, head: list[bytes]) -> None:
        """Send the request, and wait for the end of the response."""
        exchange, pool = self._exchange, self._lane.pool
        body = b""
        if exchange.body_complete:
            body = exchange.take()
            if body or exchange.content_length is not None:
                head.append(b"content-length: %d\r\n" % len(body))
            upload = False
        else:
            head.append(_framing(exchange))
            upload = True
        head.append(b"\r\n")
        if body:
            head.append(body)
        data = b"".join(head)

        connection = pool.take(repeatable=self._repeatable)
        kept = connection is not None
        if connection is None:
            connection = await self._connect(pool)
            if connection is None:
                return
        self._start(connection, data, upload)
        if not upload:
            await self._done
            if self._stale and kept and self._repeatable and not self._over:
                self._error, self._stale, self._done = None, False, self._loop.create_future()
                connection = await self._connect(pool)
                if connection is None:
                    return
                self._start(connection, data, upload)
                await self._done
        else:
            pump = self._loop.create_task(self._pump(connection))
            try:
                await self._done
            finally:
                pump.cancel()
        if self._error is not None:
            self._report(self._error)

    async def _connect(self, pool: Pool) -> Connection | None:
        """Return a new connection, or None where nobody wants it any more."""
        connection = await pool.connect()
        if self._over or self._error is not None:
            pool.release(connection)
            if self._error is not None:
                self._report(self._error)
            return None
        return connection

    def _start(self, connection: Connection, data: bytes, upload: bool) -> None:
        self._connection = connection
        self._sent = True
        wait = FOREVER if upload else self._loop.time() + self._lane.app.upstream.response_timeout
        connection.start(self, data, request_done=not upload, deadline=wait)
        if not self._exchange.writable:
            connection.pause()

    def _report(self, error: UpstreamError) -> None:
        cause = type(error.__cause__).__name__ if error.__cause__ is not None else ""
        started = self._exchange.response_started
        if error.code not in {CUT, INTERRUPTED}:
            log.warning("upstream.failed", app=self._lane.app.name, code=error.code, cause=cause, started=started)
        if not started:
            raise error
        self._exchange.cut()

    async def _pump(self, connection: Connection) -> None:
        """Send the body on as it arrives, as fast as the app takes it."""
        exchange = self._exchange
        chunked = exchange.content_length is None
        timeout = self._lane.app.upstream.response_timeout
        try:
            while True:
                piece = await exchange.read()
                last = not piece or exchange.body_complete
                if last:
                    piece += exchange.take()
                connection.deadline = self._loop.time() + timeout if not exchange.response_started else FOREVER
                if chunked:
                    piece = (b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"") + (b"0\r\n\r\n" if last else b"")
                connection.send(piece, done=last)
                if last:
                    return
                await connection.drain()
                connection.deadline = FOREVER  # now it is the client we wait for; the ingress limits that
        except ClientGoneError:
            self.client_gone()

    def release(self) -> None:
        """Let go of the connection; where the exchange on it is not over, that ends it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abort()

    def _finish(self) -> None:
        self._over = True
        if not self._done.done():
            self._done.set_result(None)

    # -- Receiver

    def interim(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Pass on an interim response, with its headers filtered like any other's."""
        if not self._exchange.http_10 and not self._exchange.response_started:
            self._exchange.inform(status, reason, self._lane.response_rules.head(headers).block)

    def response(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]], body: bytes, complete: bool) -> bool:
        """Start the client's response."""
        if status == 407:
            # Only a proxy says this (RFC 9110 §15.5.8). Chromium would take it for our egress gateway's and forget its credentials there.
            raise UpstreamError("the app answered as a proxy would (407)", code="bad-response")
        head = self._lane.response_rules.head(headers)
        until_close = not (complete or head.chunked or head.length is not None)
        if complete:
            self._connection = None
        length = head.length
        if complete and not self.head_only and status not in BODILESS:
            length = len(body)
        self._exchange.respond(status, reason, head.block, length, body, complete)
        if complete:
            self._finish()
        return until_close

    def more(self, body: bytes, complete: bool) -> None:
        """Go on with the client's response."""
        if complete:
            self._connection = None
        self._exchange.write(body, complete)
        if complete:
            self._finish()

    def upgraded(self, reason: bytes, headers: list[tuple[bytes, bytes]], rest: bytes) -> None:
        """Refuse: a plain request asked for no upgrade."""
        del reason, headers, rest
        self.failed(UpstreamError("the app switched protocols unasked", code="bad-response"), untouched=False)

    def failed(self, error: UpstreamError, untouched: bool) -> None:
        """Wake the request, which reports it, or tries once more."""
        self._connection = None
        self._error = error
        self._stale = untouched
        if not self._done.done():
            self._done.set_result(None)

    # -- Source

    def pause(self) -> None:
        """Read no more from the app for now."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read from the app again."""
        if self._connection is not None:
            self._connection.resume()

    def client_gone(self) -> None:
        """Stop the app's work at once."""
        self.release()
        self._finish()

    # -- live registry

    def end(self, why: str) -> None:
        """Cut what is under way: the decision that it rests on does not hold any more."""
        self.release()
        again = self._repeatable or not (self._sent or self._exchange.has_body)
        self._error = UpstreamError(f"the response was cut: {why}", code=CUT if again else INTERRUPTED)
        self._stale = False
        if not self._done.done():
            self._done.set_result(None)
        if self._exchange.response_started:
            self._exchange.cut()


def _framing(exchange: Exchange) -> bytes:
    length = exchange.content_length
    framing = b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
    return framing + b"expect: 100-continue\r\n" if exchange.expects_continue else framing
