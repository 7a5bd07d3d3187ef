"""One isolated app with its viewer, over real HTTP and WebSockets, in front of a :class:`~isolation.testing.fake_node.FakeNode`.

Sign-in and decisions are played: ``grant`` is what the decision allows now (None: not isolated), whoever asks. Everything else is the product.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field, replace
from typing import Self

import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from isolation.broker.leases import LeaseService, MemoryLeaseBook
from isolation.broker.model import EgressAddress, Grant, Lease, NodeAddress
from isolation.broker.relay import Relay
from isolation.broker.tickets import MemoryUsedTickets, Tickets
from isolation.broker.transfers import Record
from isolation.clock import SystemClock
from isolation.identity.sessions.live import LiveRegistry
from isolation.policy.controls import Clipboard, Controls
from isolation.testing.clock import FakeClock
from isolation.testing.fake_node import FakeNode, Script, quiet
from isolation.tokens import Tokens, digest, new_secret
from isolation.web.endpoints.viewer import ViewerEndpoints, ViewerView
from isolation.web.pages import PageRenderer

STATIC = "/.isolation/static/viewer/"


@dataclass
class RecordedAudit:
    """Keeps what would be written down, in order."""

    entries: list[str] = field(default_factory=list)
    transfers: list[Record] = field(default_factory=list)

    async def isolation_started(self, lease: Lease) -> None:
        """Record a start."""
        self.entries.append(f"started {lease.id}")

    async def isolation_ended(self, lease: Lease, why: str) -> None:
        """Record an end."""
        self.entries.append(f"ended {lease.id} {why}")

    async def transferred(self, _: Grant, record: Record) -> None:
        """Record what crossed."""
        self.transfers.append(record)


class ViewerSite:
    """The site. Use as an async context manager; ``origin`` is its address afterwards."""

    def __init__(
        self,
        script: Script = quiet,
        *,
        controls: Controls | None = None,
        host: str = "payroll.localhost",
        address: NodeAddress | None = None,
        egress: EgressAddress | None = None,
        clock: FakeClock | None = None,
    ) -> None:
        """``address`` and ``egress``: of a real node and its gateway, in place of the played one. ``clock``: what streams and browsers end by."""
        self.host = host
        self._address = address
        self._egress = egress or EgressAddress("127.0.0.1", 9, "c3BraQ==")
        self.node = FakeNode(script)
        self.live = LiveRegistry()
        self.audit = RecordedAudit()
        self.requests: list[tuple[str, str]] = []
        self.reasons: tuple[str, ...] = ("Rule “High-risk users”: your risk level is high",)
        self.origins: tuple[str, ...] = ()
        self.clear_site_data = False
        self.controls = controls or Controls(clipboard=Clipboard.BOTH)
        self.grant: Grant | None = None
        self.origin = ""
        self._clock = SystemClock()
        self._hours = clock or self._clock
        self._sleep = clock.sleep if clock is not None else asyncio.sleep
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.node.start()
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # from here on clients wait in line: nobody has to wait for the server's first tick
        self.origin = f"http://{self.host}:{listening.getsockname()[1]}"
        self.grant = Grant(
            session_digest=digest(new_secret()),
            person_key="contoso/bob",
            app="Payroll",
            origin=self.origin,
            controls=self.controls,
            reference="7KQ4-M2XD",
            person="bob@contoso.example",
        )
        self.leases = LeaseService(
            nodes=[self._address or NodeAddress("one", self.node.url, self.node.token)],
            book=MemoryLeaseBook(),
            audit=self.audit,
            egress=self._egress,
            clock=self._hours,
        )
        self.relay = Relay(leases=self.leases, live=self.live, audit=self.audit, clock=self._hours, sleep=self._sleep)
        self.tickets = Tickets(Tokens([new_secret()]), self._clock, MemoryUsedTickets(self._clock))
        self.viewer = ViewerEndpoints(pages=PageRenderer(), tickets=self.tickets, relay=self.relay, clock=self._hours)
        self._pages = PageRenderer()
        config = uvicorn.Config(
            self._serve,
            interface="asgi3",
            ws="websockets-sansio",
            lifespan="off",
            log_config=None,
            access_log=False,
            ws_per_message_deflate=False,
        )
        self._server = uvicorn.Server(config)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._server._serve([listening])), loop.create_task(self.leases.run())]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        server, leases = self._tasks
        leases.cancel()
        await self.node.stop()
        for task in (server, leases):
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def decide(self, controls: Controls | None, why: str) -> None:
        """Change the decision (None: passed straight through from now on) and move what is live, as the router does."""
        assert self.grant is not None
        session, app = self.grant.session_digest, self.grant.app
        self.grant = None if controls is None else replace(self.grant, controls=controls)
        self.live.end(session, app, why)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.requests.append((scope.get("method", "WEBSOCKET"), path))
        if scope["type"] == "websocket":
            await self.viewer.stream(scope, receive, send, self.grant if path == "/.isolation/stream" else None)
            return
        request = Request(scope, receive)
        if path.startswith(STATIC):
            response = self.viewer.static(request, path.removeprefix(STATIC))
        elif path.startswith("/.isolation/static/"):
            response = self._pages.static(path.removeprefix("/.isolation/static/"))
        elif path == "/.isolation/ticket":
            response = await self.viewer.ticket(request, self.grant)
        elif path.startswith("/.isolation/"):
            response = None
        elif self.grant is None:
            response = PlainTextResponse("the app itself")
        else:
            view = ViewerView(
                self.grant,
                "bob@contoso.example",
                self.reasons,
                self.origins,
                opening=request.method == "GET",
                clear_site_data=self.clear_site_data,
            )
            response = self.viewer.page(view)
        await (response or PlainTextResponse("not found", 404))(scope, receive, send)
