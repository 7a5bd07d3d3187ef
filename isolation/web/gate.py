"""The outermost ASGI application: guard → route → session → decision → forward, isolate, sign in or refuse.

A request for a known session costs a handful of dictionary lookups here before the data plane has it. Everything that is not that
case (own pages, sign-in, refusals, failures) is slower and elsewhere.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

import structlog
from starlette.requests import Request
from starlette.responses import Response

from isolation.broker.model import Grant
from isolation.clock import Clock
from isolation.egress.gateway import Gateway
from isolation.egress.requests import Channel
from isolation.errors import BadRequestError, IsolationError, StoreError, UpstreamError
from isolation.limits import OWN_PREFIX
from isolation.policy.evaluate import consults_address
from isolation.policy.facts import Context, Facts, Person
from isolation.policy.model import Action
from isolation.proxy.exchange import RAW_TARGET, TARGET, UPGRADE
from isolation.proxy.http import CUT, INTERRUPTED, HttpForwarder
from isolation.proxy.websocket import OriginRefusedError, Tunneler
from isolation.routing.decide import decide
from isolation.routing.model import App, Forward, Isolate, Refuse, Target
from isolation.routing.table import RouteTable
from isolation.routing.target import parse_target
from isolation.web.callers import NOBODY, Callers
from isolation.web.decisions import Decisions, Ruling, outcome
from isolation.web.endpoints.kit import Site
from isolation.web.endpoints.own import OwnPages
from isolation.web.endpoints.viewer import ViewerEndpoints
from isolation.web.known import KnownSessions
from isolation.web.metrics import Metrics
from isolation.web.navigation import wants_navigation
from isolation.web.pages import own_response, problem
from isolation.web.replies import Replies

log = structlog.get_logger()

MAX_CUTS = 3
"""How often one request is decided again because the decision changed before its response had started."""

FIRST_READ_SECONDS = 4.0
"""How long after signing in a page load waits for groups and profile, where no token brought them. The directory answers within one second, mostly."""

READ_PAUSE = 0.1
"""Time between looks while waiting for that: as long as an event takes to arrive."""

Headers = list[tuple[bytes, bytes]]


class IdentityHeaders(Protocol):
    """Makes the headers that tell an app who is there."""

    def headers_for(self, session_digest: str, person: Person, app: App) -> tuple[tuple[bytes, bytes], ...]:
        """Return the signed assertion and the app's plain headers."""
        ...


@dataclass(frozen=True, slots=True)
class Routes:
    """Apps of the configuration in force. ``passing``: names of apps with a Bypass policy, which are decided before a session is asked for."""

    table: RouteTable
    apps: tuple[App, ...]
    passing: frozenset[str]

    @classmethod
    def of(cls, apps: Sequence[App]) -> Routes:
        """Return the routes of ``apps``."""
        passing = frozenset(app.name for app in apps if any(policy.action is Action.BYPASS for policy in app.policy.policies))
        return cls(RouteTable(apps), tuple(apps), passing)


class Gate:
    """See the module's docstring. One per worker."""

    def __init__(
        self,
        *,
        site: Site,
        routes: Routes,
        callers: Callers,
        sessions: KnownSessions,
        decisions: Decisions,
        http: HttpForwarder,
        websocket: Tunneler,
        identity: IdentityHeaders,
        own: OwnPages,
        replies: Replies,
        viewer: ViewerEndpoints,
        jwks: JwksSource,
        gateway: Gateway,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._site = site
        self._routes = routes
        self._callers = callers
        self._sessions = sessions
        self._decisions = decisions
        self._http = http
        self._websocket = websocket
        self._identity = identity
        self._own = own
        self._replies = replies
        self._viewer = viewer
        self._jwks = jwks
        self._gateway = gateway
        self._clock = clock
        self._metrics = metrics
        self._viewer_addresses: dict[str, str] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, WebSocket handshake or viewer stream. Nothing that goes wrong reaches the client as anything but a page."""
        try:
            channel = scope["state"].get("channel")
            if scope["type"] == "websocket":
                await self._stream(scope, receive, send)
            elif channel is not None:
                await self._renderer_request(scope, receive, send, channel)
            else:
                await self._request(scope, receive, send)
        except BadRequestError as error:
            if TARGET in scope:
                await self._failed(scope, receive, send, error)
        except OriginRefusedError:
            log.warning("websocket.foreign-origin", host=scope[TARGET].host)
            await self._answer(
                scope,
                receive,
                send,
                problem(403, "cross-site", "Refused", "A page of another origin may not open a WebSocket here."),
            )
        except IsolationError as error:
            await self._failed(scope, receive, send, error)

    # ------------------------------------------------------------------ people

    async def _request(self, scope: Any, receive: Any, send: Any) -> None:
        target: Target = scope[TARGET]
        address = self._person_address(scope)
        host, path = target.host, target.path
        if host == self._site.auth_host:
            await self._own_page(scope, receive, send, host, path)
            return
        app = self._routes.table.find(host)
        if app is None:
            await self._answer(scope, receive, send, self._replies.not_found(scope))
            return
        if path.startswith(OWN_PREFIX) or path == OWN_PREFIX[:-1]:
            await self._own_page(scope, receive, send, host, path)
            return
        headers: Headers = scope["headers"]
        lost: UpstreamError | None = None
        cuts = 0
        while cuts < MAX_CUTS:
            session = self._sessions.known(headers, host)
            ruling = self._decisions.cached(session.digest, app, address) if session is not None else None
            if ruling is None:
                if app.name in self._routes.passing:
                    open_to_all = decide(app, Facts(context=self._context(scope, target, address)))
                    if isinstance(open_to_all, Forward):
                        # Bypass: no session is asked for, no identity attached, and it is logged and counted like everything else.
                        self._metrics.decided("bypass", app.name)
                        log.info("bypass", app=app.name, policy=open_to_all.because.policy, method=scope["method"])
                        await self._carry(scope, app, target, (), "")
                        return
                session = await self._sessions.find(headers, host)
                if session is not None:
                    ruling = await self._decisions.rule(session, app, self._context(scope, target, address))
            if ruling is None:
                self._metrics.decided("sign-in", app.name)
                await self._answer(scope, receive, send, self._replies.sign_in(scope, target))
                return
            decision = ruling.decision
            if self._soon_known(ruling, scope):
                await asyncio.sleep(READ_PAUSE)
                continue
            self._metrics.decided(outcome(decision), app.name)
            if not isinstance(decision, Forward):
                if isinstance(decision, Isolate):
                    self._remember_address(ruling.session.digest, address)
                await self._answer(scope, receive, send, self._replies.instead(scope, ruling, target))
                return
            if lost is not None:
                raise lost  # still let in; but the app may have acted on it already, so it is not sent again
            try:
                await self._forward(scope, ruling, target)
            except UpstreamError as error:
                if error.code not in {CUT, INTERRUPTED}:
                    raise
                # The decision changed before the response had started: whoever asked gets what the new one says.
                lost = error if error.code == INTERRUPTED else None
                cuts += 1
                continue
            return
        raise UpstreamError("the decision about this request kept changing", code=INTERRUPTED)

    def _soon_known(self, ruling: Ruling, scope: Any) -> bool:
        """Say whether to wait with a refusal: somebody has just signed in, and what it rests on is being read at this moment."""
        decision = ruling.decision
        return (
            isinstance(decision, Refuse)
            and decision.retry
            and self._clock.now() - ruling.session.created_at < FIRST_READ_SECONDS
            and scope["type"] == "http"
            and wants_navigation(scope["headers"])
        )

    async def _forward(self, scope: Any, ruling: Ruling, target: Target) -> None:
        identity = (
            ()
            if isinstance(ruling.decision, Forward) and ruling.decision.anonymous
            else self._identity.headers_for(ruling.session.digest, ruling.person, ruling.app)
        )
        await self._carry(scope, ruling.app, target, identity, ruling.session.digest)

    # ------------------------------------------------------------------ own pages

    async def _own_page(self, scope: Any, receive: Any, send: Any, host: str, path: str) -> None:
        if scope["type"] != "http":
            await self._answer(scope, receive, send, self._replies.not_found(scope))
            return
        request = Request(scope, receive)
        name = path.removeprefix(OWN_PREFIX) if path.startswith(OWN_PREFIX) else ""
        response: Response | None = None
        if name.startswith("static/viewer/"):
            response = self._viewer.static(request, name.removeprefix("static/viewer/"))
        elif name == "certs" and host == self._site.auth_host:
            response = own_response(
                json.dumps(await self._jwks.public_jwks()).encode(),
                "application/json",
                200,
                {"cache-control": "public, max-age=300"},
            )
        elif name == "ticket" and host != self._site.auth_host:
            response = await self._viewer.ticket(request, await self._current_grant(scope))
        elif name == "identity":
            response = await self._who(scope, host)
        else:
            response = await self._own.handle(request, host, path)
        await self._answer(scope, receive, send, response or self._replies.not_found(scope))

    async def _stream(self, scope: Any, receive: Any, send: Any) -> None:
        # The one scope that uvicorn's WebSocket makes and not the ingress: its target is parsed by the same function.
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        scope[TARGET] = parse_target(scope["raw_path"], hosts, "GET")
        scope["method"] = "GET"
        grant = None
        try:
            grant = await self._current_grant(scope)
        except StoreError as error:
            log.error("stream.undecided", error=str(error))
        await self._viewer.stream(scope, receive, send, grant)

    async def _current_grant(self, scope: Any) -> Grant | None:
        """Return what the decision of this moment allows a viewer, or None where it is not isolation. Raises StoreError."""
        target: Target = scope[TARGET]
        address = self._person_address(scope)
        app = self._routes.table.find(target.host)
        session = await self._sessions.find(scope["headers"], target.host) if app is not None else None
        if app is None or session is None or scope["state"].get("channel") is not None:
            return None
        ruling = self._decisions.cached(session.digest, app, address)
        if ruling is None:
            ruling = await self._decisions.rule(session, app, self._context(scope, target, address))
        if ruling is None or not isinstance(ruling.decision, Isolate):
            return None
        self._remember_address(session.digest, address)
        return self._replies.grant(ruling, target.host)

    async def _who(self, scope: Any, host: str) -> Response:
        """``/.isolation/identity``: who is signed in here, and what that means for this app. For the person's own scripts and for support."""
        session = await self._sessions.find(scope["headers"], host)
        if session is None:
            return self._replies.unauthorized(scope, host)
        app = self._routes.table.find(host)
        document: dict[str, Any] = {"session": session.id, "idp": session.idp, "iat": int(session.created_at)}
        if app is not None:
            ruling = await self._decisions.rule(session, app, self._context(scope, scope[TARGET], self._person_address(scope)))
            if ruling is None:
                return self._replies.unauthorized(scope, host)
            document |= {
                "id": ruling.person.key,
                "email": ruling.person.email,
                "name": ruling.person.name,
                "app": app.name,
                "decision": outcome(ruling.decision),
                "policy": ruling.decision.because.policy,
                "reference": ruling.ref,
            }
        return own_response(json.dumps(document).encode(), "application/json", 200)

    # ------------------------------------------------------------------ renderers

    async def _renderer_request(self, scope: Any, receive: Any, send: Any, channel: Channel) -> None:
        """Serve the isolated browser: the same decisions, with the identity of its lease."""
        target: Target = scope[TARGET]
        if await self._gateway.requests.intercept(
            scope, receive, send, raw_target=scope[RAW_TARGET], target=target, channel=channel
        ):
            return
        app = self._routes.table.find(target.host)
        if app is None or target.path.startswith(OWN_PREFIX):
            # The isolated browser has no business on our own pages: people sign in on their own.
            await self._answer(scope, receive, send, self._replies.not_found(scope))
            return
        session = await self._sessions.by_digest(channel.lease.session_digest)
        address = self._viewer_addresses.get(channel.lease.session_digest)
        if session is None or (address is None and consults_address(app.policy)):
            await self._answer(scope, receive, send, self._replies.ended(scope, app))
            return
        address = address or NOBODY  # no policy of this app asks for one
        scope["client"] = (address, 0)
        scope["scheme"] = self._site.scheme
        for _ in range(MAX_CUTS):
            ruling = self._decisions.cached(session.digest, app, address)
            if ruling is None:
                ruling = await self._decisions.rule(session, app, self._context(scope, target, address))
            if ruling is None:
                await self._answer(scope, receive, send, self._replies.ended(scope, app))
                return
            self._metrics.rendered(outcome(ruling.decision), app.name)
            if not isinstance(ruling.decision, Forward | Isolate):
                await self._answer(scope, receive, send, self._replies.instead(scope, ruling, target))
                return
            try:
                await self._forward(scope, ruling, target)
            except UpstreamError as error:
                if error.code == CUT:
                    continue
                raise
            return
        raise UpstreamError("the decision about this request kept changing", code=INTERRUPTED)

    # ------------------------------------------------------------------ small things

    async def _carry(self, scope: Any, app: App, target: Target, identity: tuple[tuple[bytes, bytes], ...], session: str) -> None:
        if scope["type"] == UPGRADE:
            await self._websocket.tunnel(scope, app, target, identity, session)
        else:
            await self._http.forward(scope, app, target, identity, session)

    def _context(self, scope: Any, target: Target, address: str) -> Context:
        return Context(now=self._clock.now(), ip=ip_address(address), method=scope["method"], host=target.host, path=target.path)

    def _remember_address(self, digest: str, address: str) -> None:
        if len(self._viewer_addresses) > 50_000:
            self._viewer_addresses.pop(next(iter(self._viewer_addresses)))
        self._viewer_addresses[digest] = address

    def _person_address(self, scope: Any) -> str:
        """Return the person's address, and put it and the public scheme into the scope for the data plane."""
        client = scope["client"]
        address = self._callers.address(client[0] if client else NOBODY, scope["headers"])
        scope["client"] = (address, 0)
        if scope["type"] != "websocket":
            scope["scheme"] = self._site.scheme
        return address

    async def _failed(self, scope: Any, receive: Any, send: Any, error: IsolationError) -> None:
        response = self._replies.failed(scope, error)
        if scope["type"] != "websocket":
            await self._answer(scope, receive, send, response)

    async def _answer(self, scope: Any, receive: Any, send: Any, response: Response) -> None:
        await response({**scope, "type": "http"}, receive, send)


class JwksSource(Protocol):
    """Publishes the keys that sign assertions."""

    async def public_jwks(self) -> dict[str, Any]:
        """Return the JWK set."""
        ...
