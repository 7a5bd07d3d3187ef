"""The listener against raw bytes: what is hostile is refused before anything behind it sees a request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from isolation.web.limits import Limits
from tests.support.data_plane import BOUND, FakeApp, answer, ok, running, until

HOST = b"Host: app.example\r\n"

HOSTILE: list[tuple[str, bytes, set[int]]] = [
    ("dot-segments", b"GET /public/../admin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("encoded-dots", b"GET /public/%2e%2e/admin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("half-encoded-dots", b"GET /public/.%2e/admin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("encoded-slash-dots", b"GET /public%2f..%2fadmin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("encoded-backslash", b"GET /public/..%5cadmin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("backslash", b"GET /public\\..\\admin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("nul", b"GET /admin%00.png HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("crlf-in-path", b"GET /admin%0d%0aX-Forwarded-User:%20root HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("fragment", b"GET /foo/secret#/bar HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("parameter-dots", b"GET /admin/..;/x HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("absolute", b"GET http://internal/admin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("absolute-own-host", b"GET http://app.example/admin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("double-scheme", b"GET http:http://internal/admin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("no-slash", b"GET admin HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("asterisk", b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("asterisk-options", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("connect", b"CONNECT h:22 HTTP/1.1\r\n" + HOST + b"\r\n", {400, 405}),
    ("connect-with-body", b"CONNECT h:22 HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", {400, 405}),
    ("trace", b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", {400, 405}),
    ("h2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    ("version-2", b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", {400, 505}),
    ("version-9.9", b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", {400, 505}),
    ("version-0.9", b"GET / HTTP/0.9\r\n" + HOST + b"\r\n", {400, 505}),
    ("lower-case-method", b"get / HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("unknown-method", b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("no-host", b"GET / HTTP/1.1\r\n\r\n", {400}),
    ("no-host-1.0", b"GET / HTTP/1.0\r\n\r\n", {400}),
    ("two-hosts", b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", {400}),
    ("two-different-hosts", b"GET / HTTP/1.1\r\n" + HOST + b"Host: evil.example\r\n\r\n", {400}),
    ("host-list", b"GET / HTTP/1.1\r\nHost: app.example, evil.example\r\n\r\n", {400}),
    ("host-user", b"GET / HTTP/1.1\r\nHost: app@evil.com\r\n\r\n", {400}),
    ("host-path", b"GET / HTTP/1.1\r\nHost: app.example/admin?\r\n\r\n", {400}),
    ("host-fragment", b"GET / HTTP/1.1\r\nHost: app.example#x\r\n\r\n", {400}),
    ("host-empty", b"GET / HTTP/1.1\r\nHost: \r\n\r\n", {400}),
    ("host-not-ascii", b"GET / HTTP/1.1\r\nHost: \xc3\xa4pp.example\r\n\r\n", {400}),
    ("host-port", b"GET / HTTP/1.1\r\nHost: app.example:99999\r\n\r\n", {400}),
    ("nul-in-value", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x00b\r\n\r\n", {400}),
    ("cr-in-value", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\rb\r\n\r\n", {400}),
    ("control-in-value", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\x01b\r\n\r\n", {400}),
    ("obs-fold", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", {400}),
    ("space-before-colon", b"GET / HTTP/1.1\r\n" + HOST + b"X-Forwarded-User : root\r\n\r\n", {400}),
    ("space-in-name", b"GET / HTTP/1.1\r\n" + HOST + b"X Y: root\r\n\r\n", {400}),
    ("no-colon", b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n", {400}),
    ("bare-lf", b"GET / HTTP/1.1\nHost: app.example\n\n", {400}),
    ("bare-lf-header", b"GET / HTTP/1.1\r\n" + HOST + b"X: a\nY: b\r\n\r\n", {400}),
    ("cl-and-te", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400}),
    ("te-and-cl", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", {400}),
    ("two-lengths", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", {400}),
    ("same-length-twice", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", {400}),
    ("length-list", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\nabc", {400}),
    ("length-plus", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", {400}),
    ("length-negative", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -3\r\n\r\nabc", {400}),
    ("length-hex", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x3\r\n\r\nabc", {400}),
    ("length-overflow", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 18446744073709551617\r\n\r\na", {400}),
    ("te-list", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("te-identity", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n", {400, 501}),
    ("te-x", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("te-vertical-tab", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", {400}),
    ("te-twice", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", {400}),
    ("te-1.0", b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", {400, 501}),
    ("expectation", b"POST / HTTP/1.1\r\n" + HOST + b"Expect: the-unexpected\r\nContent-Length: 1\r\n\r\na", {417}),
    ("websocket-post", b"POST / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n\r\n", {400}),
    ("websocket-body", b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\nContent-Length: 3\r\n\r\nabc", {400}),
    ("websocket-no-key", b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", {400}),
    ("websocket-version", b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 8\r\nSec-WebSocket-Key: a\r\n\r\n", {426}),
    ("3000-headers", b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(3000)) + b"\r\n", {431}),
    ("101-headers", b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(100)) + b"\r\n", {431}),
    ("1000-KiB-header", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 1_000_000 + b"\r\n\r\n", {431}),
    ("endless-header", b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 400_000, {431}),
    ("endless-target", b"GET /" + b"a" * 400_000, {431}),
    ("long-target", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", {400}),
    ("tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64, {400}),
]  # fmt: skip


def status_of(got: bytes) -> int:
    """Return the status of the only response in ``got``, 0 where there is not exactly one."""
    statuses = re.findall(rb"^HTTP/1\.1 (\d\d\d) ", got, re.MULTILINE)
    return int(statuses[0]) if len(statuses) == 1 else 0


async def test_hostile_bytes_stop_at_the_listener() -> None:
    fake = FakeApp()
    wrong = {}
    async with running(fake) as router:
        for name, raw, statuses in HOSTILE:
            got = await router.ask(raw)
            if status_of(got) not in statuses or b"connection: close" not in got:
                wrong[name] = got
        assert wrong == {}
        assert fake.connections == 0
        assert router.seen == []


async def test_hostile_bytes_in_small_pieces_are_judged_the_same() -> None:
    fake = FakeApp()
    wrong = {}
    async with running(fake) as router:
        for name, raw, statuses in HOSTILE:
            if len(raw) > 1000:
                continue  # pieces of a long one are what the long ones test already
            client = await router.client()
            for start in range(0, len(raw), 7):
                client.send(raw[start : start + 7])
                await asyncio.sleep(0)
            got = await client.rest()
            client.close()
            if status_of(got) not in statuses:
                wrong[name] = got
        assert wrong == {}
        assert fake.connections == 0


SMUGGLING = [
    ("cl-te", b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 44\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("chunk-extension-lf", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3;a=b\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("chunk-size-overflow", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("chunk-size-sign", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("chunk-no-crlf", b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("after-close", b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("after-1.0", b"GET / HTTP/1.0\r\n" + HOST + b"\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("after-refusal", b"GET /../x HTTP/1.1\r\n" + HOST + b"\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("after-refused-upgrade", b"GET / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("upgrade-body", b"POST / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 44\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
    ("upgrade-chunked", b"POST / HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: foo\r\nTransfer-Encoding: chunked\r\n\r\n2c\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n\r\n0\r\n\r\n"),
    ("connect-body", b"CONNECT h:1 HTTP/1.1\r\n" + HOST + b"\r\nGET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n"),
]  # fmt: skip


async def test_no_second_request_comes_out_of_one() -> None:
    fake = FakeApp(script=answer(b"HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n"))
    async with running(fake) as router:
        for name, raw in SMUGGLING:
            fake.requests.clear()
            client = await router.client()
            client.send(raw)
            await client.until(b"\r\n\r\n")
            client.send(b"GET /marker HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                await client.rest()
            client.close()
            assert [request.line for request in fake.requests if b"smuggled" in request.line] == [], name


async def test_upgrades_other_than_websocket_are_served_without() -> None:
    fake = FakeApp()
    async with running(fake) as router:
        client = await router.client()
        client.send(
            b"POST /form HTTP/1.1\r\nHost: app.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 5\r\n\r\nab"
        )
        await asyncio.sleep(0.02)
        client.send(b"cde")
        assert b"200 OK" in await client.head()
        assert await client.exactly(5) == b"hello"
        client.send(b"GET /next HTTP/1.1\r\nHost: app.example\r\n\r\n")
        assert b"200 OK" in await client.head()
        client.close()
        assert [(request.line, request.body) for request in fake.requests] == [
            (b"POST /form HTTP/1.1", b"abcde"),
            (b"GET /next HTTP/1.1", b""),
        ]
        assert not {b"upgrade", b"http2-settings", b"connection"} & set(fake.requests[0].names)


async def test_scope_carries_the_exact_target() -> None:
    async with running(FakeApp()) as router:
        await router.ask(b"GET /a%2Fb//c?x=%2e&y=a%0d HTTP/1.1\r\nHost: APP.example.:8443\r\nConnection: close\r\n\r\n")
        scope = router.seen[0]
        assert scope["isolation.raw_target"] == b"/a%2Fb//c?x=%2e&y=a%0d"
        assert scope["isolation.target"].raw == scope["isolation.raw_target"]
        assert (scope["isolation.target"].host, scope["isolation.target"].port) == ("app.example", 8443)
        assert scope["raw_path"] == b"/a%2Fb//c"
        assert scope["query_string"] == b"x=%2e&y=a%0d"
        assert scope["state"] == {"channel": None}


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def script(request: Any, reader: Any, writer: asyncio.StreamWriter) -> bool:
        if request.line.startswith(b"GET /0"):
            await asyncio.sleep(0.05)  # the first one is the slowest
        writer.write(ok(request.line))
        return True

    fake = FakeApp(script=script)
    async with running(fake) as router:
        got = await router.ask(
            b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(9))
            + b"GET /9 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        assert [got.index(b"GET /%d HTTP" % n) for n in range(10)] == sorted(got.index(b"GET /%d HTTP" % n) for n in range(10))
        assert got.count(b"200 OK") == 10


async def test_a_broken_request_behind_a_good_one_does_not_spoil_the_good_one() -> None:
    async def script(request: Any, reader: Any, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.03)
        writer.write(ok())
        return True

    fake = FakeApp(script=script)
    async with running(fake) as router:
        got = await router.ask(b"GET /good HTTP/1.1\r\nHost: a\r\n\r\nGET /../bad HTTP/1.1\r\nHost: a\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 OK")
        assert got.endswith(b"hello")
        assert len(fake.requests) == 1


async def test_a_flood_of_pipelined_requests_is_cut_short() -> None:
    async def script(request: Any, reader: Any, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0.01)
        writer.write(ok())
        return True

    fake = FakeApp(script=script)
    async with running(fake) as router:
        got = await router.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 5_000)
        assert 0 < got.count(b"200 OK") <= 40
        assert len(fake.requests) <= 40


@pytest.mark.case(33)
async def test_slow_heads_and_bodies_are_ended() -> None:
    fake = FakeApp()
    limits = Limits(head=0.2, body=0.2, idle=0.3, linger=0.2, tick=0.05)
    async with running(fake, limits=limits) as router:
        slow_head = await router.client()
        slow_head.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        silent = await router.client()
        slow_body = await router.client()
        slow_body.send(b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        idle = await router.client()
        idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")

        async def drip() -> None:
            with pytest.raises((ConnectionError, RuntimeError)):  # noqa: PT012 - uvloop raises the second one
                for _ in range(1_000):  # a byte now and then does not help
                    slow_head.send(b"a")
                    await slow_head.writer.drain()
                    await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert (await slow_head.until(b"\r\n")).startswith(b"HTTP/1.1 408 ")
        assert await silent.rest() == b""
        assert (await slow_body.rest()).startswith(b"HTTP/1.1 408 ")
        assert (await idle.rest()).endswith(b"hello")
        slow_head.close()
        await asyncio.wait_for(dripping, BOUND)
        await until(lambda: not router.ingress.connections)
        assert [request.line for request in fake.requests if request.body] == []


@pytest.mark.case(33)
async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    async def script(request: Any, reader: Any, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        try:
            for _ in range(1_000):
                writer.write(b"x" * 100_000)
                await writer.drain()
        except ConnectionError:
            pass
        return False

    fake = FakeApp(script=script)
    async with running(fake, limits=Limits(stall=0.2, tick=0.05)) as router:
        client = await router.client()
        client.writer.transport.pause_reading()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: fake.lost == 1)
        await until(lambda: not router.ingress.connections)
        client.close()


@pytest.mark.case(33)
async def test_too_many_connections_are_turned_away() -> None:
    async with running(FakeApp(), limits=Limits(connections=2)) as router:
        first, second = await router.client(), await router.client()
        await until(lambda: len(router.ingress.connections) == 2)
        assert (await router.ask(b"")).startswith(b"HTTP/1.1 503 ")
        for client in (first, second):
            client.close()


async def test_own_pages_speak_asgi() -> None:
    async def gate(scope: Any, receive: Any, send: Any) -> None:
        events = []
        while True:
            event = await receive()
            events.append(event)
            if not event.get("more_body"):
                break
        body = b"".join(event["body"] for event in events)
        await send(
            {"type": "http.response.start", "status": 201, "headers": [(b"X-A", b"1"), (b"content-type", b"application/json")]}
        )
        await send({"type": "http.response.body", "body": json.dumps(len(body)).encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b"!"})

    async with running(FakeApp(), gate=gate, whole_server=True) as router:
        client = await router.client()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 6\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"abcdef")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 201 Created\r\n")
        assert b"x-a: 1\r\n" in head
        assert b"date: " in head
        assert b"server:" not in head.lower()
        assert b"transfer-encoding: chunked" in head
        assert await client.until(b"0\r\n\r\n") == b"1\r\n6\r\n1\r\n!\r\n0\r\n\r\n"
        client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n")
        assert b"201" in await client.head()
        assert (await client.rest()).endswith(b"0!")
        client.close()


@pytest.mark.parametrize(
    "headers", [[(b"x", b"a\r\nset-cookie: b=c")], [(b"x\r\ny", b"a")], [(b"x", b"a\nb")], [(b"x y", b"a")], [(b"x", b"\x00")]]
)
async def test_an_own_page_cannot_be_made_to_inject_headers(headers: list[tuple[bytes, bytes]]) -> None:
    async def gate(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"page"})

    async with running(FakeApp(), gate=gate) as router:
        got = await router.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 500 ")
        assert b"set-cookie" not in got
        assert b"page" not in got


@pytest.mark.parametrize(("declared", "sent"), [(b"9", b"short"), (b"2", b"longer")])
async def test_an_own_page_that_lies_about_its_length_is_cut(declared: bytes, sent: bytes) -> None:
    async def gate(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", declared)]})
        await send({"type": "http.response.body", "body": sent})

    async with running(FakeApp(), gate=gate) as router:
        client = await router.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            await client.rest()
        client.close()


async def test_renderer_traffic_may_use_absolute_targets() -> None:
    fake = FakeApp()
    async with running(fake, channel="lease-7") as router:
        client = await router.client()
        client.send(b"GET http://app.example/x?y HTTP/1.1\r\nHost: app.example\r\nProxy-Authorization: Basic abc\r\n\r\n")
        assert b"200 OK" in await client.head()
        assert await client.exactly(5) == b"hello"
        client.send(b"GET http://other.example/x HTTP/1.1\r\nHost: app.example\r\n\r\n")
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        client.close()
        assert [request.line for request in fake.requests] == [b"GET /x?y HTTP/1.1"]
        assert router.seen[0]["state"] == {"channel": "lease-7"}
        assert (b"proxy-authorization", b"Basic abc") in router.seen[0]["headers"]
        assert b"proxy-authorization" not in fake.requests[0].names


async def test_own_stream_is_an_asgi_websocket_with_only_our_cookies() -> None:
    from websockets.asyncio.client import connect

    seen: list[Any] = []

    async def gate(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "isolation-viewer.1"})
        message = await receive()
        await send({"type": "websocket.send", "bytes": message["bytes"] * 2})
        await send({"type": "websocket.close"})

    async with (
        running(FakeApp(), gate=gate) as router,
        connect(
            f"ws://127.0.0.1:{router.port}/.isolation/stream",
            subprotocols=["isolation-viewer.1"],  # type: ignore[list-item]
            additional_headers={"Cookie": "app=" + "x" * 20_000 + "; isolation=ours; b=c"},
            compression=None,
        ) as stream,
    ):
        await stream.send(b"ab")
        assert await asyncio.wait_for(stream.recv(), BOUND) == b"abab"
    assert seen[0]["type"] == "websocket"
    assert seen[0]["state"] == {"channel": None}
    assert dict(seen[0]["headers"])[b"cookie"] == b"isolation=ours"


async def test_stopping_finishes_what_is_under_way() -> None:
    release = asyncio.Event()

    async def script(request: Any, reader: Any, writer: asyncio.StreamWriter) -> bool:
        await release.wait()
        writer.write(ok())
        return True

    fake = FakeApp(script=script)
    async with running(fake, whole_server=True) as router:
        client = await router.client()
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await until(lambda: fake.requests)
        router.ingress.server.should_exit = True
        await asyncio.sleep(0.2)
        release.set()
        got = await client.rest()
        assert got.endswith(b"hello")
        assert b"connection: close" in got
        client.close()


@pytest.mark.parametrize("run", [uvloop.run, asyncio.run])
def test_stopping_answers_what_is_on_its_way(run: Callable[..., None]) -> None:
    run(stopping_answers_what_is_on_its_way())


async def stopping_answers_what_is_on_its_way() -> None:
    """What a client has sent, or is sending, when the server stops is served: on a connection that is new, on one that waits, and behind half a head."""
    fake = FakeApp()
    async with running(fake, whole_server=True) as router:
        waiting, new, half = [await router.client() for _ in range(3)]
        waiting.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"connection: close" not in await waiting.until(b"hello")
        half.send(b"GET /half HTTP/1.1\r\n")
        await until(lambda: sum(connection._in_head for connection in router.ingress.connections) == 1)
        router.ingress.server.should_exit = True
        for connection in list(router.ingress.connections):
            connection.shutdown()

        def meanwhile() -> None:
            """Hold the loop up, while it reads, until its timers have run out; the requests are in the kernel then."""
            asyncio.get_running_loop().remove_reader(bell)
            time.sleep(router.ingress.limits.parting + 0.1)
            for client, path in ((waiting, b"waiting"), (new, b"new")):
                os.write(client.writer.get_extra_info("socket").fileno(), b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % path)

        bell, rope = socket.socketpair()
        with bell, rope:
            asyncio.get_running_loop().add_reader(bell, meanwhile)
            rope.send(b"!")
            await asyncio.sleep(router.ingress.limits.parting)
        got = [await client.rest() for client in (waiting, new)]
        half.send(b"Host: a\r\n\r\n")
        got.append(await half.rest())
        for answered in got:
            assert answered.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answered
            assert answered.endswith(b"hello")


async def test_stopping_closes_connections_that_say_nothing() -> None:
    fake = FakeApp()
    async with running(fake, whole_server=True) as router:
        used, new = [await router.client() for _ in range(2)]
        used.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await used.until(b"hello")
        router.ingress.server.should_exit = True
        assert [await client.rest() for client in (used, new)] == [b"", b""]


async def test_no_stream_begins_at_a_server_that_stops() -> None:
    fake = FakeApp()
    async with running(fake, whole_server=True) as router:
        viewer = await router.client()
        await until(lambda: router.ingress.connections)
        router.ingress.server.should_exit = True
        next(iter(router.ingress.connections)).shutdown()
        viewer.send(
            b"GET /.isolation/stream HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert (await viewer.rest()).startswith(b"HTTP/1.1 503 ")
