"""Talking to Entra: discovery, signing keys, redeeming a code. The only I/O of sign-in.

The HTTP client ignores proxy settings of the environment, follows no redirect (a redirect would carry the client secret to
wherever it points), bounds time and size of every answer, and never logs what it sends or receives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import httpx
import structlog

from isolation.clock import Clock
from isolation.errors import SignInError
from isolation.identity.oidc import flow, verify
from isolation.identity.oidc.flow import Endpoints, EntraProvider
from isolation.identity.oidc.verify import Claims, Keys

# limits
MAX_BODY = 1 << 20  # bytes of any answer: a JWKS is 20 KB, a token response 20 KB with 200 groups
CONNECT_TIMEOUT = 5.0  # seconds
READ_TIMEOUT = 10.0  # seconds without a byte
TOTAL_TIMEOUT = 15.0  # seconds for a whole exchange: somebody is waiting in front of a blank page
REFRESH_EVERY = 3_600.0  # seconds: Microsoft's advice for the background refresh of keys
KEEP_FOR = 86_400.0  # seconds after which keys are fetched before they are used again (and kept when that fails)
UNKNOWN_KEY_PAUSE = 300.0  # seconds between fetches caused by tokens with an unknown key: such tokens cost their sender nothing

_log = structlog.get_logger()
T = TypeVar("T")


@dataclass(slots=True)
class _Cached(Generic[T]):
    """A document with the (monotonic) time it was fetched at, and the one fetch under way."""

    value: T | None = None
    fetched_at: float = 0.0
    fetching: asyncio.Task[T] | None = None


class EntraClient:
    """One provider's endpoints and keys, cached, and the redeeming of codes. ``timeout``: seconds for a whole exchange.

    Raises :class:`SignInError` with the codes ``idp-unreachable``, ``idp-slow``, ``idp-unavailable`` (5xx), ``idp-throttled`` (429) and
    ``idp-malformed`` besides those of ``flow`` and ``verify``.
    """

    def __init__(self, provider: EntraProvider, clock: Clock, *, timeout: float = TOTAL_TIMEOUT) -> None:
        self.provider = provider
        self._clock = clock
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(READ_TIMEOUT, connect=CONNECT_TIMEOUT),
            limits=httpx.Limits(max_connections=20, keepalive_expiry=60.0),
            # An answer that expands while it is unpacked would not be bounded by counting its bytes.
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "isolation"},
        )
        self._endpoints: _Cached[Endpoints] = _Cached()
        self._keys: _Cached[Keys] = _Cached()
        self._unknown_key_at: float | None = None
        self._refresher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin the hourly refresh in the background."""
        if self._refresher is None:
            self._refresher = asyncio.create_task(self._refresh_forever(), name=f"oidc-keys-{self.provider.name}")

    async def aclose(self) -> None:
        """End the background refresh and close the connections."""
        tasks = [task for task in (self._refresher, self._endpoints.fetching, self._keys.fetching) if task is not None]
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError, SignInError):
                await task
        self._refresher = None
        await self._http.aclose()

    async def endpoints(self) -> Endpoints:
        """Return the tenant's endpoints, from the cache while they are younger than a day."""
        return await self._read(self._endpoints, self._fetch_endpoints, "endpoints")

    def known_endpoints(self) -> Endpoints | None:
        """Return the endpoints if they were ever read, without asking anybody."""
        return self._endpoints.value

    async def keys(self, kid: str) -> Keys:
        """Return the tenant's signing keys, fetched anew when ``kid`` is not among them (at most once in five minutes)."""
        keys = await self._read(self._keys, self._fetch_keys, "keys")
        if kid in keys:
            return keys
        now = self._clock.monotonic()
        if self._unknown_key_at is not None and now - self._unknown_key_at < UNKNOWN_KEY_PAUSE:
            return keys
        self._unknown_key_at = now
        with suppress(SignInError):
            return await self._fetch_once(self._keys, self._fetch_keys, "keys")
        return keys

    async def redeem(self, *, code: str, verifier: str, redirect_uri: str) -> str:
        """Exchange a code for an ID token (not verified yet)."""
        endpoints = await self.endpoints()
        form = flow.token_request(self.provider, redirect_uri=redirect_uri, code=code, verifier=verifier)
        status, body = await self._exchange("token", "POST", endpoints.token, form)
        if status == 200 or 400 <= status < 500:
            return flow.parse_token_response(status, flow.parse_json_object(body))
        raise SignInError("Microsoft Entra ID gave an unexpected answer.", code="idp-malformed")

    async def verify(self, token: str, *, nonce: str) -> Claims:
        """Return what a valid ID token says. Raises :class:`SignInError` as :func:`verify.verify_id_token` does."""
        keys = await self.keys(verify.token_kid(token))
        return verify.verify_id_token(token, provider=self.provider, keys=keys, nonce=nonce, now=self._clock.now())

    async def refresh(self) -> None:
        """Fetch endpoints and keys anew; keep the last good ones where that fails."""
        with suppress(SignInError):  # logged where it happened
            await self._fetch_once(self._endpoints, self._fetch_endpoints, "endpoints")
        with suppress(SignInError):
            await self._fetch_once(self._keys, self._fetch_keys, "keys")

    async def _refresh_forever(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_EVERY)

    async def _read(self, cached: _Cached[T], fetch: Callable[[], Awaitable[T]], what: str) -> T:
        """Return a cached document; fetch it when there is none or it is a day old, and keep an old one when that fails."""
        if cached.value is not None and self._clock.monotonic() - cached.fetched_at < KEEP_FOR:
            return cached.value
        try:
            return await self._fetch_once(cached, fetch, what)
        except SignInError:
            if cached.value is None:
                raise
            return cached.value

    async def _fetch_once(self, cached: _Cached[T], fetch: Callable[[], Awaitable[T]], what: str) -> T:
        """Fetch, with everybody who wants the same document waiting for the same request."""
        if cached.fetching is None:
            cached.fetching = asyncio.create_task(self._fetch(cached, fetch, what))
            cached.fetching.add_done_callback(_retrieve)
        # shield: one visitor who closes the tab does not cancel the request that thirty others wait for
        return await asyncio.shield(cached.fetching)

    async def _fetch(self, cached: _Cached[T], fetch: Callable[[], Awaitable[T]], what: str) -> T:
        try:
            cached.value = await fetch()
            cached.fetched_at = self._clock.monotonic()
        except SignInError as error:
            _log.warning(
                "identity_provider.read_failed",
                provider=self.provider.name,
                what=what,
                code=error.code,
                stale=cached.value is not None,
            )
            raise
        finally:
            cached.fetching = None
        return cached.value

    async def _fetch_endpoints(self) -> Endpoints:
        return flow.parse_discovery(self.provider, await self._document("discovery", self.provider.discovery_url))

    async def _fetch_keys(self) -> Keys:
        endpoints = await self.endpoints()
        return verify.parse_keys(await self._document("keys", endpoints.keys))

    async def _document(self, what: str, url: str) -> dict[str, object]:
        status, body = await self._exchange(what, "GET", url)
        if status != 200:
            raise SignInError("Microsoft Entra ID gave an unexpected answer.", code="idp-malformed")
        return dict(flow.parse_json_object(body))

    async def _exchange(self, what: str, method: str, url: str, form: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Return status and body of one exchange, with every way to fail given a code and a log line."""
        try:
            async with asyncio.timeout(self._timeout), self._http.stream(method, url, data=form) as response:
                body = await _bounded(response)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise self._failed(what, "idp-slow", "Microsoft Entra ID did not answer in time.", error) from error
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._failed(what, "idp-unreachable", "Microsoft Entra ID cannot be reached.", error) from error
        if response.status_code == 429:
            raise self._failed(what, "idp-throttled", "Microsoft Entra ID asks us to wait a moment.")
        if response.status_code >= 500:
            raise self._failed(what, "idp-unavailable", "Microsoft Entra ID has a problem of its own.")
        return response.status_code, body

    def _failed(self, what: str, code: str, message: str, error: BaseException | None = None) -> SignInError:
        _log.error(
            "identity_provider.failed",
            provider=self.provider.name,
            what=what,
            code=code,
            cause=type(error).__name__ if error is not None else "status",
        )
        return SignInError(message, code=code)


def _retrieve(task: asyncio.Task[T]) -> None:
    """Mark a fetch's failure as seen: it was logged, and whoever waited for it may have gone."""
    if not task.cancelled():
        task.exception()


async def _bounded(response: httpx.Response) -> bytes:
    """Read a body of at most :data:`MAX_BODY` bytes, as it is on the wire."""
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise SignInError("Microsoft Entra ID gave a packed answer that was not asked for.", code="idp-malformed")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY:
            raise SignInError("Microsoft Entra ID gave an answer without end.", code="idp-malformed")
    return bytes(body)
