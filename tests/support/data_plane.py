"""Real sockets around the data plane: an upstream that records and does as it is told, a router with a minimal gate, a raw client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from isolation.errors import UpstreamError
from isolation.identity.sessions.live import LiveRegistry
from isolation.policy.model import PolicySet
from isolation.proxy.http import HttpForwarder
from isolation.proxy.pool import Pools
from isolation.proxy.websocket import OriginRefusedError, Tunneler
from isolation.routing.model import App, Upstream
from isolation.web.ingress import Ingress
from isolation.web.limits import Limits

BOUND = 15.0  # no single wait of a test takes longer; it fails instead


@dataclass
class Request:
    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    raw: bytes = b""

    def values(self, name: str) -> list[bytes]:
        return [value for key, value in self.headers if key.lower() == name.encode()]

    @property
    def names(self) -> list[bytes]:
        return [key.lower() for key, _ in self.headers]


Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
Script = Callable[[Request, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]


def answer(data: bytes, *, keep: bool = True) -> Script:
    async def script(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(data)
        await writer.drain()
        return keep

    return script


def ok(body: bytes = b"hello", *extra: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in extra)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), lines, body)


@dataclass
class FakeApp:
    """An upstream. ``script`` answers every request; ``requests`` is what it saw; ``read_body`` False leaves the body to the script."""

    script: Script = field(default_factory=lambda: answer(ok()))
    read_body: bool = True
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    lost: int = 0
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head[:-4].split(b"\r\n")
                headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
                request = Request(lines[0], headers, raw=head)
                self.requests.append(request)
                if self.read_body:
                    request.body = await read_body(request, reader)
                if not await self.script(request, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.lost += 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def read_body(request: Request, reader: asyncio.StreamReader) -> bytes:
    if length := request.values("content-length"):
        return await reader.readexactly(int(length[0]))
    body = b""
    if request.values("transfer-encoding"):
        while True:
            size = int(await reader.readline(), 16)
            body += await reader.readexactly(size)
            await reader.readexactly(2)
            if not size:
                break
    return body


@dataclass
class Router:
    """The listener with a gate that forwards everything to one app."""

    port: int
    app: App
    live: LiveRegistry
    pools: Pools
    ingress: Ingress
    errors: list[UpstreamError]
    seen: list[dict[str, Any]]
    clients: list[Client] = field(default_factory=list)
    """Ended with the router: a forgotten connection outlives its test and keeps the event loop from closing."""

    async def client(self, tls: ssl.SSLContext | None = None) -> Client:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port, limit=2**20, ssl=tls), BOUND)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def ask(self, data: bytes) -> bytes:
        """Send raw bytes, and return everything until the connection closes."""
        client = await self.client()
        client.send(data)
        try:
            return await client.rest()
        finally:
            client.close()


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), BOUND)

    async def exactly(self, size: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(size), BOUND)

    async def until(self, mark: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(mark), BOUND)

    async def rest(self) -> bytes:
        """Return what comes until the end. Raises ConnectionResetError where the end is a reset."""
        return await asyncio.wait_for(self.reader.read(-1), BOUND)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        self.writer.transport.abort()


IDENTITY = ((b"x-isolation-jwt-assertion", b"OURS"), (b"X-Forwarded-Email", b"alice@contoso.example"))


@contextlib.asynccontextmanager
async def running(
    fake: FakeApp,
    *,
    limits: Limits | None = None,
    identity: tuple[tuple[bytes, bytes], ...] = IDENTITY,
    gate: Callable[..., Awaitable[None]] | None = None,
    channel: object = None,
    whole_server: bool = False,
    tls: ssl.SSLContext | None = None,
    response_timeout: float = 60.0,
    connect_timeout: float = 5.0,
    **app_options: Any,
) -> AsyncIterator[Router]:
    """Start ``fake`` and a router in front of it. ``whole_server``: with uvicorn's server around it (which takes longer to stop)."""
    upstream_server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, limit=2**20)
    fake.port = upstream_server.sockets[0].getsockname()[1]
    upstream = Upstream("127.0.0.1", fake.port, connect_timeout=connect_timeout, response_timeout=response_timeout)
    options: dict[str, Any] = {"identity_headers": (("email", "X-Forwarded-Email"), ("name", "X-Custom-Name")), **app_options}
    app = App("demo", "127.0.0.1", upstream, PolicySet(()), "a" * 64, **options)
    live, pools = LiveRegistry(), Pools()
    forwarder, tunneler = HttpForwarder(pools, live), Tunneler(pools, live)
    errors: list[UpstreamError] = []
    seen: list[dict[str, Any]] = []

    async def forward_all(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        try:
            if scope["type"] == "isolation.upgrade":
                await tunneler.tunnel(scope, app, scope["isolation.target"], identity, "session-1")
            else:
                await forwarder.forward(scope, app, scope["isolation.target"], identity, "session-1")
        except UpstreamError as error:
            errors.append(error)
            status = 403 if isinstance(error, OriginRefusedError) else 502
            body = error.code.encode()
            await send({"type": "http.response.start", "status": status, "headers": [(b"x-error", body)]})
            await send({"type": "http.response.body", "body": body})

    ingress = Ingress(gate or forward_all, limits, tls=tls)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if whole_server:
        serving = asyncio.create_task(ingress.server.serve(sockets=[listener]))
        while not ingress.server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    else:

        class Door(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                ingress.serve(transport, channel)  # type: ignore[arg-type]

        door = await asyncio.get_running_loop().create_server(Door, sock=listener)
        serving = asyncio.create_task(door.serve_forever())
    router = Router(port, app, live, pools, ingress, errors, seen)
    try:
        yield router
    finally:
        for client in router.clients:
            client.close()
        for protocol in list(ingress.connections):
            protocol.transport.abort()
        pools.close()
        if whole_server:
            ingress.server.should_exit = True
            await asyncio.wait_for(serving, BOUND)
        else:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving
            for task in list(ingress.server.server_state.tasks):
                await asyncio.wait_for(task, BOUND)
        upstream_server.close()
        for _ in range(3):
            await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition`` holds; fail when it never does."""
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def self_signed(folder: Path, address: str) -> tuple[Path, Path]:
    """Return the files of a certificate for an address, and of its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path = folder / "cert.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path, folder / "key.pem"
