"""What the ingress asks about requests that came through the gateway, and what it leaves to it."""

from __future__ import annotations

import socket
from collections.abc import Container, MutableMapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from isolation.egress.address import EgressRefusedError, Reason, normalise
from isolation.egress.forward import METHODS, Headers, Receive, Scope, Send, forward
from isolation.egress.journal import Journal
from isolation.egress.leases import Lease
from isolation.egress.resolve import Dial, Resolver, connect
from isolation.egress.rules import Destinations, admit_public
from isolation.errors import UpstreamError
from isolation.routing.model import Target
from isolation.tokens import digest, equal

WARM_UP_HOST = "warm-up.invalid"
WARM_UP_URL = f"http://{WARM_UP_HOST}/"
"""A renderer opens this first and answers its 407; Chromium's own cache of proxy credentials does the rest. The name can never exist."""

CHALLENGE = b'Basic realm="isolation", charset="UTF-8"'
REFUSED_TEXT = b"The isolated browser may not reach this address.\n"

_log = structlog.get_logger()


class Via(StrEnum):
    """How requests reach the ingress."""

    PROXY = "proxy"  # absolute-form requests, possibly for several hosts, each with the credentials
    TUNNEL = "tunnel"  # origin-form requests for one host, inside CONNECT


@dataclass(frozen=True, slots=True)
class Channel:
    """One connection of a lease, as handed to the ingress. ``host`` and ``port``: the tunnel's, empty for ``PROXY``."""

    lease: Lease
    via: Via
    host: str = ""
    port: int = 0
    secure: bool = False
    credentials: str = field(default="", repr=False)  # digest of the Proxy-Authorization value that opened the connection


class Verdict(StrEnum):
    """What is to be done with a request on a channel."""

    APP = "app"  # the data plane's
    PUBLIC = "public"  # :meth:`Gateway.fetch_public`
    WARM_UP = "warm-up"
    CHALLENGE = "challenge"  # 407: other credentials than the connection's, or none
    MISDIRECTED = "misdirected"  # 421: another host than the tunnel's, or no proxy request


class Opener:
    """Opens connections to permitted public hosts, and to nothing else."""

    def __init__(self, destinations: Destinations, resolver: Resolver, dialer: Dial) -> None:
        self._destinations = destinations
        self._resolver = resolver
        self._dialer = dialer

    async def open(self, lease: Lease, host: str, port: int) -> socket.socket:
        """Return a connection to a judged address of a permitted public host."""
        examined = admit_public(self._destinations.permitted(lease), host, port, within=lease.domains)
        addresses = await self._resolver.resolve(examined)
        outer, _ = await connect(addresses, port, self._dialer)
        return outer


class Requests:
    """Judges and answers single requests of a channel. ``ended``: ids of leases that are no more."""

    def __init__(self, *, destinations: Destinations, opener: Opener, journal: Journal, ended: Container[str]) -> None:
        self._destinations = destinations
        self._opener = opener
        self._journal = journal
        self._ended = ended

    def authorise(self, headers: Headers, channel: Channel) -> bool:
        """Tell whether a request on a ``PROXY`` channel carries exactly the credentials that opened the connection."""
        values = [value for name, value in headers if name.lower() == b"proxy-authorization"]
        if channel.lease.id in self._ended or len(values) != 1:
            return False
        return equal(digest(values[0].decode("latin-1").strip(" \t")), channel.credentials)

    def check(self, raw_target: bytes, headers: Headers, target: Target, channel: Channel) -> Verdict:
        """Return what is to be done with a request. ``raw_target``: as received; ``target``: the ingress guard's reading of it."""
        if channel.via is Via.TUNNEL:
            port = target.port if target.port is not None else (443 if channel.secure else 80)
            same = normalise(target.host) == channel.host and port == channel.port
            still = channel.lease.id not in self._ended and self._destinations.is_app(channel.host, channel.port)
            return Verdict.APP if same and still and raw_target.startswith(b"/") else Verdict.MISDIRECTED
        if not raw_target.lower().startswith(b"http://"):
            return Verdict.MISDIRECTED
        if not self.authorise(headers, channel):
            return Verdict.CHALLENGE
        host, port = normalise(target.host), target.port if target.port is not None else 80
        if host == WARM_UP_HOST:
            return Verdict.WARM_UP
        return Verdict.APP if self._destinations.is_app(host, port) else Verdict.PUBLIC

    async def intercept(
        self, scope: Scope, receive: Receive, send: Send, *, raw_target: bytes, target: Target, channel: Channel
    ) -> bool:
        """Answer a request on a channel that is not for an app. Returns whether it was answered; if not, the data plane is next."""
        match self.check(raw_target, scope["headers"], target, channel):
            case Verdict.APP:
                return False
            case Verdict.PUBLIC:
                await self.fetch_public(scope, receive, send, target, channel.lease)
            case Verdict.WARM_UP:
                await _reply(send, 200, b"")
            case Verdict.CHALLENGE:
                self._journal.stranger()
                await _reply(send, 407, b"", (b"proxy-authenticate", CHALLENGE), (b"connection", b"close"))
            case Verdict.MISDIRECTED:
                await self._journal.refuse(channel.lease, target.host, target.port or channel.port, Reason.MISDIRECTED)
                await _reply(send, 421, REFUSED_TEXT, (b"connection", b"close"))
        return True

    async def fetch_public(self, scope: Scope, receive: Receive, send: Send, target: Target, lease: Lease) -> None:
        """Carry a plain ``http://`` request to a permitted public host, or answer 403."""
        port = target.port if target.port is not None else 80
        try:
            if scope["method"] not in METHODS:
                raise EgressRefusedError(Reason.METHOD)
            outer = await self._opener.open(lease, target.host, port)
        except EgressRefusedError as refused:
            await self._journal.refuse(lease, target.host, port, refused.reason)
            await _reply(send, status_of(refused.reason), REFUSED_TEXT)
            return
        started = False

        async def watched(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            started = True
            await send(message)

        host = f"[{target.host}]" if ":" in target.host and not target.host.startswith("[") else target.host
        authority = host if port == 80 else f"{host}:{port}"
        _log.info("egress.public_request", lease=lease.id, host=target.host, port=port, method=scope["method"])
        try:
            await forward(scope, receive, watched, outer, authority=authority, raw_target=target.raw)
        except UpstreamError as error:
            _log.warning("egress.public_failed", lease=lease.id, host=target.host, code=error.code)
            if started:
                raise
            await _reply(send, 502, b"The address did not answer properly.\n")


def status_of(reason: Reason) -> int:
    """Return the HTTP status that answers a refusal: 403, unless something else than permission was wrong."""
    return {Reason.UNRESOLVED: 502, Reason.UNREACHABLE: 502, Reason.CAPACITY: 503, Reason.MALFORMED: 400}.get(reason, 403)


async def _reply(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    fixed = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, length, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
