"""The viewer's stream over real sockets, from the side of a client that lies, in front of a node that notes what reaches it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from isolation.broker.gatekeeper import Close, Drop, Gatekeeper
from isolation.policy.controls import Controls
from isolation.testing.viewer_site import ViewerSite
from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer, decode_to_renderer, encode
from renderer.wire.fields import WireError
from tests.app.test_viewer import HELLO, ask, configuration, local, opened, stream, until


@pytest.fixture
async def site() -> AsyncIterator[ViewerSite]:
    async with ViewerSite() as running:
        yield running


def made(of: m.Type, /, **values: Any) -> bytes:
    """Return a message that no honest viewer makes."""
    return bytes([of]) + json.dumps(values).encode()


POINT = {"kind": "down", "x": 1, "y": 1, "button": 0, "buttons": 1, "clicks": 1, "modifiers": 0}
WHEEL = {"x": 1, "y": 1, "dx": 0, "dy": 0, "modifiers": 0}
KEY = {"down": True, "key": "a", "code": "KeyA", "location": 0, "modifiers": 0, "repeat": False}
OUT_OF_RANGE = {
    "far-right": made(m.Type.POINTER, **POINT | {"x": 10**9}),
    "far-left": made(m.Type.POINTER, **POINT | {"x": -(10**9)}),
    "fraction": made(m.Type.POINTER, **POINT | {"x": 1.5}),
    "not-a-number": made(m.Type.POINTER, **POINT | {"x": float("nan")}),
    "infinite": made(m.Type.POINTER, **POINT | {"x": float("inf")}),
    "text-for-a-number": made(m.Type.POINTER, **POINT | {"x": "1"}),
    "true-for-a-number": made(m.Type.POINTER, **POINT | {"x": True}),
    "none": made(m.Type.POINTER, **POINT | {"x": None}),
    "sixth-button": made(m.Type.POINTER, **POINT | {"button": 5}),
    "a-thousand-clicks": made(m.Type.POINTER, **POINT | {"clicks": 1000}),
    "unknown-kind": made(m.Type.POINTER, **POINT | {"kind": "teleport"}),
    "wheel-of-1e9": made(m.Type.WHEEL, **WHEEL | {"dy": 10**9}),
    "field-too-many": made(m.Type.WHEEL, **WHEEL | {"more": 1}),
    "field-missing": made(m.Type.WHEEL, x=1),
    "key-of-a-megabyte": made(m.Type.KEY, **KEY | {"key": "a" * 900_000}),
    "no-json": bytes([m.Type.KEY]) + b"{",
    "list-for-an-object": bytes([m.Type.KEY]) + b"[]",
    "deep": bytes([m.Type.KEY]) + b'{"a":' * 100_000,
    "number-of-5000-digits": bytes([m.Type.ACK]) + b'{"seq":' + b"9" * 5000 + b"}",
    "a-field-twice": bytes([m.Type.ACK]) + b'{"seq":1,"seq":2}',
    "not-utf-8": bytes([m.Type.TEXT]) + b'{"text":"\xff"}',
    "lone-surrogate": bytes([m.Type.TEXT]) + rb'{"text":"\ud800"}',
    "garbage": bytes(range(256)) * 40,
    "unknown-type": bytes([63]) + b"{}",
    "a-renderers-word": encode(m.Title("x")),
    "devtools": json.dumps({"id": 1, "method": "Runtime.evaluate", "params": {"expression": "1"}}).encode(),
    "acknowledged-ahead": encode(m.Ack(4_000_000)),
    "hello-again": encode(HELLO),
    "resize-to-nothing": made(m.Type.RESIZE, width=0, height=0, scale=100),
    "resize-to-everything": made(m.Type.RESIZE, width=8192, height=8192, scale=400),
}


@pytest.mark.case(30, 35)
@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_what_is_out_of_range_ends_the_stream(name: str) -> None:
    gate = Gatekeeper(Controls())
    gate.from_viewer(encode(HELLO), 0.0)
    verdict = gate.from_viewer(OUT_OF_RANGE[name], 0.0)
    assert isinstance(verdict, Close)
    assert verdict.code is m.CloseCode.PROTOCOL
    assert len(verdict.rule) < 100  # why, and nothing of what was said


@pytest.mark.case(30)
@pytest.mark.parametrize("kind", [*(k for k in m.Type if k < 64)], ids=lambda kind: kind.name)
def test_nothing_is_said_before_the_hello(kind: m.Type) -> None:
    gate = Gatekeeper(Controls())
    if kind is not m.Type.HELLO:
        assert isinstance(gate.from_viewer(bytes([kind]) + b"{}", 0.0), Close)
    assert isinstance(Gatekeeper(Controls()).from_viewer(encode(m.Stop()), 0.0), Close)


@pytest.mark.case(30, 35)
async def test_a_lie_is_logged_and_reaches_nobody(site: ViewerSite) -> None:
    with structlog.testing.capture_logs() as logs:
        async with stream(site) as connection:
            page = site.node.pages[(await opened(connection)).page]
            await connection.send(OUT_OF_RANGE["far-right"])
            assert await until(connection, m.Closed) == m.Closed(m.CloseCode.PROTOCOL)
    assert page.received == [HELLO]
    assert [entry for entry in logs if entry["event"] == "gate.closed"]


@pytest.mark.case(35)
async def test_what_the_controls_forbid_is_logged_and_reaches_nobody(site: ViewerSite) -> None:
    site.decide(Controls(keyboard=False), "redecided")
    forbidden: list[m.ToRenderer] = [
        m.Key(True, "a", "KeyA", 0, 0, False), m.Text("a"), m.Composition("a", 1, 1), m.Paste("a"), m.CopyRequest(False),
        m.FileChoice(1, (m.FileInfo("x", 1, ""),)), m.FileData(1, 0, 0, b"x"), m.Print(), m.DownloadReply(1, True),
    ]  # fmt: skip
    with structlog.testing.capture_logs() as logs:
        async with stream(site) as connection:
            page = site.node.pages[(await opened(connection)).page]
            for message in forbidden:
                await connection.send(encode(message))
            await connection.send(encode(m.Stop()))
            await page.wait_for(lambda it: bool(it.of(m.Stop)))
    assert [message for message in page.received if type(message) in {type(one) for one in forbidden}] == []
    assert len([entry for entry in logs if entry["event"] == "gate.dropped"]) >= len(forbidden)


@pytest.mark.case(30)
async def test_ten_megabytes_are_not_read(site: ViewerSite) -> None:
    async with stream(site) as connection:
        page = site.node.pages[(await opened(connection)).page]
        with suppress(ConnectionClosed):
            await connection.send(b"\x09" + b"x" * 10_000_000)
        await asyncio.wait_for(connection.wait_closed(), 20)
    assert page.received == [HELLO]
    async with stream(site) as connection:  # the router lives on
        await opened(connection)


@pytest.mark.case(34)
async def test_a_decompression_bomb_is_not_inflated(site: ViewerSite) -> None:
    ticket = (await configuration(site))["ticket"]
    async with connect(
        local(site).replace("http:", "ws:") + "/.isolation/stream",
        origin=Origin(site.origin),
        subprotocols=[Subprotocol("isolation-viewer.1"), Subprotocol(f"ticket.{ticket}")],
        compression="deflate",
        proxy=None,
    ) as connection:
        assert connection.response is not None
        assert "sec-websocket-extensions" not in connection.response.headers  # compression is not agreed to
        # a frame that claims to be compressed all the same: FIN, RSV1, binary, masked with zeros
        connection.transport.write(b"\xc2\xfe\x03\xe8" + bytes(4) + b"\x00" * 1000)
        await asyncio.wait_for(connection.wait_closed(), 20)
        assert connection.close_code in {1002, 1006}
    assert not site.node.pages


@pytest.mark.case(26, 36)
async def test_who_was_replaced_is_heard_no_more(site: ViewerSite) -> None:
    known = await configuration(site)
    async with stream(site, known["ticket"]) as old:
        page = site.node.pages[(await opened(old)).page]
        async with stream(site, (await ask(site, known["instance"])).json()["ticket"]) as new:
            await opened(new, m.Hello(**{name: getattr(HELLO, name) for name in HELLO.__slots__} | {"page": page.id}))
            assert await until(old, m.Closed) == m.Closed(m.CloseCode.REPLACED)
            with suppress(ConnectionClosed):
                for _ in range(20):
                    await old.send(encode(m.History(-1)))
            await new.send(encode(m.Stop()))
            await page.wait_for(lambda it: bool(it.of(m.Stop)))
            assert page.of(m.History) == []


@pytest.mark.case(26)
async def test_of_many_who_race_for_a_page_one_has_it(site: ViewerSite) -> None:
    known = await configuration(site)
    tickets = [(await ask(site, known["instance"])).json()["ticket"] for _ in range(6)]
    told: list[str] = []

    async def race(ticket: str) -> None:
        with suppress(ConnectionClosed):
            async with stream(site, ticket) as connection:
                await connection.send(encode(HELLO))
                while True:
                    message = decode_from_renderer(await connection.recv(decode=False))
                    if isinstance(message, m.Closed):
                        told.append(message.code.value)

    racing = [asyncio.create_task(race(ticket)) for ticket in tickets]
    async with asyncio.timeout(30):
        while len(told) < 5 or site.relay.streams != 1:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)
    assert told == ["replaced"] * 5
    for task in racing:
        task.cancel()
    await asyncio.gather(*racing, return_exceptions=True)


# ---------------------------------------------------------------- addresses

REFUSED_PATHS = {
    "line-break": "/a\nHost: evil.example",
    "carriage-return": "/a\rb",
    "tab": "/a\tb",
    "null": "/a\0b",
    "blank": "/a b",
    "no-slash": "evil.example/x",
    "a-scheme": "https://evil.example/",
    "javascript": "javascript:alert(1)",
    "file": "file:///etc/passwd",
    "nothing": "",
    "look-alike-letters": "/\u0440ayroll",
    "overrides": "/\u202ecod.exe",
    "40-kilobytes": "/" + "a" * 40_000,
}
OWN_PATHS = ["/.isolation/x", "/.ISOLATION/x", "/%2eisolation/x", "/%252eisolation/x", "/a/../.isolation/x", "/a/%2e%2e/.isolation", "//.isolation/x",
             "/\\.isolation/x", "/./.isolation/sign-out?x", "/%5c.isolation/x", "/a/..%2f.isolation/"]  # fmt: skip


@pytest.mark.case(20)
@pytest.mark.parametrize("name", REFUSED_PATHS)
def test_an_address_that_is_none_ends_the_stream(name: str) -> None:
    for kind, more in ((m.Type.NAVIGATE, {}), (m.Type.HELLO, {n: getattr(HELLO, n) for n in HELLO.__slots__})):
        gate = Gatekeeper(Controls())
        if kind is m.Type.NAVIGATE:
            gate.from_viewer(encode(HELLO), 0.0)
        assert isinstance(gate.from_viewer(made(kind, **more | {"path": REFUSED_PATHS[name]}), 0.0), Close)


@pytest.mark.case(20)
@pytest.mark.parametrize("path", OWN_PATHS)
def test_the_routers_own_addresses_in_every_spelling(path: str) -> None:
    gate = Gatekeeper(Controls())
    gate.from_viewer(encode(HELLO), 0.0)
    assert isinstance(gate.from_viewer(made(m.Type.NAVIGATE, path=path), 0.0), Drop)


@pytest.mark.case(20)
@given(st.text(max_size=40).map("/".__add__) | st.text(max_size=40))
def test_whatever_path_passes_stays_on_the_apps_origin(path: str) -> None:
    """The renderer puts the app's origin in front: nothing after it can become another host."""
    try:
        message = decode_to_renderer(made(m.Type.NAVIGATE, path=path))
    except WireError:
        return
    assert isinstance(message, m.Navigate)
    assert urlsplit("https://payroll.corp.example" + message.path.replace("\\", "/")).netloc == "payroll.corp.example"
