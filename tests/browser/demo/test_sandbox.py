"""The isolated browser's own walls: its sandbox as the kernel tells it, and a page that tries every way out."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.support.attacks import LOOPBACK
from tests.support.demo.deployment import Deployment
from tests.support.demo.person import Person, until
from tests.support.demo.recorder import Background
from tests.support.demo.running import Demo, descendants, read_process, wait

pytestmark = [pytest.mark.browser, pytest.mark.demo, pytest.mark.timeout(240)]

NAMESPACES = ("user", "pid", "net")
ELSEWHERE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "100.100.100.200",
    "metadata.google.internal",
]
"""Private, shared, link-local and metadata addresses: nothing of ours can listen there, so the log is the witness."""
MORE_LOOPBACK = ["[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "127.0.0.1.", "0", "017700000001"]


@pytest.mark.case(23, 27)
def test_page_processes_are_sandboxed(demo: Demo, visit: Callable[..., Person]) -> None:
    bob = visit("Bob Brennan", f"{demo.data}/")
    bob.ready()
    browser = demo.product.chromium("bob")
    node = demo.product.child("renderer")
    init, this = read_process(1), read_process(os.getpid())
    assert init is not None
    assert this is not None
    pages = [process for process in descendants(browser.pid) if "--type=renderer" in process.command]
    assert pages
    for page in pages:
        status = page.status()
        assert status["Seccomp"] == "2"
        assert status["NoNewPrivs"] == "1"
        assert "0" not in status["Uid"].split() + status["Gid"].split()
        assert len(status["NSpid"].split()) > len(node.status()["NSpid"].split())
        assert int(status["CapEff"], 16) == 0
        for kind in NAMESPACES:
            own = page.namespace(kind)
            assert own is not None
            # An ordinary user may not look at init's; this test's are the same.
            assert own not in {node.namespace(kind), init.namespace(kind), this.namespace(kind)}, kind
    # Not one process of the browser or its node runs as root, also where the product was started by root.
    for process in [node, *descendants(browser.pid)]:
        assert "0" not in process.status()["Uid"].split(), process.line
    assert not [
        word for process in descendants(browser.pid) for word in process.command if "no-sandbox" in word or word == "--no-zygote"
    ]


@dataclass
class Canary:
    """Listens on one port of every address of this machine, TCP and UDP."""

    port: int = 0
    heard: list[object] = field(default_factory=list)

    async def accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(writer.get_extra_info("peername"))
        writer.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary()
    family, everywhere = (socket.AF_INET6, "::") if socket.has_dualstack_ipv6() else (socket.AF_INET, "0.0.0.0")
    listener = socket.create_server((everywhere, 0), family=family, dualstack_ipv6=family == socket.AF_INET6)

    class Packets(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            made.heard.append(addr)

    async def packets() -> asyncio.DatagramTransport:
        at = (everywhere, made.port)
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Packets, local_addr=at)
        return transport

    with Background() as background:
        server, made.port = background.listen(made.accept, listener)
        transport = asyncio.run_coroutine_threadsafe(packets(), background.loop).result(10)
        yield made
        background.loop.call_soon_threadsafe(transport.close)
        background.close(server)


def own_address() -> str:
    """Return this machine's address towards others (no packet is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.2"
        return str(probe.getsockname()[0])


@pytest.mark.case(1, 2, 5, 14, 17)
def test_a_hostile_page_reaches_nothing_and_is_written_down(
    demo: Demo, deployment: Deployment, visit: Callable[..., Person], canary: Canary
) -> None:
    with socket.create_connection(("127.0.0.1", canary.port), timeout=5):
        wait("the canary's own test", lambda: canary.heard)
    canary.heard.clear()
    deployment.forget()
    near = [*LOOPBACK, *MORE_LOOPBACK, own_address()]
    # Beside the canary: what really listens here. The app itself past the router, the tenant's controls, the router's own health.
    doors = [("127.0.0.1", deployment.data.port), ("localhost", demo.port + 1), ("127.1", deployment.product.operations)]
    deployment.pages.every_way = [
        ("127.0.0.1", canary.port),
        ("[::1]", canary.port),
        ("localhost", canary.port),
        ("169.254.169.254", 80),
        *doors,
    ]
    deployment.pages.some_ways = [*((host, canary.port) for host in near), *((host, 80) for host in ELSEWHERE)]
    deployment.pages.reports.clear()

    bob = visit("Bob Brennan", f"{deployment.origin('tools')}/attack")
    (report,) = until(bob.page, "the page's report", lambda: deployment.pages.reports, seconds=120, step=200)
    # A page may also go there itself.
    for host, port in [("127.0.0.1", canary.port), ("[::1]", canary.port), ("169.254.169.254", 80)]:
        bob.open(f"{deployment.origin('tools')}/goto?to=http://{host}:{port}/itself")
        bob.ready()
        bob.page.wait_for_timeout(500)
    bob.shot("refused")
    for address in (
        "file:///etc/passwd",
        "chrome://version",
        "view-source:file:///etc/passwd",
        "devtools://devtools/bundled/inspector.html",
    ):
        bob.open(f"{deployment.origin('tools')}/goto?to={address}")
        until(bob.page, "the page", lambda: bob.page.title() == "Leaving")
        bob.page.wait_for_timeout(300)
        assert bob.page.title() == "Leaving", address
        bob.shot(f"goto-{address.partition(':')[0]}")

    assert canary.heard == []
    assert deployment.data.bytes_up == 0
    # What the page itself saw: an error, or for a request without questions the gateway's own refusal, which it cannot read.
    tried = {name for results in report.values() for name in results}
    assert {"fetch", "img", "frame", "ws", "redirect", "dedicated", "shared", "rtc"} <= tried
    assert len(report) == len({*near, *ELSEWHERE, *(host for host, _ in doors)})
    for host, results in report.items():
        assert results["ws"] in {"error", "late"}, (host, results["ws"])
        assert results.get("image", "error") in {"error", "late"}, host
        assert "typ srflx" not in results.get("rtc", ""), results["rtc"]
        assert "typ relay" not in results.get("rtc", ""), results["rtc"]
    # And the security team reads of it.
    blocked = {entry["detail"]["host"] for entry in deployment.product.audit("egress-blocked", "bob")}
    told = " ".join(blocked)
    for needle in ("127.0.0.1", "localhost", "::1", "169.254.169.254", "10.0.0.1", "192.168.0.1", "metadata.google.internal"):
        assert needle in told, (needle, sorted(blocked))
    assert len(blocked) >= 15, sorted(blocked)
    assert deployment.product.log("egress.blocked")
