"""A hostile page in a real, sandboxed Chromium behind the gateway, started with the product's own flags.

A canary listens on every address of this machine, TCP and UDP. The page tries everything a page can do towards it, in every spelling. A second run
without the gateway shows that the same page does reach the canary when nothing stops it: so the silence of the first run means something.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from isolation.egress.address import Reason
from isolation.testing.egress import Bench, Message, Receive, Send
from isolation.web.ingress import make_server
from renderer.chromium.egress import EgressError, present_credentials
from renderer.chromium.find import find_chromium
from renderer.chromium.flags import Proxy, command_line
from renderer.chromium.sandbox import unsandboxed
from tests.support.attacks import ATTACKS, LOOPBACK

pytestmark = pytest.mark.browser

ACCOUNT = 61_984  # of nobody else; Chromium refuses to run as root with its sandbox
APP = "hostile.example"

# Events of Chromium's network log.
CONNECTS = {"TCP_CONNECT_ATTEMPT"}
LOOKUPS = {"HOST_RESOLVER_MANAGER_JOB", "HOST_RESOLVER_SYSTEM_TASK", "HOST_RESOLVER_DNS_TASK"}
DATAGRAMS = {"UDP_BYTES_SENT"}


@dataclass
class Canary:
    """Listens on one port of every address, and counts what comes."""

    port: int
    connections: list[bytes] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)


@contextlib.asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    family, address = (socket.AF_INET6, "::") if socket.has_dualstack_ipv6() else (socket.AF_INET, "0.0.0.0")
    tcp = socket.create_server((address, 0), family=family, dualstack_ipv6=family == socket.AF_INET6, backlog=512)
    seen = Canary(tcp.getsockname()[1])
    udp = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind((address, seen.port))

    class Packets(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            seen.packets.append(data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(seen.connections)
        seen.connections.append(b"")
        with contextlib.suppress(OSError, TimeoutError):
            seen.connections[place] = await asyncio.wait_for(reader.read(400), 5)
            writer.write(
                b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 6\r\nConnection: close\r\n\r\ncanary"
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(accept, sock=tcp)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Packets, sock=udp)
    try:
        yield seen
    finally:
        transport.close()
        server.close()


@dataclass
class App:
    """The hostile app: its page, a redirector, a service worker; remembers whose requests it saw."""

    seen: list[tuple[str, str, str]] = field(default_factory=list)  # lease, kind of scope, path
    always: list[tuple[bytes, bytes]] = field(default_factory=list)  # headers of every answer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        channel = scope["state"].get("channel")
        self.seen.append((channel.lease.id if channel else "", scope["type"], scope["path"]))
        query = scope["query_string"].decode()
        headers = [(b"cache-control", b"no-store"), *self.always]
        status, kind, body = 404, b"text/plain", b"no"
        if scope["path"] == "/redirect":
            status = 302
            headers.append((b"location", unquote(query.partition("to=")[2]).encode()))
        elif scope["path"].startswith("/hop/"):
            left = int(scope["path"].removeprefix("/hop/"))
            status = 302
            headers.append(
                (b"location", f"/hop/{left - 1}?{query}".encode() if left else unquote(query.partition("to=")[2]).encode())
            )
        elif scope["path"] == "/worker.js":
            status, kind = 200, b"text/javascript"
            headers.append((b"service-worker-allowed", b"/"))
            body = b"oninstall = e => { skipWaiting(); e.waitUntil(fetch(decodeURIComponent(location.search.slice(4)), {mode: 'no-cors'}).catch(() => 0)); };"
        elif scope["path"] == "/":
            status, kind, body = (
                200,
                b"text/html",
                f"<!doctype html><title>hostile</title><body><script>{ATTACKS}</script>".encode(),
            )
        elif scope["path"] == "/who":
            status, body = 200, self.seen[-1][0].encode()
        headers += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """A private directory for Chromium, owned by the account it runs as."""
    path = Path(tempfile.mkdtemp(prefix="egress-chromium-"))
    path.chmod(0o755)
    for name in ("profile", "tmp"):
        (path / name).mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(path / name, ACCOUNT, ACCOUNT)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def home() -> Iterator[Path]:
    with new_home() as path:
        yield path


def launcher(home: Path) -> Path:
    """Return an executable that starts Chromium as an ordinary account, whoever we are."""
    drop = f"setpriv --reuid {ACCOUNT} --regid {ACCOUNT} --clear-groups --no-new-privs " if os.geteuid() == 0 else ""
    script = home / "chromium"
    script.write_text(
        f'#!/bin/sh\nexport HOME={home}/tmp TMPDIR={home}/tmp XDG_CONFIG_HOME={home}/tmp XDG_CACHE_HOME={home}/tmp\nexec {drop}{find_chromium()} "$@"\n'
    )
    script.chmod(0o755)
    return script


@contextlib.asynccontextmanager
async def chromium(home: Path, arguments: list[str]) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=launcher(home), args=arguments, ignore_default_args=True, chromium_sandbox=True, timeout=30_000
        )
        try:
            yield browser
        finally:
            await browser.close()


@contextlib.asynccontextmanager
async def isolated(bench: Bench, home: Path) -> AsyncIterator[Browser]:
    host, port = bench.gateway.address
    flags = command_line(home / "profile", Proxy(host, port, bench.gateway.spki))
    async with chromium(home, [*flags, f"--log-net-log={home}/tmp/net.json"]) as browser:
        yield browser


async def context_of(browser: Browser, lease: str) -> BrowserContext:
    context = await browser.new_context()
    await present_credentials(context, lease, Bench.password(lease))
    return context


async def attack(page: Page, hosts: list[str], port: int) -> dict[str, dict[str, str]]:
    found = {}
    for start in range(0, len(hosts), 8):  # eight at a time: Chromium opens 32 connections through one proxy
        some = hosts[start : start + 8]
        results = await page.evaluate("([hosts, port]) => Promise.all(hosts.map(host => attack(host, port)))", [some, port])
        found |= dict(zip(some, results, strict=True))
    return found


def own_addresses() -> list[str]:
    """Return this machine's own address towards the outside, if it has one. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return []
        return [address] if not (address := probe.getsockname()[0]).startswith(("127.", "0.")) else []


def net_log(path: Path) -> tuple[set[str], set[str], int]:
    """Return from Chromium's own network log the addresses it connected to, the names it looked up, and the datagrams it sent."""
    text = path.read_text().rstrip().rstrip(",")
    log: dict[str, Any] = json.loads(text if text.endswith("}") else text + "]}")
    types = {number: name for name, number in log["constants"]["logEventTypes"].items()}
    assert {*CONNECTS, *LOOKUPS, *DATAGRAMS} <= set(types.values())  # else a new Chromium has other names for them
    addresses, names, datagrams = set(), set(), 0
    for entry in log["events"]:
        kind, parameters = types.get(entry["type"], ""), entry.get("params") or {}
        if kind in CONNECTS and "address" in parameters:
            addresses.add(parameters["address"])
        if kind in LOOKUPS and "host" in parameters:
            names.add(str(parameters["host"]))
        if kind in DATAGRAMS:  # UDP_CONNECT alone is Chromium's probe for an IPv6 route: it sends nothing
            datagrams += 1
    return addresses, names, datagrams


@pytest.mark.case(1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14)
async def test_a_hostile_page_reaches_nothing_but_its_app(home: Path) -> None:
    app = App()
    bench = Bench(app)
    bench.hosts.apps = {(APP, 80), (APP, 443)}
    bench.hosts.patterns = ["*"]  # every public host is permitted: only the address guard stands
    hosts = [*LOOPBACK, *own_addresses(), "169.254.169.254", "metadata.google.internal"]
    async with canary() as watched, bench.running(), isolated(bench, home) as browser:
        gateway_port = bench.gateway.address[1]
        session = await browser.new_browser_cdp_session()
        context = await context_of(browser, "a")
        results = {}
        for scheme in ("http", "https"):
            page = await context.new_page()
            await page.goto(f"{scheme}://{APP}/")
            results[scheme] = await attack(page, hosts, watched.port)
            for host in hosts:  # the address bar, and a redirect of the whole page
                for url in (
                    f"http://{host}:{watched.port}/top",
                    f"{scheme}://{APP}/redirect?to=http://{host}:{watched.port}/top",
                ):
                    response = await page.goto(url)
                    assert response is not None
                    assert response.status in {400, 403}
                    assert "canary" not in await page.content()
        processes = (await session.send("SystemInfo.getProcessInfo"))["processInfo"]
        pages = [int(process["id"]) for process in processes if process["type"] == "renderer"]
        assert pages
        assert [unsandboxed(pid) for pid in pages] == [""] * len(pages)
        await bench.gateway.journal.flush()

    assert watched.connections == []
    assert watched.packets == []
    assert bench.dialled == []
    for scheme in ("http", "https"):
        for host, result in results[scheme].items():
            assert result["rtc"] == "[]", (host, result)  # no candidate of any kind: the page learns no address either
            assert result["ws"] != "open"
    # Every spelling was tried, arrived at the gateway, and is in the log as what it is.
    local = {record.host for record in bench.sink.records if record.reason in {Reason.LOOPBACK, Reason.UNSPECIFIED}}
    assert {"127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:7f00:1]", "localhost.", "foo.localhost"} <= local
    assert bench.sink.reasons("169.254.169.254") == {Reason.METADATA}
    assert bench.sink.reasons("metadata.google.internal") == {Reason.METADATA}
    for address in own_addresses():
        assert bench.sink.reasons(address) <= {
            Reason.PRIVATE,
            Reason.OWN_ADDRESS,
            Reason.RESERVED,
            Reason.SHARED,
            Reason.LINK_LOCAL,
            Reason.LOOPBACK,
        }
        assert bench.sink.reasons(address)
    attempts = sum(record.count for record in bench.sink.records)
    assert attempts >= 20 * len(hosts)
    # Chromium's own word: one address, no lookups, no datagram.
    addresses, names, datagrams = net_log(home / "tmp" / "net.json")
    assert addresses == {f"127.0.0.1:{gateway_port}"}
    assert names == set()
    assert datagrams == 0
    # The app itself was reached, with the lease's identity on every request.
    assert {lease for lease, _, _ in app.seen} == {"a"}


CHAIN = """async (url) => {
  const settled = (element) => new Promise((done) => { element.onload = () => done('load'); element.onerror = () => done('error'); document.body.append(element); });
  return {
    fetch: await fetch(url, { mode: 'no-cors' }).then(() => 'answered', () => 'failed'),
    image: await settled(Object.assign(new Image(), { src: url })),
    frame: await settled(Object.assign(document.createElement('iframe'), { src: url })),
    script: await settled(Object.assign(document.createElement('script'), { src: url })),
  };
}"""


@pytest.mark.case(3)
async def test_a_chain_of_ten_redirects_does_not_end_where_none_may_lead(home: Path) -> None:
    app = App()
    bench = Bench(app)
    bench.hosts.apps = {(APP, 80), (APP, 443)}
    bench.hosts.patterns = ["*"]
    async with canary() as watched, bench.running(), isolated(bench, home) as browser:
        page = await (await context_of(browser, "a")).new_page()
        for host, reason in (("127.0.0.1", Reason.LOOPBACK), ("10.1.2.3", Reason.PRIVATE), ("169.254.169.254", Reason.METADATA)):
            await page.goto(f"http://{APP}/")
            chain = f"http://{APP}/hop/9?to=http://{host}:{watched.port}/end"
            results = await page.evaluate(CHAIN, chain)
            assert results["image"] == results["script"] == "error", results
            response = await page.goto(chain)
            assert response is not None
            assert response.status == 403
            assert response.url.startswith(f"http://{host}"), "the last hop was asked for"
            await bench.gateway.journal.flush()
            assert bench.sink.reasons(host) == {reason}
        hops = [path for _, _, path in app.seen if path == "/hop/0"]
        assert len(hops) == 15, "each of the five ways went the whole chain, to each of the three addresses"
    assert watched.connections == []
    assert bench.dialled == []


async def test_the_same_page_reaches_the_canary_when_nothing_stops_it(home: Path) -> None:
    """Otherwise the test above would prove nothing. Loopback only."""
    app = App()
    bench = Bench(app)
    async with canary() as watched, bench.running():
        listener = socket.create_server(("127.0.0.1", 0))
        server = make_server(app)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        flags = [
            flag
            for flag in command_line(home / "profile", None)
            if not flag.startswith(("--host-resolver-rules", "--force-webrtc", "--disable-quic"))
        ]
        try:
            async with chromium(home, flags) as browser:
                page = await browser.new_page()
                await page.goto(f"http://localhost:{listener.getsockname()[1]}/")
                await attack(page, LOOPBACK[:2], watched.port)
        finally:
            server.should_exit = True
            await serving
    paths = {data.split(b" ")[1] for data in watched.connections if data.startswith((b"GET ", b"POST ", b"OPTIONS "))}
    assert {
        b"/fetch",
        b"/post",
        b"/cors",
        b"/redirected",
        b"/img",
        b"/frame",
        b"/meta",
        b"/form",
        b"/beacon",
        b"/events",
        b"/dedicated",
        b"/shared",
        b"/ws",
        b"/service",
    } <= paths
    assert watched.packets


@pytest.mark.case(16)
async def test_each_context_is_its_own_lease_and_ends_with_it(home: Path) -> None:
    app = App()
    bench = Bench(app)
    bench.hosts.apps = {(APP, 80), (APP, 443)}
    ask = "() => fetch('/who', {cache: 'no-store'}).then(answer => answer.text()).catch(() => 'failed')"
    async with bench.running(), isolated(bench, home) as browser:
        pages = {}
        for lease in ("a", "b"):
            context = await context_of(browser, lease)
            for scheme in ("http", "https"):
                page = pages[lease, scheme] = await context.new_page()
                await page.goto(f"{scheme}://{APP}/")
                assert await page.evaluate("isSecureContext") is (scheme == "https")
                assert await page.evaluate(ask) == lease
                await page.evaluate(
                    "() => new Promise(done => { new WebSocket(location.origin.replace('http', 'ws') + '/socket').onerror = done; })"
                )
                assert app.seen[-1] == (lease, "isolation.upgrade", "/socket")
        bench.table.remove("a")
        await bench.gateway.close_lease("a")
        for scheme in ("http", "https"):
            assert await pages["a", scheme].evaluate(ask) in {"failed", ""}
            assert await pages["b", scheme].evaluate(ask) == "b"
        seen = len(app.seen)
        response = await pages["a", "http"].goto(f"http://{APP}/")
        assert response is not None
        assert response.status == 407
        assert len(app.seen) == seen
        # A context without credentials, and one with another lease's name, are nobody.
        stranger = await browser.new_context()
        response = await (await stranger.new_page()).goto(f"http://{APP}/")
        assert response is not None
        assert response.status == 407
        with pytest.raises(EgressError):
            await present_credentials(stranger, "b", Bench.password("a"))


@pytest.mark.case(22)
async def test_a_host_that_wants_https_from_one_session_is_asked_plainly_by_another() -> None:
    """What a browser remembers of a host (HSTS, RFC 6797 §5.1) could else tell one session where another has been."""
    app = App()
    app.always = [(b"strict-transport-security", b"max-age=3600")]
    bench = Bench(app)
    bench.hosts.apps = {(APP, 80), (APP, 443)}
    async with bench.running():
        with new_home() as one, new_home() as two:
            async with isolated(bench, one) as first, isolated(bench, two) as second:
                page = await (await context_of(first, "a")).new_page()
                await page.goto(f"https://{APP}/")
                await page.goto(f"http://{APP}/")
                assert page.url == f"https://{APP}/", "this browser remembers"
                other = await (await context_of(second, "b")).new_page()
                await other.goto(f"http://{APP}/")
                assert other.url == f"http://{APP}/"
