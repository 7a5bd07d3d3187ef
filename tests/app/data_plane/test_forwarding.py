"""Requests through the data plane, over real sockets, as the app and as the client see them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import ssl
from pathlib import Path
from typing import Any

import psutil
import pytest

from isolation.errors import UpstreamError
from isolation.proxy.headers import MAX_RESPONSE_HEAD
from isolation.proxy.http import HttpForwarder
from isolation.proxy.pool import Pool, Pools
from isolation.routing.model import Upstream
from isolation.web.limits import Limits
from tests.support.data_plane import BOUND, FakeApp, Reader, Request, Writer, answer, ok, running, self_signed, until

GET = b"GET / HTTP/1.1\r\nHost: app.example\r\n"


async def test_the_app_sees_the_exact_target_and_only_our_identity() -> None:
    fake = FakeApp()
    forged = [
        b"X-Isolation-Jwt-Assertion: forged",
        b"x-isolation-jwt-assertion: forged-twice",
        b"X_Isolation_Jwt_Assertion: forged",
        b"X-Isolation_Jwt-Assertion: forged",
        b"X-ISOLATION-ANYTHING: forged",
        b"Cf-Access-Jwt-Assertion: forged",
        b"Cf-Access-Authenticated-User-Email: forged",
        b"X-Forwarded-User: forged",
        b"X_Forwarded_User: forged",
        b"x-forwarded-email: forged",
        b"X-Forwarded.Email: forged",
        b"X-Forwarded-Groups: forged",
        b"X-Forwarded-Preferred-Username: forged",
        b"X-Custom-Name: forged",
        b"X_Custom_Name: forged",
        b"Remote-User: forged",
        b"REMOTE_USER: forged",
        b"Remote-Groups: forged",
        b"X-Forwarded-For: 10.0.0.1, forged",
        b"X-Forwarded-Proto: forged",
        b"X-Forwarded-Host: forged",
        b"X-Forwarded-Prefix: forged",
        b"Forwarded: for=forged",
        b"X-Real-IP: forged",
        b"True-Client-IP: forged",
        b"X-Original-URL: /forged",
        b"X-Rewrite-URL: /forged",
        b"X-Envoy-Original-Path: /forged",
        b"Proxy-Authorization: forged",
        b"X-Ms-Client-Principal: forged",
        b"X-Ssl-Client-S-Dn: forged",
    ]
    async with running(fake) as router:
        await router.ask(
            b"GET /a%2Fb//c;d/%ff?x=%2e&q=%0d&& HTTP/1.1\r\nHost: App.Example:8080\r\n"
            + b"\r\n".join(forged)
            + b"\r\nConnection: close, x-isolation-jwt-assertion, X-Forwarded-Email, x-listed\r\nX-Listed: hop\r\nX-Kept: yes\r\n"
            + b"Cookie: theme=dark; isolation=ours; __Host-isolation=ours; a=b\r\nAuthorization: Bearer app\r\nTE: trailers\r\nKeep-Alive: 5\r\n\r\n"
        )
        request = fake.requests[0]
        assert request.line == b"GET /a%2Fb//c;d/%ff?x=%2e&q=%0d&& HTTP/1.1"
        assert b"forged" not in request.raw
        assert b"ours" not in request.raw.replace(b"OURS", b"")
        assert request.values("x-isolation-jwt-assertion") == [b"OURS"]
        assert request.values("x-forwarded-email") == [b"alice@contoso.example"]
        assert request.values("x-forwarded-for") == [b"127.0.0.1"]
        assert request.values("x-forwarded-host") == [b"app.example:8080"]
        assert request.values("x-forwarded-proto") == [b"http"]
        assert request.values("x-forwarded-port") == [b"8080"]
        assert request.values("host") == [b"app.example:8080"]
        assert request.values("cookie") == [b"theme=dark; a=b"]
        assert request.values("authorization") == [b"Bearer app"]
        assert request.values("x-kept") == [b"yes"]
        assert not {b"x-listed", b"connection", b"te", b"keep-alive"} & set(request.names)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (ok(b"hello", b"X-A: b"), b"hello"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nX-Trailer: t\r\n\r\n", b"hello"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", b"hello"),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 404 Nope Nope\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 299\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\nETag: "x"\r\n\r\n', b""),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/10\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok(b"hello"), b"hello"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x00", b"\x1f\x8b\x00"),
    ],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_every_framing_arrives_whole(response: bytes, expected: bytes, version: bytes) -> None:
    fake = FakeApp(script=answer(response, keep=False))
    async with running(fake) as router:
        got = await router.ask(b"GET / HTTP/" + version + b"\r\nHost: a\r\nConnection: close\r\n\r\n")
        while got.startswith(b"HTTP/1.1 1"):
            assert version == b"1.1"
            got = got.partition(b"\r\n\r\n")[2]
        head, _, body = got.partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" in head:
            assert version == b"1.1"
            assert body.endswith(b"0\r\n\r\n")
            body = b"".join(body.split(b"\r\n")[1::2])
        assert body == expected
        assert b"X-Trailer" not in got
        assert not router.errors


async def test_head_and_304_keep_the_connection_in_step() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        if request.line.startswith(b"HEAD"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        elif b"/304" in request.line:
            writer.write(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n")
        elif b"/204" in request.line:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            writer.write(ok(request.line))
        return True

    fake = FakeApp(script=script)
    async with running(fake) as router:
        client = await router.client()
        for _ in range(3):
            client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"content-length: 500" in await client.head()
            client.send(b"GET /304 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"content-length: 500" in await client.head()
            client.send(b"GET /204 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"content-length" not in await client.head()
            client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"content-length: 18" in await client.head()
            assert await client.exactly(18) == b"GET /next HTTP/1.1"
        client.close()
        assert fake.connections == 1, "one kept connection serves them all"


async def test_bodies_arrive_whole_whatever_their_framing() -> None:
    fake = FakeApp()
    async with running(fake) as router:
        client = await router.client()
        client.send(b"POST /cl HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabcdef")
        await client.until(b"hello")
        client.send(
            b"POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nX-Trailer: x\r\n\r\n"
        )
        await client.until(b"hello")
        client.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await until(lambda: len(fake.requests) == 3)
        client.send(b"3\r\ndef\r\n0\r\n\r\n")
        await client.until(b"hello")
        client.send(b"POST /empty HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        await client.until(b"hello")
        client.send(b"DELETE /none HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.until(b"hello")
        client.close()
        assert [request.body for request in fake.requests] == [b"abcdef", b"abcdef", b"abcdef", b"", b""]
        assert fake.requests[2].values("transfer-encoding") == [b"chunked"]
        assert fake.requests[3].values("content-length") == [b"0"]
        assert fake.requests[4].values("content-length") == []
        assert not any(b"x-trailer" in request.names for request in fake.requests)


async def test_events_are_not_held_back() -> None:
    more = asyncio.Event()

    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            event = b"data: %d\n\n" % number
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await more.wait()
            more.clear()
        writer.write(b"0\r\n\r\n")
        return True

    async with running(FakeApp(script=script)) as router:
        client = await router.client()
        client.send(GET + b"Accept: text/event-stream\r\n\r\n")
        for number in range(3):
            assert await client.until(b"data: %d\n\n" % number)
            more.set()
        await client.until(b"0\r\n\r\n")
        client.close()


async def test_100_continue_is_the_apps_to_say() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        if b"/no" in request.line:
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            return False
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(ok(await reader.readexactly(5)))
        return True

    fake = FakeApp(script=script, read_body=False)
    async with running(fake) as router:
        client = await router.client()
        client.send(b"PUT /yes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abcde")
        await client.until(b"abcde")
        client.send(b"PUT /no HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        got = await client.rest()
        assert got.startswith(b"HTTP/1.1 413 Too Large")
        assert b"connection: close" in got
        client.close()


async def test_an_early_answer_reaches_a_client_that_is_still_sending() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        await reader.readexactly(10)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nstop")
        await writer.drain()
        await asyncio.sleep(0.3)  # an app that closes with unread bytes would reset its own answer
        return False

    fake = FakeApp(script=script, read_body=False)
    async with running(fake) as router:
        client = await router.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 300_000)
        got = await client.rest()
        assert got.startswith(b"HTTP/1.1 413 Too Large")
        assert got.endswith(b"stop")
        client.close()


@pytest.mark.parametrize("upload", [False, True], ids=["download", "upload"])
async def test_200_mb_pass_in_bounded_memory(upload: bool) -> None:
    size, piece = 200 * 1024 * 1024, b"\xa5" * (256 * 1024)
    digest = hashlib.blake2b()
    received = 0

    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        nonlocal received
        if upload:
            while received < size:
                data = await reader.read(2**20)
                received += len(data)
                digest.update(data)
            writer.write(ok(b"done"))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // len(piece)):
                writer.write(piece)
                await writer.drain()
        return True

    fake = FakeApp(script=script, read_body=False)
    process = psutil.Process()
    async with running(fake) as router:
        client = await router.client()
        await asyncio.sleep(0)
        before, peak = process.memory_info().rss, 0
        if upload:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // len(piece)):
                client.send(piece)
                await asyncio.wait_for(client.writer.drain(), BOUND)
                peak = max(peak, process.memory_info().rss)
            assert (await client.until(b"done")).startswith(b"HTTP/1.1 200")
        else:
            client.send(GET + b"\r\n")
            await client.head()
            while received < size:
                data = await asyncio.wait_for(client.reader.read(2**20), BOUND)
                received += len(data)
                digest.update(data)
                peak = max(peak, process.memory_info().rss)
        client.close()
        expected = hashlib.blake2b()
        for _ in range(size // len(piece)):
            expected.update(piece)
        assert received == size
        assert digest.digest() == expected.digest()
        assert peak - before < 40 * 1024 * 1024


@pytest.mark.parametrize("upload", [False, True], ids=["download", "upload"])
async def test_a_slow_reader_stops_a_fast_writer(upload: bool) -> None:
    sent = 0
    go = asyncio.Event()

    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        nonlocal sent
        if upload:
            await go.wait()
            await reader.readexactly(60_000_000)
            writer.write(ok(b"done"))
            return True
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000000\r\n\r\n")
        for _ in range(600):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000
        return True

    fake = FakeApp(script=script, read_body=False)
    async with running(fake) as router:
        client = await router.client()
        if upload:
            client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000000\r\n\r\n")

            async def push() -> None:
                nonlocal sent
                for _ in range(600):
                    client.send(b"x" * 100_000)
                    await client.writer.drain()
                    sent += 100_000

            pushing = asyncio.create_task(push())
        else:
            client.writer.transport.pause_reading()
            client.send(GET + b"\r\n")
        last = -1
        while sent != last or not sent:  # until it has come to rest
            last = sent
            await asyncio.sleep(0.2)
        assert sent < 30_000_000, "kernel buffers and ours, not the body"
        if upload:
            go.set()
            await asyncio.wait_for(pushing, BOUND)
            await client.until(b"done")
        else:
            client.writer.transport.resume_reading()
            await client.head()
            assert await client.exactly(60_000_000)
        client.close()


async def test_a_client_that_leaves_ends_the_apps_work_at_once() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        if b"/stream" in request.line:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        assert await reader.read(100) == b""  # it learns from its own connection
        return False

    fake = FakeApp(script=script, read_body=False)
    async with running(fake) as router:
        for path, data in ((b"/wait", b""), (b"/stream", b""), (b"/upload", b"Content-Length: 9\r\n")):
            client = await router.client()
            client.send(b"POST " + path + b" HTTP/1.1\r\nHost: a\r\n" + data + b"\r\n")
            await until(lambda: fake.requests and fake.requests[-1].line.startswith(b"POST " + path))  # noqa: B023
            if path == b"/stream":
                await client.until(b"abc")
            lost = fake.lost
            client.reset()
            await until(lambda: fake.lost == lost + 1)  # noqa: B023
        assert not router.errors
        await until(lambda: router.live.count() == 0)


BROKEN = [
    (b"SSH-2.0-OpenSSH_9.2\r\n", "bad-response"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "bad-response"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "bad-response"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", "bad-response"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "bad-response"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "bad-response"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", "bad-response"),
    (b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n", "bad-response"),
    (b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", "bad-response"),
    (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "bad-response"),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "bad-response"),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "bad-response"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + ok(), "bad-response"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * (MAX_RESPONSE_HEAD * 2), "too-large-head"),
    (b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(600)) + b"\r\n", "too-large-head"),
    (
        b'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="x"\r\nContent-Length: 0\r\n\r\n',
        "bad-response",
    ),
    (b"", "closed-early"),
    (b"HTTP/1.1 200 OK\r\nContent-", "closed-early"),
]


async def test_nonsense_from_the_app_is_an_error_before_anything_is_sent() -> None:
    for response, code in BROKEN:
        fake = FakeApp(script=answer(response, keep=False))
        async with running(fake) as router:
            got = await router.ask(GET + b"Connection: close\r\n\r\n")
            while got.startswith(b"HTTP/1.1 100"):
                got = got.partition(b"\r\n\r\n")[2]
            assert got.startswith(b"HTTP/1.1 502 "), (response[:80], got[:200])
            assert [error.code for error in router.errors] == [code], response[:80]
            assert router.live.count() == 0


TRUNCATED = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\npart",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n4\r\npart",
]


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("response", TRUNCATED)
async def test_a_truncated_answer_never_looks_whole(response: bytes, version: bytes) -> None:
    gone = asyncio.Event()

    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        writer.write(response[: response.index(b"part") + 4])
        await writer.drain()
        await gone.wait()
        writer.write(response[response.index(b"part") + 4 :])
        return False

    async with running(FakeApp(script=script)) as router:
        client = await router.client()
        client.send(b"GET / HTTP/" + version + b"\r\nHost: a\r\n\r\n")
        await client.until(b"part")
        gone.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()
        client.close()
        assert not router.errors


async def test_an_app_that_is_away_or_slow_is_told_apart() -> None:
    fake = FakeApp()
    async with running(fake) as router:
        pools = Pools()
        with socket.create_server(("127.0.0.1", 0)) as closed:
            free = closed.getsockname()[1]
        with pytest.raises(UpstreamError) as refused:
            await pools.of(Upstream("127.0.0.1", free)).connect()
        assert refused.value.code == "connect-failed"
        with pytest.raises(UpstreamError) as unknown:
            await pools.of(Upstream("no-such-host.invalid", 80)).connect()
        assert unknown.value.code == "connect-failed"
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:  # the queue of connections that nobody accepts is full after a few
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
            await asyncio.sleep(0.05)
            with pytest.raises(UpstreamError) as slow:
                await pools.of(Upstream("127.0.0.1", full.getsockname()[1], connect_timeout=0.2)).connect()
            assert slow.value.code == "connect-timeout"
            for filler in fillers:
                filler.close()
        assert router.live.count() == 0


async def test_an_app_that_does_not_answer_runs_into_the_time_limit() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        await reader.read(1)
        return False

    fake = FakeApp(script=script)
    async with running(fake, response_timeout=0.1) as router:
        got = await router.ask(GET + b"Connection: close\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 502 ")
        assert [error.code for error in router.errors] == ["response-timeout"]
        await until(lambda: fake.lost == 1)


async def test_a_slow_stream_is_not_late() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for letter in (b"a", b"b", b"c", b"d"):
            await asyncio.sleep(0.2)
            writer.write(letter)
        return True

    async with running(FakeApp(script=script), response_timeout=0.1) as router:
        assert (await router.ask(GET + b"Connection: close\r\n\r\n")).endswith(b"abcd")


async def test_a_dead_kept_connection_is_replaced_only_where_repeating_is_safe() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        if fake.connections == 1 and len(fake.requests) == 2:
            return False  # dies with the second request, before a byte of its answer
        writer.write(ok())
        return True

    for method, status in ((b"GET", b"200"), (b"HEAD", b"200"), (b"POST", b"502"), (b"PUT", b"502"), (b"DELETE", b"502")):
        fake = FakeApp(script=script)
        async with running(fake) as router:
            client = await router.client()
            client.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
            await client.until(b"hello")
            client.send(method + b" /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert (await client.rest()).startswith(b"HTTP/1.1 " + status), method
            client.close()
            sent = [request.line for request in fake.requests if b"/second" in request.line]
            assert len(sent) == (2 if status == b"200" else 1), method


async def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    fake = FakeApp(script=answer(b"", keep=False))
    async with running(fake) as router:
        assert (await router.ask(GET + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
        assert fake.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        ok(b"mine") + ok(b"theirs"),
        ok(b"mine") + b"HTTP/1.1 200 OK\r\nContent-Le",
        ok(b"mine") + b"\x00garbage",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n" + ok(b"theirs"),
    ],
)
async def test_an_answer_in_stock_never_reaches_the_next_person(first: bytes) -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        writer.write(first if len(fake.requests) == 1 else ok(b"right"))
        return True

    fake = FakeApp(script=script)
    async with running(fake) as router:
        one, other = await router.client(), await router.client()
        one.send(GET + b"\r\n")
        assert b"theirs" not in await one.head()
        other.send(GET + b"\r\n")
        await other.head()
        assert await other.exactly(5) == b"right"
        one.close()
        other.close()
        assert fake.connections == 2, "the first connection is not trusted any more"


async def test_an_answer_that_comes_late_to_an_idle_connection_closes_it() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        writer.write(ok(b"first"))
        if len(fake.requests) == 1:
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(ok(b"stray"))
        return True

    fake = FakeApp(script=script)
    async with running(fake) as router:
        client = await router.client()
        client.send(GET + b"\r\n")
        await client.until(b"first")
        await until(lambda: fake.lost == 1)
        client.send(GET + b"\r\n")
        assert b"stray" not in await client.until(b"first")
        client.close()


async def test_a_poisoned_head_answer_is_not_read_as_the_next_one() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        if request.line.startswith(b"HEAD"):
            writer.write(ok(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ntheirs"))
        else:
            writer.write(ok(b"right"))
        return True

    fake = FakeApp(script=script)
    async with running(fake) as router:
        client = await router.client()
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.head()
        client.send(GET + b"\r\n")
        assert (await client.until(b"right")).count(b"theirs") == 0
        client.close()
        assert fake.connections == 2


async def test_what_the_app_may_not_say_is_removed() -> None:
    fake = FakeApp(
        script=answer(
            ok(
                b"hello",
                b"Set-Cookie: __Host-isolation=evil; Path=/; Secure",
                b"Set-Cookie: isolation=evil",
                b"Set-Cookie: =__Host-isolation=evil",
                b"Set-Cookie: isolation",
                b"Set-Cookie: isolation-flow =evil",
                b"set-cookie: app=fine; Path=/",
                b"Set-Cookie: isolation2=fine",
                b"X-Isolation-Jwt-Assertion: evil",
                b"X-Forwarded-Email: evil",
                b'Clear-Site-Data: "cache", "cookies", "storage"',
                b'Alt-Svc: h3="evil:443"',
                b"Connection: keep-alive, x-hop",
                b"X-Hop: evil",
                b"Keep-Alive: timeout=5",
                b"Proxy-Authenticate: Basic",
                b"Upgrade: evil",
                b"Location: //somewhere/else",
            )
        )
    )
    async with running(fake) as router:
        got = await router.ask(GET + b"Connection: close\r\n\r\n")
        assert b"evil" not in got
        assert got.count(b"fine") == 2
        assert b'Clear-Site-Data: "cache", "storage"\r\n' in got
        assert b"Location: //somewhere/else\r\n" in got
        assert not [name for name in (b"Keep-Alive:", b"Proxy-", b"Upgrade:") if name in got]


async def test_a_session_that_ends_cuts_what_is_live() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        if b"/stream" in request.line:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await reader.read(1)
        return False

    fake = FakeApp(script=script)
    async with running(fake) as router:
        streaming, waiting = await router.client(), await router.client()
        streaming.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        waiting.send(b"GET /wait HTTP/1.1\r\nHost: a\r\n\r\n")
        await streaming.until(b"abc")
        await until(lambda: len(fake.requests) == 2)
        assert router.live.end("session-1", "another-app", "isolated") == 0
        assert router.live.end("another-session", None, "isolated") == 0
        assert router.live.end("session-1", "demo", "isolated") == 2
        with pytest.raises(ConnectionResetError):
            await streaming.rest()
        assert b"502" in await waiting.head()
        await until(lambda: fake.lost == 2)
        assert [error.code for error in router.errors] == ["cut"]
        assert router.live.count() == 0
        streaming.close()
        waiting.close()


@pytest.mark.parametrize(
    ("request_head", "code"),
    [
        (b"GET / HTTP/1.1\r\n", "cut"),
        (b"POST / HTTP/1.1\r\nContent-Length: 0\r\n", "interrupted"),
        (b"DELETE / HTTP/1.1\r\n", "interrupted"),
        (b"GET / HTTP/1.1\r\nContent-Length: 3\r\n", "interrupted"),
    ],
)
async def test_a_request_that_the_app_has_seen_is_not_offered_for_another_round(request_head: bytes, code: str) -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        await reader.read(1)
        return False

    fake = FakeApp(script=script, read_body=False)
    async with running(fake) as router:
        client = await router.client()
        client.send(request_head + b"Host: a\r\n\r\n")
        await until(lambda: fake.requests)
        assert router.live.end("session-1", None, "isolated") == 1
        await client.head()
        assert [error.code for error in router.errors] == [code]
        client.close()


async def test_requests_beyond_the_pool_wait_their_turn() -> None:
    fake = FakeApp()
    async with running(fake) as router:
        pools = Pools()
        pool = Pool(pools, Upstream("127.0.0.1", fake.port, connect_timeout=0.3), max_connections=2)
        one, two = await pool.connect(), await pool.connect()
        third = asyncio.create_task(pool.connect())
        await asyncio.sleep(0.02)
        assert not third.done()
        pool.release(one)
        assert await third is one
        with pytest.raises(UpstreamError) as busy:
            await pool.connect()
        assert busy.value.code == "busy"
        fourth = asyncio.create_task(pool.connect())
        await asyncio.sleep(0.02)
        two.transport.abort()  # one that dies makes room as well
        three = await fourth
        assert pool.size == 2
        for connection in (one, three):
            connection.transport.abort()
        await until(lambda: pool.size == 0)
        assert router.live.count() == 0


async def test_tls_upstreams_are_verified(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    fake = FakeApp()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    pools = Pools()
    trusted = Upstream("127.0.0.1", port, tls=True, ca_file=str(certificate))
    connection = await pools.of(trusted).connect()
    connection.transport.abort()
    for wrong in (Upstream("127.0.0.1", port, tls=True), Upstream("localhost", port, tls=True, ca_file=str(certificate))):
        with pytest.raises(UpstreamError) as refused:
            await pools.of(wrong).connect()
        assert refused.value.code == "tls-failed"
    assert fake.requests == []
    server.close()


async def test_two_people_never_share_an_answer() -> None:
    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        who = request.values("x-isolation-jwt-assertion")[0] + request.values("cookie")[0]
        await asyncio.sleep(0)
        writer.write(ok(who))
        return True

    fake = FakeApp(script=script)
    async with running(fake) as router:
        forwarder = HttpForwarder(router.pools, router.live)

        async def gate(scope: Any, receive: Any, send: Any) -> None:
            person = dict(scope["headers"])[b"cookie"]
            await forwarder.forward(scope, router.app, scope["isolation.target"], ((b"x-isolation-jwt-assertion", person),), "s")

        router.ingress.app = gate

        async def person(name: bytes) -> None:
            client = await router.client()
            for _ in range(200):
                client.send(b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + name + b"\r\n\r\n")
                await client.head()
                assert await client.exactly(2 * len(name)) == name * 2
            client.close()

        await asyncio.gather(*(person(b"person-%03d" % number) for number in range(20)))


async def test_a_failing_gate_is_a_500_and_nothing_of_it_is_shown() -> None:
    async def gate(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("secret detail")

    async with running(FakeApp(), gate=gate) as router:
        got = await router.ask(GET + b"\r\n")
        assert got.startswith(b"HTTP/1.1 500 ")
        assert b"secret" not in got


async def test_forwarding_after_the_client_has_left_costs_the_app_nothing() -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    fake = FakeApp()
    async with running(fake) as router:
        forwarder = HttpForwarder(router.pools, router.live)

        async def gate(scope: Any, receive: Any, send: Any) -> None:
            entered.set()
            await go.wait()
            await forwarder.forward(scope, router.app, scope["isolation.target"], (), "s")

        router.ingress.app = gate
        client = await router.client()
        client.send(GET + b"\r\n")
        await entered.wait()
        client.reset()
        await until(lambda: not router.ingress.connections)
        go.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                while not fake.requests:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert fake.requests == []
        assert router.live.count() == 0


async def test_over_tls_a_cut_response_is_seen_to_be_cut(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    server, client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=str(certificate))
    server.load_cert_chain(certificate, key)

    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        if b"/whole" in request.line:
            writer.write(ok(b"whole"))
            return True
        writer.write(b"HTTP/1.1 200 OK\r\n\r\npart")  # for HTTP/1.0, only the end of the connection will tell
        await reader.read(1)
        return False

    fake = FakeApp(script=script)
    async with running(fake, tls=server, whole_server=True) as router:
        client = await router.client(client_side)
        client.send(b"GET /whole HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.until(b"whole")
        assert fake.requests[0].values("x-forwarded-proto") == [b"https"]
        assert fake.requests[0].values("x-forwarded-port") == [b"443"]
        client.send(b"GET /part HTTP/1.0\r\nHost: a\r\n\r\n")
        await client.until(b"part")
        router.live.end("session-1", None, "isolated")
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            await client.rest()
        client.close()


async def test_the_end_of_a_last_response_waits_for_a_slow_client() -> None:
    size = 20_000_000

    async def script(request: Request, reader: Reader, writer: Writer) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % size)
        writer.write(b"x" * size)
        await writer.drain()
        return False

    fake = FakeApp(script=script)
    async with running(fake, limits=Limits(linger=0.05, tick=0.02)) as router:
        client = await router.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await client.head()
        received = 0
        while piece := await asyncio.wait_for(client.reader.read(400_000), BOUND):
            received += len(piece)
            if received > size - 6_000_000:
                await asyncio.sleep(0.06)  # longer than the connection would linger for a client that has it all
        assert received == size
        client.close()
