"""WebSockets through the data plane: handshake, bytes both ways, and how a tunnel ends."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from isolation.policy.model import PolicySet
from isolation.proxy.websocket import accept_key
from isolation.routing.model import App, Upstream
from isolation.web.limits import Limits
from tests.support.data_plane import BOUND, FakeApp, Reader, Request, Writer, ok, running, until

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    b"GET /ws?x=%2e HTTP/1.1\r\nHost: app.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept_key(
    KEY
)


def switching(*, after: bytes = b"", then: Any = None) -> Any:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        writer.write(
            SWITCH + b"\r\nSec-WebSocket-Protocol: chat\r\nSet-Cookie: isolation=evil\r\nSet-Cookie: app=1\r\n\r\n" + after
        )
        if then is not None:
            await then(reader, writer)
        return False

    return script


async def echo(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def test_messages_pass_both_ways_with_a_real_library() -> None:
    async def handler(stream: ServerConnection) -> None:
        async for message in stream:
            await stream.send(message[::-1] if isinstance(message, bytes) else message.upper())

    async with serve(handler, "127.0.0.1", 0) as server:
        fake = FakeApp()
        async with running(fake) as router:
            from isolation.proxy.websocket import Tunneler

            port = server.sockets[0].getsockname()[1]
            app = App("ws", "127.0.0.1", Upstream("127.0.0.1", port), PolicySet(()), "b" * 64)
            tunneler = Tunneler(router.pools, router.live)

            async def gate(scope: Any, receive: Any, send: Any) -> None:
                await tunneler.tunnel(scope, app, scope["isolation.target"], (), "s")

            router.ingress.app = gate
            async with connect(f"ws://127.0.0.1:{router.port}/x", origin=f"http://127.0.0.1:{router.port}") as stream:  # type: ignore[arg-type]
                await stream.send("abc")
                assert await asyncio.wait_for(stream.recv(), BOUND) == "ABC"
                big = bytes(range(256)) * 3_000
                await stream.send(big)
                assert await asyncio.wait_for(stream.recv(), BOUND) == big[::-1]
                assert router.live.end("s", "ws", "isolated") == 1
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(stream.recv(), BOUND)
                assert closed.value.rcvd is not None
                assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "isolated")
            assert router.live.count() == 0


async def test_handshake_and_bytes_that_came_with_it() -> None:
    fake = FakeApp(script=switching(after=b"app-first", then=echo))
    async with running(fake) as router:
        client = await router.client()
        client.send(
            HANDSHAKE + b"Origin: https://app.example\r\nX-Forwarded-User: forged\r\nCookie: isolation=ours; b=c\r\n\r\nearly"
        )
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert b"Sec-WebSocket-Protocol: chat\r\n" in head
        assert b"app=1" in head
        assert b"evil" not in head
        assert await client.exactly(14) == b"app-firstearly"
        client.send(b"more")
        assert await client.exactly(4) == b"more"
        request = fake.requests[0]
        assert request.line == b"GET /ws?x=%2e HTTP/1.1"
        assert request.values("connection") == [b"Upgrade"]
        assert request.values("upgrade") == [b"websocket"]
        assert request.values("cookie") == [b"b=c"]
        assert request.values("x-isolation-jwt-assertion") == [b"OURS"]
        assert b"forged" not in request.raw
        client.close()
        await until(lambda: fake.lost == 1)
        await until(lambda: router.live.count() == 0)


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        (b"http://app.example", True),
        (b"https://app.example", True),  # TLS may end in front of the router
        (b"https://app.example:443", True),
        (b"https://app.example:80", False),
        (b"http://evil.example", False),
        (b"http://app.example.evil.example", False),
        (b"http://evil-app.example", False),
        (b"null", False),
        (b"", False),
        (b"http://app.example:8080", False),
        (b"http://app.example@evil.example", False),
        (b"http://user@app.example", False),
        (b"http://app.example/x", False),
        (b"file://app.example", False),
        (b"http://APP.example", True),
        (b"http://app.example\r\nOrigin: http://evil.example", False),
        (b"http://[", False),
        (b"http://app.example:x", False),
    ],
)
async def test_only_the_apps_own_pages_open_sockets(origin: bytes | None, allowed: bool) -> None:
    fake = FakeApp(script=switching(then=echo))
    async with running(fake) as router:
        client = await router.client()
        client.send(HANDSHAKE + (b"" if origin is None else b"Origin: " + origin + b"\r\n") + b"\r\n")
        head = await client.head()
        assert head.split(b" ")[1] == (b"101" if allowed else b"403")
        assert fake.connections == (1 if allowed else 0)
        client.close()


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ok(b"plain"), b"200"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", b"302"),
        (b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", b"403"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"502"),
        (SWITCH[:-2] + b"x=\r\n\r\n", b"502"),
        (SWITCH.replace(b"websocket", b"h2c") + b"\r\n\r\n", b"502"),
        (SWITCH.replace(b"Connection: Upgrade", b"Connection: close") + b"\r\n\r\n", b"502"),
        (b"", b"502"),
        (b"SSH-2.0\r\n", b"502"),
    ],
)
async def test_whatever_is_not_a_101_is_a_plain_answer_and_the_connection_ends(answer: bytes, expected: bytes) -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        writer.write(answer)
        return False

    fake = FakeApp(script=script)
    async with running(fake) as router:
        got = await router.ask(HANDSHAKE + b"\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n")
        assert got.split(b" ")[1] == expected
        assert b"connection: close" in got
        assert all(b"smuggled" not in request.line for request in fake.requests)
        assert len(fake.requests) == 1 or expected == b"502"


async def test_the_gate_can_answer_a_handshake_itself() -> None:
    async def gate(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "isolation.upgrade"
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"sign in"})

    async with running(FakeApp(), gate=gate) as router:
        got = await router.ask(HANDSHAKE + b"\r\n" + b"x" * 1000)
        assert got.startswith(b"HTTP/1.1 401 ")
        assert got.endswith(b"sign in")
        assert b"connection: close" in got


async def test_a_tunnel_in_the_middle_of_a_frame_is_cut() -> None:
    async def half_a_frame(reader: Reader, writer: Writer) -> None:
        writer.write(b"\x82\x7e\x01\x00half")  # 256 bytes announced
        await reader.read(1)

    fake = FakeApp(script=switching(then=half_a_frame))
    async with running(fake) as router:
        client = await router.client()
        client.send(HANDSHAKE + b"\r\n")
        await client.head()
        await client.until(b"half")
        router.live.end("session-1", None, "session-ended")
        with contextlib.suppress(ConnectionResetError):
            assert await client.rest() == b"", "no close frame may land inside another frame"
        client.close()
        await until(lambda: fake.lost == 1)


async def test_a_tunnel_ends_even_when_the_client_does_not_stop_sending() -> None:
    async def swallow(reader: Reader, writer: Writer) -> None:
        while await reader.read(65536):
            pass

    fake = FakeApp(script=switching(then=swallow))
    async with running(fake) as router:
        client = await router.client()
        client.send(HANDSHAKE + b"\r\n")
        await client.head()

        async def keep_sending() -> None:
            while True:
                client.send(b"x" * 10_000)
                await client.writer.drain()

        sending = asyncio.create_task(keep_sending())
        await asyncio.sleep(0.05)
        router.live.end("session-1", None, "session-ended")
        assert await client.exactly(2) == b"\x88\x0f"
        assert await client.exactly(15) == b"\x03\xf0session-ended"
        await until(lambda: fake.lost == 1)
        await until(lambda: not router.ingress.connections)
        sending.cancel()
        client.close()


async def test_ending_a_handshake_that_is_still_open_refuses_it() -> None:
    async def never(request: Request, reader: Reader, writer: Writer) -> bool:
        await reader.read(1)
        return False

    fake = FakeApp(script=never)
    async with running(fake) as router:
        client = await router.client()
        client.send(HANDSHAKE + b"\r\n")
        await until(lambda: fake.requests)
        router.live.end("session-1", None, "isolated")
        assert (await client.rest()).startswith(b"HTTP/1.1 502 ")
        assert [error.code for error in router.errors] == ["cut"]
        client.close()


@pytest.mark.parametrize("towards_app", [False, True], ids=["to-client", "to-app"])
async def test_tunnels_do_not_pile_up_bytes(towards_app: bool) -> None:
    sent = 0
    go = asyncio.Event()

    async def then(reader: Reader, writer: Writer) -> None:
        nonlocal sent
        if towards_app:
            await go.wait()
            await reader.readexactly(60_000_000)
            writer.write(b"done")
            await writer.drain()
            return
        for _ in range(600):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    fake = FakeApp(script=switching(then=then))
    async with running(fake) as router:
        client = await router.client()
        client.send(HANDSHAKE + b"\r\n")
        await client.head()
        if towards_app:

            async def push() -> None:
                nonlocal sent
                for _ in range(600):
                    client.send(b"x" * 100_000)
                    await client.writer.drain()
                    sent += 100_000

            pushing = asyncio.create_task(push())
        else:
            client.writer.transport.pause_reading()
        last = -1
        while sent != last or not sent:
            last = sent
            await asyncio.sleep(0.2)
        assert sent < 30_000_000
        if towards_app:
            go.set()
            await asyncio.wait_for(pushing, BOUND)
            await client.until(b"done")
        else:
            client.writer.transport.resume_reading()
            assert await client.exactly(60_000_000)
        client.close()


async def test_too_many_early_bytes_end_the_handshake() -> None:
    async def slow(request: Request, reader: Reader, writer: Writer) -> bool:
        await asyncio.sleep(0.05)
        writer.write(SWITCH + b"\r\n\r\n")
        await echo(reader, writer)
        return False

    fake = FakeApp(script=slow)
    async with running(fake) as router:
        client = await router.client()
        client.send(HANDSHAKE + b"\r\n" + b"x" * 5_000_000)
        with pytest.raises(ConnectionError):
            await client.rest()
        client.close()
        await until(lambda: fake.lost == 1)


async def test_stopping_the_router_says_going_away() -> None:
    fake = FakeApp(script=switching(then=echo))
    async with running(fake, whole_server=True) as router:
        client = await router.client()
        client.send(HANDSHAKE + b"\r\n")
        await client.head()
        router.ingress.server.should_exit = True
        assert await client.rest() == b"\x88\x0c\x03\xe9going-away"
        client.close()


async def test_a_tunnel_that_begins_while_the_router_stops_is_told_to_go() -> None:
    fake = FakeApp(script=switching(then=echo))
    async with running(fake, whole_server=True, limits=Limits(parting=5.0)) as router:
        client = await router.client()
        await until(lambda: router.ingress.connections)
        router.ingress.server.should_exit = True
        await until(lambda: not router.ingress.server.servers[0].is_serving())  # every connection has been told
        client.send(HANDSHAKE + b"\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.rest() == b"\x88\x0c\x03\xe9going-away"
