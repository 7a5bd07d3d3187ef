"""Risk, groups and profiles from Microsoft Graph: read whole and strictly, or not at all.

Every answer is checked for its shape before anything in it counts. Whatever is missing, new or contradictory makes a value *unknown* or the
whole reading a :class:`ProviderError` with a named state; nothing is ever taken for "no risk" or "no groups" because it could not be read.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import httpx
import structlog

from isolation.clock import Clock
from isolation.errors import ProviderError
from isolation.policy.facts import RiskLevel, UnknownReason, UserType
from isolation.signals.model import GroupsReading, RiskReading, parse_risk_level
from isolation.signals.providers import NoSuchPersonError, ThrottledError
from isolation.signals.providers.token import AppCredentials, ClientCredentials
from isolation.signals.providers.transport import retry_after

if TYPE_CHECKING:
    from isolation.signals.providers.graph_client import GraphClient

# ---- limits
MAX_PAGES: Final = 2_000  # a million risky users; a list of pages that is longer has no end
POLL_DEADLINE: Final = 600.0  # seconds for all pages together: a reading older than that by its end is of little use
PAGE_DEADLINE: Final = 45.0  # seconds for one page, whatever the network does
RISK_PAGE_INTERVAL: Final = 1.0  # seconds between requests: identityProtection allows one a second per tenant, over all its apps
MAX_TEXT: Final = 256  # characters of a name or detail that are kept
MAX_LINK: Final = 8_192  # characters of an @odata.nextLink

_GUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\Z")
_CODE = re.compile(r"[A-Za-z_.]{1,64}\Z")
_GROUP = "#microsoft.graph.group"
_UNLICENSED = "your tenant is not licensed"  # how Graph's message begins; its code is the same as for a missing permission
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """Where Graph is and who asks. ``login`` and ``graph``: origins of the cloud, without a trailing slash.

    ``risk_supported``: False in clouds without Identity Protection (China, by Microsoft's own list). ``secret``: see :class:`AppCredentials`.
    """

    login: str
    graph: str
    directory_id: str
    client_id: str
    secret: Callable[[], str]
    risk_supported: bool = True


@dataclass(frozen=True, slots=True)
class Profile:
    """What the directory says about one person. None: it does not say. Times are epoch seconds."""

    as_of: float
    email: str | None
    name: str | None
    user_type: UserType | None
    employee_type: str | None
    enabled: bool | None
    sessions_valid_from: float | None


@dataclass(frozen=True, slots=True)
class RiskPoll:
    """One complete reading of the tenant's risky users by person key. ``as_of``: when it began (epoch seconds)."""

    levels: Mapping[str, RiskReading]
    as_of: float
    pages: int


class GraphReader:
    """Reads from one tenant. ``transport`` replaces the network in tests. Close it with :meth:`aclose`.

    Everything raises :class:`ProviderError` whose ``code`` is a :class:`~isolation.signals.model.ProviderStatus`, or ``no-such-person``.
    """

    def __init__(
        self,
        settings: GraphSettings,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        risk_page_interval: float = RISK_PAGE_INTERVAL,
        max_pages: int = MAX_PAGES,
    ) -> None:
        from isolation.signals.providers.graph_client import GraphClient

        self._settings, self._clock, self._sleep = settings, clock, sleep
        self._risk_page_interval, self._max_pages = risk_page_interval, max_pages
        self._origin = _origin(settings.graph)
        credentials = AppCredentials(
            settings.login, settings.directory_id, settings.client_id, settings.secret, f"{settings.graph}/.default"
        )
        self._tokens = ClientCredentials(credentials, clock, transport=transport)
        self._graph: GraphClient = GraphClient(settings.graph, self._tokens, transport=transport)

    async def risky_users(self) -> RiskPoll:
        """Return everybody whom Identity Protection has a record of. All pages, or an error."""
        if not self._settings.risk_supported:
            raise ProviderError("Identity Protection does not exist in this cloud", code="not-supported")
        as_of = self._clock.now()
        levels: dict[str, RiskReading] = {}
        pages = 0
        async for rows in self._pages(self._graph.risky_users, self._risk_page_interval):
            pages += 1
            for row in rows:
                key, reading = self._risk_row(row)
                known = levels.get(key)
                # A list that changes while it is paged may show somebody twice; then the stricter row counts.
                if known is None or _strictness(reading.level) > _strictness(known.level):
                    levels[key] = reading
        return RiskPoll(levels, as_of, pages)

    async def groups_of(self, oid: str) -> GroupsReading:
        """Return the ids of all groups that hold a person, at any depth. All pages, or an error."""
        oid = _guid(oid)
        as_of = self._clock.now()
        groups: set[str] = set()
        async for rows in self._pages(lambda link: self._graph.member_of(oid, link), 0.0):
            for row in rows:
                kind = row.get("@odata.type")
                if not isinstance(kind, str):
                    raise ProviderError("a membership without a type", code="malformed")
                if kind.casefold() == _GROUP:  # the others are directory roles and administrative units
                    groups.add(_guid(row.get("id")))
        return GroupsReading(groups=frozenset(groups), as_of=as_of, source="graph")

    async def profile(self, oid: str) -> Profile:
        """Return what the directory says of a person. Raises :class:`NoSuchPersonError` when it does not hold them."""
        oid = _guid(oid)
        as_of = self._clock.now()
        row = _object(await self._send(lambda: self._graph.user(oid)))
        if _guid(row.get("id")) != oid:
            raise ProviderError("Graph answered for somebody else", code="malformed")
        enabled = row.get("accountEnabled")
        return Profile(
            as_of=as_of,
            email=_text(row.get("mail")) or _text(row.get("userPrincipalName")),
            name=_text(row.get("displayName")),
            user_type=_USER_TYPES.get(str(row.get("userType")).casefold()),
            employee_type=_text(row.get("employeeType")),
            enabled=enabled if isinstance(enabled, bool) else None,
            sessions_valid_from=_moment(row.get("signInSessionsValidFromDateTime")),
        )

    async def find(self, user_principal_name: str) -> str | None:
        """Return the object id of the person with this user principal name, or None when the directory does not hold them."""
        try:
            row = _object(await self._send(lambda: self._graph.user(user_principal_name)))
        except NoSuchPersonError:
            return None
        return _guid(row.get("id"))

    async def aclose(self) -> None:
        """Close connections."""
        await self._graph.aclose()
        await self._tokens.aclose()

    # ------------------------------------------------------------------ requests

    async def _pages(
        self, get: Callable[[str | None], Awaitable[httpx.Response]], interval: float
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the rows of each page until there is no next link."""
        link: str | None = None
        seen: set[str] = set()
        started = self._clock.monotonic()
        for page in range(self._max_pages):
            if page and interval:
                await self._sleep(interval)
            if self._clock.monotonic() - started > POLL_DEADLINE:
                raise ProviderError(f"not every page could be read within {POLL_DEADLINE:g} s", code="incomplete")
            current = link
            rows, link = parse_page(await self._send(lambda: get(current)))  # noqa: B023 - awaited before the next turn
            yield rows
            if link is None:
                return
            check_link(link, self._origin)
            if link in seen:
                raise ProviderError("the list of pages goes round in a circle", code="incomplete")
            seen.add(link)
        raise ProviderError(f"the list has more than {self._max_pages} pages", code="incomplete")

    async def _send(self, request: Callable[[], Awaitable[httpx.Response]]) -> bytes:
        """Return the body of a 200. A token that Graph refuses is replaced once."""
        token = await self._tokens.get()
        response = await self._once(request)
        if response.status_code == httpx.codes.UNAUTHORIZED:
            self._tokens.refused(token)
            response = await self._once(request)
        if response.status_code != httpx.codes.OK:
            raise _failure(response)
        return response.content

    @staticmethod
    async def _once(request: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        try:
            async with asyncio.timeout(PAGE_DEADLINE):
                return await request()
        except TimeoutError as error:
            raise ProviderError(f"Graph did not answer within {PAGE_DEADLINE:g} s") from error
        except httpx.HTTPError as error:
            raise ProviderError(f"Graph cannot be reached ({type(error).__name__})") from error

    # ------------------------------------------------------------------ rows

    def _risk_row(self, row: Mapping[str, Any]) -> tuple[str, RiskReading]:
        raw = row.get("riskLevel")
        level = parse_risk_level(raw if isinstance(raw, str) else None)
        if isinstance(level, UnknownReason) and level is not UnknownReason.HIDDEN:
            _log.warning("risk.unrecognised", level=_shown(raw))
        return f"{self._settings.directory_id.casefold()}/{_guid(row.get('id'))}", RiskReading(
            level=level,
            reported_at=_moment(row.get("riskLastUpdatedDateTime")),
            detail=_text(row.get("riskDetail")) or "",
            email=_text(row.get("userPrincipalName")) or "",
            name=_text(row.get("userDisplayName")) or "",
        )


_USER_TYPES: Mapping[str, UserType] = {"member": UserType.MEMBER, "guest": UserType.GUEST}


def parse_page(body: bytes) -> tuple[list[dict[str, Any]], str | None]:
    """Return a page's rows and its next link. Raises :class:`ProviderError` (``malformed``) for anything else."""
    page = _object(body)
    rows, link = page.get("value"), page.get("@odata.nextLink")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ProviderError("Graph's answer holds no list", code="malformed")
    if link is not None and (not isinstance(link, str) or not 0 < len(link) <= MAX_LINK):
        raise ProviderError("Graph's link to the next page cannot be used", code="malformed")
    return rows, link


def check_link(link: str, origin: tuple[str, str, int]) -> None:
    """Raise :class:`ProviderError` unless a next link leads to the same Graph: our token goes with the request.

    Read with httpx's own parser, which also decides where the request goes.
    """
    try:
        same = _origin(link) == origin and not httpx.URL(link).userinfo and httpx.URL(link).path.startswith("/v1.0/")
    except ProviderError:
        same = False
    if not same or not link.isascii() or not link.isprintable() or "\\" in link:
        raise ProviderError("Graph's link to the next page leads to another host", code="malformed")


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise ProviderError("not a URL", code="malformed") from error
    port = parsed.port or {"https": 443, "http": 80}.get(parsed.scheme, 0)
    if not parsed.host or not port:
        raise ProviderError("not an absolute http URL", code="malformed")
    return parsed.scheme, parsed.host.casefold(), port


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProviderError("Graph's answer is not JSON", code="malformed") from error
    if not isinstance(value, dict):
        raise ProviderError("Graph's answer is not a JSON object", code="malformed")
    return value


def _failure(response: httpx.Response) -> ProviderError:
    """Return the error for an answer that is not 200. Its text holds Graph's code and never Graph's message."""
    status = response.status_code
    code, message = "", ""
    try:
        error = _object(response.content).get("error")
    except ProviderError:
        error = None
    if isinstance(error, dict):
        raw = error.get("code")
        code = raw if isinstance(raw, str) and _CODE.match(raw) else ""
        message = str(error.get("message", "")).casefold()
    name = f"{status} {code}".strip()
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return ThrottledError("Graph is throttling", retry_after(response))
    if status in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT} and retry_after(response):
        return ThrottledError(f"Graph asks for patience ({name})", retry_after(response))
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return ProviderError(f"Graph answered {name}")
    if status == httpx.codes.UNAUTHORIZED:
        return ProviderError(f"Graph does not accept our token ({name})", code="credentials")
    if status == httpx.codes.FORBIDDEN:
        if message.startswith(_UNLICENSED):
            return ProviderError("the tenant has no Entra ID P2 licence, which risk levels need", code="unlicensed")
        return ProviderError(
            f"the application lacks a permission of Microsoft Graph, or its admin consent ({name})", code="forbidden"
        )
    if status == httpx.codes.NOT_FOUND and code == "Request_ResourceNotFound":
        return NoSuchPersonError("the directory does not hold this person")
    return ProviderError(f"Graph answered {name}", code="malformed")


def _guid(value: object) -> str:
    text = value.casefold() if isinstance(value, str) else ""
    if not _GUID.match(text):
        raise ProviderError("an object without a proper id", code="malformed")
    return text


def _text(value: object) -> str | None:
    return value[:MAX_TEXT] if isinstance(value, str) and value else None


def _shown(raw: object) -> str:
    return raw[:40] if isinstance(raw, str) else type(raw).__name__


def _moment(value: object) -> float | None:
    """Return a Graph time as epoch seconds, or None. It is for reading only, except where the caller says otherwise."""
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _strictness(level: RiskLevel | UnknownReason) -> float:
    """Order levels for somebody who appears twice: an unknown one is stricter than all but ``high``."""
    return level.rank if isinstance(level, RiskLevel) else RiskLevel.HIGH.rank - 0.5
