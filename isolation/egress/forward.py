"""Carries one plain ``http://`` request of an isolated page to a public host, over a connection that is already made.

One connection per request, closed afterwards: plain HTTP to public hosts is rare, and nothing can then be confused between two requests.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httptools

from isolation.errors import UpstreamError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# limits
MAX_RESPONSE_HEAD_BYTES = 65_536
"""Chromium itself refuses response heads over 256 KiB; common servers send below 16."""
IDLE_SECONDS = 60.0
"""How long the public host may be silent while we wait for its answer or for more of it."""
CHUNK_BYTES = 65_536

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
    | {b"proxy-authenticate", b"proxy-authorization", b"proxy-authentication-info", b"http2-settings"}
)
_OURS = frozenset({b"host", b"expect"})
_RESPONSE_ONLY = frozenset({b"alt-svc"})  # would send Chromium to other ports and to QUIC
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


class _Response:
    """Collects one final answer from the parser's callbacks; interim answers (1xx) are dropped, whatever follows is ignored."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: Headers = []
        self.body: list[bytes] = []
        self.head_complete = False
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.head_complete:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if not self.head_complete:
            self.status = self.parser.get_status_code()
            self.head_complete = self.status >= 200

    def on_body(self, data: bytes) -> None:
        if not self.complete:
            self.body.append(data)

    def on_message_complete(self) -> None:
        if self.head_complete:
            self.complete = True
        else:
            self.headers.clear()


def end_to_end(headers: Headers, also: frozenset[bytes]) -> Headers:
    """Return the headers that are not of one connection only (RFC 9110 §7.6.1), without those in ``also``."""
    named = {token.strip().lower() for name, value in headers if name == b"connection" for token in value.split(b",")}
    gone = _HOP_BY_HOP | also | named
    return [(name, value) for name, value in headers if name not in gone]


async def forward(
    scope: Scope, receive: Receive, send: Send, connection: socket.socket, *, authority: str, raw_target: bytes
) -> None:
    """Send the request to ``connection`` and its answer to ``send``; closes ``connection``.

    ``authority``: what to write into ``Host``. ``raw_target``: origin-form target, sent byte for byte. Raises :class:`UpstreamError` as long
    as nothing was answered; afterwards a broken answer ends the person's connection without its end, as it must.
    """
    reader, writer = await asyncio.open_connection(sock=connection, limit=CHUNK_BYTES)
    started = False

    async def answer(message: MutableMapping[str, Any]) -> None:
        nonlocal started
        started = True
        await send(message)

    up = asyncio.ensure_future(_request(scope, receive, writer, authority, raw_target))
    down = asyncio.ensure_future(_response(scope["method"], reader, answer))
    try:
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        if not down.done() and up.exception() is not None:
            await asyncio.wait([down])  # a host may answer, and close, before it has read all of a body
        if down.done():
            down.result()
    except (OSError, TimeoutError, httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as error:
        if started:
            raise UpstreamError("the public host broke off its answer", code="upstream-aborted") from error
        raise UpstreamError("the public host did not answer properly") from error
    finally:
        up.cancel()
        down.cancel()
        writer.transport.abort()
        await asyncio.gather(up, down, return_exceptions=True)


async def _request(scope: Scope, receive: Receive, writer: asyncio.StreamWriter, authority: str, raw_target: bytes) -> None:
    """Write head and body; then return when the browser goes away."""
    headers = end_to_end(scope["headers"], _OURS)
    sized = any(name == b"content-length" for name, _ in headers)
    chunked = not sized and any(name == b"transfer-encoding" for name, _ in scope["headers"])
    headers = [(b"host", authority.encode("ascii")), *headers, (b"connection", b"close")]
    if chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    if not all(_TOKEN.fullmatch(name) and _VALUE.fullmatch(value) for name, value in headers):
        raise ValueError("a header cannot be sent on")
    head = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    writer.write(scope["method"].encode("ascii") + b" " + raw_target + b" HTTP/1.1\r\n" + head + b"\r\n")
    await writer.drain()
    while (message := await receive())["type"] == "http.request":
        body = message.get("body", b"")
        if body and chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        if chunked and not message.get("more_body", False):
            body, chunked = body + b"0\r\n\r\n", False
        writer.write(body)
        await writer.drain()


async def _response(method: str, reader: asyncio.StreamReader, send: Send) -> None:
    response = _Response()
    taken = 0
    while not response.head_complete:
        data = await asyncio.wait_for(reader.read(CHUNK_BYTES), IDLE_SECONDS)
        taken += len(data)
        if not data or taken > MAX_RESPONSE_HEAD_BYTES + CHUNK_BYTES:
            raise ConnectionResetError("no complete response head")
        response.parser.feed_data(data)
    status = response.status
    framed = any(name in {b"content-length", b"transfer-encoding"} for name, _ in response.headers)
    if status == 407:  # would make Chromium throw away its credentials for the gateway
        raise ValueError("a public host cannot ask for proxy credentials")
    empty = method == "HEAD" or status in {204, 304}
    await send({"type": "http.response.start", "status": status, "headers": end_to_end(response.headers, _RESPONSE_ONLY)})
    while not empty:
        for part in response.body:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        response.body.clear()
        if response.complete:
            break
        data = await asyncio.wait_for(reader.read(CHUNK_BYTES), IDLE_SECONDS)
        if not data:
            if framed:
                raise ConnectionResetError("the body ended early")
            break
        response.parser.feed_data(data)
    await send({"type": "http.response.body", "body": b"", "more_body": False})
