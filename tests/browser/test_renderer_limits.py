"""One session may not harm another: walls between browsers, limits on what each uses, pages that hang, and a node that drains."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from renderer.chromium.priority import LOW
from renderer.chromium.processes import browser_of
from renderer.wire import messages as m
from renderer.wire.control import Drain, LeaseCode, LeaseState, NodeState, Prepare
from renderer.wire.control_codec import encode_control
from tests.support.renderer import (
    CHECKOUT,
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
WAITS = "<title>waits</title><script>setTimeout(() => alert('wait for me'), 200)</script>"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway() -> AsyncIterator[Gateway]:
    async with Gateway() as running:
        for path, body in (("/", LIVELY), ("/spin", SPIN), ("/hoard", HOARD), ("/waits", WAITS)):
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


def browser(node: NodeProcess, lease: str) -> int:
    """The browser process of a lease."""
    leader = next(line["pid"] for line in node.logs if line["event"] == "lease.started" and line["lease"] == lease)
    return browser_of([leader, *descendants(leader)])


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


@pytest.mark.case(55)
async def test_everything_of_a_browser_ends_with_its_first_process(node: NodeProcess, gateway: Gateway) -> None:
    async with node.control() as control:
        assert (await start_lease(control, "first", gateway.egress("first"))).state is LeaseState.STARTED
        async with node.viewer("first") as viewer:
            await viewer.title("0")
            leader = next(line["pid"] for line in reversed(node.logs) if line["event"] == "lease.started")
            whole = [leader, *descendants(leader)]
            assert len(whole) > 4
            os.kill(leader, signal.SIGKILL)
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
            stat = proc(pid, "stat")
            assert int(stat[stat.rindex(b")") + 2 :].split()[16]) == LOW
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
