r"""Parsing of where a request wants to go: once, from the raw bytes, for everybody.

What is ambiguous is rejected, never repaired: two components that read one target differently are how access rules are walked
around. What is accepted goes upstream byte for byte (:attr:`Target.raw`), and rules look at :attr:`Target.path`, decoded once.

Rejected in the whole target
    anything that does not start with ``/`` (absolute, authority and asterisk form), control bytes, space, ``#``, bytes above 0x7e,
    more than 16 KiB.
Rejected in the path
    ``\`` raw or as ``%5c``; a percent sign without two hexadecimal digits; an encoded control byte (``%00``-``%1f``, ``%7f``);
    a segment that is ``.`` or ``..`` after one decoding, with an encoded slash (``%2f``) counting as a slash, path parameters
    (``..;x``) and spaces at its end not counting; overlong UTF-8 (a second spelling of ``.`` and ``/`` to lenient decoders).
Accepted, on purpose
    ``%2f`` elsewhere (JupyterLab and GitLab put names into one segment); ``%252e%252e`` (decodes once, to ``%2e%2e``, and is never
    decoded again); ``%23`` and ``%3f`` (part of the path); ``//`` anywhere (some apps mean it; so never build a redirect from a
    raw path); anything at all in the query, except the bytes above (``%0d%0a`` is what a text area sends, and browsers send ``\``
    and bare ``%`` raw there). Path bytes that are not UTF-8 appear as ``\xe9`` in ``path``, which nothing else can produce.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from urllib.parse import unquote_to_bytes

from isolation.errors import BadRequestError
from isolation.routing.model import Target

# Longest request target. Browsers stop between 32 KiB and 2 MiB, servers at 8 KiB (nginx, Apache, Jetty); signed links of cloud
# storage and SQL in Datasette's query strings reach 8 KiB and more.
MAX_TARGET_BYTES = 16 * 1024
MAX_HOST_BYTES = 253 + 1 + 6  # RFC 1035 name, a trailing dot, ":65535"

# Host headers whose parse is remembered. A deployment has few hosts and a request has one; somebody who makes hosts up only
# makes the router parse them, as it would anyway.
HOSTS_REMEMBERED = 1024

_NEVER = re.compile(rb"[^\x21\x22\x24-\x7e]")  # controls, space, '#', DEL and above
_NOT_IN_PATH = re.compile(rb"\\|%(?![0-9A-Fa-f]{2})|%(?:[01][0-9A-Fa-f]|7[Ff]|5[Cc])")
# A segment that some server would read as "." or "..": spaces around it and parameters behind it do not count.
_DOT_SEGMENT = re.compile(rb"/ *\.\.? *(?:[/;]|\Z)")
_OVERLONG = re.compile(rb"[\xc0\xc1]|\xe0[\x80-\x9f]|\xf0[\x80-\x8f]")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?")
_METHOD = re.compile(
    r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}"
)  # RFC 9110 §5.6.2 token; the longest registered method has 17 characters
_HTTP_PORT = 80


def parse_target(raw_target: bytes, host_headers: Sequence[bytes], method: str) -> Target:
    """Parse an origin-form request target (``/path?query``) and the Host header.

    ``host_headers``: the values of every Host header of the request. Raises BadRequestError; the message names the rule that was
    broken and repeats nothing of the request, so it may be logged and shown.
    """
    _check_method(method)
    _check_bytes(raw_target)
    if not raw_target.startswith(b"/"):
        raise BadRequestError("the request target does not start with a slash")
    host, port = _only_host(host_headers)
    return _target(host, port, raw_target)


def parse_absolute(raw_target: bytes, host_headers: Sequence[bytes], method: str) -> Target:
    """Parse an absolute-form target (``http://host[:port]/path?query``), as a client sends it to a proxy. For the egress gateway.

    Only ``http``: everything else comes through CONNECT (:func:`parse_authority`). The authority must name the same host and port
    as the Host header (80 where there is none). ``raw_path`` is the path alone; an empty path is ``/``. Raises BadRequestError.
    """
    _check_method(method)
    _check_bytes(raw_target)
    if raw_target[:7].lower() != b"http://":
        raise BadRequestError("the request target is not an http:// address")
    rest = raw_target[7:]
    cut = next((index for index, byte in enumerate(rest) if byte in b"/?"), len(rest))
    host, port = parse_authority(rest[:cut])
    if (host, port or _HTTP_PORT) != _with_port(_only_host(host_headers)):
        raise BadRequestError("the request target and the Host header name different hosts")
    tail = rest[cut:]
    return _target(host, port, tail if tail.startswith(b"/") else b"/" + tail)


def parse_authority(value: bytes) -> tuple[str, int | None]:
    """Parse ``host[:port]`` (a Host header, or the target of CONNECT) into a normal host and the port, or None where there is none.

    Lower-case, one trailing dot stripped, IPv6 without brackets in its shortest form. No user information, no path, letters,
    digits and hyphens only. Raises BadRequestError.
    """
    if len(value) > MAX_HOST_BYTES:
        raise BadRequestError("the host is too long")
    return _authority(value)


@lru_cache(maxsize=HOSTS_REMEMBERED)
def _authority(value: bytes) -> tuple[str, int | None]:
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        raise BadRequestError("the host is not a plain host name or address")
    host, digits = match[1].decode("ascii"), match[2]
    port = None if digits is None else int(digits)
    if port is not None and not 0 < port < 65536:
        raise BadRequestError("the host's port is out of range")
    return (_ipv6(host) if host.startswith("[") else _name(host)), port


def _ipv6(literal: str) -> str:
    try:
        return str(IPv6Address(literal[1:-1]))
    except AddressValueError:
        raise BadRequestError("the host is not an IPv6 address") from None


def _name(host: str) -> str:
    name = host.lower().removesuffix(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise BadRequestError("the host is not a plain host name")
    return name


def _only_host(host_headers: Sequence[bytes]) -> tuple[str, int | None]:
    if len(host_headers) != 1:
        raise BadRequestError("a request has exactly one Host header")
    return parse_authority(host_headers[0])


def _with_port(authority: tuple[str, int | None]) -> tuple[str, int]:
    host, port = authority
    return host, port or _HTTP_PORT


def _check_method(method: str) -> None:
    if not _METHOD.fullmatch(method):
        raise BadRequestError("the method is not a token")
    if method.upper() == "CONNECT":
        raise BadRequestError("CONNECT has no path and is not served here")


def _check_bytes(raw_target: bytes) -> None:
    if len(raw_target) > MAX_TARGET_BYTES:
        raise BadRequestError(f"the request target is longer than {MAX_TARGET_BYTES} bytes")
    if _NEVER.search(raw_target):
        raise BadRequestError("the request target contains a control byte, a space, '#' or a byte outside ASCII")


def _target(host: str, port: int | None, raw: bytes) -> Target:
    raw_path, mark, query = raw.partition(b"?")
    return Target(host, port, raw_path, _decode_path(raw_path), query, has_query=bool(mark))


def _decode_path(raw_path: bytes) -> str:
    """Return the path decoded once, or refuse it."""
    if _NOT_IN_PATH.search(raw_path):
        raise BadRequestError("the path contains a backslash, an encoded control byte, or a percent sign that encodes nothing")
    decoded = unquote_to_bytes(raw_path) if b"%" in raw_path else raw_path
    if _DOT_SEGMENT.search(decoded):
        raise BadRequestError("the path contains a dot segment")
    if _OVERLONG.search(decoded):
        raise BadRequestError("the path contains an overlong UTF-8 sequence")
    return decoded.decode("utf-8", "backslashreplace")
