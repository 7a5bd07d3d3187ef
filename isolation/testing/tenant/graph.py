"""Microsoft Graph v1.0, as much of it as the product reads: risky users, users, groups and who is in them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from isolation.testing.tenant.directory import RISK_LEVELS, Group, Risk, User, iso
from isolation.testing.tenant.faults import Endpoint, Fault, Kind, spoil_page
from isolation.testing.tenant.odata import BadQueryError, matcher, next_link, page_size, select, start_of
from isolation.testing.tenant.state import TenantState

# ---- limits (Graph's own)
RISK_PAGE = 500  # the largest $top of riskyUsers
DIRECTORY_PAGE = 999  # the largest $top of users, groups and memberships
DEFAULT_PAGE = 100

RISK_PERMISSIONS = frozenset({"IdentityRiskyUser.Read.All", "IdentityRiskyUser.ReadWrite.All"})
USER_PERMISSIONS = frozenset({"User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"})
GROUP_PERMISSIONS = frozenset({"GroupMember.Read.All", "Group.Read.All", "Directory.Read.All", "Directory.ReadWrite.All"})

USER_DEFAULTS = (
    *("id", "displayName", "givenName", "surname", "mail", "userPrincipalName", "jobTitle"),
    *("businessPhones", "mobilePhone", "officeLocation", "preferredLanguage"),
)
GROUP_DEFAULTS = ("id", "displayName", "securityEnabled", "mailEnabled", "createdDateTime", "description", "groupTypes")
_OPTIONS = frozenset(
    {"$filter", "$select", "$top", "$skiptoken", "$count", "$orderby", "$expand", "$search", "$deltatoken", "endless", "was"}
)
#: OData casts Graph accepts; msgraph-sdk writes the first form.
GROUP_CASTS = frozenset({"graph.group", "microsoft.graph.group"})


class GraphProblemError(Exception):
    """A Graph error answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class GraphEndpoints:
    """The handlers, on one tenant's state."""

    def __init__(self, state: TenantState) -> None:
        self._state = state

    # ------------------------------------------------------------------ risky users

    def risky_users(self, request: Request, fault: Fault | None) -> Response:
        """``GET /identityProtection/riskyUsers``."""
        self._authorise(request, RISK_PERMISSIONS, identity_protection=True)
        rows = [self._risky_user(request, oid, risk) for oid, risk in sorted(self._state.directory.risks.items())]
        return self._page(request, rows, "identityProtection/riskyUsers", list(rows[0]) if rows else [], RISK_PAGE, fault)

    def risky_user(self, request: Request, fault: Fault | None) -> Response:  # noqa: ARG002 - the handlers have one shape
        """``GET /identityProtection/riskyUsers/{id}``: 404 for somebody who was never at risk."""
        self._authorise(request, RISK_PERMISSIONS, identity_protection=True)
        oid = str(request.path_params["id"]).casefold()
        risk = self._state.directory.risks.get(oid)
        if risk is None:
            raise GraphProblemError(404, "NotFound", f"User '{oid}' not found")
        return self._object(self._risky_user(request, oid, risk), "identityProtection/riskyUsers/$entity")

    def _risky_user(self, request: Request, oid: str, risk: Risk) -> dict[str, Any]:
        level = risk.level
        # Evolvable enumerations: members behind unknownFutureValue are sent only to callers that ask for them.
        asked = "include-unknown-enum-members" in request.headers.get("prefer", "")
        if level is not None and level not in RISK_LEVELS and not asked:
            level = "unknownFutureValue"
        user = self._state.directory.users.get(oid)
        return {
            "id": oid,
            "isDeleted": user is None,
            "isProcessing": False,
            "riskLevel": level,
            "riskState": risk.state,
            "riskDetail": "none" if risk.state == "atRisk" else "adminDismissedAllRiskForUser",
            "riskLastUpdatedDateTime": iso(risk.updated),
            "userDisplayName": user.name if user else None,
            "userPrincipalName": user.upn if user else None,
        }

    # ------------------------------------------------------------------ directory

    def user(self, request: Request, fault: Fault | None) -> Response:  # noqa: ARG002 - the handlers have one shape
        """``GET /users/{id | userPrincipalName}``."""
        self._authorise(request, USER_PERMISSIONS)
        self._options(request)
        row = _user_row(self._user(request))
        return self._object(select(row, request.query_params.get("$select", ""), USER_DEFAULTS), "users/$entity")

    def users(self, request: Request, fault: Fault | None) -> Response:
        """``GET /users``."""
        self._authorise(request, USER_PERMISSIONS)
        rows = [_user_row(user) for _, user in sorted(self._state.directory.users.items())]
        return self._page(request, rows, "users", USER_DEFAULTS, DIRECTORY_PAGE, fault)

    def groups(self, request: Request, fault: Fault | None) -> Response:
        """``GET /groups``."""
        self._authorise(request, GROUP_PERMISSIONS)
        rows = [_group_row(group) for _, group in sorted(self._state.directory.groups.items())]
        return self._page(request, rows, "groups", GROUP_DEFAULTS, DIRECTORY_PAGE, fault)

    def group(self, request: Request, fault: Fault | None) -> Response:  # noqa: ARG002 - the handlers have one shape
        """``GET /groups/{id}``."""
        self._authorise(request, GROUP_PERMISSIONS)
        return self._object(_group_row(self._group(request)), "groups/$entity")

    def members(self, request: Request, fault: Fault | None) -> Response:
        """``GET /groups/{id}/members``: direct members."""
        self._authorise(request, GROUP_PERMISSIONS)
        directory = self._state.directory
        rows: list[dict[str, Any]] = []
        for member in sorted(self._group(request).members):
            if member in directory.users:
                rows.append({"@odata.type": "#microsoft.graph.user", **_user_row(directory.users[member])})
            elif member in directory.groups:
                rows.append({"@odata.type": "#microsoft.graph.group", **_group_row(directory.groups[member])})
        return self._page(request, rows, "directoryObjects", ["id", "displayName"], DIRECTORY_PAGE, fault)

    def transitive_member_of(self, request: Request, fault: Fault | None) -> Response:
        """``GET /users/{id}/transitiveMemberOf``: groups at any depth, and a directory role, which is no group."""
        self._authorise(request, GROUP_PERMISSIONS)
        user = self._user(request)
        rows = [
            {"@odata.type": "#microsoft.graph.group", **_group_row(group)} for group in self._state.directory.groups_of(user.oid)
        ]
        cast = request.path_params.get("cast")
        if cast is None:
            rows.append({"@odata.type": "#microsoft.graph.directoryRole", "id": _role_id(), "displayName": "Directory Readers"})
        elif cast not in GROUP_CASTS:
            raise GraphProblemError(400, "BadRequest", f"Resource not found for the segment '{cast}'.")
        elif request.headers.get("consistencylevel") != "eventual" or request.query_params.get("$count") != "true":
            raise GraphProblemError(
                400, "Request_UnsupportedQuery", "The specified OData cast needs ConsistencyLevel: eventual and $count=true."
            )
        else:
            rows = [{name: value for name, value in row.items() if name != "@odata.type"} for row in rows]
        return self._page(request, rows, "directoryObjects", ["id", "displayName"], DIRECTORY_PAGE, fault)

    def delta(self, request: Request, fault: Fault | None) -> Response:
        """``GET /users/delta`` and ``/groups/delta``: everything that is, again whenever anything changed since the token."""
        what = "groups" if request.url.path.split("/")[2] == "groups" else "users"
        self._authorise(request, GROUP_PERMISSIONS if what == "groups" else USER_PERMISSIONS)
        directory = self._state.directory
        token = request.query_params.get("$deltatoken", "")
        if token and token != "latest" and not token.isdecimal():
            raise GraphProblemError(410, "syncStateNotFound", "The sync state generation is not found.")
        rows: list[dict[str, Any]] = []
        if token not in {"latest", str(directory.version)}:
            if what == "users":
                rows = [_user_row(user) for user in directory.users.values()]
            else:
                rows = [
                    _group_row(group) | {"members@delta": _members(group, directory.users)} for group in directory.groups.values()
                ]
        link = f"{self._state.base_url}/v1.0/{what}/delta()?$deltatoken={directory.version}"
        page: dict[str, object] = {"@odata.context": self._context(what), "value": rows, "@odata.deltaLink": link}
        return JSONResponse(spoil_page(fault, page, request, self._state.base_url), headers=_HEADERS)

    def userinfo(self, request: Request, fault: Fault | None) -> Response:  # noqa: ARG002 - the handlers have one shape
        """``GET /oidc/userinfo`` for the person whose access token it is."""
        claims = self._bearer(request)
        user = self._state.directory.users.get(str(claims.get("oid", "")))
        if user is None:
            raise GraphProblemError(401, "InvalidAuthenticationToken", "Access token does not belong to a user.")
        return JSONResponse({"sub": user.oid, "name": user.name, "email": user.upn})

    # ------------------------------------------------------------------ helpers

    def _user(self, request: Request) -> User:
        wanted = str(request.path_params["id"]).casefold()
        users = self._state.directory.users
        found = users.get(wanted) or next((user for user in list(users.values()) if user.upn == wanted), None)
        if found is None:
            raise _not_found(wanted)
        return found

    def _group(self, request: Request) -> Group:
        wanted = str(request.path_params["id"]).casefold()
        found = self._state.directory.groups.get(wanted)
        if found is None:
            raise _not_found(wanted)
        return found

    def _bearer(self, request: Request) -> dict[str, Any]:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.casefold() != "bearer" or not token:
            raise GraphProblemError(401, "InvalidAuthenticationToken", "Access token is empty.")
        try:
            claims = self._state.keys.read_access(token, self._state.graph_audience)
        except jwt.PyJWTError as error:
            raise GraphProblemError(
                401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience or signature."
            ) from error
        expired = self._state.clock.now() >= float(claims["exp"])
        if expired or claims["generation"] != self._state.token_generation:
            raise GraphProblemError(401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.")
        return claims

    def _authorise(self, request: Request, any_of: frozenset[str], *, identity_protection: bool = False) -> None:
        claims = self._bearer(request)
        held = frozenset(claims.get("roles", ())) & self._state.switches.permissions
        if not held & any_of:
            if identity_protection:
                message = "You cannot perform the requested operation, required scopes are missing in the token."
                raise GraphProblemError(403, "Forbidden", message)
            raise GraphProblemError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
        if identity_protection and not self._state.switches.licensed:
            raise GraphProblemError(403, "Forbidden", "Your tenant is not licensed for this feature.")

    def _options(self, request: Request) -> Mapping[str, str]:
        for name in request.query_params:
            if name not in _OPTIONS:
                raise GraphProblemError(400, "BadRequest", f"The query parameter '{name}' is not supported.")
        return dict(request.query_params.items())

    def _page(
        self,
        request: Request,
        rows: Sequence[dict[str, Any]],
        context: str,
        defaults: Sequence[str],
        maximum: int,
        fault: Fault | None,
    ) -> Response:
        query = self._options(request)
        maximum = min(maximum, self._state.switches.max_page) if maximum == DIRECTORY_PAGE else maximum
        try:
            size = min(
                page_size(query, DEFAULT_PAGE, max(maximum, DIRECTORY_PAGE if maximum != RISK_PAGE else RISK_PAGE)), maximum
            )
            start = start_of(query)
            keep = matcher(query["$filter"]) if "$filter" in query else None
            found = [row for row in rows if keep is None or keep(row)]
            chosen = [select(row, query.get("$select", ""), defaults or list(row)) for row in found[start : start + size]]
        except BadQueryError as error:
            raise GraphProblemError(400, "BadRequest", str(error)) from error
        page: dict[str, Any] = {"@odata.context": self._context(context)}
        if query.get("$count") == "true":
            page["@odata.count"] = len(found)
        page["value"] = chosen
        if start + size < len(found):
            page["@odata.nextLink"] = next_link(f"{self._state.base_url}{request.url.path}", query, start + size)
        return JSONResponse(spoil_page(fault, page, request, self._state.base_url), headers=_HEADERS)

    def _object(self, row: Mapping[str, Any], context: str) -> Response:
        return JSONResponse({"@odata.context": self._context(context), **row}, headers=_HEADERS)

    def _context(self, what: str) -> str:
        return f"{self._state.base_url}/v1.0/$metadata#{what}"

    def problem(self, problem: GraphProblemError, request: Request, headers: Mapping[str, str] | None = None) -> Response:
        """Return an error in Graph's shape."""
        stamp = datetime.fromtimestamp(self._state.clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        request_id = str(uuid.uuid4())
        inner = {
            "date": stamp,
            "request-id": request_id,
            "client-request-id": request.headers.get("client-request-id", request_id),
        }
        return JSONResponse(
            {"error": {"code": problem.code, "message": problem.message, "innerError": inner}},
            status_code=problem.status,
            headers={"request-id": request_id, **(headers or {})},
        )

    def status_fault(self, endpoint: Endpoint, fault: Fault, request: Request) -> Response | None:
        """Return the answer of a ``status`` failure. 429 of identityProtection has no ``Retry-After``: Microsoft documents so."""
        if fault.kind is not Kind.STATUS:
            return None
        code = {429: "TooManyRequests", 503: "ServiceUnavailable", 504: "GatewayTimeout", 401: "InvalidAuthenticationToken"}
        headers: dict[str, str] = {}
        if fault.status in {429, 503} and endpoint is not Endpoint.RISKY_USERS:
            headers["Retry-After"] = str(fault.retry_after if fault.retry_after is not None else 1)
        problem = GraphProblemError(fault.status, code.get(fault.status, "UnknownError"), "A failure that was switched on.")
        return self.problem(problem, request, headers)


_HEADERS = {"OData-Version": "4.0", "Cache-Control": "no-cache"}


def _not_found(wanted: str) -> GraphProblemError:
    text = f"Resource '{wanted}' does not exist or one of its queried reference-property objects are not present."
    return GraphProblemError(404, "Request_ResourceNotFound", text)


def _role_id() -> str:
    return "88d8e3e3-8f55-4a1e-953a-9b9898b8876b"  # the role template of Directory Readers, the same in every tenant


def _members(group: Group, users: Mapping[str, User]) -> list[dict[str, str]]:
    return [
        {"@odata.type": "#microsoft.graph.user" if member in users else "#microsoft.graph.group", "id": member}
        for member in sorted(group.members)
    ]


def _user_row(user: User) -> dict[str, Any]:
    given, _, family = user.name.partition(" ")
    return {
        "businessPhones": [],
        "displayName": user.name,
        "givenName": given,
        "jobTitle": user.role or None,
        "mail": user.upn,
        "mobilePhone": None,
        "officeLocation": None,
        "preferredLanguage": None,
        "surname": family,
        "userPrincipalName": user.upn,
        "id": user.oid,
        "userType": user.user_type,
        "accountEnabled": user.enabled,
        "employeeType": user.employee_type,
        "externalUserState": "Accepted" if user.user_type == "Guest" else None,
        "creationType": "Invitation" if user.user_type == "Guest" else None,
        "signInSessionsValidFromDateTime": iso(user.sessions_valid_from),
    }


def _group_row(group: Group) -> dict[str, Any]:
    return {
        "id": group.id,
        "displayName": group.name,
        "securityEnabled": True,
        "mailEnabled": False,
        "createdDateTime": "2025-01-01T00:00:00Z",
        "description": None,
        "groupTypes": [],
    }
