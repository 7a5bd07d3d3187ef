"""Headers on their way through, both directions. Pure.

Towards the app, in this order: what belongs to the hop is removed (with what ``Connection`` names), every spelling of everything that
only the router may say is removed, our cookies are taken out of ``Cookie``; then the router adds what it knows. What was added last is
never removed, whatever ``Connection`` says.

Every decision about a header name is made once and remembered, so a request costs one dictionary lookup per header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from isolation.errors import UpstreamError

Headers = Sequence[tuple[bytes, bytes]]

# limits
MAX_REMEMBERED_NAMES = 2_048
"""Header names whose treatment is remembered, per app and direction. Real clients use a few hundred; the bound is against made-up ones."""

MAX_RESPONSE_HEAD = 256 * 1024
"""Bytes of a response head (headers, or interim responses before it). Browsers stop at 256 KiB (Chromium); no honest app comes near."""

MAX_RESPONSE_HEADERS = 500
"""Header lines in a response. Apps that set dozens of cookies exist, with hundreds of anything else they do not."""

REMEMBERED_LINES = 4_096
"""Lines that repeat from request to request (who is there, from where), kept per combination: up to 2 KiB each."""

MAX_REMEMBERED_COOKIES = 2_048
"""Cookie headers up to this many bytes are taken apart once: a browser sends the same one with every request."""

OWN_COOKIES = frozenset({b"__Host-isolation", b"isolation", b"__Host-isolation-flow", b"isolation-flow"})
"""Our cookies: session, and sign-in flow, for https and for http. An app neither sees nor sets any of them."""

ASSERTION_HEADER = b"x-isolation-jwt-assertion"
"""The signed header that says who is there."""

_HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings"}
)  # RFC 9110 §7.6.1, and the names of its predecessors

_REBUILT = frozenset({b"host", b"content-length", b"expect"})

_CLAIMS = frozenset(
    {
        # who is there
        b"remote-user", b"remote-email", b"remote-name", b"remote-groups", b"remote-group", b"x-remote-user", b"x-remote-email",
        b"x-remote-name", b"x-remote-group", b"x-remote-groups", b"x-webauth-user", b"x-webauth-email", b"x-webauth-groups",
        b"x-user", b"x-user-id", b"x-user-email", b"x-user-name", b"x-authenticated-user", b"x-authenticated-userid",
        b"x-email", b"x-groups", b"x-client-cert", b"x-client-verify", b"x-client-dn", b"x-arr-clientcert", b"client-cert",
        b"client-cert-chain",
        # where the request came from
        b"forwarded", b"x-forwarded", b"forwarded-for", b"x-real-ip", b"x-client-ip", b"client-ip", b"true-client-ip",
        b"x-cluster-client-ip", b"fastly-client-ip", b"x-originating-ip", b"x-remote-ip", b"x-remote-addr",
        # where it wants to go: any of these would make the app see another target than the one that was decided on
        b"x-original-url", b"x-original-uri", b"x-original-method", b"x-original-host", b"x-rewrite-url", b"x-host", b"x-script-name",
        b"x-http-host-override", b"x-scheme", b"x-url-scheme", b"front-end-https", b"x-waws-unencoded-url",
    }
)  # fmt: skip

_CLAIM_PREFIXES = (
    b"x-forwarded-", b"x-isolation-", b"x-envoy-", b"x-auth-request-", b"x-amzn-oidc-", b"x-goog-authenticated-", b"x-goog-iap-",
    b"x-ms-client-principal", b"x-ms-token-", b"x-pomerium-", b"x-authentik-", b"x-ssl-client", b"ssl-client", b"x-tls-client",
    b"cf-access-", b"cf-connecting-", b"x-appengine-", b"proxy-",
)  # fmt: skip
# Not removed: X-HTTP-Method-Override. No policy looks at the method, so it gets nobody past anything, and OData clients need it.

_PLAIN_NAME = re.compile(rb"[a-z0-9-]+\Z")
# CGI, WSGI and PHP fold "_" (and, with some servers, any other sign) into the same variable as "-": X_Forwarded_User is
# X-Forwarded-User to such an app. So names with anything but letters, digits and "-" do not go through.

_DROP, _KEEP, _SPECIAL = 0, 1, 2


class RequestRules:
    """What happens to each request header on the way to one app. ``identity_names``: further names that only the router sets."""

    def __init__(self, identity_names: Iterable[str] = ()) -> None:
        self._own = frozenset(name.strip().lower().encode("ascii") for name in identity_names) | {ASSERTION_HEADER}
        self._treatment: dict[bytes, int] = {}

    def lines(self, headers: Headers) -> list[bytes]:
        """Return the header lines (``name: value``) that go on. ``headers``: names in lower case."""
        treatment = self._treatment
        kept: list[bytes] = []
        named: set[bytes] = set()
        for name, value in headers:
            how = treatment.get(name)
            if how is None:
                how = self._decide(name)
            if how == _KEEP:
                kept.append(name + b": " + value)
            elif how == _SPECIAL:
                if name == b"cookie":
                    rest = value
                    if b"isolation" in value:
                        rest = _remembered(value) if len(value) <= MAX_REMEMBERED_COOKIES else without_cookies(value)
                    if rest:
                        kept.append(b"cookie: " + rest)
                elif value != b"keep-alive":
                    named.update(token.strip().lower() for token in value.split(b","))
        if named:
            return [line for line in kept if line[: line.index(b":")] not in named]
        return kept

    def drops(self, name: bytes) -> bool:
        """Say whether a header of this name (lower case) never goes through."""
        return self._decide(name) == _DROP

    def _decide(self, name: bytes) -> int:
        if name in (b"connection", b"cookie"):
            how = _SPECIAL
        elif (
            name in _HOP_BY_HOP
            or name in _REBUILT
            or name in _CLAIMS
            or name in self._own
            or name.startswith(_CLAIM_PREFIXES)
            or not _PLAIN_NAME.match(name)
        ):
            how = _DROP
        else:
            how = _KEEP
        if len(self._treatment) < MAX_REMEMBERED_NAMES:
            self._treatment[name] = how
        return how


def without_cookies(value: bytes, names: frozenset[bytes] = OWN_COOKIES) -> bytes:
    """Return a ``Cookie`` value without the pairs of those names; the other bytes stay as they are. May be empty."""
    pairs = value.split(b";")
    kept = [pair for pair in pairs if _pair_name(pair) not in names]
    return value if len(kept) == len(pairs) else b";".join(kept).strip(b" \t")


_remembered = lru_cache(maxsize=REMEMBERED_LINES)(without_cookies)


def only_cookies(value: bytes, names: frozenset[bytes] = OWN_COOKIES) -> bytes:
    """Return the pairs of a ``Cookie`` value that have those names."""
    return b"; ".join(pair.strip(b" \t") for pair in value.split(b";") if _pair_name(pair) in names)


def _pair_name(pair: bytes) -> bytes:
    # "=name=value" is a cookie without a name whose value some servers read as name=value: judged by what it can be read as.
    return pair.lstrip(b" \t=").partition(b"=")[0].rstrip(b" \t")


class ResponseHead(NamedTuple):
    """What a response's headers come to. ``block``: the lines that go on, each ended by CRLF, none of them framing.

    ``length``: the declared length of the body, None where there is none. ``chunked``: the body comes in chunks.
    """

    block: bytes
    length: int | None
    chunked: bool


class ResponseRules:
    """What happens to each response header on the way to the client."""

    def __init__(self, identity_names: Iterable[str] = ()) -> None:
        self._own = frozenset(name.strip().lower().encode("ascii") for name in identity_names) | {ASSERTION_HEADER}
        self._treatment: dict[bytes, int] = {}

    def head(self, headers: Headers) -> ResponseHead:
        """Return what goes on. Raises :class:`UpstreamError` (``bad-response``, ``too-large-head``).

        Whoever the app says the body is framed for, the exchange frames it anew: a length and chunks together, an unknown transfer coding or
        two lengths are refused, because two readers could disagree about where the response ends.
        """
        treatment = self._treatment
        kept: list[bytes] = []
        named: set[bytes] = set()
        length: int | None = None
        chunked = False
        for header in headers:
            name = header[0]
            how = treatment.get(name)
            if how is None:
                how = self._decide(name)
            if how == _KEEP:
                kept.append(name + b": " + header[1] + b"\r\n")
            elif how == _SPECIAL:
                lower, value = name.lower(), header[1]
                if lower == b"content-length":
                    if length is not None or not value.strip().isdigit():
                        raise UpstreamError("the app sent an unusable Content-Length", code="bad-response")
                    length = int(value)
                elif lower == b"transfer-encoding":
                    if chunked or value.strip().lower() != b"chunked":
                        raise UpstreamError("the app sent a transfer coding other than chunked", code="bad-response")
                    chunked = True
                elif lower == b"connection":
                    if value != b"keep-alive":
                        named.update(token.strip().lower() for token in value.split(b","))
                elif lower == b"set-cookie":
                    if _pair_name(value.partition(b";")[0]) not in OWN_COOKIES:
                        kept.append(name + b": " + value + b"\r\n")
                else:
                    directives = _without_cookie_clearing(value)
                    if directives:
                        kept.append(name + b": " + directives + b"\r\n")
        if chunked and length is not None:
            raise UpstreamError("the app sent both a length and chunks", code="bad-response")
        if len(headers) > MAX_RESPONSE_HEADERS:
            raise UpstreamError(f"the app sent more than {MAX_RESPONSE_HEADERS} headers", code="too-large-head")
        named -= {b"close", b"keep-alive", b"upgrade"}
        if named:
            kept = [line for line in kept if line[: line.index(b":")].lower() not in named]
        return ResponseHead(b"".join(kept), length, chunked)

    def _decide(self, name: bytes) -> int:
        lower = name.lower()
        if lower in (b"content-length", b"transfer-encoding", b"connection", b"set-cookie", b"clear-site-data"):
            how = _SPECIAL
        elif (
            lower in _HOP_BY_HOP
            or lower in self._own
            # Alt-Svc would send the browser to the app itself, past the router, if it can be reached there.
            or lower == b"alt-svc"
            or lower.startswith((b"proxy-", b"x-isolation-"))
        ):
            how = _DROP
        else:
            how = _KEEP
        if len(self._treatment) < MAX_REMEMBERED_NAMES:
            self._treatment[name] = how
        return how


def _without_cookie_clearing(value: bytes) -> bytes:
    """Return a ``Clear-Site-Data`` value that leaves cookies alone.

    ``"cookies"`` (and ``"*"``) clears the whole registrable domain: one app could sign people out of all others, after every page. What clears
    the app's own origin (cache, storage, execution contexts) goes through.
    """
    kept: list[bytes] = []
    for directive in value.split(b","):
        token = directive.strip().lower()
        if token == b'"*"':
            kept += [b'"cache"', b'"storage"', b'"executionContexts"']
        elif token and token != b'"cookies"':
            kept.append(directive.strip())
    return b", ".join(dict.fromkeys(kept))


@lru_cache(maxsize=REMEMBERED_LINES)
def forwarded_lines(client: str, host: bytes, scheme: str, port: int | None) -> bytes:
    """Return our ``X-Forwarded-*`` lines, each ended by CRLF.

    ``client``: the person's address as the router knows it; ``host``: the authority they asked for; ``port``: the one in it, if any.
    """
    number = port if port is not None else (443 if scheme == "https" else 80)
    return b"x-forwarded-for: %b\r\nx-forwarded-host: %b\r\nx-forwarded-proto: %b\r\nx-forwarded-port: %d\r\n" % (
        client.encode("ascii", "replace"),
        host,
        scheme.encode("ascii"),
        number,
    )


_UNSAFE_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@lru_cache(maxsize=REMEMBERED_LINES)
def identity_lines(identity: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return identity headers as lines, each ended by CRLF. Raises ValueError for a name or value that could break out of its line."""
    lines = []
    for name, value in identity:
        if _UNSAFE_VALUE.search(value) or not _PLAIN_NAME.match(name.lower()):
            raise ValueError(f"identity header {name!r} cannot be sent")
        lines.append(name + b": " + value + b"\r\n")
    return b"".join(lines)
