"""One request on a client's connection, and the way to answer it: as ASGI (own pages), by pushed bytes (the data plane), or as a tunnel.

It writes the response's framing itself and hands bytes straight to the transport; uvicorn's request cycle is not used.
"""

from __future__ import annotations

import asyncio
import http
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import structlog

from isolation.proxy.exchange import EXCHANGE, UPGRADE, ClientGoneError, ClientTransport, Source, TunnelEnd
from isolation.web.guard import Checked

log = structlog.get_logger()

# limits
BODY_HIGH_WATER = 256 * 1024
"""Bytes of a request's body held for whoever reads it, before the client is told to pause. One read of the event loop is this large."""

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

BODILESS = frozenset({204, 304})

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_STATUS = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode()) for status in http.HTTPStatus}
_PHRASES = {status.value: status.phrase.encode() for status in http.HTTPStatus}


class Line(Protocol):
    """The connection an exchange happens on."""

    writable: bool

    def send(self, data: bytes) -> None:
        """Write to the client."""
        ...

    def date_line(self) -> bytes:
        """Return a Date header as a line, or b""."""
        ...

    def body_taken(self) -> None:
        """Learn that there is room for more of the body."""
        ...

    def body_awaited(self) -> None:
        """Learn that somebody waits for the client from now on."""
        ...

    def finished(self, exchange: HttpExchange) -> None:
        """Learn that the response is complete."""
        ...

    def done(self, exchange: HttpExchange) -> None:
        """Learn that the application has returned."""
        ...

    def break_off(self) -> None:
        """Break the connection off, with a reset."""
        ...

    def tunnel(self, end: TunnelEnd) -> tuple[ClientTransport, bytes]:
        """Give the connection's bytes to ``end`` from now on."""
        ...


class HttpExchange:
    """See the module's docstring. Implements ``isolation.proxy.exchange.Exchange``."""

    # What most requests never change stands here and costs them nothing.
    source: Source | None = None
    body_complete = False
    response_started = False
    response_complete = False
    disconnected = False
    buffered = 0
    _chunked = False
    _bodiless = False
    _left: int | None = None  # bytes of a declared length that are still to be written
    _told_all = False
    _waiter: asyncio.Future[None] | None = None
    _drained: asyncio.Future[None] | None = None
    _start: Message | None = None
    task: asyncio.Task[None] | None = None

    def __init__(self, line: Line, scope: MutableMapping[str, Any], checked: Checked, *, keep_alive: bool) -> None:
        self._line = line
        self.scope = scope
        self.head_only = scope["method"] == "HEAD"
        self.http_10 = scope["http_version"] == "1.0"
        self.content_length = checked.length
        self.has_body = checked.chunked or bool(checked.length)
        self.expects_continue = checked.expects_continue
        self.keep_alive = keep_alive
        self._body: list[bytes] = []

    # -- run by the ingress

    async def run(self, app: Application) -> None:
        """Run the app; whatever it does or fails to do, the client gets a whole response or sees that it did not."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self.cut()
            raise
        except Exception:
            log.exception("ingress.app_failed", started=self.response_started)
            self._give_up()
        else:
            if not self.response_complete:
                if not self.disconnected:
                    log.error("ingress.no_response", started=self.response_started)
                self._give_up()
        finally:
            self._line.done(self)
            self.scope.pop(EXCHANGE, None)  # each holds the other: the collector would have to find every single request

    def _give_up(self) -> None:
        if self.disconnected or self.response_complete:
            return
        if self.response_started:
            self.cut()
        else:
            self.fail(500, b"Internal Server Error\n")

    def fail(self, status: int, text: bytes) -> None:
        """Answer with a plain error where nothing has been answered yet, else cut; then nobody may write any more."""
        if self.response_complete or self.disconnected:
            return
        source, self.source = self.source, None
        if source is not None:
            source.client_gone()
        if self.response_started:
            self.cut()
            return
        self.keep_alive = False
        block = b"content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n"
        self.respond(status, b"", block, len(text), b"" if self.head_only else text, True)
        self._wake()

    def feed(self, data: bytes) -> None:
        """Take a part of the body from the parser."""
        if not self.response_complete and not self.disconnected:
            self._body.append(data)
            self.buffered += len(data)
            if self._waiter is not None:
                self._wake()

    def feed_end(self) -> None:
        """Note that the whole request has arrived."""
        self.body_complete = True
        if self._waiter is not None:
            self._wake()

    def lost(self) -> None:
        """Note that the client has gone."""
        self.disconnected = True
        source, self.source = self.source, None
        if source is not None and not self.response_complete:
            source.client_gone()
        self._wake()
        self.drained()

    def drained(self) -> None:
        """Wake an ASGI app that waits to write."""
        waiting, self._drained = self._drained, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    @property
    def starving(self) -> bool:
        """Say whether somebody waits for the client's body."""
        return self._waiter is not None

    @property
    def writable(self) -> bool:
        """Say whether the client's connection takes more bytes just now."""
        return self._line.writable

    # -- request body

    def take(self) -> bytes:
        """Return the part of the body that has arrived and was not taken yet, without waiting."""
        body = self._body
        if not body:
            return b""
        data = body[0] if len(body) == 1 else b"".join(body)
        self._body = []
        self.buffered = 0
        self._line.body_taken()
        return data

    async def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end. Raises ClientGoneError."""
        while not self._body:
            if self.body_complete:
                return b""
            if self.disconnected or self.response_complete:
                raise ClientGoneError("the client has gone")
            await self._wait()
        return self.take()

    async def _wait(self) -> None:
        self._line.body_awaited()
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- response, pushed

    def inform(self, status: int, reason: bytes, block: bytes) -> None:
        """Send an interim (1xx) response."""
        if not self.response_started and not self.disconnected:
            self._line.send(b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason or _PHRASES.get(status, b""), block))

    def respond(self, status: int, reason: bytes, block: bytes, length: int | None, body: bytes, complete: bool) -> None:
        """Start the response; see ``isolation.proxy.exchange.Exchange.respond``."""
        if self.disconnected or self.response_started:
            return
        self.response_started = True
        if not self.body_complete or self.scope["type"] == UPGRADE:
            self.keep_alive = False  # what else the client sends on this connection is not the next request
        if reason and reason != _PHRASES.get(status) and not _BAD_VALUE.search(reason):
            first = b"HTTP/1.1 %d %b\r\n" % (status, reason)
        else:
            first = _STATUS.get(status) or b"HTTP/1.1 %d \r\n" % status
        parts = [first, block]
        if b"\r\ndate:" not in block and b"\r\nDate:" not in block and not block.startswith((b"date:", b"Date:")):
            parts.append(self._line.date_line())
        if self.head_only or status in BODILESS:
            if length is not None and status != 204:
                parts.append(b"content-length: %d\r\n" % length)
            body = b""
            self._bodiless = True
        elif length is not None:
            parts.append(b"content-length: %d\r\n" % length)
            self._left = length - len(body)
            if self._left < 0:
                body = body[:length]
        elif self.http_10:
            self.keep_alive = False
        else:
            self._chunked = True
            parts.append(b"transfer-encoding: chunked\r\n")
            body = _chunk(body, complete)
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"\r\n")
        if body:
            parts.append(body)
        self._line.send(b"".join(parts))
        if complete:
            self._complete()

    def write(self, data: bytes, complete: bool) -> None:
        """Send more of the body; ``complete`` ends it."""
        if self.disconnected or self.response_complete:
            return
        if self._bodiless:
            data = b""
        elif self._chunked:
            data = _chunk(data, complete)
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self.cut()  # longer than was promised: the rest would be read as the next response
                return
        if data:
            self._line.send(data)
        if complete:
            self._complete()

    def _complete(self) -> None:
        if self._left:
            self.cut()  # not what was promised: the client must see that
            return
        self.response_complete = True
        if self._waiter is not None:
            self._wake()
        self._line.finished(self)

    def cut(self) -> None:
        """Break the connection off so that the client sees a truncated response."""
        if not self.response_complete and not self.disconnected:
            self._line.break_off()
            self.lost()

    def take_over(self, end: TunnelEnd) -> tuple[ClientTransport, bytes]:
        """Make the connection a tunnel."""
        if self.scope["type"] != UPGRADE or self.response_started or self.disconnected:
            raise ClientGoneError("there is no connection to take over")
        self.response_started = self.response_complete = True
        return self._line.tunnel(end)

    # -- ASGI

    async def receive(self) -> Message:
        """Return the next ASGI event."""
        if self.expects_continue and not self.body_complete and not self._body and not self.response_started:
            self.expects_continue = False
            self.inform(100, b"", b"")
        while not (self._body or (self.body_complete and not self._told_all)):
            if self.disconnected or self.response_complete:
                return {"type": "http.disconnect"}
            await self._wait()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = self.take()
        self._told_all = self.body_complete
        return {"type": "http.request", "body": body, "more_body": not self.body_complete}

    async def send(self, message: Message) -> None:
        """Take an ASGI event of the response."""
        kind = message["type"]
        if kind == "http.response.start":
            if self._start is not None:
                raise RuntimeError("the response was started twice")
            self._start = message
        elif kind != "http.response.body":
            raise RuntimeError(f"unexpected ASGI message {kind!r}")
        elif self._start is None:
            raise RuntimeError("the response's body came before its start")
        elif not self.disconnected:
            body, more = bytes(message.get("body", b"")), message.get("more_body", False)
            if self.response_started:
                self.write(body, not more)
            else:
                self._respond_asgi(self._start, body, more)
            if not self._line.writable and not self.disconnected:
                self._drained = asyncio.get_running_loop().create_future()
                await self._drained

    def _respond_asgi(self, start: Message, body: bytes, more: bool) -> None:
        lines: list[bytes] = []
        length: int | None = None
        for name, value in start.get("headers", ()):
            lower = bytes(name).lower()
            if not _NAME.match(lower) or _BAD_VALUE.search(value):
                raise RuntimeError("a response header that could break out of its line")
            if lower == b"content-length":
                length = int(value)
            elif lower == b"connection":
                self.keep_alive = self.keep_alive and b"close" not in value.lower()
            elif lower != b"transfer-encoding":
                lines.append(b"%b: %b\r\n" % (lower, value))
        if length is None and not more:
            length = len(body)
        self.respond(start["status"], b"", b"".join(lines), length, body, not more)


def _chunk(data: bytes, complete: bool) -> bytes:
    if data:
        return b"%x\r\n%b\r\n%b" % (len(data), data, b"0\r\n\r\n" if complete else b"")
    return b"0\r\n\r\n" if complete else b""
