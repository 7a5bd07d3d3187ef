"""Failures on request: what a real Entra or Graph does on a bad day, one endpoint at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

# ---- limits
MAX_SLOW = 120.0  # seconds; longer than any time-out of ours, short enough that a forgotten switch ends


class Endpoint(StrEnum):
    """What can be made to fail."""

    DISCOVERY = "discovery"
    KEYS = "keys"
    AUTHORIZE = "authorize"
    TOKEN = "token"
    RISKY_USERS = "risky-users"
    USER = "user"
    MEMBER_OF = "member-of"
    USERS = "users"
    GROUPS = "groups"
    USERINFO = "userinfo"


class Kind(StrEnum):
    """How it fails."""

    STATUS = "status"  # the HTTP status in `status`, with the error body of Entra or Graph
    SLOW = "slow"  # answers properly after `seconds`
    MALFORMED = "malformed"  # 200 and something that is not JSON
    WRONG_SHAPE = "wrong-shape"  # 200 and JSON of another shape
    TRUNCATED = "truncated"  # the connection closes in the middle of the body
    REDIRECT = "redirect"  # 302 to another host
    HOSTILE_NEXT_LINK = "hostile-next-link"  # @odata.nextLink names another host
    ENDLESS_PAGING = "endless-paging"  # @odata.nextLink never ends
    REPEATED_NEXT_LINK = "repeated-next-link"  # @odata.nextLink names its own page
    EMPTY_VALUE = "empty-value"  # 200 and "value": []
    MISSING_VALUE = "missing-value"  # 200 without "value"


#: Where a hostile answer points. Reserved by RFC 2606, so that it can never be reached by accident.
HOSTILE_ORIGIN = "http://graph.attacker.invalid"


@dataclass(frozen=True, slots=True)
class Fault:
    """One switched-on failure. ``times`` None: until it is cleared. ``after``: pages that are served properly before it strikes."""

    kind: Kind
    status: int = 500
    seconds: float = 0.0
    times: int | None = None
    retry_after: int | None = None
    after: int = 0


class Faults:
    """The failures that are switched on, by endpoint."""

    def __init__(self) -> None:
        self._faults: dict[Endpoint, Fault] = {}

    def set(self, endpoint: Endpoint, fault: Fault) -> None:
        """Switch a failure on; it replaces an earlier one of the same endpoint."""
        self._faults[endpoint] = replace(fault, seconds=min(fault.seconds, MAX_SLOW))

    def clear(self, endpoint: Endpoint | None = None) -> None:
        """Switch one failure off, or all."""
        if endpoint is None:
            self._faults.clear()
        else:
            self._faults.pop(endpoint, None)

    def active(self) -> dict[Endpoint, Fault]:
        """Return what is switched on."""
        return dict(self._faults)

    def take(self, endpoint: Endpoint) -> Fault | None:
        """Return the failure for this request, counting it down."""
        fault = self._faults.get(endpoint)
        if fault is None:
            return None
        if fault.after > 0:
            self._faults[endpoint] = replace(fault, after=fault.after - 1)
            return None
        if fault.times is not None:
            if fault.times <= 1:
                self._faults.pop(endpoint, None)
            else:
                self._faults[endpoint] = replace(fault, times=fault.times - 1)
        return fault


class TruncatedResponse(Response):
    """Promises more bytes than it sends; the server then closes the connection."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and half of the body, and return."""
        body = bytes(self.body)
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": body[: max(1, len(body) // 2)], "more_body": True})


async def before(fault: Fault | None) -> Response | None:
    """Apply the failures that are the same for every endpoint; return a response to send in place of the proper one."""
    if fault is None:
        return None
    if fault.kind is Kind.SLOW:
        await asyncio.sleep(fault.seconds)
        return None
    if fault.kind is Kind.MALFORMED:
        return Response('{"value": [{"id": "', media_type="application/json")
    if fault.kind is Kind.WRONG_SHAPE:
        return Response('["not", "an", "object"]', media_type="application/json")
    if fault.kind is Kind.REDIRECT:
        return Response(status_code=302, headers={"Location": f"{HOSTILE_ORIGIN}/stolen"})
    return None


def after(fault: Fault | None, response: Response) -> Response:
    """Apply the failures that need the proper response."""
    if fault is None or fault.kind is not Kind.TRUNCATED:
        return response
    return TruncatedResponse(bytes(response.body), response.status_code, dict(response.headers))


def spoil_page(fault: Fault | None, page: dict[str, object], request: Request, origin: str) -> dict[str, object]:
    """Apply the failures of paging to a page that was going to be sent."""
    if fault is None:
        return page
    here = f"{origin}{request.url.path}"
    spoilt = dict(page)
    match fault.kind:
        case Kind.HOSTILE_NEXT_LINK:
            spoilt["@odata.nextLink"] = f"{HOSTILE_ORIGIN}/v1.0/identityProtection/riskyUsers?$skiptoken=1"
        case Kind.ENDLESS_PAGING:
            number = int(request.query_params.get("endless", "0")) + 1
            spoilt["@odata.nextLink"] = f"{here}?endless={number}&{request.url.query.replace('endless=', 'was=')}"[:1500]
        case Kind.REPEATED_NEXT_LINK:
            spoilt["@odata.nextLink"] = f"{here}?{request.url.query}"
        case Kind.EMPTY_VALUE:
            spoilt["value"] = []
            spoilt.pop("@odata.nextLink", None)
        case Kind.MISSING_VALUE:
            spoilt.pop("value", None)
        case _:
            pass
    return spoilt


def as_json(faults: Faults) -> dict[str, dict[str, object]]:
    """Return what is switched on as plain values."""
    return {
        endpoint.value: {"kind": fault.kind, "status": fault.status, "seconds": fault.seconds, "times": fault.times}
        for endpoint, fault in faults.active().items()
    }
