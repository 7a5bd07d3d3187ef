"""The ingress guard: pure checks that every request passes before anything behind the listener sees it.

What is malformed or ambiguous is refused, never repaired. httptools (llhttp, strict) has refused by then: bare LF, obs-fold, control bytes
in values, spaces before a colon, two lengths, a length beside chunks, a transfer coding in two lines. What it lets through is caught here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from isolation.errors import BadRequestError
from isolation.proxy.headers import only_cookies
from isolation.routing.model import Target
from isolation.routing.target import parse_absolute, parse_target

# limits
MAX_HEADERS = 100
"""Header lines in a request. Apache's default (LimitRequestFields); browsers send 15 to 30, a chain of proxies adds ten."""

MAX_HEAD = 64 * 1024
"""Bytes of a request's head. Apps that keep state in cookies reach 16 to 32 KiB; Apache's and nginx's defaults together stay below."""

MAX_REMEMBERED_TARGET = 256
"""Targets up to this many bytes are parsed once and remembered."""

REMEMBERED_TARGETS = 4_096
"""How many parsed targets are remembered: about 4 MiB."""

METHODS_REFUSED = frozenset({"CONNECT", "TRACE", "PRI", "SOURCE"})
"""CONNECT: nobody tunnels through here. TRACE: echoes cookies and our headers back to scripts. PRI: HTTP/2's preface. SOURCE: Icecast's."""

_NOTABLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect"})


class RejectionError(BadRequestError):
    """A request that goes no further. ``status`` is the HTTP status; ``code`` the stable name of the rule."""

    def __init__(self, message: str, *, code: str = "bad-request", status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status

    @property
    def text(self) -> bytes:
        """Return what the client is told."""
        return f"{self.status} {_REASONS.get(self.status, 'Error')}: {self} ({self.code})\n".encode()

    def response(self, date_line: bytes) -> bytes:
        """Return a whole response that ends the connection."""
        return (
            b"HTTP/1.1 %d %b\r\n%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\ncache-control: no-store\r\n"
            b"x-content-type-options: nosniff\r\nconnection: close\r\n\r\n%b"
        ) % (self.status, _REASONS.get(self.status, "Error").encode(), date_line, len(self.text), self.text)


_REASONS = {
    400: "Bad Request",
    405: "Method Not Allowed",
    408: "Request Timeout",
    417: "Expectation Failed",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}


class Checked(NamedTuple):
    """What the guard found: the target, and how the body is framed (``length`` None and not ``chunked``: no body)."""

    target: Target
    length: int | None
    chunked: bool
    expects_continue: bool


def check(
    method: str, raw_target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]], *, as_proxy: bool = False
) -> Checked:
    """Check a request's head. ``headers``: names in lower case. ``as_proxy``: absolute-form targets are welcome (renderer traffic).

    Raises :class:`RejectionError`.
    """
    if version not in ("1.1", "1.0"):
        raise RejectionError("only HTTP/1.1 and HTTP/1.0 are spoken here", code="http-version", status=505)
    if method in METHODS_REFUSED:
        raise RejectionError("this method is not served here", code="method", status=405)
    if len(headers) > MAX_HEADERS:
        raise RejectionError(f"more than {MAX_HEADERS} header lines", code="too-many-headers", status=431)
    hosts: list[bytes] = []
    length: int | None = None
    chunked = expects = False
    for name, value in headers:
        if name not in _NOTABLE:
            continue
        if name == b"host":
            hosts.append(value)
        elif name == b"content-length":
            if length is not None or not value.isdigit():
                raise RejectionError("an unusable Content-Length", code="content-length")
            length = int(value)
        elif name == b"transfer-encoding":
            if chunked or value.strip().lower() != b"chunked" or version == "1.0":
                raise RejectionError("a transfer coding other than chunked", code="transfer-encoding", status=501)
            chunked = True
        elif name == b"expect":
            if value.strip().lower() != b"100-continue":
                raise RejectionError("an expectation that cannot be met", code="expect", status=417)
            expects = version == "1.1"
    if chunked and length is not None:
        raise RejectionError("both Content-Length and Transfer-Encoding", code="framing")
    if len(hosts) != 1:
        raise RejectionError("a request has exactly one Host header", code="host")
    return Checked(_target(raw_target, hosts[0], method, as_proxy), length, chunked, expects)


def _target(raw_target: bytes, host: bytes, method: str, as_proxy: bool) -> Target:
    try:
        if as_proxy and not raw_target.startswith(b"/"):
            return parse_absolute(raw_target, (host,), method)
        if len(raw_target) <= MAX_REMEMBERED_TARGET:
            return _remembered(raw_target, host, method)
        return parse_target(raw_target, (host,), method)
    except BadRequestError as error:
        raise RejectionError(str(error), code="target") from error


@lru_cache(maxsize=REMEMBERED_TARGETS)
def _remembered(raw_target: bytes, host: bytes, method: str) -> Target:
    return parse_target(raw_target, (host,), method)


def check_upgrade(method: str, version: str, checked: Checked, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Check a WebSocket handshake (RFC 6455 §4.2.1), so that nothing but one is ever upgraded. Raises :class:`RejectionError`."""
    if method != "GET" or version != "1.1":
        raise RejectionError("a WebSocket handshake is a GET of HTTP/1.1", code="websocket")
    if checked.chunked or checked.length:
        raise RejectionError("a WebSocket handshake has no body", code="websocket")
    keys = [value for name, value in headers if name == b"sec-websocket-key"]
    versions = [value for name, value in headers if name == b"sec-websocket-version"]
    if len(keys) != 1 or not keys[0]:
        raise RejectionError("a WebSocket handshake has one Sec-WebSocket-Key", code="websocket")
    if versions != [b"13"]:
        raise RejectionError("only version 13 of WebSocket is spoken", code="websocket", status=426)


def without_upgrade(method: str, raw_target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Return a request's head without the offer to upgrade, to be parsed as a plain request."""
    lines = [b"%b %b HTTP/%b\r\n" % (method.encode("ascii"), raw_target, version.encode("ascii"))]
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            rest = b", ".join(token for token in tokens if token.lower() not in (b"upgrade", b"http2-settings"))
            lines.append(b"connection: %b\r\n" % rest)
        elif name not in (b"upgrade", b"http2-settings"):
            lines.append(b"%b: %b\r\n" % (name, value))
    return b"".join(lines) + b"\r\n"


def stream_headers(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return what our own WebSocket needs of a handshake's headers.

    Of cookies only ours: the websockets library refuses lines beyond 8 KiB, and an app's cookies on the same host can be longer.
    """
    kept = []
    for name, value in headers:
        if name == b"cookie":
            own = only_cookies(value)
            if own:
                kept.append((name, own))
        elif name in _STREAM_NEEDS or name.startswith(b"sec-websocket-"):
            kept.append((name, value))
    return kept


_STREAM_NEEDS = frozenset({b"host", b"origin", b"user-agent", b"connection", b"upgrade", b"proxy-authorization"})
