"""``/_tenant/``: the page on which somebody who tries the product raises a risk by hand, and the same as a JSON API for tests.

Loopback only, and only from pages of the tenant itself: the control endpoints change who may pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from isolation.testing.tenant import pages
from isolation.testing.tenant.directory import RISK_LEVELS
from isolation.testing.tenant.faults import Endpoint, Fault, Kind, as_json
from isolation.testing.tenant.state import DEFAULT_PERMISSIONS, Switches, TenantState, is_loopback_name

# ---- limits
MAX_POPULATE = 100_000  # people; enough to measure paging, little enough to keep in memory


class ControlRefusedError(Exception):
    """The control endpoints do not serve this caller, or do not understand it."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ControlEndpoints:
    """The handlers, on one tenant's state."""

    def __init__(self, state: TenantState) -> None:
        self._state = state

    async def page(self, request: Request) -> Response:
        """Show the control page."""
        self._check(request)
        state, directory = self._state, self._state.directory
        people = [
            {
                "user": user,
                "risk": directory.risks[user.oid].level if user.oid in directory.risks else None,
                "groups": [group.name for group in directory.groups_of(user.oid)],
                "direct": {group.id for group in directory.groups.values() if user.oid in group.members},
            }
            for user in list(directory.users.values())
            if user.role
        ]
        html = pages.control(
            people=people,
            groups=sorted(directory.groups.values(), key=lambda group: group.name),
            others=len(directory.users) - len(people),
            levels=["none", "low", "medium", "high", "hidden", "someNewLevel"],
            switches=state.switches,
            faults=as_json(state.faults),
            forging=state.keys.forging,
            seen=list(state.seen)[-15:][::-1],
            now=state.clock.now(),
        )
        return HTMLResponse(html, headers=pages.HEADERS)

    async def state(self, request: Request) -> Response:
        """Return everything as JSON."""
        self._check(request)
        return JSONResponse(self._snapshot())

    async def person(self, request: Request) -> Response:
        """Change a person: ``risk`` (a level, ``null`` text for JSON null, ``forget``), ``enabled``, ``user_type``, ``employee_type``, ``revoke_sessions``, ``add_group``, ``remove_group``."""
        form = await self._form(request)
        who = str(request.path_params["who"])
        directory = self._state.directory
        actions: Mapping[str, Callable[[str], None]] = {
            "risk": lambda value: self._risk(who, value),
            "enabled": lambda value: directory.set_enabled(who, _truth(value)),
            "user_type": lambda value: directory.set_user_type(who, value),
            "employee_type": lambda value: directory.set_employee_type(who, value),
            "revoke_sessions": lambda _: directory.revoke_sessions(who),
            "add_group": lambda value: directory.add_member(value, who),
            "remove_group": lambda value: directory.remove_member(value, who),
        }
        return self._apply(request, form, actions)

    async def switches(self, request: Request) -> Response:
        """Change tenant-wide switches."""
        form = await self._form(request)
        switches = self._state.switches

        def permissions(value: str) -> None:
            switches.permissions = DEFAULT_PERMISSIONS if value == "all" else frozenset(value.split())

        actions: Mapping[str, Callable[[str], None]] = {
            "overage": lambda value: setattr(switches, "overage", _truth(value)),
            "groups_claim": lambda value: setattr(switches, "groups_claim", _truth(value)),
            "licensed": lambda value: setattr(switches, "licensed", _truth(value)),
            "permissions": permissions,
            "skew": lambda value: setattr(switches, "skew", float(value)),
            "max_page": lambda value: setattr(switches, "max_page", max(1, min(999, int(value)))),
        }
        return self._apply(request, form, actions)

    async def faults(self, request: Request) -> Response:
        """Switch a failure on (``endpoint``, ``kind``, ``status``, ``seconds``, ``times``, ``after``) or off (``kind=none``)."""
        form = await self._form(request)
        try:
            endpoint = Endpoint(form["endpoint"]) if form.get("endpoint", "all") != "all" else None
            if form.get("kind", "none") == "none":
                self._state.faults.clear(endpoint)
            elif endpoint is None:
                raise ControlRefusedError("name the endpoint: " + ", ".join(Endpoint))
            else:
                self._state.faults.set(endpoint, _fault(form))
        except (KeyError, ValueError) as error:
            raise ControlRefusedError(
                f"not understood: {error}; kinds: {', '.join(Kind)}; endpoints: {', '.join(Endpoint)}"
            ) from error
        return self._done(request)

    async def keys(self, request: Request) -> Response:
        """``rotate`` (``keep`` or ``drop``), or sign with a wrong key (``forge``: ``known-kid``, ``unknown-kid``, ``off``)."""
        form = await self._form(request)
        keys = self._state.keys
        actions: Mapping[str, Callable[[str], None]] = {
            "rotate": lambda value: keys.rotate(drop_old=value == "drop"),
            "forge": lambda value: keys.forge(value != "off", known_kid=value != "unknown-kid"),
        }
        return self._apply(request, form, actions)

    async def populate(self, request: Request) -> Response:
        """Add ``number`` more people at ``level``."""
        form = await self._form(request)
        try:
            number = int(form.get("number", "0"))
        except ValueError as error:
            raise ControlRefusedError("number: a number") from error
        if not 0 <= number <= MAX_POPULATE:
            raise ControlRefusedError(f"number: 0 to {MAX_POPULATE}")
        self._state.directory.populate(number, form.get("level", "low"))
        return self._done(request)

    async def expire(self, request: Request) -> Response:
        """Let every access token and single sign-on session expire now."""
        await self._form(request)
        self._state.token_generation += 1
        self._state.sign_ons.clear()
        return self._done(request)

    async def reset(self, request: Request) -> Response:
        """Return people, switches and failures to their start. Signing keys and sign-on sessions stay."""
        await self._form(request)
        self._state.directory.reset()
        self._state.faults.clear()
        self._state.keys.forge(False)
        self._state.switches = Switches()
        return self._done(request)

    # ------------------------------------------------------------------ helpers

    def _check(self, request: Request) -> None:
        """Serve this machine only, under a loopback name (no DNS rebinding), and no other site's page (no CSRF)."""
        try:
            peer = ip_address(request.client.host if request.client else "")
        except ValueError as error:
            raise ControlRefusedError("loopback only", 403) from error
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        if not peer.is_loopback or not is_loopback_name(host):
            raise ControlRefusedError("loopback only", 403)
        origin = request.headers.get("origin")
        own = {self._state.base_url, f"http://{request.headers.get('host', '')}"}
        if request.method == "POST" and origin is not None and origin not in own:
            raise ControlRefusedError("not from another site's page", 403)

    async def _form(self, request: Request) -> dict[str, str]:
        self._check(request)
        body = await request.body()
        if request.headers.get("content-type", "").startswith("application/json"):
            try:
                values = json.loads(body)
            except ValueError as error:
                raise ControlRefusedError("not JSON") from error
            if not isinstance(values, dict):
                raise ControlRefusedError("a JSON object is needed")
            return {str(name): _text(value) for name, value in values.items()}
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    def _risk(self, who: str, value: str) -> None:
        if value == "forget":
            self._state.directory.forget_risk(who)
        else:
            self._state.directory.set_risk(who, None if value == "null" else value)

    def _apply(self, request: Request, form: Mapping[str, str], actions: Mapping[str, Callable[[str], None]]) -> Response:
        if unknown := form.keys() - actions.keys():
            raise ControlRefusedError(f"not understood: {', '.join(sorted(unknown))}; known: {', '.join(sorted(actions))}")
        for name, value in form.items():
            try:
                actions[name](value)
            except KeyError as error:
                raise ControlRefusedError(f"nobody and nothing is called {error}", 404) from error
            except ValueError as error:
                raise ControlRefusedError(f"{name}: {error}") from error
        return self._done(request)

    def _done(self, request: Request) -> Response:
        if "text/html" in request.headers.get("accept", ""):
            return RedirectResponse("/_tenant/", 303)
        return JSONResponse(self._snapshot())

    def _snapshot(self) -> dict[str, Any]:
        directory, switches = self._state.directory, self._state.switches
        shown = [user for user in list(directory.users.values()) if user.role]
        return {
            "people": [
                {
                    "oid": user.oid,
                    "email": user.upn,
                    "name": user.name,
                    "role": user.role,
                    "enabled": user.enabled,
                    "user_type": user.user_type,
                    "employee_type": user.employee_type,
                    "risk": directory.risks[user.oid].level if user.oid in directory.risks else None,
                    "risk_recorded": user.oid in directory.risks,
                    "groups": [group.name for group in directory.groups_of(user.oid)],
                }
                for user in shown
            ],
            "others": len(directory.users) - len(shown),
            "risk_levels": list(RISK_LEVELS),
            "faults": as_json(self._state.faults),
            "switches": {
                "overage": switches.overage,
                "groups_claim": switches.groups_claim,
                "licensed": switches.licensed,
                "permissions": sorted(switches.permissions),
                "skew": switches.skew,
                "forging": self._state.keys.forging,
            },
        }


def _truth(value: str) -> bool:
    if value.casefold() in {"true", "1", "on", "yes"}:
        return True
    if value.casefold() in {"false", "0", "off", "no"}:
        return False
    raise ValueError("true or false")


def _text(value: object) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _fault(form: Mapping[str, str]) -> Fault:
    return Fault(
        kind=Kind(form["kind"]),
        status=int(form.get("status", "500")),
        seconds=float(form.get("seconds", "0")),
        times=int(form["times"]) if form.get("times") else None,
        retry_after=int(form["retry_after"]) if form.get("retry_after") else None,
        after=int(form.get("after", "0")),
    )
