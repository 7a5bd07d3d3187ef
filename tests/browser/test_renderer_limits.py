"""One session may not harm another: walls between browsers, limits on what each uses, pages that hang, and a node that drains."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from renderer.chromium.priority import BROWSER, LOW
from renderer.chromium.processes import browser_of
from renderer.wire import messages as m
from renderer.wire.control import Drain, LeaseCode, LeaseState, NodeState, Prepare
from renderer.wire.control_codec import encode_control
from tests.support.renderer import (
    CHECKOUT,
    ORIGIN,
    PATIENCE,
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

LIVELY = "<title>0</title><button style='position:fixed;inset:0' onclick='document.title=++n'>x</button><script>n=0</script>"
SPIN = "<title>spins</title><script>setTimeout(() => { while (true); }, 300)</script>"
HOARD = """<title>hoards</title><script>
  const kept = [];
  setInterval(() => { if (kept.length < 300) kept.push(new Uint8Array(16 << 20).fill(kept.length + 1)); }, 20);
</script>"""
WASM = "0061736d0100000001040160000003020100070501016600000a0901070003400c000b0b"  # (func (export "f") (loop (br 0)))
BOMBS = {
    "frames": "for (let n = 0; n < 500; n++) document.body.append(document.createElement('iframe'));",
    "workers": "for (let n = 0; n < 500; n++) new Worker(URL.createObjectURL(new Blob(['onmessage = () => {}'])));",
    "wasm": f"setTimeout(() => new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.fromHex('{WASM}'))).exports.f(), 100);",
    "canvas": """for (const side of [30000, 16384, 16384, 16384]) { const canvas = document.createElement('canvas'); canvas.width = canvas.height = side;
      document.body.append(canvas); canvas.getContext('2d')?.fillRect(0, 0, side, side); }""",
    "picture": """for (let n = 0; n < 20; n++) { const image = new Image(); image.src = `/bomb.png?${n}`;
      document.body.append(image); image.decode().then(() => { document.title = 'decoded'; }, () => {}); }""",
}
WAITS = "<title>waits</title><script>setTimeout(() => alert('wait for me'), 200)</script>"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway() as running:
        running.pages[ORIGIN + "/bomb.png"] = (200, {"Content-Type": "image/png"}, picture_bomb())
        for name, script in BOMBS.items():
            running.html(f"/bomb/{name}", f"<title>armed</title><body><script>{script} document.title = 'lit';</script>")
        for path, body in (("/", LIVELY), ("/lively", LIVELY), ("/spin", SPIN), ("/hoard", HOARD), ("/waits", WAITS)):
            running.html(path, body)
        running.html("/opens", "<script>for (let n = 0; n < 5; n++) open(`http://site${n}.example/`, '', 'noopener')</script>")
        for n in range(5):
            running.html("/", "<p>a site of its own", origin=f"http://site{n}.example")
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def node() -> AsyncIterator[NodeProcess]:
    runtime_dir = open_to_all(new_runtime_dir())
    limits = ("--session-memory", "900", "--session-processes", "12")
    async with node_process(runtime_dir, "--warm", "0", "--capacity", "8", *limits) as running:
        yield running
    shutil.rmtree(runtime_dir.parent)


def picture_bomb() -> bytes:
    """A PNG of 20,000 × 20,000 grey pixels (RFC 2083): 1.6 GB when it is drawn, some 50 kB as it comes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 20_000
    rows = zlib.compress(bytes(side * (1 + side // 8)), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def leader(node: NodeProcess, lease: str) -> int:
    """The process that everything of a lease's browser hangs on; of the newest lease of that name."""
    return next(line["pid"] for line in reversed(node.logs) if line["event"] == "lease.started" and line["lease"] == lease)


def browser(node: NodeProcess, lease: str) -> int:
    """The browser process of a lease."""
    first = leader(node, lease)
    return browser_of([first, *descendants(first)])


def home(pid: int) -> str:
    """The private directory of a browser process."""
    found = re.search(rb"--user-data-dir=(\S+)/profile", proc(pid, "cmdline"))
    assert found is not None
    return Path(os.fsdecode(found[1])).name


async def until(true: Callable[[], bool], patience: float = PATIENCE) -> None:
    async with asyncio.timeout(patience):
        while True:
            if true():
                return
            await asyncio.sleep(0.05)


def walls(node: NodeProcess) -> str:
    return str(next(line["walls"] for line in node.logs if line["event"] == "node.ready"))


def inside(pid: int, command: str) -> str:
    """What a command says that runs among a browser's own processes, as one of them."""
    # As its own account, and not as root, which could look into everything.
    account = ["setpriv", f"--reuid={owner(pid)}", f"--regid={owner(pid)}", "--clear-groups"] if os.geteuid() == 0 else []
    entered = [
        *account,
        "nsenter",
        "-t",
        str(pid),
        "--user",
        "--preserve-credentials",
        "--mount",
        "--pid",
        "--",
        "/bin/sh",
        "-c",
        command,
    ]
    return subprocess.run(entered, capture_output=True, text=True, timeout=30, check=False).stdout


@pytest.mark.case(23, 27)
async def test_a_browser_sees_nothing_of_its_neighbour(node: NodeProcess, gateway: Gateway) -> None:
    if walls(node) != "processes":
        pytest.skip("this machine allows no namespaces of processes")
    async with node.control() as control:
        for name in ("wall-a", "wall-b"):
            assert (await start_lease(control, name, gateway.egress(name))).state is LeaseState.STARTED
        a, b = browser(node, "wall-a"), browser(node, "wall-b")
        home_a, home_b = home(a), home(b)
        marked = node.runtime_dir / home_b / "downloads" / "secret"
        marked.parent.mkdir(exist_ok=True)
        marked.write_text("of b")
        listing = inside(
            a, f"ls {node.runtime_dir}; ls {node.runtime_dir}/{home_b} 2>/dev/null; ls -d /tmp/* /dev/shm/* 2>/dev/null; true"
        )
        assert home_a in listing, "its own directory is there"
        assert home_b not in listing
        assert "secret" not in listing
        arguments = inside(a, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert home_a in arguments
        assert home_b not in arguments, "no process of the neighbour can be named"
        status = proc(a, "status").decode()
        assert "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status
        for name in ("wall-a", "wall-b"):
            await end_lease(control, name)


def niceness(pid: int) -> int:
    stat = proc(pid, "stat")
    return int(stat[stat.rindex(b")") + 2 :].split()[16])


@pytest.mark.case(24)
async def test_browsers_stand_behind_the_node(node: NodeProcess, gateway: Gateway) -> None:
    """Else what serves everybody gets as much of a busy machine as each that it serves."""
    async with node.control() as control:
        assert (await start_lease(control, "behind", gateway.egress("behind"))).state is LeaseState.STARTED
        async with node.viewer("behind") as viewer:
            await viewer.title("0")
            first = browser(node, "behind")
            assert niceness(node.process.pid) == 0
            chromium = [pid for pid in [first, *descendants(first)] if b"--type=" in proc(pid, "cmdline") or pid == first]
            assert len(chromium) > 2
            assert {niceness(pid) for pid in chromium} == {BROWSER}
            group = proc(leader(node, "behind"), "autogroup")
            if group:  # where the kernel groups sessions, that of the node is another, and not lowered
                assert group.split()[-1] == b"%d" % BROWSER
                assert proc(node.process.pid, "autogroup").split()[-1] == b"0"
        await end_lease(control, "behind")


@pytest.mark.case(55)
async def test_everything_of_a_browser_ends_with_its_first_process(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        assert (await start_lease(control, "first", gateway.egress("first"))).state is LeaseState.STARTED
        async with node.viewer("first") as viewer:
            await viewer.title("0")
            top = leader(node, "first")
            whole = [top, *descendants(top)]
            assert len(whole) > 4
            os.kill(top, signal.SIGKILL)
            assert (await report_of(control, "first")).code is LeaseCode.CRASHED
            assert (await viewer.message(m.Closed)).code is m.CloseCode.BROWSER_CRASHED
            await until(lambda: not any(alive(pid) for pid in whole))


@pytest.mark.case(24, 51, 54)
async def test_a_page_that_spins_is_told_of_and_loaded_again(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        for name in ("spins", "lives"):
            assert (await start_lease(control, name, gateway.egress(name))).state is LeaseState.STARTED
        async with node.viewer("spins", "/spin") as spinning, node.viewer("lives") as living:
            await spinning.title("spins")
            await living.title("0")
            for click in range(1, 6):
                await living.click(100, 100)
                await living.title(str(click))
            await spinning.until(lambda v: m.Notice(m.NoticeCode.PAGE_HUNG) in v.messages, 60)
            await until(lambda: any(line["event"] == "limit.processor" and line["lowered"] for line in node.logs), 60)
            pid = next(line["pid"] for line in node.logs if line["event"] == "limit.processor")
            assert niceness(pid) == LOW
            gateway.html("/spin", LIVELY)
            before = len(spinning.messages)
            await spinning.say(m.Reload(False))
            await spinning.until(lambda v: m.Title("0") in v.messages[before:], 60)
            await spinning.click(100, 100)
            await spinning.title("1")
            assert m.Notice(m.NoticeCode.PAGE_CRASHED) not in spinning.messages, "the person asked for it"
            assert not alive(pid)
        for name in ("spins", "lives"):
            await end_lease(control, name)


async def test_a_page_that_waits_for_an_answer_does_not_hang(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        assert (await start_lease(control, "waits", gateway.egress("waits"))).state is LeaseState.STARTED
        async with node.viewer("waits", "/waits") as viewer:
            dialog = await viewer.message(m.Dialog)
            await asyncio.sleep(14)  # longer than a page may be silent; nothing marks the end of nothing happening
            assert m.Notice(m.NoticeCode.PAGE_HUNG) not in viewer.messages
            await viewer.say(m.DialogReply(dialog.id, True, ""))
        await end_lease(control, "waits")


@pytest.mark.case(24, 51)
async def test_memory_ends_the_page_then_the_session_and_no_other(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        for name in ("hoards", "beside"):
            assert (await start_lease(control, name, gateway.egress(name))).state is LeaseState.STARTED
        async with node.viewer("hoards", "/hoard") as hoarding, node.viewer("beside") as beside:
            await beside.title("0")
            assert (await hoarding.until(lambda v: next((x for x in v.messages if isinstance(x, m.Closed)), None), 90)).code is (
                m.CloseCode.LIMIT_REACHED
            )
            assert m.Notice(m.NoticeCode.PAGE_CRASHED) in hoarding.messages, "the page alone, first"
            assert (await report_of(control, "hoards")).code is LeaseCode.MEMORY
            await beside.click(100, 100)
            await beside.title("1")
        assert any(line["event"] == "limit.session" and line["limit"] == "memory" for line in node.logs)
        await end_lease(control, "beside")


@pytest.mark.case(24, 51)
@pytest.mark.parametrize("bomb", BOMBS)
async def test_a_bomb_hurts_nobody_else_and_its_person_works_on_or_is_told(
    node: NodeProcess, gateway: Gateway, bomb: str
) -> None:
    async with node.control() as control:
        for name in ("bombed", "beside"):
            assert (await start_lease(control, name, gateway.egress(name))).state is LeaseState.STARTED
        async with node.viewer("bombed", f"/bomb/{bomb}") as bombed, node.viewer("beside") as beside:
            await beside.title("0")
            # Lit, or so heavy that its person has been told already. Going off takes it a moment, which nothing marks.
            await bombed.until(lambda v: any(x == m.Title("lit") or isinstance(x, m.Notice | m.Closed) for x in v.messages), 60)
            await asyncio.sleep(1)
            for click in range(1, 6):
                await beside.click(100, 100)
                await beside.title(str(click))
            # Its own person goes elsewhere and works on there, or has been told that the session ended, and why.
            computing = [pid for pid in node.pages() if pid in descendants(leader(node, "bombed"))]
            if not any(isinstance(x, m.Closed) for x in bombed.messages):
                await bombed.say(m.Navigate("/lively"))
            ended = await bombed.until(
                lambda v: next((x for x in v.messages if isinstance(x, m.Closed) or x == m.Title("0")), None), 90
            )
            if isinstance(ended, m.Closed):
                assert ended.code is m.CloseCode.LIMIT_REACHED
            else:
                # What was left may still hold its memory, and its process be ended for that; the new page is then loaded once more.
                async with asyncio.timeout(60):
                    while not any(x in map(m.Title, ("1", "2", "3")) for x in bombed.messages):
                        await bombed.click(100, 100)
                        await asyncio.sleep(0.5)
                if bomb == "wasm":  # it never comes to hear that it should end
                    await until(lambda: not any(alive(pid) for pid in computing))
                await end_lease(control, "bombed")
            await beside.click(100, 100)
            await beside.title("6")
        await end_lease(control, "beside")


@pytest.mark.case(51)
async def test_processes_end_the_session(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        assert (await start_lease(control, "forks", gateway.egress("forks"))).state is LeaseState.STARTED
        async with node.viewer("forks", "/opens") as viewer:
            assert (await viewer.message(m.Closed)).code is m.CloseCode.LIMIT_REACHED
        assert (await report_of(control, "forks")).code is LeaseCode.PROCESSES


def drain(runtime_dir: Path) -> subprocess.CompletedProcess[bytes]:
    told = [sys.executable, "-m", "renderer", "drain", "--runtime-dir", str(runtime_dir)]
    return subprocess.run(told, cwd=CHECKOUT, timeout=60, check=False)


async def test_a_node_warms_before_anybody_comes_and_drains(gateway: Gateway) -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    async with node_process(runtime_dir, "--warm", "1", "--capacity", "4") as node, node.control() as control:
        await control.send(encode_control(Prepare("127.0.0.1", gateway.port, "")))
        while (await status_of(control)).warm != 1:
            pass
        assert (await start_lease(control, "stays", gateway.egress("stays"))).state is LeaseState.STARTED
        async with node.viewer("stays") as viewer:
            await viewer.title("0")
            told = drain(runtime_dir)
            assert told.returncode == 0
            while (await status_of(control)).state is not NodeState.DRAINING:
                pass
            refused = await start_lease(control, "late", gateway.egress("late"))
            assert (refused.state, refused.code) == (LeaseState.FAILED, LeaseCode.NO_CAPACITY)
            await viewer.click(100, 100)
            await viewer.title("1")
            await control.send(encode_control(Drain()))  # twice is once
            await end_lease(control, "stays")
        assert await asyncio.wait_for(node.process.wait(), PATIENCE) == 0
    assert sorted(path.name for path in runtime_dir.iterdir()) == ["gateway.json", "lock"]
    assert drain(runtime_dir).returncode == 1
    shutil.rmtree(runtime_dir.parent)


async def test_a_node_without_memory_to_spare_takes_nobody(gateway: Gateway) -> None:
    runtime_dir = open_to_all(new_runtime_dir())
    async with (
        node_process(runtime_dir, "--warm", "1", "--capacity", "4", "--free-memory", "100000000") as node,
        node.control() as control,
    ):
        await control.send(encode_control(Prepare("127.0.0.1", gateway.port, "")))
        while (status := await status_of(control)).state is not NodeState.LOW_MEMORY:
            pass
        assert status.warm == 0
        refused = await start_lease(control, "poor", gateway.egress("poor"))
        assert (refused.state, refused.code) == (LeaseState.FAILED, LeaseCode.NO_CAPACITY)
    shutil.rmtree(runtime_dir.parent)
