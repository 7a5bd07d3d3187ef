"""Access tokens for the application itself (client credentials), over httpx: azure-identity and MSAL refuse any login host of one's own."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import structlog

from isolation.clock import Clock
from isolation.errors import ProviderError
from isolation.signals.providers import ThrottledError
from isolation.signals.providers.transport import new_http_client, retry_after

# ---- limits
DEADLINE = 20.0  # seconds for one token request, whatever the network does
RENEW_BEFORE = 300.0  # seconds before its end at which a token is replaced, as MSAL does
MAX_LIFE = 86_400.0  # seconds; no token is trusted to live longer, whatever expires_in says
MIN_LIFE = 1.0  # seconds; below this the answer makes no sense

_AADSTS = re.compile(r"AADSTS(\d{1,10})")
_TOKEN = re.compile(r"[\x21-\x7e]{1,32768}\Z")  # what may stand in a header: visible ASCII
_EXPLAINED = {
    7000215: "the client secret is wrong; give the secret's value, not its id",
    7000222: "the client secret has expired; make a new one in the app registration",
    7000218: "no client secret was sent; configure client_secret",
    700016: "the application does not exist in this directory; check client_id and directory_id",
    7000112: "the application is disabled in this directory",
    90002: "the directory does not exist in this cloud; check directory_id and cloud",
    900382: "the application belongs to another cloud; check cloud",
    900432: "the application belongs to another cloud; check cloud",
    9001023: "the directory must be named by its id; check directory_id",
    500011: "the cloud's Graph is not known to this login host; check cloud",
}
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AppCredentials:
    """Who the application is. ``login``: origin of the login host. ``scope``: e.g. ``https://graph.microsoft.com/.default``.

    ``secret`` is called for every token request, so that a rotated secret file counts without a restart.
    """

    login: str
    directory_id: str
    client_id: str
    secret: Callable[[], str]
    scope: str


@dataclass(frozen=True, slots=True)
class _Token:
    value: str
    good_until: float  # monotonic


class ClientCredentials:
    """A cache of one access token. Concurrent callers share one request."""

    def __init__(self, credentials: AppCredentials, clock: Clock, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._credentials, self._clock = credentials, clock
        self._http = new_http_client(transport)
        self._lock = asyncio.Lock()
        self._token: _Token | None = None

    async def get(self) -> str:
        """Return an access token. Raises :class:`ProviderError` (``credentials``, ``throttled``, ``unreachable``, ``malformed``)."""
        async with self._lock:
            if self._token is None or self._clock.monotonic() >= self._token.good_until:
                self._token = None
                self._token = await self._request()
            return self._token.value

    def refused(self, value: str) -> None:
        """Forget a token that the resource did not accept, so that the next call gets another."""
        if self._token is not None and self._token.value == value:
            self._token = None

    async def aclose(self) -> None:
        """Close connections."""
        await self._http.aclose()

    async def _request(self) -> _Token:
        credentials = self._credentials
        asked_at = self._clock.monotonic()
        form = {
            "grant_type": "client_credentials",
            "client_id": credentials.client_id,
            "client_secret": credentials.secret(),
            "scope": credentials.scope,
        }
        url = f"{credentials.login}/{credentials.directory_id}/oauth2/v2.0/token"
        try:
            async with asyncio.timeout(DEADLINE):
                response = await self._http.post(url, data=form)
        except TimeoutError as error:
            raise ProviderError(f"the token endpoint did not answer within {DEADLINE:g} s") from error
        except httpx.HTTPError as error:
            raise ProviderError(f"the token endpoint cannot be reached ({type(error).__name__})") from error
        body = _object(response)
        if response.status_code != httpx.codes.OK:
            raise _failure(response, body)
        value, life = body.get("access_token"), body.get("expires_in")
        # Some of Entra's endpoints write expires_in as text.
        seconds = float(life) if isinstance(life, int | str) and str(life).isdecimal() and len(str(life)) < 10 else 0.0
        if (
            not isinstance(value, str)
            or not _TOKEN.match(value)
            or str(body.get("token_type", "")).casefold() != "bearer"
            or seconds < MIN_LIFE
        ):
            raise ProviderError("the token endpoint's answer holds no usable token", code="malformed")
        seconds = min(seconds, MAX_LIFE)
        _log.info("token.renewed", seconds=seconds)
        return _Token(value, asked_at + seconds - min(RENEW_BEFORE, seconds / 2))


def _object(response: httpx.Response) -> dict[str, Any]:
    """Return a JSON object, or an empty one for an error page that is something else."""
    try:
        body = response.json()
    except (ValueError, RecursionError) as error:
        if response.status_code == httpx.codes.OK:
            raise ProviderError("the token endpoint's answer is not JSON", code="malformed") from error
        return {}
    if not isinstance(body, dict):
        if response.status_code == httpx.codes.OK:
            raise ProviderError("the token endpoint's answer is not a JSON object", code="malformed")
        return {}
    return body


def _failure(response: httpx.Response, body: dict[str, Any]) -> ProviderError:
    """Return the error for an answer that is not 200. Its text holds the AADSTS number and never what the endpoint wrote."""
    status = response.status_code
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return ThrottledError("the token endpoint is throttling", retry_after(response))
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return ProviderError(f"the token endpoint answered {status}")
    if status < httpx.codes.BAD_REQUEST:
        return ProviderError(f"the token endpoint answered {status}: is this the right login host?", code="malformed")
    found = _AADSTS.search(str(body.get("error_description", "")))
    number = int(found[1]) if found else 0
    name = f"AADSTS{number}" if number else f"status {status}"
    text = _EXPLAINED.get(number, "the token endpoint refused the application")
    return ProviderError(f"{text} ({name})", code="credentials")
