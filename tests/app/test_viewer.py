"""The viewer's page, tickets, stream and files over real HTTP and WebSockets, from the side of a stranger and of a renderer that lies."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from html import unescape
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from isolation.policy.controls import Clipboard, Controls
from isolation.testing.fake_node import FakePage, paints, quiet, whole
from isolation.testing.viewer_site import ViewerSite
from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer, encode
from renderer.wire.control import LeaseCode

HELLO = m.Hello(1, "", "/run?month=5", 640, 480, 100, False, False)


@pytest.fixture
async def site() -> AsyncIterator[ViewerSite]:
    async with ViewerSite() as running:
        yield running


def local(site: ViewerSite) -> str:
    return site.origin.replace(site.host, "127.0.0.1")


async def fetch(site: ViewerSite, path: str = "/run", **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, headers={"host": site.origin.removeprefix("http://")}) as client:
        return await client.request(options.pop("method", "GET"), local(site) + path, **options)


async def configuration(site: ViewerSite) -> dict[str, Any]:
    page = await fetch(site)
    found = re.search(r'data-configuration="([^"]*)"', page.text)
    assert found is not None
    document: dict[str, Any] = json.loads(unescape(found[1]))
    return document


@asynccontextmanager
async def stream(
    site: ViewerSite, ticket: str | None = None, *, origin: str | None = None, protocols: list[str] | None = None
) -> AsyncIterator[ClientConnection]:
    ticket = (await configuration(site))["ticket"] if ticket is None else ticket
    offered = ["isolation-viewer.1", f"ticket.{ticket}"] if protocols is None else protocols
    async with connect(
        local(site).replace("http:", "ws:") + "/.isolation/stream",
        origin=Origin(site.origin if origin is None else origin) if origin != "none" else None,
        subprotocols=[Subprotocol(name) for name in offered] or None,
        compression=None,
        proxy=None,
    ) as connection:
        yield connection


async def opened(connection: ClientConnection, hello: m.Hello = HELLO) -> m.Ready:
    await connection.send(encode(hello))
    ready = decode_from_renderer(await connection.recv(decode=False))
    assert isinstance(ready, m.Ready)
    return ready


async def until(connection: ClientConnection, kind: type) -> Any:
    """Return the next message of a kind, acknowledging frames on the way."""
    async with asyncio.timeout(10):
        while True:
            message = decode_from_renderer(await connection.recv(decode=False))
            if isinstance(message, m.Frame):
                with suppress(ConnectionClosed):  # the end may be on its way already
                    await connection.send(encode(m.Ack(message.seq)))
            if isinstance(message, kind):
                return message


async def refused(site: ViewerSite, **options: Any) -> bool:
    try:
        async with stream(site, **options):
            return False
    except InvalidStatus as error:
        return error.response.status_code == 403


# ---------------------------------------------------------------- the page


@pytest.mark.case(40, 62, 63)
async def test_the_page_allows_itself_next_to_nothing(site: ViewerSite) -> None:
    response = await fetch(site)
    assert response.status_code == 200
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
    socket = site.origin.replace("http:", "ws:")
    assert policy == {
        "default-src": "'none'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "form-action": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": f"'self' {socket}",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["cross-origin-opener-policy"] == "same-origin"
    assert response.headers["cross-origin-resource-policy"] == "same-origin"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "camera=()" in response.headers["permissions-policy"]
    assert "clear-site-data" not in response.headers
    for markup in ("<script>", "style=", "onload=", "http:", "//"):
        assert markup not in re.sub(r'data-configuration="[^"]*"', "", response.text)


async def test_what_the_app_left_behind_goes_with_the_first_viewer_page(site: ViewerSite) -> None:
    site.clear_site_data = True
    assert (await fetch(site)).headers["clear-site-data"] == '"cache", "storage"'


async def test_the_browser_starts_while_the_page_loads(site: ViewerSite) -> None:
    ticket = (await configuration(site))["ticket"]
    async with asyncio.timeout(10):
        while not site.node.leases:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    async with stream(site, ticket) as connection:
        await opened(connection)
    assert len(site.node.starts) == 1, "the stream joins the browser that was started for it"
    await fetch(site)
    await asyncio.sleep(0.1)
    assert len(site.node.starts) == 1, "who has one gets no other"


async def test_a_browser_that_cannot_start_is_said_to_the_stream_and_not_by_the_page(site: ViewerSite) -> None:
    site.node.refuse_with = LeaseCode.LAUNCH_FAILED
    page = await configuration(site)
    async with stream(site, page["ticket"]) as connection:
        await connection.send(encode(HELLO))
        assert (await until(connection, m.Closed)).code in {m.CloseCode.RENDERER_LOST, m.CloseCode.NO_CAPACITY}


@pytest.mark.case(37)
async def test_names_with_markup_stay_text(site: ViewerSite) -> None:
    assert site.grant is not None
    site.grant = replace(site.grant, app="\"'><script>alert(1)</script>")
    site.reasons = ("</body><img src=x onerror=alert(1)>",)
    page = await fetch(site)
    assert "<script>alert" not in page.text
    assert "<img" not in page.text
    assert (await configuration(site))["reasons"] == list(site.reasons)


async def test_the_page_knows_controls_and_reference_and_no_session(site: ViewerSite) -> None:
    assert site.grant is not None
    site.origins = (site.origin, "https://lab.corp.example")
    known = await configuration(site)
    assert known["reference"] == "7KQ4-M2XD"
    assert known["controls"]["clipboard"] == "both"
    assert known["origins"] == ["https://lab.corp.example"]
    assert site.grant.session_digest not in json.dumps(known)


async def test_files(site: ViewerSite) -> None:
    for name, kind in (("main.js", "text/javascript"), ("viewer.css", "text/css")):
        response = await fetch(site, f"/.isolation/static/viewer/{name}")
        assert response.headers["content-type"].startswith(kind)
        assert response.headers["cache-control"] == "no-cache"
        again = await fetch(site, f"/.isolation/static/viewer/{name}", headers={"if-none-match": response.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    for name in ("", "..%2fpages.css", "%2e%2e/pages.css", "nothing.js", "viewer.css%00", ".js"):
        assert (await fetch(site, f"/.isolation/static/viewer/{name}")).status_code == 404


# ---------------------------------------------------------------- tickets


async def ask(site: ViewerSite, handle: object, **headers: str) -> httpx.Response:
    given = {"sec-fetch-site": "same-origin", "origin": site.origin, "content-type": "application/json"} | headers
    return await fetch(
        site,
        "/.isolation/ticket",
        method="POST",
        headers={k: v for k, v in given.items() if v},
        content=json.dumps({"instance": handle}),
    )


async def test_a_living_page_gets_tickets(site: ViewerSite) -> None:
    known = await configuration(site)
    answer = await ask(site, known["instance"])
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    async with stream(site, answer.json()["ticket"]) as connection:
        await opened(connection)


@pytest.mark.case(25)
async def test_nobody_else_gets_tickets(site: ViewerSite) -> None:
    handle = (await configuration(site))["instance"]
    for header, value in (
        ("sec-fetch-site", ""),
        ("sec-fetch-site", "same-site"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "none"),
        ("origin", ""),
        ("origin", "null"),
        ("origin", "http://evil.localhost"),
        ("origin", site.origin + ".evil.example"),
    ):
        assert (await ask(site, handle, **{header: value})).status_code == 403, (header, value)
    assert (await ask(site, handle, **{"content-type": "text/plain"})).status_code == 415
    assert (await fetch(site, "/.isolation/ticket")).status_code == 405
    for wrong in ("", "x", handle + "x", 1, None, ["x"], "y" * 5000):
        assert (await ask(site, wrong)).status_code in {403, 413}
    site.decide(None, "released")
    assert (await ask(site, handle)).status_code == 403


@pytest.mark.case(25)
async def test_a_handle_is_worth_nothing_to_another_session(site: ViewerSite) -> None:
    handle = (await configuration(site))["instance"]
    assert site.grant is not None
    site.grant = replace(site.grant, session_digest="0" * 64)
    assert (await ask(site, handle)).status_code == 403


# ---------------------------------------------------------------- the stream's door


@pytest.mark.case(28)
async def test_only_the_page_itself_opens_a_stream(site: ViewerSite) -> None:
    for origin in (
        "none",
        "null",
        "http://evil.localhost",
        site.origin + ".evil.example",
        site.origin.replace("http", "https"),
        site.origin.rpartition(":")[0],
    ):
        assert await refused(site, origin=origin), origin
    assert await refused(site, protocols=[])
    assert await refused(site, protocols=["isolation-viewer.1"])
    assert await refused(site, protocols=["ticket.x", "isolation-viewer.1"])
    assert await refused(site, ticket="forged")
    ticket = (await configuration(site))["ticket"]
    assert await refused(site, protocols=["isolation-viewer.1", f"ticket.{ticket}", "more"])
    assert not site.node.pages


@pytest.mark.case(25)
async def test_a_ticket_opens_one_stream(site: ViewerSite) -> None:
    ticket = (await configuration(site))["ticket"]
    async with stream(site, ticket) as connection:
        assert connection.subprotocol == "isolation-viewer.1"
        await opened(connection)
        assert await refused(site, ticket=ticket)
    assert await refused(site, ticket=ticket)


async def test_who_is_not_isolated_gets_no_stream(site: ViewerSite) -> None:
    ticket = (await configuration(site))["ticket"]
    site.decide(None, "released")
    assert await refused(site, ticket=ticket)


# ---------------------------------------------------------------- the stream


@pytest.mark.case(35)
async def test_what_passes_and_what_does_not(site: ViewerSite) -> None:
    site.decide(Controls(clipboard=Clipboard.TO_APP, keyboard=False), "redecided")
    async with stream(site) as connection:
        ready = await opened(connection)
        page = site.node.pages[ready.page]
        for message in (
            m.Key(True, "a", "KeyA", 0, 0, False),
            m.CopyRequest(False),
            m.Navigate("/.isolation/sign-out"),
            m.Paste("hello"),
            m.Stop(),
        ):
            await connection.send(encode(message))
        await page.wait_for(lambda it: bool(it.of(m.Stop)))
        assert page.received == [HELLO, m.Paste("hello"), m.Stop()]
        await page.send(m.Clipboard("secret"))
        await page.send(m.Title("next"))
        assert (await until(connection, m.Title)).text == "next"


@pytest.mark.case(30)
@pytest.mark.parametrize("data", [b"", b"\x02{}", b"\x40{}", b"\xff" * 40, "text"])
async def test_a_viewer_that_speaks_nonsense_is_closed(site: ViewerSite, data: bytes | str) -> None:
    async with stream(site) as connection:
        await opened(connection)
        await connection.send(data)
        assert await until(connection, m.Closed) == m.Closed(m.CloseCode.PROTOCOL)


@pytest.mark.case(39)
@pytest.mark.parametrize(
    "data",
    [
        b'\x43{"text":"x","more":1}',
        b"\x41garbage",
        b"\x01{}",
        encode(m.Closed(m.CloseCode.RELEASED)),
        encode(whole(1, np.zeros((48, 64, 3), np.uint8))),  # a sequence number that was used
    ],
)
async def test_a_renderer_that_lies_is_cut_off(site: ViewerSite, data: bytes) -> None:
    async with stream(site) as connection:
        page = site.node.pages[(await opened(connection)).page]
        await until(connection, m.Frame)
        await page.send_raw(data)
        assert await until(connection, m.Closed) == m.Closed(m.CloseCode.RENDERER_LOST)


@pytest.mark.case(32)
async def test_a_viewer_that_draws_nothing_stops_the_flow(site: ViewerSite) -> None:
    async with stream(site) as connection:
        page = site.node.pages[(await opened(connection)).page]
        sent = 0

        noise = np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)
        pictures = paints(noise, 0, 0, 640, 480)

        async def flood() -> None:
            nonlocal sent
            while sent < 200:
                sent += 1
                await page.send(m.Frame(page.seq + sent, 640, 480, True, (), pictures))

        async def next_frame() -> None:
            while not isinstance(decode_from_renderer(await connection.recv(decode=False)), m.Frame):
                pass

        flooding = asyncio.create_task(flood())
        received = 8
        for _ in range(received):
            await asyncio.wait_for(next_frame(), 30)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(next_frame(), 1)  # and not one more
        assert sent < 100
        # drawing again, everything comes
        await connection.send(encode(m.Ack(received)))
        for _ in range(5):
            await until(connection, m.Frame)
        flooding.cancel()


@pytest.mark.alone
@pytest.mark.parametrize(
    ("why", "code"),
    [
        ("released", "released"),
        ("redecided", "redecided"),
        ("session-ended", "session-ended"),
        ("refused", "refused"),
        ("anything", "redecided"),
    ],
)
async def test_a_changed_decision_is_told_in_the_routers_words(site: ViewerSite, why: str, code: str) -> None:
    async with stream(site) as connection:
        page = site.node.pages[(await opened(connection)).page]
        site.decide(None, why)
        async with asyncio.timeout(1):
            assert await until(connection, m.Closed) == m.Closed(m.CloseCode(code))
        with pytest.raises(ConnectionClosed):
            await connection.recv()
        await connection.wait_closed()
        assert page.of(m.Text) == []
        assert site.live.count() == 0
        assert site.relay.streams == 0


async def test_a_router_that_stops_breaks_the_line_without_a_word(site: ViewerSite) -> None:
    """Told anything, a viewer would load its page from a router that is not there; so it connects again until somebody answers."""
    known = await configuration(site)
    async with stream(site, known["ticket"]) as connection:
        page = (await opened(connection)).page
        for session, app in list(site.live.pairs()):
            site.live.end(session, app, "going-away")
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(3):
                await until(connection, m.Closed)
    async with stream(site, (await ask(site, known["instance"])).json()["ticket"]) as connection:
        assert (await opened(connection, replace(HELLO, page=page))).resumed


@pytest.mark.alone
async def test_a_browser_that_dies_is_replaced_at_the_same_address(site: ViewerSite) -> None:
    known = await configuration(site)
    async with stream(site, known["ticket"]) as connection:
        ready = await opened(connection)
        await site.node.crash(site.node.pages[ready.page].lease)
        assert await until(connection, m.Closed) == m.Closed(m.CloseCode.BROWSER_CRASHED)
    async with asyncio.timeout(3), stream(site, (await ask(site, known["instance"])).json()["ticket"]) as connection:
        again = await opened(connection, replace(HELLO, page=ready.page))
        assert not again.resumed
        assert (await until(connection, m.Location)).path == "/run?month=5"


@pytest.mark.alone
async def test_a_node_that_dies_is_told_and_waited_for(site: ViewerSite) -> None:
    known = await configuration(site)
    async with stream(site, known["ticket"]) as connection:
        ready = await opened(connection)
        await site.node.stop()
        assert await until(connection, m.Closed) == m.Closed(m.CloseCode.RENDERER_LOST)
    async with asyncio.timeout(3), stream(site, (await ask(site, known["instance"])).json()["ticket"]) as connection:
        await connection.send(encode(replace(HELLO, page=ready.page)))
        await asyncio.sleep(0.2)
        await site.node.start()
        assert (await until(connection, m.Location)).path == "/run?month=5"


@pytest.mark.case(56)
async def test_a_lost_line_is_taken_up_again(site: ViewerSite) -> None:
    known = await configuration(site)
    async with stream(site, known["ticket"]) as connection:
        first = await opened(connection)
        connection.transport.abort()
    async with stream(site, (await ask(site, known["instance"])).json()["ticket"]) as connection:
        second = await opened(connection, replace(HELLO, page=first.page))
        assert (second.page, second.resumed) == (first.page, True)
    assert len(site.node.starts) == 1


@pytest.mark.case(26)
async def test_a_page_instance_has_one_stream(site: ViewerSite) -> None:
    known = await configuration(site)
    async with stream(site, known["ticket"]) as one:
        await opened(one)
        async with stream(site, (await ask(site, known["instance"])).json()["ticket"]) as two:
            await opened(two)
            assert await until(one, m.Closed) == m.Closed(m.CloseCode.REPLACED)
            await two.send(encode(m.Stop()))
            await site.node.page().wait_for(lambda it: bool(it.of(m.Stop)))


@pytest.mark.case(59)
async def test_no_room_is_said(site: ViewerSite) -> None:
    site.node.capacity = 0
    async with stream(site) as connection:
        await connection.send(encode(HELLO))
        assert (await until(connection, m.Queued)).position == 1


async def test_a_quiet_line_shows_that_it_stands(site: ViewerSite) -> None:
    async with stream(site) as connection:
        await opened(connection)
        assert await until(connection, m.Loading) == m.Loading(False)


@pytest.mark.case(49)
async def test_a_page_that_changes_its_title_in_a_loop_is_slowed_down() -> None:
    async def loud(page: FakePage, message: m.ToRenderer) -> None:
        await quiet(page, message)
        if isinstance(message, m.Hello):
            for i in range(3000):
                await page.send(m.Title(str(i)))

    async with ViewerSite(loud) as site, stream(site) as connection:
        await opened(connection)
        heard = 0
        try:
            async with asyncio.timeout(2):
                while True:
                    heard += isinstance(decode_from_renderer(await connection.recv(decode=False)), m.Title)
        except TimeoutError:
            pass
        assert heard < 1500
