"""A node as a process: who gets in, how leases live and die, what stays behind (nothing), and what a page cannot reach."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from renderer.wire import messages as m
from renderer.wire.codec import encode
from renderer.wire.control import SUBPROTOCOL, Egress, LeaseCode, LeaseState
from tests.support.renderer import (
    CHECKOUT,
    ORIGIN,
    TOKEN,
    Gateway,
    NodeProcess,
    alive,
    descendants,
    end_lease,
    new_runtime_dir,
    node_process,
    open_to_all,
    owner,
    proc,
    report_of,
    start_lease,
    status_of,
)

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway() as running:
        running.html("/", "<title>home</title>hello")
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node() -> AsyncIterator[NodeProcess]:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0", "--capacity", "12") as running:
        yield running
    shutil.rmtree(runtime_dir.parent)


def sessions(node: NodeProcess) -> list[str]:
    """Private directories of browsers (what Playwright's driver keeps of its own goes when it ends)."""
    return [name for name in node.profiles() if name.startswith("session-")]


async def gone(pids: list[int]) -> None:
    await until(lambda: not any(alive(pid) for pid in pids))


async def until(true: Callable[[], bool], patience: float = 15) -> None:
    async with asyncio.timeout(patience):
        while True:
            if true():
                return
            await asyncio.sleep(0.02)


# ---------------------------------------------------------------- who gets in


@pytest.mark.parametrize("path", ["/control", "/leases/x/page?origin=http%3A%2F%2Fa.example", "/healthz"])
@pytest.mark.parametrize("authorization", [[], ["Bearer wrong"], ["Bearer "], [f"Basic {TOKEN}"], [f"Bearer {TOKEN}"] * 2])
async def test_nobody_without_the_token(node: NodeProcess, path: str, authorization: list[str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            f"ws://127.0.0.1:{node.port}{path}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers=[("Authorization", value) for value in authorization],
            proxy=None,
        ):
            pass
    assert refused.value.response.status_code == 401


async def test_unknown_addresses_and_protocols(node: NodeProcess) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for path, protocol, status in (
        ("/elsewhere", SUBPROTOCOL, 404),
        ("/leases/../page?origin=http%3A%2F%2Fa.example", SUBPROTOCOL, 404),
        ("/leases/x/page?origin=file%3A%2F%2F%2Fetc", SUBPROTOCOL, 404),
        ("/control", "other", 400),
    ):
        with pytest.raises(InvalidStatus) as refused:
            async with connect(
                f"ws://127.0.0.1:{node.port}{path}", subprotocols=[Subprotocol(protocol)], additional_headers=headers, proxy=None
            ):
                pass
        assert refused.value.response.status_code == status


async def test_health(node: NodeProcess) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{node.port}/healthz", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.json()["capacity"] == 12


async def test_nonsense_on_control_closes_it(node: NodeProcess) -> None:
    for nonsense in ("{", '{"op":"start"}', b"\x00", '{"op":"end","lease":"../x"}'):
        async with node.control() as control:
            await status_of(control)
            await control.send(nonsense)
            await asyncio.wait_for(control.wait_closed(), 10)
            assert control.close_code == 1008


@pytest.mark.case(30)
@pytest.mark.parametrize(
    "data",
    ["text", b"", b"\x00", b"\x0b{}", encode(m.Ack(1)), b"\x01{}", b"\x41" + b"\x00" * 20, b"\xff" * 1000],
)
async def test_a_viewer_that_speaks_nonsense_is_let_go(node: NodeProcess, gateway: Gateway, data: str | bytes) -> None:
    async with node.control() as control:
        assert (await start_lease(control, "nonsense", gateway.egress("nonsense"))).state is LeaseState.STARTED
        async with node._connect("/leases/nonsense/page?origin=http%3A%2F%2Fapp.localhost%3A8080") as connection:
            await connection.send(data)
            assert await asyncio.wait_for(connection.recv(), 10) == encode(m.Closed(m.CloseCode.PROTOCOL))
            await asyncio.wait_for(connection.wait_closed(), 10)
        async with node.viewer("nonsense", "/") as viewer:
            await viewer.until(lambda v: v.frames)
            await viewer.connection.send(encode(m.Ack(4_000_000)))
            assert (await viewer.message(m.Closed)).code is m.CloseCode.PROTOCOL
        await end_lease(control, "nonsense")


async def test_an_unknown_lease_has_no_pages(node: NodeProcess) -> None:
    async with node.viewer("no-such-lease") as viewer:
        assert (await viewer.message(m.Closed)).code is m.CloseCode.RENDERER_LOST


# ---------------------------------------------------------------- sandbox, root, files


@pytest.mark.case(23, 27)
async def test_sandbox_and_account(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        assert (await start_lease(control, "boxed", gateway.egress("boxed"))).state is LeaseState.STARTED
        async with node.viewer("boxed") as viewer:
            await viewer.title("home")
            everything = [node.process.pid, *node.children()]
            assert 0 not in {owner(pid) for pid in everything if alive(pid)}
            pages = node.pages()
            assert pages
            for pid in pages:
                status = proc(pid, "status").decode()
                assert "Seccomp:\t2\n" in status
                assert "NoNewPrivs:\t1\n" in status
                for name in ("user", "pid", "net"):
                    assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/{node.process.pid}/ns/{name}")
            for pid in everything:
                if alive(pid):
                    assert b"no-sandbox" not in proc(pid, "cmdline")
                    assert TOKEN.encode() not in proc(pid, "cmdline")
                    assert b"secret of boxed" not in proc(pid, "cmdline")
        for profile in node.runtime_dir.iterdir():
            assert profile.stat().st_mode & 0o077 == 0
        await end_lease(control, "boxed")


# ---------------------------------------------------------------- leases


async def test_start_is_idempotent_and_controls_change(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        egress = gateway.egress("twice")
        assert (await start_lease(control, "twice", egress)).state is LeaseState.STARTED
        async with node.viewer("twice") as viewer:
            await viewer.title("home")
            assert (await start_lease(control, "twice", egress, keyboard=False, clipboard="none")).state is LeaseState.STARTED
            assert len([x for x in node.logs if x["event"] == "lease.started" and x["lease"] == "twice"]) == 1
            await viewer.key("a", "KeyA")
            await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.KEYBOARD_BLOCKED)
            await viewer.say(m.CopyRequest(False))
            await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.CLIPBOARD_BLOCKED)
        await end_lease(control, "twice")


@pytest.mark.case(35)
async def test_controls_hold_against_the_viewer(node: NodeProcess, gateway: Gateway) -> None:
    gateway.html(
        "/held",
        "<title>-</title><textarea id=t autofocus></textarea><script>t.oninput = onkeydown = onpaste = () => document.title = 'got in'</script>",
    )
    async with node.control() as control:
        await start_lease(control, "held", gateway.egress("held"), keyboard=False, clipboard="none")
        async with node.viewer("held", "/held") as viewer:
            await viewer.title("-")
            for message in (m.Key(True, "a", "KeyA", 0, 0, False), m.Text("a"), m.Composition("a", 1, 1), m.Paste("a")):
                await viewer.say(message)
            await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.KEYBOARD_BLOCKED)
            await asyncio.sleep(0.5)
            assert not [x for x in viewer.messages if isinstance(x, m.Title) and x.text == "got in"]
        # A page that copies by itself does not reach the device either.
        gateway.html(
            "/copies",
            "<title>-</title><textarea id=t>secret</textarea><script>onclick = () => { t.select(); document.title = document.execCommand('copy') }</script>",
        )
        async with node.viewer("held", "/copies") as viewer:
            await viewer.title("-")
            await viewer.click(400, 300)
            await viewer.title("true")
            await viewer.message(m.Notice, lambda x: x.code is m.NoticeCode.CLIPBOARD_BLOCKED)
            assert not [x for x in viewer.messages if isinstance(x, m.Clipboard)]
        await end_lease(control, "held")


@pytest.mark.case(59)
async def test_capacity(gateway: Gateway) -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0", "--capacity", "2") as node, node.control() as control:
        names = ["full-1", "full-2", "full-3"]
        reports = [await start_lease(control, name, gateway.egress(name)) for name in names]
        assert [r.state for r in reports] == [LeaseState.STARTED] * 2 + [LeaseState.FAILED]
        assert reports[2].code is LeaseCode.NO_CAPACITY
        assert (await end_lease(control, "full-1")).code is LeaseCode.TOLD
        assert (await start_lease(control, "full-3", gateway.egress("full-3"))).state is LeaseState.STARTED
    shutil.rmtree(runtime_dir.parent)


async def test_wrong_credentials_and_no_gateway(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        wrong = Egress("127.0.0.1", gateway.port, "nobody", "guess", "")
        report = await start_lease(control, "wrong", wrong)
        assert (report.state, report.code) == (LeaseState.FAILED, LeaseCode.LAUNCH_FAILED)
        report = await start_lease(control, "nowhere", Egress("127.0.0.1", 1, "x", "y", ""))
        assert (report.state, report.code) == (LeaseState.FAILED, LeaseCode.LAUNCH_FAILED)
    await until(lambda: not sessions(node))


@pytest.mark.case(55)
async def test_ending_leaves_nothing(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        await start_lease(control, "leaving", gateway.egress("leaving"))
        async with node.viewer("leaving") as viewer:
            await viewer.title("home")
            pids = [pid for pid in node.children() if b"chromium" in proc(pid, "cmdline")]
            assert pids
            await end_lease(control, "leaving")
            assert (await viewer.message(m.Closed)).code is m.CloseCode.SESSION_ENDED
    await gone(pids)
    await until(lambda: not sessions(node))
    await until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()])  # no zombies either


@pytest.mark.case(24)
async def test_a_killed_browser_is_reported_at_once(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        await start_lease(control, "victim", gateway.egress("victim"))
        await start_lease(control, "bystander", gateway.egress("bystander"))
        started = [x for x in node.logs if x["event"] == "lease.started"]
        victim = next(x["pid"] for x in reversed(started) if x["lease"] == "victim")
        async with node.viewer("victim") as viewer, node.viewer("bystander") as other:
            await viewer.title("home")
            await other.title("home")
            os.kill(victim, signal.SIGKILL)
            assert (await viewer.message(m.Closed)).code is m.CloseCode.BROWSER_CRASHED
            report = await report_of(control, "victim")
            assert (report.state, report.code) == (LeaseState.ENDED, LeaseCode.CRASHED)
            seen = len(other.messages)
            await other.say(m.Refresh(True))
            await other.message(m.Frame, lambda f: f.whole, after=seen)
        assert (await start_lease(control, "victim", gateway.egress("victim"))).state is LeaseState.STARTED
        await end_lease(control, "victim")
        await end_lease(control, "bystander")
    await until(lambda: not sessions(node))


async def test_sessions_share_nothing(node: NodeProcess, gateway: Gateway) -> None:
    gateway.html(
        "/jar",
        "<title>-</title><script>document.title = 'had ' + document.cookie + localStorage.x; document.cookie = 'a=1'; localStorage.x = 1</script><textarea id=t style='position:absolute;left:0;top:50px'>mine</textarea>",
    )
    async with node.control() as control:
        await start_lease(control, "one", gateway.egress("one"))
        await start_lease(control, "two", gateway.egress("two"))
        async with node.viewer("one", "/jar") as one, node.viewer("two", "/jar") as two:
            await one.title("had undefined")
            await two.title("had undefined")
            await one.say(m.Reload(False))
            await one.title("had a=11")
        assert {name for name, _ in gateway.seen} >= {"one", "two"}
        await end_lease(control, "one")
        await end_lease(control, "two")


# ---------------------------------------------------------------- what a page cannot reach


@pytest.mark.case(4, 7, 12, 14)
async def test_everything_goes_through_the_gateway(node: NodeProcess, gateway: Gateway) -> None:
    """A server on this machine's loopback must hear nothing, whatever spelling the page uses; the gateway hears all of it."""
    heard: list[bytes] = []

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    trap = await asyncio.start_server(hear, "127.0.0.1", 0)
    port = trap.sockets[0].getsockname()[1]
    hosts = [
        "127.0.0.1",
        "localhost",
        "x.localhost",
        "localhost.",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
    ]
    urls = [f"http://{host}:{port}/" for host in hosts]
    gateway.html(
        "/attack",
        f"""<title>-</title><body><script>
        const urls = {urls!r};
        const jobs = urls.flatMap(u => [fetch(u, {{mode: 'no-cors'}}),
          new Promise(done => {{ const i = new Image(); i.onload = i.onerror = done; i.src = u + 'image'; }}),
          new Promise(done => {{ const w = new WebSocket(u.replace('http', 'ws')); w.onopen = w.onerror = done; }}),
          new Promise(done => {{ const f = document.createElement('iframe'); f.onload = done; f.src = u + 'frame'; document.body.append(f); }}),
          navigator.sendBeacon(u + 'beacon', 'x')]);
        const pc = new RTCPeerConnection({{iceServers: urls.slice(0, 2).map(u => ({{urls: u.replace('http://', 'stun:').slice(0, -1)}}))}});
        pc.createDataChannel('x'); const found = []; pc.onicecandidate = e => e.candidate && found.push(e.candidate.candidate);
        pc.createOffer().then(o => pc.setLocalDescription(o));
        Promise.allSettled(jobs).then(() => setTimeout(() => document.title = 'done ' + found.length, 1500));
        </script>""",
    )
    async with node.control() as control:
        await start_lease(control, "attacker", gateway.egress("attacker"))
        async with node.viewer("attacker", "/attack") as viewer:
            assert (await viewer.titled(r"done \d+")).group() == "done 0"
        await end_lease(control, "attacker")
    trap.close()
    assert heard == []
    asked = {address for name, address in gateway.seen if name == "attacker"}
    assert any("127.0.0.1" in address for address in asked)
    assert any("localhost" in address for address in asked)


@pytest.mark.parametrize(
    "path",
    [
        "/go?file:///etc/passwd",
        "/go?chrome://version",
        "/go?view-source:file:///etc/passwd",
        "/go?data:text/html,<title>in</title>",
        "/go?devtools://x",
    ],
)
async def test_pages_cannot_leave_the_web(node: NodeProcess, gateway: Gateway, path: str) -> None:
    gateway.html(
        "/go",
        "<title>start</title><script>const to = decodeURIComponent(location.search.slice(1)); setTimeout(() => { try { location = to } catch {} ; window.open(to) }, 100)</script>",
    )
    async with node.control() as control:
        await start_lease(control, "leaver", gateway.egress("leaver"))
        async with node.viewer("leaver", path.replace("<", "%3C").replace(">", "%3E")) as viewer:
            await viewer.title("start")
            await asyncio.sleep(0.7)
            locations = [x for x in viewer.messages if isinstance(x, m.Location)]
            assert locations[-1].origin == ORIGIN
            for message in viewer.messages:
                assert not (isinstance(message, m.Title) and message.text not in {"", "start"})
        await end_lease(control, "leaver")


@pytest.mark.case(69)
async def test_a_page_that_wants_a_password_gets_none(node: NodeProcess, gateway: Gateway) -> None:
    gateway.pages[ORIGIN + "/private"] = (
        401,
        {"WWW-Authenticate": 'Basic realm="x"', "Content-Type": "text/html"},
        b"<title>refused</title>",
    )
    async with node.control() as control:
        await start_lease(control, "asked", gateway.egress("asked"))
        async with node.viewer("asked", "/private") as viewer:
            await viewer.title("refused")
        await end_lease(control, "asked")


# ---------------------------------------------------------------- the end of the node


async def test_a_dead_driver_is_replaced(gateway: Gateway) -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0") as node, node.control() as control:
        await start_lease(control, "before", gateway.egress("before"))
        driver = next(pid for pid in node.children() if b"run-driver" in proc(pid, "cmdline"))
        async with node.viewer("before") as viewer:
            await viewer.title("home")
            os.kill(driver, signal.SIGKILL)
            assert (await viewer.message(m.Closed)).code is m.CloseCode.BROWSER_CRASHED
        assert (await report_of(control, "before")).code is LeaseCode.CRASHED
        assert (await start_lease(control, "after", gateway.egress("after"))).state is LeaseState.STARTED
        async with node.viewer("after") as viewer:
            await viewer.title("home")
    shutil.rmtree(runtime_dir.parent)


WITHOUT_SANDBOX = """
import ctypes, os, subprocess, sys
ready, go = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert ctypes.CDLL(None).unshare(0x10000000 | 0x00020000) == 0  # CLONE_NEWUSER | CLONE_NEWNS
    os.write(ready[1], b"x"); os.read(go[0], 1)
    os.setresgid(0, 0, 0); os.setresuid(0, 0, 0)
    open("/proc/sys/user/max_user_namespaces", "w").write("0")  # of this namespace alone
    node = subprocess.Popen([sys.executable, "-m", "renderer", *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    node.stdin.write(b"a-node-token-for-tests\\n"); node.stdin.flush()
    print("stdout", node.stdout.read(), flush=True)
    os._exit(node.wait(60))
os.read(ready[0], 1)
open(f"/proc/{child}/uid_map", "w").write("0 0 65536")
open(f"/proc/{child}/gid_map", "w").write("0 0 65536")
os.write(go[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a place without user namespaces")
async def test_without_a_sandbox_the_node_does_not_start() -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WITHOUT_SANDBOX, "--runtime-dir", str(runtime_dir), "--exit-with-parent",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=CHECKOUT,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 78, err
    assert out == b"stdout b''\n"  # nobody was told a port
    assert b"sysctl -w user.max_user_namespaces" in err
    assert b'"code": "no-sandbox"' in err
    shutil.rmtree(runtime_dir.parent)


async def test_a_node_without_its_token_waits_beside_another_and_takes_over_when_told(gateway: Gateway) -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    spare = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "renderer", "--runtime-dir", str(runtime_dir), "--exit-with-parent",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=CHECKOUT,
    )  # fmt: skip
    assert spare.stdin is not None
    assert spare.stdout is not None
    async with node_process(runtime_dir) as node, node.control() as control:
        await start_lease(control, "one", gateway.egress("one"))
        async with asyncio.timeout(30):
            while not any(b"run-driver" in proc(child, "cmdline") for child in descendants(spare.pid)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        pids = node.children()
        node.process.kill()
        await gone(pids)
    spare.stdin.write(TOKEN.encode() + b"\n")
    assert json.loads(await asyncio.wait_for(spare.stdout.readline(), 60))["port"]
    spare.stdin.close()
    assert await asyncio.wait_for(spare.wait(), 20) == 0
    shutil.rmtree(runtime_dir.parent)


async def test_a_node_that_is_never_told_its_token_leaves_with_its_parent() -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    spare = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "renderer", "--runtime-dir", str(runtime_dir), "--exit-with-parent",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=CHECKOUT,
    )  # fmt: skip
    async with asyncio.timeout(30):
        while not (children := descendants(spare.pid)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    out, err = await asyncio.wait_for(spare.communicate(b""), 20)
    assert (spare.returncode, out, json.loads(err)["event"]) == (0, b"", "node.never-told")
    await gone(children)
    shutil.rmtree(runtime_dir.parent)


@pytest.mark.case(55)
async def test_kill_the_node_and_start_again(gateway: Gateway) -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "1") as node:
        async with node.control() as control:
            await start_lease(control, "left", gateway.egress("left"))
            async with node.viewer("left") as viewer:
                await viewer.title("home")
                pids = node.children()
                assert len(pids) > 3
                node.process.kill()
                await gone(pids)
        left = set(sessions(node))
        assert left  # nobody was there to remove it
    async with node_process(runtime_dir, "--warm", "0") as again:
        assert not left & set(sessions(again))
    shutil.rmtree(runtime_dir.parent)


@pytest.mark.case(55)
async def test_the_node_ends_with_its_parent(gateway: Gateway) -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "1") as node:
        async with node.control() as control:
            await start_lease(control, "orphan", gateway.egress("orphan"))
            await status_of(control)
            pids = node.children()
            assert node.process.stdin is not None
            node.process.stdin.close()
            await asyncio.wait_for(node.process.wait(), 15)
        assert node.process.returncode == 0
        await gone(pids)
        await until(lambda: not node.profiles())
    shutil.rmtree(runtime_dir.parent)


async def test_two_nodes_do_not_share_a_directory(node: NodeProcess) -> None:
    with pytest.raises(AssertionError):
        async with node_process(node.runtime_dir):
            pass


@pytest.mark.case(56)
async def test_grace_and_warm_pool(gateway: Gateway) -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "1", "--grace", "3.0") as node, node.control() as control:
        await start_lease(control, "short", gateway.egress("short"))
        async with node.viewer("short") as viewer:
            await viewer.title("home")
            ready = viewer.messages[0]
            assert isinstance(ready, m.Ready)
            await asyncio.sleep(4.0)  # watched: it stays
        async with node.viewer("short", page=ready.page) as viewer:
            assert (await viewer.message(m.Ready)).resumed
        report = await report_of(control, "short")
        assert (report.state, report.code) == (LeaseState.ENDED, LeaseCode.IDLE)
        while (await status_of(control)).warm != 1:
            pass
        assert (await start_lease(control, "warm", gateway.egress("warm"))).state is LeaseState.STARTED
    shutil.rmtree(runtime_dir.parent)


@pytest.mark.case(68)
async def test_fine_screens_get_fine_pixels(gateway: Gateway) -> None:
    from renderer.wire.control import StartLease
    from renderer.wire.control_codec import encode_control
    from tests.support.renderer import OPEN_CONTROLS

    gateway.html(
        "/fine",
        "<style>body{margin:0}</style><title>-</title><div style='position:absolute;left:0.5px;top:0;width:0.5px;height:100px;background:#f00'></div><script>document.title = devicePixelRatio</script>",
    )
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "0") as node, node.control() as control:
        await control.send(encode_control(StartLease("fine", gateway.egress("fine"), OPEN_CONTROLS, 200)))
        assert (await report_of(control, "fine")).state is LeaseState.STARTED
        async with node.viewer("fine", "/fine", scale=200, width=400, height=300) as viewer:
            await viewer.title("2")
            await viewer.until(lambda v: v.surface.shape == (600, 800, 3))
            await viewer.colour(1, 50, (255, 0, 0))
            assert viewer.pixel(0, 50) == (255, 255, 255)
    shutil.rmtree(runtime_dir.parent)
