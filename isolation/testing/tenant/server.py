"""The tenant as a real HTTP server: in a thread of a test, or as a process of its own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Awaitable, Callable, Iterable
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from isolation.clock import Clock, SystemClock
from isolation.testing.tenant.aadsts import Refusal, RefusedError
from isolation.testing.tenant.control import ControlEndpoints, ControlRefusedError
from isolation.testing.tenant.directory import Directory
from isolation.testing.tenant.faults import Endpoint, Fault, Faults, Kind, after, before
from isolation.testing.tenant.graph import GraphEndpoints, GraphProblemError
from isolation.testing.tenant.oidc import EntraEndpoints
from isolation.testing.tenant.people import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from isolation.testing.tenant.signing import KeyRing
from isolation.testing.tenant.state import Seen, Switches, TenantState

# ---- limits
START_WAIT = 10.0  # seconds for the server to come up; it takes well under one
STOP_WAIT = 5.0  # seconds for its thread to end
DRAIN = 1  # seconds that running requests get at the end: a slow one is on purpose

Handler = Callable[[Request], Awaitable[Response]]


class Tenant:
    """Entra ID and Graph for tests and for the demo. A context manager; ``start`` and ``stop`` do the same.

    ``port`` 0 takes a free one. ``base_url`` is what clients call the tenant; by default ``http://127.0.0.1:PORT``. Every switch may be
    used from any thread while the server runs.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        base_url: str | None = None,
        client_id: str = CLIENT_ID,
        client_secret: str = CLIENT_SECRET,
        tenant_id: str = TENANT_ID,
        redirect_uris: Iterable[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self._host, self._port, self._given_base_url = host, port, base_url
        self.state = TenantState(
            clock or SystemClock(),
            tenant_id=tenant_id,
            client_id=client_id,
            client_secret=client_secret,
            redirect_uris=frozenset(redirect_uris),
        )
        self.app = build_app(self.state)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    # ------------------------------------------------------------------ running

    def start(self) -> Self:
        """Listen, and serve in a thread. Raises OSError when the port is taken."""
        server, listener = self._prepare()
        self._thread = threading.Thread(target=server.run, args=([listener],), name="tenant", daemon=True)
        self._thread.start()
        waiting = threading.Event()
        for _ in range(int(START_WAIT / 0.01)):
            if server.started:
                return self
            waiting.wait(0.01)
        raise RuntimeError("the built-in tenant did not start")

    def run(self) -> None:
        """Listen, and serve in this thread until a signal ends it. Raises OSError when the port is taken."""
        server, listener = self._prepare()
        server.run([listener])

    def stop(self) -> None:
        """End the server and its thread. May be called twice."""
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = True
        if self._thread is not None:
            self._thread.join(STOP_WAIT)
        if self._socket is not None:
            self._socket.close()
        self._server = self._thread = self._socket = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        self.stop()

    def _prepare(self) -> tuple[uvicorn.Server, socket.socket]:
        listener = socket.socket(socket.AF_INET6 if ":" in self._host else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError:
            listener.close()
            raise
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.state.base_url = self._given_base_url or f"http://{host}:{listener.getsockname()[1]}"
        config = uvicorn.Config(
            self.app, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=DRAIN, server_header=False
        )
        self._server, self._socket = uvicorn.Server(config), listener
        return self._server, listener

    # ------------------------------------------------------------------ what clients need to know

    @property
    def base_url(self) -> str:
        """Return the origin of both the login host and Graph (``cloud: {login: …, graph: …}``)."""
        return self.state.base_url

    @property
    def port(self) -> int:
        """Return the port listened on. Raises RuntimeError before the start."""
        if self._socket is None:
            raise RuntimeError("the built-in tenant is not running")
        port: int = self._socket.getsockname()[1]
        return port

    @property
    def tenant_id(self) -> str:
        """Return the directory id."""
        return self.state.tenant_id

    @property
    def client_id(self) -> str:
        """Return the registered application's id."""
        return self.state.client_id

    @property
    def client_secret(self) -> str:
        """Return the registered application's secret."""
        return self.state.client_secret

    def person_key(self, who: str) -> str:
        """Return ``"{tenant}/{oid}"`` of a person named by handle, e-mail or object id."""
        return f"{self.tenant_id}/{self.directory.find(who).oid}"

    # ------------------------------------------------------------------ switches

    @property
    def directory(self) -> Directory:
        """Return people, groups and risk; its methods change them."""
        return self.state.directory

    @property
    def faults(self) -> Faults:
        """Return the failures on request."""
        return self.state.faults

    @property
    def keys(self) -> KeyRing:
        """Return the signing keys."""
        return self.state.keys

    @property
    def switches(self) -> Switches:
        """Return the tenant-wide switches; assign to its fields."""
        return self.state.switches

    @property
    def seen(self) -> list[Seen]:
        """Return the latest requests, oldest first."""
        return list(self.state.seen)

    def set_risk(self, who: str, level: str | None) -> None:
        """Set a person's risk level; any text is allowed, None is sent as null."""
        self.directory.set_risk(who, level)

    def fail(
        self,
        endpoint: Endpoint | str,
        kind: Kind | str = Kind.STATUS,
        *,
        status: int = 500,
        seconds: float = 0.0,
        times: int | None = None,
        retry_after: int | None = None,
        after: int = 0,
    ) -> None:
        """Make an endpoint fail: see :class:`~isolation.testing.tenant.faults.Kind`."""
        self.faults.set(Endpoint(endpoint), Fault(Kind(kind), status, seconds, times, retry_after, after))

    def heal(self, endpoint: Endpoint | str | None = None) -> None:
        """End one failure, or all."""
        self.faults.clear(Endpoint(endpoint) if endpoint is not None else None)

    def expire_tokens(self) -> None:
        """Let every access token that was issued so far be refused."""
        self.state.token_generation += 1


def build_app(state: TenantState) -> Starlette:
    """Return the ASGI app on one tenant's state."""
    entra, graph, control = EntraEndpoints(state), GraphEndpoints(state), ControlEndpoints(state)

    async def sync_discovery(request: Request) -> Response:
        return entra.discovery(request)

    async def sync_keys(request: Request) -> Response:
        return entra.keys(request)

    def login_side(endpoint: Endpoint, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            fault = state.faults.take(endpoint)
            early = await before(fault)
            if early is not None:
                return early
            if fault is not None and fault.kind is Kind.STATUS:
                number = {429: 90100, 503: 90033}.get(fault.status, 90033)
                return Refusal(
                    "temporarily_unavailable", number, "A transient error has occurred. Please try again.", fault.status
                ).response(state.clock)
            try:
                return after(fault, await handler(request))
            except RefusedError as error:
                if endpoint in {Endpoint.DISCOVERY, Endpoint.KEYS, Endpoint.TOKEN}:
                    return error.refusal.response(state.clock)
                return entra.refused(error.refusal)

        return handle

    def graph_side(endpoint: Endpoint, handler: Callable[[Request, Fault | None], Response]) -> Handler:
        async def handle(request: Request) -> Response:
            fault = state.faults.take(endpoint)
            early = await before(fault) or (graph.status_fault(endpoint, fault, request) if fault is not None else None)
            if early is not None:
                return early
            try:
                return after(fault, handler(request, fault))
            except GraphProblemError as problem:
                challenge = {"WWW-Authenticate": 'Bearer realm=""'} if problem.status == 401 else None
                return graph.problem(problem, request, challenge)

        return handle

    def control_side(handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except ControlRefusedError as refused:
                return JSONResponse({"error": str(refused)}, status_code=refused.status)

        return handle

    async def front(_: Request) -> Response:
        return RedirectResponse("/_tenant/", 302)

    async def alive(_: Request) -> Response:
        return PlainTextResponse("ok")

    async def missing(request: Request, _: Exception) -> Response:
        if request.url.path.startswith("/v1.0/"):
            return graph.problem(GraphProblemError(400, "BadRequest", "Resource not found for the segment."), request)
        return PlainTextResponse("not found", 404)

    login = "/{tenant}/oauth2/v2.0"
    routes = [
        Route("/", front),
        Route("/healthz", alive),
        Route("/_tenant/", control_side(control.page)),
        Route("/_tenant/state", control_side(control.state)),
        Route("/_tenant/people/{who}", control_side(control.person), methods=["POST"]),
        Route("/_tenant/switches", control_side(control.switches), methods=["POST"]),
        Route("/_tenant/faults", control_side(control.faults), methods=["POST"]),
        Route("/_tenant/keys", control_side(control.keys), methods=["POST"]),
        Route("/_tenant/populate", control_side(control.populate), methods=["POST"]),
        Route("/_tenant/expire", control_side(control.expire), methods=["POST"]),
        Route("/_tenant/reset", control_side(control.reset), methods=["POST"]),
        Route("/oidc/userinfo", graph_side(Endpoint.USERINFO, graph.userinfo)),
        Route("/v1.0/identityProtection/riskyUsers", graph_side(Endpoint.RISKY_USERS, graph.risky_users)),
        Route("/v1.0/identityProtection/riskyUsers/{id}", graph_side(Endpoint.RISKY_USERS, graph.risky_user)),
        Route("/v1.0/users", graph_side(Endpoint.USERS, graph.users)),
        Route("/v1.0/users/delta", graph_side(Endpoint.USERS, graph.delta)),
        Route("/v1.0/users/delta()", graph_side(Endpoint.USERS, graph.delta)),
        Route("/v1.0/users/{id}", graph_side(Endpoint.USER, graph.user)),
        Route("/v1.0/users/{id}/transitiveMemberOf", graph_side(Endpoint.MEMBER_OF, graph.transitive_member_of)),
        Route("/v1.0/users/{id}/transitiveMemberOf/{cast}", graph_side(Endpoint.MEMBER_OF, graph.transitive_member_of)),
        Route("/v1.0/groups", graph_side(Endpoint.GROUPS, graph.groups)),
        Route("/v1.0/groups/delta", graph_side(Endpoint.GROUPS, graph.delta)),
        Route("/v1.0/groups/delta()", graph_side(Endpoint.GROUPS, graph.delta)),
        Route("/v1.0/groups/{id}", graph_side(Endpoint.GROUPS, graph.group)),
        Route("/v1.0/groups/{id}/members", graph_side(Endpoint.GROUPS, graph.members)),
        Route("/{tenant}/v2.0/.well-known/openid-configuration", login_side(Endpoint.DISCOVERY, sync_discovery)),
        Route("/{tenant}/discovery/v2.0/keys", login_side(Endpoint.KEYS, sync_keys)),
        Route(f"{login}/authorize", login_side(Endpoint.AUTHORIZE, entra.authorize), methods=["GET", "POST"]),
        Route("/{tenant}/login", login_side(Endpoint.AUTHORIZE, entra.login), methods=["POST"]),
        Route(f"{login}/token", login_side(Endpoint.TOKEN, entra.token), methods=["POST"]),
        Route(f"{login}/logout", login_side(Endpoint.AUTHORIZE, entra.logout), methods=["GET", "POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={404: missing})
    app.add_middleware(_Recorder, state=state)
    return app


class _Recorder:
    """Notes what was asked, for the control page and for tests."""

    def __init__(self, app: ASGIApp, state: TenantState) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_tenant"):
            await self._app(scope, receive, send)
            return
        status = 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            query = scope["query_string"].decode("ascii", "replace") if scope["path"].startswith("/v1.0") else ""
            self._state.seen.append(Seen(self._state.clock.now(), scope["method"], scope["path"], query, status))
