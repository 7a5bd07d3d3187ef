"""The gateway over real sockets, from the side of a browser that has been taken over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import ClassVar

import pytest

from isolation.egress.address import Reason
from isolation.egress.gateway import MAX_CONNECTIONS_PER_LEASE, MAX_UNNAMED
from isolation.egress.head import MAX_HEAD_BYTES
from isolation.egress.requests import WARM_UP_URL
from isolation.testing.egress import Bench, Message, Receive, Send
from isolation.tokens import digest

SECONDS = 10.0


async def site(scope: Message, receive: Receive, send: Send) -> None:
    """Answer with what was seen: lease, host, scheme, target, size of the body."""
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    channel = scope["state"]["channel"]
    headers = dict(scope["headers"])
    seen = {
        "lease": channel.lease.id,
        "session": channel.lease.session_digest,
        "host": headers[b"host"].decode(),
        "scheme": scope["scheme"],
        "via": channel.via.value,
        "secure": channel.secure,
        "path": scope["path"],
        "size": size,
    }
    body = json.dumps(seen).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    kit = Bench(site, head_seconds=0.3, first_byte=60.0)
    kit.hosts.apps = {
        ("data.localhost", 80),
        ("data.localhost", 443),
        ("data.localhost", 8080),
        ("lab.localhost", 80),
        ("lab.localhost", 443),
    }
    async with kit.running():
        yield kit


@pytest.fixture(autouse=True)
async def hung_up() -> AsyncIterator[None]:
    """End every connection with its test: a forgotten one keeps the event loop from closing."""
    yield
    for writer in Client.opened:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    Client.opened.clear()


class Client:
    """One connection to the gateway, bytes in and bytes out."""

    opened: ClassVar[list[asyncio.StreamWriter]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.opened.append(writer)

    @classmethod
    async def to(cls, bench: Bench) -> Client:
        return cls(*await asyncio.open_connection(*bench.gateway.address))

    async def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode() if isinstance(data, str) else data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one response with Content-Length."""
        async with asyncio.timeout(SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            lines = head.split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
            return int(lines[0].split()[1]), headers, body

    async def json(self) -> dict[str, object]:
        status, _, body = await self.answer()
        assert status == 200
        value = json.loads(body)
        assert isinstance(value, dict)
        return value

    async def ended(self) -> bool:
        """Tell whether the gateway ends the connection (within the bound of the tests)."""
        try:
            async with asyncio.timeout(SECONDS):
                while await self.reader.read(65_536):
                    pass
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        return True

    async def connect(self, authority: str, lease: str | None = "a") -> int:
        await self.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{auth(lease)}\r\n")
        return (await self.answer())[0]

    async def get(self, url: str, lease: str | None = "a") -> None:
        host = url.split("://")[1].split("/")[0]
        await self.send(f"GET {url} HTTP/1.1\r\nHost: {host}\r\n{auth(lease)}\r\n")

    async def tls(self, host: str) -> str | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        await asyncio.wait_for(self.writer.start_tls(context, server_hostname=host), SECONDS)
        found = self.writer.get_extra_info("ssl_object")
        return str(found.selected_alpn_protocol())

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.wait_closed()


def auth(lease: str | None) -> str:
    return "" if lease is None else f"Proxy-Authorization: {Bench.credentials(lease)}\r\n"


@contextlib.asynccontextmanager
async def public(
    bench: Bench, name: str, port: int, handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> AsyncIterator[list[int]]:
    """Run a "public" host; yields the list of accepted connections."""
    accepted: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(1)
        try:
            await handle(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = f"93.184.216.{len(bench.names) + 1}"
    bench.names[name] = [address]
    bench.public[address, port] = server.sockets[0].getsockname()[1]
    try:
        yield accepted
    finally:
        server.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.write(b"<end>")
    await writer.drain()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - nothing tells when sockets have settled
            await asyncio.sleep(0.01)


# --- who speaks ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        "Proxy-Authorization: Basic\r\n",
        "Proxy-Authorization: Basic YTpi\r\n",
        "Proxy-Authorization: Bearer x\r\n",
        "Authorization: " + Bench.credentials("a") + "\r\n",
        "Proxy-Authorization: " + Bench.credentials("a")[:-4] + "\r\n",
        "Proxy_Authorization: " + Bench.credentials("a") + "\r\n",
    ],
)
@pytest.mark.parametrize(
    "start", ["CONNECT data.localhost:443", "GET http://data.localhost/", f"GET {WARM_UP_URL}", "CONNECT 127.0.0.1:22"]
)
async def test_without_credentials_there_is_a_challenge_and_nothing_else(bench: Bench, start: str, credentials: str) -> None:
    client = await Client.to(bench)
    await client.send(f"{start} HTTP/1.1\r\nHost: data.localhost\r\n{credentials}\r\n")
    status, headers, body = await client.answer()
    assert (status, body) == (407, b"")
    assert headers["proxy-authenticate"].startswith('Basic realm="isolation"')
    assert await client.ended()
    assert bench.sink.records == []


@pytest.mark.case(16)
async def test_forged_credentials_are_counted(bench: Bench) -> None:
    client = await Client.to(bench)
    await client.send("CONNECT data.localhost:443 HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\n\r\n")
    assert (await client.answer())[0] == 407
    assert bench.gateway.journal.strangers == 1


async def test_the_warm_up_page_is_the_gateways_own(bench: Bench) -> None:
    client = await Client.to(bench)
    await client.get(WARM_UP_URL)
    status, headers, body = await client.answer()
    assert (status, body, headers["content-type"]) == (200, b"", "text/html")
    client = await Client.to(bench)  # also as a later request of a connection
    await client.get("http://data.localhost/")
    await client.json()
    await client.get(WARM_UP_URL)
    assert (await client.answer())[0] == 200


@pytest.mark.case(16)
async def test_two_leases_are_two_identities(bench: Bench) -> None:
    for lease in ("a", "b"):
        client = await Client.to(bench)
        await client.get("http://data.localhost/x", lease)
        seen = await client.json()
        assert (seen["lease"], seen["session"], seen["via"], seen["scheme"]) == (lease, f"session-{lease}", "proxy", "http")
        assert seen["path"] == "/x"


@pytest.mark.case(16)
@pytest.mark.parametrize("second", [None, "b"])
async def test_a_later_request_of_a_connection_cannot_change_who_speaks(bench: Bench, second: str | None) -> None:
    client = await Client.to(bench)
    await client.get("http://data.localhost/", "a")
    assert (await client.json())["lease"] == "a"
    await client.get("http://data.localhost/", second)
    assert (await client.answer())[0] == 407
    assert await client.ended()


async def test_a_later_request_with_two_credentials_is_refused(bench: Bench) -> None:
    client = await Client.to(bench)
    await client.get("http://data.localhost/", "a")
    await client.json()
    await client.send(f"GET http://data.localhost/ HTTP/1.1\r\nHost: data.localhost\r\n{auth('a')}{auth('b')}\r\n")
    assert (await client.answer())[0] == 407


# --- apps ------------------------------------------------------------------------------------------------------------------------


async def test_one_connection_carries_requests_for_several_apps_in_order(bench: Bench) -> None:
    client = await Client.to(bench)
    pipelined = "".join(
        f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n{auth('a')}\r\n"
        for host in ("data.localhost", "lab.localhost", "data.localhost")
    )
    await client.send(pipelined)
    assert [(await client.json())["host"] for _ in range(3)] == ["data.localhost", "lab.localhost", "data.localhost"]


async def test_a_body_arrives_whole_whichever_way_it_is_cut(bench: Bench) -> None:
    body = b"x" * 200_000
    head = (
        f"POST http://data.localhost/ HTTP/1.1\r\nHost: data.localhost\r\nContent-Length: {len(body)}\r\n{auth('a')}\r\n".encode()
    )
    for cut in (0, 1, len(head) - 1, len(head), len(head) + 1, len(head) + 100_000):
        client = await Client.to(bench)
        await client.send((head + body)[:cut])
        await asyncio.sleep(0.02)
        await client.send((head + body)[cut:])
        assert (await client.json())["size"] == len(body)
        await client.close()


@pytest.mark.parametrize("port", [443, 8080])
async def test_a_tunnel_to_an_app_carries_tls(bench: Bench, port: int) -> None:
    client = await Client.to(bench)
    assert await client.connect(f"data.localhost:{port}") == 200
    assert await client.tls("data.localhost") == "http/1.1"
    host = "data.localhost" if port == 443 else f"data.localhost:{port}"
    await client.send(f"GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n")
    seen = await client.json()
    assert (seen["lease"], seen["scheme"], seen["via"], seen["secure"], seen["path"]) == ("a", "https", "tunnel", True, "/a")
    await client.close()


async def test_a_tunnel_to_an_app_carries_plain_http(bench: Bench) -> None:
    client = await Client.to(bench)
    assert await client.connect("DATA.localhost.:8080") == 200
    await client.send("GET /a HTTP/1.1\r\nHost: data.localhost:8080\r\n\r\n")
    seen = await client.json()
    assert (seen["lease"], seen["scheme"], seen["secure"]) == ("a", "http", False)


async def test_bytes_sent_along_with_connect_wait_for_the_answer(bench: Bench) -> None:
    client = await Client.to(bench)
    await client.send(f"CONNECT data.localhost:80 HTTP/1.1\r\n{auth('a')}\r\nGET /early HTTP/1.1\r\nHost: data.localhost\r\n\r\n")
    assert (await client.answer())[0] == 200
    assert (await client.json())["path"] == "/early"


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("/", "lab.localhost"),
        ("/", "data.localhost:8080"),
        ("/", "intranet.example"),
        ("/", "127.0.0.1"),
        ("http://data.localhost/", "data.localhost"),
        ("http://169.254.169.254/", "169.254.169.254"),
    ],
)
async def test_inside_a_tunnel_there_is_only_its_own_origin(bench: Bench, target: str, host: str) -> None:
    bench.hosts.patterns = ["*"]
    client = await Client.to(bench)
    assert await client.connect("data.localhost:80") == 200
    await client.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    assert (await client.answer())[0] in {400, 421}
    assert bench.dialled == []


async def test_tls_for_another_host_than_the_tunnels_is_not_answered(bench: Bench) -> None:
    client = await Client.to(bench)
    assert await client.connect("data.localhost:443") == 200
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await client.tls("lab.localhost")


async def test_an_app_that_is_configured_away_answers_no_more(bench: Bench) -> None:
    client = await Client.to(bench)
    assert await client.connect("data.localhost:80") == 200
    await client.send("GET / HTTP/1.1\r\nHost: data.localhost\r\n\r\n")
    await client.json()
    bench.hosts.apps.clear()
    await client.send("GET / HTTP/1.1\r\nHost: data.localhost\r\n\r\n")
    assert (await client.answer())[0] == 421


# --- what must not be reached ------------------------------------------------------------------------------------------------------

LOCAL = [
    "127.0.0.1",
    "localhost",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "0",
    "localhost.",
    "foo.localhost",
    "10.0.0.1",
    "192.168.0.1",
    "172.16.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "168.63.129.16",
    "100.100.100.200",
    "metadata.google.internal",
    "wiki.internal",
    "printer.local",
    "router",
]


@pytest.mark.case(1, 5)
@pytest.mark.parametrize("host", LOCAL)
async def test_local_addresses_are_refused_in_every_spelling_and_logged(bench: Bench, host: str) -> None:
    bench.hosts.patterns = ["*", host]
    with socket.create_server(("127.0.0.1", 0)) as canary:
        canary.setblocking(False)
        port = canary.getsockname()[1]
        for tunnel_port in (port, 80, 443):
            client = await Client.to(bench)
            assert await client.connect(f"{host}:{tunnel_port}") in {400, 403}
            assert await client.ended()
        client = await Client.to(bench)
        await client.get(f"http://{host}:{port}/")
        assert (await client.answer())[0] in {400, 403}
        with pytest.raises(BlockingIOError):
            canary.accept()
    assert bench.dialled == []
    assert bench.sink.reasons(host) - {Reason.PORT, Reason.NOT_ALLOWED}


@pytest.mark.case(14)
async def test_the_gateways_own_port_and_other_listeners_are_unreachable(bench: Bench) -> None:
    bench.hosts.patterns = ["*"]
    own = bench.gateway.address[1]
    for host in ("127.0.0.1", "localhost", "data.localhost"):
        client = await Client.to(bench)
        assert await client.connect(f"{host}:{own}") == 403
    assert bench.dialled == []


@pytest.mark.case(15)
@pytest.mark.parametrize("port", [22, 25, 6379, 3389, 8080, 11211, 1, 65535])
async def test_other_ports_of_public_hosts_are_refused(bench: Bench, port: int) -> None:
    bench.hosts.patterns = ["*"]
    bench.names["cdn.example"] = ["93.184.216.34"]
    client = await Client.to(bench)
    assert await client.connect(f"cdn.example:{port}") == 403
    assert bench.sink.reasons("cdn.example") == {Reason.PORT}
    assert bench.dialled == []


@pytest.mark.case(6)
@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["127.0.0.1"], Reason.LOOPBACK),
        (["93.184.216.34", "10.0.0.1"], Reason.PRIVATE),
        (["fd00:ec2::254"], Reason.METADATA),
        (["::ffff:169.254.169.254"], Reason.METADATA),
    ],
)
async def test_names_of_private_addresses_are_refused(bench: Bench, addresses: list[str], reason: Reason) -> None:
    bench.hosts.patterns = ["*"]
    bench.names["rebind.example"] = addresses
    client = await Client.to(bench)
    assert await client.connect("rebind.example:443") == 403
    client = await Client.to(bench)
    await client.get("http://rebind.example/")
    assert (await client.answer())[0] == 403
    assert bench.sink.reasons("rebind.example") == {reason}
    assert bench.dialled == []


async def test_a_public_host_that_no_app_permits_is_refused_without_asking_for_its_name(bench: Bench) -> None:
    """A lookup would carry data out in the name itself."""
    client = await Client.to(bench)
    assert await client.connect("c2VjcmV0.evil.example:443") == 403
    assert bench.sink.reasons("c2VjcmV0.evil.example") == {Reason.NOT_ALLOWED}


@pytest.mark.parametrize(
    "target",
    [
        "data.localhost",
        "data.localhost:",
        "data.localhost:0",
        "data.localhost:99999",
        "u@data.localhost:443",
        "/",
        "http://data.localhost/",
        "data.localhost:443/x",
        "[::1:443",
    ],
)
async def test_malformed_tunnels(bench: Bench, target: str) -> None:
    client = await Client.to(bench)
    await client.send(f"CONNECT {target} HTTP/1.1\r\n{auth('a')}\r\n")
    assert (await client.answer())[0] == 400
    assert await client.ended()


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "*",
        "https://data.localhost/",
        "ftp://data.localhost/",
        "ws://data.localhost/",
        "http://u:p@data.localhost/",
        "http:///x",
        "//data.localhost/",
        "http:/data.localhost",
    ],
)
async def test_what_is_no_proxy_request_is_refused(bench: Bench, target: str) -> None:
    for lines in (f"GET {target} HTTP/1.1\r\nHost: data.localhost\r\n{auth('a')}\r\n",):
        client = await Client.to(bench)
        await client.send(lines)
        assert (await client.answer())[0] == 400
        client = await Client.to(bench)
        await client.get("http://data.localhost/")
        await client.json()
        await client.send(lines)
        assert (await client.answer())[0] in {400, 421}


@pytest.mark.case(29)
async def test_the_host_header_cannot_name_another_than_the_target(bench: Bench) -> None:
    client = await Client.to(bench)
    await client.send(f"GET http://data.localhost/ HTTP/1.1\r\nHost: lab.localhost\r\n{auth('a')}\r\n")
    assert (await client.answer())[0] == 400


# --- slow, large and many --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x05hello",
        b"\x05\x01\x00",
        b"\x00" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
    ],
)
async def test_noise_is_ended(bench: Bench, data: bytes) -> None:
    client = await Client.to(bench)
    await client.send(data)
    assert await client.ended()


async def test_a_slow_head_is_ended(bench: Bench) -> None:
    client = await Client.to(bench)
    await client.send("GET http://data.localhost/ HTTP/1.1\r\n")
    with contextlib.suppress(ConnectionError):
        for _ in range(100):
            if client.writer.transport.is_closing():
                break
            await client.send("X: y\r\n")
            await asyncio.sleep(0.02)
    assert await client.ended()


async def test_connections_and_tunnels_that_stay_silent_are_ended() -> None:
    kit = Bench(site, first_byte=0.2)
    kit.hosts.apps = {("data.localhost", 443)}
    async with kit.running():
        silent, tunnel = await Client.to(kit), await Client.to(kit)
        assert await tunnel.connect("data.localhost:443") == 200
        assert await silent.ended()
        assert await tunnel.ended()


async def test_an_oversized_head_is_answered_and_ended(bench: Bench) -> None:
    client = await Client.to(bench)
    await client.send(b"GET http://data.localhost/ HTTP/1.1\r\nX: " + b"a" * (MAX_HEAD_BYTES + 100))
    assert (await client.answer())[0] == 431


async def test_connections_of_a_lease_are_bounded_and_others_are_served(bench: Bench) -> None:
    clients = []
    for _ in range(MAX_CONNECTIONS_PER_LEASE):
        client = await Client.to(bench)
        assert await client.connect("data.localhost:80") == 200
        clients.append(client)
    client = await Client.to(bench)
    assert await client.connect("data.localhost:80") == 503
    assert bench.sink.reasons("data.localhost") == {Reason.CAPACITY}
    other = await Client.to(bench)
    assert await other.connect("data.localhost:80", "b") == 200
    for one in clients:
        await one.close()
    await until(lambda: bench.gateway.connections <= 1)
    client = await Client.to(bench)
    assert await client.connect("data.localhost:80") == 200


async def test_connections_that_never_speak_are_bounded(bench: Bench) -> None:
    silent = [await Client.to(bench) for _ in range(MAX_UNNAMED + 20)]
    assert await silent[-1].ended()
    for one in silent:
        await one.close()


# --- public hosts ----------------------------------------------------------------------------------------------------------------


async def test_a_tunnel_to_a_permitted_host_is_blind_and_half_closes(bench: Bench) -> None:
    bench.hosts.patterns = ["*.cdn.example"]
    async with public(bench, "a.cdn.example", 443, echo) as accepted:
        client = await Client.to(bench)
        await client.send(f"CONNECT a.cdn.example:443 HTTP/1.1\r\n{auth('a')}\r\nearly")
        assert (await client.answer())[0] == 200
        blob = bytes(range(256)) * 4_096
        assert await client.reader.readexactly(5) == b"early"

        async def receive() -> bytes:
            return await client.reader.read(-1)

        task = asyncio.create_task(receive())
        await client.send(blob)
        client.writer.write_eof()
        assert await asyncio.wait_for(task, SECONDS) == blob + b"<end>"
        assert accepted == [1]
    assert bench.dialled == [("93.184.216.1", 443)]  # the very address that was judged
    assert bench.sink.records == []


async def test_a_lease_reaches_only_the_domains_of_its_controls(bench: Bench) -> None:
    """The browser asks whatever it likes; what its lease may reach is looked up anew with every connection."""
    bench.hosts.patterns = ["*.cdn.example", "*.maps.example"]

    def control(*domains: str) -> None:
        lease = replace(bench.leases["a"], domains=frozenset(domains))
        bench.table.add(lease, username="a", password_digest=digest(bench.password("a")))

    async def asks(host: str, lease: str = "a") -> int:
        client = await Client.to(bench)
        return await client.connect(f"{host}:443", lease)

    async with public(bench, "a.cdn.example", 443, echo), public(bench, "a.maps.example", 443, echo):
        assert (await asks("a.cdn.example"), await asks("a.maps.example")) == (200, 200)
        control("*.cdn.example", "elsewhere.example")
        assert (await asks("a.cdn.example"), await asks("a.maps.example")) == (200, 403)
        assert await asks("elsewhere.example") == 403  # the control opens nothing that the app does not
        assert (await asks("a.cdn.example", "b"), await asks("a.maps.example", "b")) == (200, 200)
        control()
        assert await asks("a.cdn.example") == 403
        assert await asks("data.localhost") == 200  # an app, which no control of this kind touches
    assert bench.sink.reasons("a.maps.example") == {Reason.NOT_ALLOWED}


async def test_an_idle_tunnel_is_ended() -> None:
    kit = Bench(site, tunnel_idle=0.2)
    kit.hosts.patterns = ["*"]
    async with kit.running(), public(kit, "a.cdn.example", 443, echo):
        client = await Client.to(kit)
        assert await client.connect("a.cdn.example:443") == 200
        await client.send("x")
        assert await client.reader.readexactly(1) == b"x"
        silent = await Client.to(kit)
        assert await silent.connect("a.cdn.example:443") == 200
        assert await client.ended()
        assert await silent.ended()


async def test_a_public_host_that_is_down(bench: Bench) -> None:
    bench.hosts.patterns = ["*"]
    bench.names["down.example"] = ["93.184.216.200"]
    for name in ("down.example", "unknown.example"):
        client = await Client.to(bench)
        assert await client.connect(f"{name}:443") == 502
    assert bench.sink.reasons("down.example") == {Reason.UNREACHABLE}
    assert bench.sink.reasons("unknown.example") == {Reason.UNRESOLVED}


def answering(
    response: bytes, requests: list[bytes], *, body: int = 0
) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        requests.append(head + await reader.readexactly(body))
        writer.write(response)
        await writer.drain()

    return handle


async def test_plain_requests_to_a_permitted_host(bench: Bench) -> None:
    bench.hosts.patterns = ["plain.example"]
    requests: list[bytes] = []
    response = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nX-One: 1\r\nAlt-Svc: h3\r\nKeep-Alive: 5\r\nContent-Length: 5\r\n\r\nhello"
    async with public(bench, "plain.example", 80, answering(response, requests)):
        client = await Client.to(bench)
        await client.send(
            f"GET http://plain.example/a%2f..?q=1 HTTP/1.1\r\nHost: plain.example\r\nAccept: */*\r\nProxy-Connection: keep-alive\r\n{auth('a')}\r\n".replace(
                "%2f..", "%2fb"
            )
        )
        status, headers, body = await client.answer()
        assert (status, body, headers["x-one"]) == (200, b"hello", "1")
        assert not {"alt-svc", "keep-alive", "link"} & set(headers)
        await client.get("http://data.localhost/after")  # the connection goes on, for another host
        assert (await client.json())["path"] == "/after"
    lines = requests[0].split(b"\r\n")
    assert lines[0] == b"GET /a%2fb?q=1 HTTP/1.1"
    assert b"host: plain.example" in lines
    assert b"proxy" not in requests[0].lower()
    assert bench.sink.records == []


async def test_plain_bodies_are_carried_both_ways(bench: Bench) -> None:
    bench.hosts.patterns = ["plain.example"]
    requests: list[bytes] = []
    response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    async with public(bench, "plain.example", 80, answering(response, requests, body=17)):
        client = await Client.to(bench)
        await client.send(
            f"POST http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\nTransfer-Encoding: chunked\r\n{auth('a')}\r\n7\r\nabcdefg\r\n0\r\n\r\n"
        )
        async with asyncio.timeout(SECONDS):
            head = await client.reader.readuntil(b"\r\n\r\n")
            assert b"transfer-encoding: chunked" in head.lower()
            assert b"abc" in await client.reader.readuntil(b"0\r\n\r\n")
    assert requests[0].endswith(b"7\r\nabcdefg\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
)
async def test_nonsense_of_a_public_host_is_a_bad_gateway(bench: Bench, response: bytes) -> None:
    bench.hosts.patterns = ["plain.example"]
    async with public(bench, "plain.example", 80, answering(response, [])):
        client = await Client.to(bench)
        await client.get("http://plain.example/")
        assert (await client.answer())[0] == 502


@pytest.mark.parametrize("framing", ["Content-Length: 50\r\n\r\nshort", "Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n"])
async def test_a_broken_off_answer_does_not_look_complete(bench: Bench, framing: str) -> None:
    bench.hosts.patterns = ["plain.example"]
    async with public(bench, "plain.example", 80, answering(f"HTTP/1.1 200 OK\r\n{framing}".encode(), [])):
        client = await Client.to(bench)
        await client.get("http://plain.example/")
        async with asyncio.timeout(SECONDS):
            answer = b""
            with contextlib.suppress(ConnectionError):
                while data := await client.reader.read(65_536):
                    answer += data
        assert b"content-length: 50" in answer.lower() or not answer.endswith(b"0\r\n\r\n")


async def test_an_answer_that_ends_with_its_connection_and_one_without_body(bench: Bench) -> None:
    bench.hosts.patterns = ["plain.example", "head.example"]
    async with public(bench, "plain.example", 80, answering(b"HTTP/1.0 200 OK\r\n\r\nto the end", [])):
        client = await Client.to(bench)
        await client.get("http://plain.example/")
        async with asyncio.timeout(SECONDS):
            assert b"to the end" in await client.reader.readuntil(b"0\r\n\r\n")
    async with public(bench, "head.example", 80, answering(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", [])):
        client = await Client.to(bench)
        await client.send(f"HEAD http://head.example/ HTTP/1.1\r\nHost: head.example\r\n{auth('a')}\r\n")
        async with asyncio.timeout(SECONDS):
            assert b"content-length: 500" in (await client.reader.readuntil(b"\r\n\r\n")).lower()


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND", "FOO"])
async def test_other_methods_are_not_carried_to_public_hosts(bench: Bench, method: str) -> None:
    bench.hosts.patterns = ["*"]
    bench.names["plain.example"] = ["93.184.216.9"]
    client = await Client.to(bench)
    await client.send(f"{method} http://plain.example/ HTTP/1.1\r\nHost: plain.example\r\n{auth('a')}\r\n")
    assert (await client.answer())[0] in {400, 403, 405}
    assert bench.dialled == []


# --- ends --------------------------------------------------------------------------------------------------------------------------


async def test_the_end_of_a_lease_ends_all_its_connections_and_no_others(bench: Bench) -> None:
    bench.hosts.patterns = ["*"]
    hanging = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        await hanging.wait()

    async with public(bench, "a.cdn.example", 443, hang), public(bench, "plain.example", 80, hang):
        clients = {}
        for lease in ("a", "b"):
            tls, plain, tunnel, waiting, fetch, undecided = [await Client.to(bench) for _ in range(6)]
            assert await tls.connect("data.localhost:443", lease) == 200
            await tls.tls("data.localhost")
            await plain.get("http://data.localhost/", lease)
            await plain.json()
            assert await tunnel.connect("a.cdn.example:443", lease) == 200
            assert await waiting.connect("data.localhost:443", lease) == 200  # no byte yet
            await fetch.get("http://plain.example/", lease)
            assert await undecided.connect("data.localhost:443", lease) == 200
            await undecided.send(b"\x16\x03\x01")  # in the middle of a handshake
            clients[lease] = [tls, plain, tunnel, waiting, fetch, undecided]
        await until(lambda: bench.gateway.connections == 12 and len(bench.dialled) == 4)
        bench.table.remove("a")
        await bench.gateway.close_lease("a")
        assert all(await asyncio.gather(*(client.ended() for client in clients["a"])))
        tls = clients["b"][0]
        await tls.send("GET / HTTP/1.1\r\nHost: data.localhost\r\n\r\n")
        assert (await tls.json())["lease"] == "b"
        again = await Client.to(bench)
        assert await again.connect("data.localhost:443") == 407
        hanging.set()
        for client in clients["b"]:
            await client.close()


async def test_an_ended_lease_that_the_lookup_still_knows_is_refused(bench: Bench) -> None:
    await bench.gateway.close_lease("a")
    client = await Client.to(bench)
    assert await client.connect("data.localhost:443") == 407


async def test_the_gateway_ends_with_everything_it_holds(bench: Bench) -> None:
    client, silent = await Client.to(bench), await Client.to(bench)
    assert await client.connect("data.localhost:80") == 200
    await bench.gateway.close()
    assert await client.ended()
    assert await silent.ended()
    with pytest.raises(OSError):
        await Client.to(bench)
