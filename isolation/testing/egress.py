"""An egress gateway with everything around it made up: apps, public hosts, names, and who saw what.

Nothing leaves loopback: "public" hosts are listeners of the test, reached through a dialer that maps public addresses to them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from isolation.clock import SystemClock
from isolation.egress.address import Address, Reason
from isolation.egress.certificates import Certificates
from isolation.egress.gateway import Gateway
from isolation.egress.journal import Blocked
from isolation.egress.leases import Lease, LeaseTable
from isolation.egress.requests import Channel
from isolation.egress.resolve import Resolver, dial
from isolation.proxy.exchange import RAW_TARGET, TARGET
from isolation.tokens import digest
from isolation.web.ingress import Ingress

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Site = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(slots=True)
class RecordingSink:
    """Keeps what was refused."""

    records: list[Blocked] = field(default_factory=list)

    async def blocked(self, record: Blocked) -> None:
        """Keep ``record``."""
        self.records.append(record)

    def reasons(self, host: str) -> set[Reason]:
        """Return why attempts at ``host`` were refused."""
        return {record.reason for record in self.records if record.host == host}


@dataclass(slots=True)
class Hosts:
    """What is an app (host and port), and what public hosts are permitted (patterns)."""

    apps: set[tuple[str, int]] = field(default_factory=set)
    patterns: list[str] = field(default_factory=list)

    def is_app(self, host: str, port: int) -> bool:
        """Tell whether the origin is an app's."""
        return (host, port) in self.apps

    def permitted(self, lease: Lease) -> Sequence[str]:
        """Return the public host patterns, the same for every lease."""
        del lease
        return self.patterns


class Bench:
    """A gateway, two leases (``a`` and ``b``), and a site that answers for all apps.

    ``names``: what the resolver answers. ``public``: where connections to a public address and port go on loopback.
    """

    def __init__(self, site: Site, *, tunnel_idle: float = 60.0, first_byte: float = 30.0, head_seconds: float = 5.0) -> None:
        self.site = site
        self.sink = RecordingSink()
        self.hosts = Hosts()
        self.names: dict[str, list[str]] = {}
        self.public: dict[tuple[str, int], int] = {}
        self.dialled: list[tuple[str, int]] = []
        self.table = LeaseTable()
        self.leases: Mapping[str, Lease] = {name: Lease(name, f"session-{name}", f"person-{name}") for name in ("a", "b")}
        for lease in self.leases.values():
            self.table.add(lease, username=lease.id, password_digest=digest(self.password(lease.id)))
        clock = SystemClock()
        self.gateway = Gateway(
            clock=clock,
            leases=self.table,
            serve=self._serve,
            destinations=self.hosts,
            certificates=Certificates(clock),
            resolver=Resolver(clock, self._lookup),
            audit=self.sink,
            dialer=self._dial,
            tunnel_idle=tunnel_idle,
            first_byte=first_byte,
            head_seconds=head_seconds,
        )
        self._ingress: Ingress | None = None

    @staticmethod
    def password(lease: str) -> str:
        """Return a lease's password."""
        return f"password-of-{lease}"

    @classmethod
    def credentials(cls, lease: str) -> str:
        """Return a lease's ``Proxy-Authorization`` value."""
        return "Basic " + base64.b64encode(f"{lease}:{cls.password(lease)}".encode()).decode()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Bench]:
        """Run the gateway on a free port of loopback."""
        self._ingress = Ingress(self._app)
        await self.gateway.start()
        try:
            yield self
        finally:
            await self.gateway.close()
            tasks = self._ingress.server.server_state.tasks
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _serve(self, transport: asyncio.Transport, channel: Channel) -> None:
        if self._ingress is not None:
            self._ingress.serve(transport, channel)

    async def _app(self, scope: Message, receive: Receive, send: Send) -> None:
        channel: Channel = scope["state"]["channel"]
        answered = await self.gateway.requests.intercept(
            scope, receive, send, raw_target=scope[RAW_TARGET], target=scope[TARGET], channel=channel
        )
        if not answered:
            await self.site(scope, receive, send)

    async def _lookup(self, name: str) -> Sequence[str]:
        if name not in self.names:
            raise OSError("no such name here")
        return self.names[name]

    async def _dial(self, address: Address, port: int) -> socket.socket:
        self.dialled.append((str(address), port))
        mapped = self.public.get((str(address), port))
        if mapped is None:
            raise ConnectionRefusedError
        return await dial(type(address)("127.0.0.1" if address.version == 4 else "::1"), mapped)
