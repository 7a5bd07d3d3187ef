"""One connection to an upstream. It serves one exchange at a time, and calls its :class:`Receiver` as bytes arrive."""

from __future__ import annotations

import asyncio
import socket
from typing import Protocol, cast

import httptools
from typing_extensions import override

from isolation.errors import UpstreamError
from isolation.proxy.headers import MAX_RESPONSE_HEAD

# limits
MAX_INTERIM = 16
"""Interim (1xx) responses before one final response. Real apps send one or two; a flood keeps a connection busy for nothing."""

MAX_QUIET = 256 * 1024
"""Bytes of a body's framing (chunk extensions, trailers) without a byte of body between them."""

WRITE_HIGH_WATER = 256 * 1024
"""Bytes waiting to be sent on one connection before its source is told to pause: enough to keep a fast network busy, and the bound of what
one slow reader costs in memory."""

FOREVER = float("inf")


class Receiver(Protocol):
    """Takes what an upstream answers."""

    head_only: bool
    """The request was a HEAD: no body follows, whatever the headers say."""

    upgrading: bool
    """A 101 is welcome: the request asked for it."""

    def interim(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        """Take an interim response (100, 102, 103)."""
        ...

    def response(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]], body: bytes, complete: bool) -> bool:
        """Take the head of the final response and the body that came with it.

        Return whether the body ends with the connection. Raises UpstreamError where the head cannot be used.
        """
        ...

    def more(self, body: bytes, complete: bool) -> None:
        """Take more of the body."""
        ...

    def upgraded(self, reason: bytes, headers: list[tuple[bytes, bytes]], rest: bytes) -> None:
        """Take over the connection after a 101. ``rest``: bytes that came behind it."""
        ...

    def failed(self, error: UpstreamError, untouched: bool) -> None:
        """Learn that no (complete) response will come. ``untouched``: not one byte of it arrived."""
        ...


class Owner(Protocol):
    """The pool a connection belongs to."""

    def release(self, connection: Connection) -> None:
        """Take back a connection that can serve again."""
        ...

    def lost(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        ...


class RawEnd(Protocol):
    """Takes the bytes of a connection that has been upgraded."""

    def data_received(self, data: bytes) -> None:
        """Take bytes from the upstream."""
        ...

    def connection_lost(self) -> None:
        """Learn that the upstream's connection has ended."""
        ...

    def pause(self) -> None:
        """Write nothing until :meth:`resume`."""
        ...

    def resume(self) -> None:
        """Go on writing."""
        ...


class Connection(asyncio.Protocol):
    """See the module's docstring. Made by a pool; :meth:`start` begins an exchange, :meth:`abort` ends it and the connection."""

    transport: asyncio.Transport

    def __init__(self, owner: Owner, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._raw: RawEnd | None = None
        self._writable: asyncio.Future[None] | None = None
        self.write_paused = False
        self.deadline = FOREVER  # monotonic; when the head of a response must have come
        self.idle_since = 0.0
        self.request_done = True
        self.closed = False
        self._fed = 0
        self._quiet = 0
        self._interims = 0
        self._told = False
        self._until_close = False
        self._status = 0
        self._reason = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._chunks: list[bytes] = []
        self._head_complete = False
        self._complete = False
        self._keep = False
        self._stray = False

    # -- used by the exchange

    def start(self, receiver: Receiver, data: bytes, *, request_done: bool, deadline: float) -> None:
        """Send the beginning of a request, and have ``receiver`` called with the answer."""
        self._receiver = receiver
        self.request_done = request_done
        self.deadline = deadline
        self._fed = 0
        self._quiet = 0
        self._interims = 0
        self._told = False
        self._until_close = False
        self._reset()
        self.transport.write(data)

    def send(self, data: bytes, *, done: bool) -> None:
        """Send more of the request; ``done`` says that this was the end of it."""
        if data and not self.transport.is_closing():
            self.transport.write(data)
        self.request_done = done

    async def drain(self) -> None:
        """Wait until the upstream takes more bytes (or has gone)."""
        if self.write_paused and not self.transport.is_closing():
            self._writable = self._loop.create_future()
            await self._writable

    def pause(self) -> None:
        """Take no more of the answer for now."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        """Take the answer again."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self) -> None:
        """End the exchange and the connection now; the receiver hears no more."""
        self._receiver = None
        self._raw = None
        self.transport.abort()

    def hand_over(self, end: RawEnd) -> None:
        """Have all further bytes go to ``end`` (after a 101)."""
        self._raw = end
        self._receiver = None

    # -- called by the pool's ticker

    def expire(self, now: float) -> None:
        """Give up when the head of the response is late."""
        if now >= self.deadline and self._receiver is not None:
            self._fail(UpstreamError("the app did not answer in time", code="response-timeout"))

    # -- asyncio.Protocol

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # a machine that vanished is noticed in the end

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self.closed = True
        self._owner.lost(self)
        self._let_write()
        raw, receiver = self._raw, self._receiver
        self._raw = self._receiver = None
        if raw is not None:
            raw.connection_lost()
        elif receiver is not None:
            if self._told and self._until_close and exc is None:
                receiver.more(b"", True)  # such a body ends with the connection: this is its proper end
            else:
                error = UpstreamError("the app closed the connection before its response was complete", code="closed-early")
                error.__cause__ = exc
                receiver.failed(error, untouched=not self._fed)

    @override
    def pause_writing(self) -> None:
        """Note that the upstream reads more slowly than the client writes."""
        self.write_paused = True
        if self._raw is not None:
            self._raw.pause()

    @override
    def resume_writing(self) -> None:
        """Wake whoever waits to write."""
        self._let_write()
        if self._raw is not None:
            self._raw.resume()

    @override
    def data_received(self, data: bytes) -> None:
        """Parse, and pass on what there is in one go."""
        receiver = self._receiver
        if receiver is None:
            if self._raw is not None:
                self._raw.data_received(data)
            else:
                self.transport.abort()  # nobody asked: an answer in stock would become the next request's answer
            return
        self._fed += len(data)
        error: httptools.HttpParserError | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._status == 101 and receiver.upgrading:
                self.deadline = FOREVER
                receiver.upgraded(self._reason, self._headers, data[upgrade.args[0] :])
                return
            error = httptools.HttpParserError("an upgrade that nobody asked for")
        except httptools.HttpParserError as raised:
            error = raised
        try:
            self._deliver(receiver, error, len(data))
        except UpstreamError as raised_by_receiver:
            self._fail(raised_by_receiver)

    def _deliver(self, receiver: Receiver, error: httptools.HttpParserError | None, size: int) -> None:
        complete = self._complete
        if error is not None and not complete:
            wrong = UpstreamError("the app did not answer in HTTP/1.1", code="bad-response")
            wrong.__cause__ = error
            raise wrong
        if self._interims > MAX_INTERIM:
            raise UpstreamError("the app sent interim responses without end", code="bad-response")
        if not self._head_complete:
            if self._fed > MAX_RESPONSE_HEAD:
                raise UpstreamError(f"the app sent a head of more than {MAX_RESPONSE_HEAD} bytes", code="too-large-head")
            return
        chunks = self._chunks
        if chunks:
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._chunks = []
            self._quiet = 0
        else:
            body = b""
            self._quiet += size
            if self._quiet > MAX_QUIET:
                raise UpstreamError("the app sent framing without content", code="bad-response")
        if self._told:
            if complete:
                self._finish(error is not None)
            if body or complete:
                receiver.more(body, complete)
            return
        self._told = True
        self.deadline = FOREVER
        self._until_close = receiver.response(self._status, self._reason, self._headers, body, complete)
        if complete:
            self._finish(error is not None)

    def _finish(self, stray: bool) -> None:
        """Keep the connection if it can be trusted to be between two responses, else close it."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None and receiver.head_only:
            self._parser = httptools.HttpResponseParser(self)  # it still waits for a body that does not come
        if self._keep and self.request_done and not stray and not self._stray and not self.transport.is_closing():
            self._owner.release(self)
        else:
            self.transport.close()

    def _fail(self, error: UpstreamError) -> None:
        receiver, self._receiver = self._receiver, None
        self.deadline = FOREVER
        self.transport.abort()
        if receiver is not None:
            receiver.failed(error, untouched=False)

    def _let_write(self) -> None:
        self.write_paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # -- httptools callbacks: they only take notes, because an exception raised in one comes back as a parser error

    def _reset(self) -> None:
        self._status = 0
        self._reason = b""
        self._headers = []
        self._chunks = []
        self._head_complete = False
        self._complete = False
        self._keep = False
        self._stray = False

    def on_message_begin(self) -> None:
        """Note that a message begins where none may."""
        if self._complete:
            self._stray = True

    def on_status(self, reason: bytes) -> None:
        """Take (a part of) the reason phrase."""
        if not self._complete:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Trailers are dropped: nothing behind us may treat them as headers."""
        if not self._head_complete:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Look at the status."""
        if self._complete:
            return
        status = self._status = self._parser.get_status_code()
        if 100 <= status < 200:
            return
        self._head_complete = True
        receiver = self._receiver
        if receiver is not None and receiver.head_only:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._complete:
            self._stray = True
        else:
            self._chunks.append(body)

    def on_message_complete(self) -> None:
        """Pass on an interim response, or note that the response is whole."""
        if self._head_complete:
            if not self._complete:
                self._complete = True
                self._keep = self._parser.should_keep_alive()
            return
        if self._status == 101:
            return
        self._interims += 1
        status, reason, headers = self._status, self._reason, self._headers
        self._reset()
        receiver = self._receiver
        if receiver is not None and self._interims <= MAX_INTERIM:
            receiver.interim(status, reason, headers)
