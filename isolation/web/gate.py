"""The outermost ASGI application: guard → route → session → decision → forward, isolate, sign in or refuse.

A request for a known session costs a handful of dictionary lookups here before the data plane has it. Everything that is not that
case (own pages, sign-in, refusals, failures) is slower and elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

import structlog
from starlette.requests import Request
from starlette.responses import Response

from isolation.audit.events import new_reference
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
from isolation.routing.model import App, Forward, Isolate, RefusalReason, Refuse, Target
from isolation.routing.table import RouteTable
from isolation.routing.target import parse_target
from isolation.web.answers import FAILURES, Act, failure_for, respond_failure, respond_refusal
from isolation.web.callers import NOBODY, Callers
from isolation.web.decisions import Decisions, Ruling, outcome
from isolation.web.endpoints.hand_off import HandOff
from isolation.web.endpoints.kit import Site
from isolation.web.endpoints.own import OwnPages
from isolation.web.endpoints.viewer import ViewerEndpoints, ViewerView
from isolation.web.known import KnownSessions
from isolation.web.metrics import Metrics
from isolation.web.navigation import wants_navigation
from isolation.web.pages import PageRenderer, own_response, problem, redirect

log = structlog.get_logger()

MAX_CUTS = 3
"""How often one request is decided again because the decision changed before its response had started."""

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
        hand_off: HandOff,
        viewer: ViewerEndpoints,
        pages: PageRenderer,
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
        self._hand_off = hand_off
        self._viewer = viewer
        self._pages = pages
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
            await self._answer(scope, receive, send, self._not_found(scope))
            return
        if path.startswith(OWN_PREFIX) or path == OWN_PREFIX[:-1]:
            await self._own_page(scope, receive, send, host, path)
            return
        headers: Headers = scope["headers"]
        lost: UpstreamError | None = None
        for _ in range(MAX_CUTS):
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
                await self._answer(scope, receive, send, self._sign_in(scope, host, target))
                return
            decision = ruling.decision
            self._metrics.decided(outcome(decision), app.name)
            if not isinstance(decision, Forward):
                await self._answer(scope, receive, send, self._instead(scope, ruling, target, address))
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
                continue
            return
        raise UpstreamError("the decision about this request kept changing", code=INTERRUPTED)

    async def _forward(self, scope: Any, ruling: Ruling, target: Target) -> None:
        identity = (
            ()
            if isinstance(ruling.decision, Forward) and ruling.decision.anonymous
            else self._identity.headers_for(ruling.session.digest, ruling.person, ruling.app)
        )
        await self._carry(scope, ruling.app, target, identity, ruling.session.digest)

    def _instead(self, scope: Any, ruling: Ruling, target: Target, address: str) -> Response:
        """Return what somebody gets who does not pass straight through."""
        headers: Headers = scope["headers"]
        navigation = scope["type"] == "http" and wants_navigation(headers)
        decision = ruling.decision
        if isinstance(decision, Isolate):
            if not navigation:
                # Whatever of the app still runs in this browser (an old tab, a service worker) is told to go.
                refusal = respond_refusal(
                    self._pages, Refuse(RefusalReason.ISOLATED_ONLY), navigation=False, app=ruling.app.name, reference=ruling.ref
                )
                refusal.headers["clear-site-data"] = '"cache", "storage"'
                return refusal
            if scope["method"] not in {"GET", "HEAD"}:
                # A form sent by a page from before: the viewer opens at its address, the form is not sent again.
                return redirect(_local(target))
            return self._viewer_page(ruling, target, address)
        if isinstance(decision, Refuse):
            return respond_refusal(
                self._pages,
                decision,
                navigation=navigation,
                app=ruling.app.name,
                reference=ruling.ref,
                account=ruling.person.email or ruling.person.name,
                retry_url=_local(target),
                switch_url=f"{OWN_PREFIX}sign-in?switch=1",
                launcher_url=f"{self._site.auth_origin}/",
            )
        return self._sign_in(scope, target.host, target)

    def _viewer_page(self, ruling: Ruling, target: Target, address: str) -> Response:
        grant = self._grant(ruling, target.host)
        self._remember_address(ruling.session.digest, address)
        because = ruling.decision.because
        reasons = [f"Rule: {rule}" for rule in because.rules] + [f"Not known for certain: {signal}" for signal in because.signals]
        view = ViewerView(
            grant=grant,
            person=ruling.person.email or ruling.person.name,
            reasons=reasons,
            origins=[self._site.origin(app.domain) for app in self._routes.apps if not app.domain.startswith("*")],
            clear_site_data=ruling.fresh_viewer,
        )
        ruling.fresh_viewer = False
        return self._viewer.page(view)

    def _grant(self, ruling: Ruling, host: str) -> Grant:
        decision = ruling.decision
        if not isinstance(decision, Isolate):
            raise IsolationError("only an isolated session has a viewer")
        return Grant(
            session_digest=ruling.session.digest,
            person_key=ruling.session.person_key,
            app=ruling.app.name,
            origin=self._site.origin(host),
            controls=decision.controls,
            reference=ruling.ref,
        )

    def _sign_in(self, scope: Any, host: str, target: Target) -> Response:
        headers: Headers = scope["headers"]
        if scope["type"] == "http" and wants_navigation(headers):
            return self._hand_off.start(headers, host, target.raw, method=scope["method"])
        return self._hand_off.unauthorized(headers, host)

    # ------------------------------------------------------------------ own pages

    async def _own_page(self, scope: Any, receive: Any, send: Any, host: str, path: str) -> None:
        if scope["type"] != "http":
            await self._answer(scope, receive, send, self._not_found(scope))
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
        await self._answer(scope, receive, send, response or self._not_found(scope))

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
        return self._grant(ruling, target.host)

    async def _who(self, scope: Any, host: str) -> Response:
        """``/.isolation/identity``: who is signed in here, and what that means for this app. For the person's own scripts and for support."""
        session = await self._sessions.find(scope["headers"], host)
        if session is None:
            return self._hand_off.unauthorized(scope["headers"], host)
        app = self._routes.table.find(host)
        document: dict[str, Any] = {"session": session.id, "idp": session.idp, "iat": int(session.created_at)}
        if app is not None:
            ruling = await self._decisions.rule(session, app, self._context(scope, scope[TARGET], self._person_address(scope)))
            if ruling is None:
                return self._hand_off.unauthorized(scope["headers"], host)
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
            await self._answer(scope, receive, send, self._not_found(scope))
            return
        session = await self._sessions.by_digest(channel.lease.session_digest)
        address = self._viewer_addresses.get(channel.lease.session_digest)
        if session is None or (address is None and consults_address(app.policy)):
            await self._answer(scope, receive, send, self._ended(scope, app))
            return
        address = address or NOBODY  # no policy of this app asks for one
        scope["client"] = (address, 0)
        scope["scheme"] = self._site.scheme
        for _ in range(MAX_CUTS):
            ruling = self._decisions.cached(session.digest, app, address)
            if ruling is None:
                ruling = await self._decisions.rule(session, app, self._context(scope, target, address))
            if ruling is None:
                await self._answer(scope, receive, send, self._ended(scope, app))
                return
            self._metrics.rendered(outcome(ruling.decision), app.name)
            if not isinstance(ruling.decision, Forward | Isolate):
                await self._answer(scope, receive, send, self._instead(scope, ruling, target, address))
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

    def _not_found(self, scope: Any) -> Response:
        acts = (Act("Your apps", f"{self._site.auth_origin}/"),)
        return respond_failure(self._pages, FAILURES["not-found"], navigation=wants_navigation(scope["headers"]), acts=acts)

    def _ended(self, scope: Any, app: App) -> Response:
        return respond_refusal(
            self._pages,
            Refuse(RefusalReason.SESSION_ENDED),
            navigation=wants_navigation(scope["headers"]),
            app=app.name,
            reference="",
        )

    async def _failed(self, scope: Any, receive: Any, send: Any, error: IsolationError) -> None:
        reference = new_reference()
        target: Target = scope[TARGET]
        log.error(
            "request.failed",
            code=error.code,
            error=str(error),
            cause=type(error.__cause__).__name__ if error.__cause__ is not None else "",
            host=target.host,
            method=scope.get("method", ""),
            path=target.path,
            reference=reference,
        )
        self._metrics.failed(error.code)
        if scope["type"] == "websocket":
            return
        acts = (Act("Try again", _local(target)),)
        await self._answer(
            scope,
            receive,
            send,
            respond_failure(
                self._pages, failure_for(error), navigation=wants_navigation(scope["headers"]), reference=reference, acts=acts
            ),
        )

    async def _answer(self, scope: Any, receive: Any, send: Any, response: Response) -> None:
        await response({**scope, "type": "http"}, receive, send)


class JwksSource(Protocol):
    """Publishes the keys that sign assertions."""

    async def public_jwks(self) -> dict[str, Any]:
        """Return the JWK set."""
        ...


def _local(target: Target) -> str:
    """Return a target as a reference that stays on this host: ``//evil`` begins with one slash too many to be one."""
    return "/" + target.raw.decode("ascii").lstrip("/")
