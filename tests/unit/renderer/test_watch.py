"""What a session may use: the judgement, fed with made-up processes; reading /proc; and the walls' command line."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderer import lease as lease_module
from renderer.chromium import processes
from renderer.chromium.confine import Confinement, Walls
from renderer.chromium.launch import Chromium
from renderer.chromium.processes import Census, Process
from renderer.input.validate import Controls
from renderer.lease import Lease
from renderer.page import Tab
from renderer.watch import CPU_WINDOW, SECOND_CHANCE_SECONDS, EndPage, EndSession, Limit, Limits, Watch
from renderer.wire.control import LeaseCode
from renderer.wire.messages import CloseCode

LIMITS = Limits(memory=1000, processes=3, disk=1000, seconds=60.0)


def process(pid: int, *, parent: int = 1, cpu: float = 0.0, resident: int = 10, state: str = "S") -> Process:
    return Process(pid, parent, state, cpu, 1, resident)


def test_what_is_over() -> None:
    watch = Watch(LIMITS, 0.0)
    assert watch.over(1.0, [process(1), process(2)]) is None
    assert watch.over(1.0, [process(n) for n in range(4)]) is Limit.PROCESSES
    assert watch.over(1.0, [process(1, resident=999), process(2, resident=2)]) is Limit.MEMORY
    assert watch.over(61.0, []) is Limit.TIME


def test_the_page_that_takes_most_ends_alone_once() -> None:
    watch = Watch(LIMITS, 0.0)
    memory = {1: 200, 2: 900, 3: 50}
    pages = frozenset({2, 3})
    assert watch.judge(1.0, {1: 200, 2: 800}, pages) is None
    assert watch.judge(1.0, memory, pages) == EndPage(2, 1150)
    assert watch.judge(2.0, memory, pages) == EndSession(Limit.MEMORY, 1150)
    assert watch.judge(2.0 + SECOND_CHANCE_SECONDS, memory, pages) == EndPage(2, 1150)


def test_a_session_ends_when_no_page_is_the_culprit() -> None:
    watch = Watch(LIMITS, 0.0)
    assert watch.judge(1.0, {1: 900, 2: 300}, frozenset({2})) == EndSession(Limit.MEMORY, 1200)
    assert watch.judge(1.0, {1: 500, 2: 400, 3: 400}, frozenset({2, 3})) == EndSession(Limit.MEMORY, 1300)
    assert watch.judge(1.0, {1: 2000}, frozenset()) == EndSession(Limit.MEMORY, 2000)


@given(
    st.dictionaries(st.integers(1, 50), st.integers(0, 2000), max_size=8), st.frozensets(st.integers(1, 50)), st.integers(0, 500)
)
def test_nothing_ends_below_the_limit_and_something_does_above(memory: dict[int, int], pages: frozenset[int], now: int) -> None:
    verdict = Watch(LIMITS, 0.0).judge(float(now), memory, pages)
    assert (verdict is None) == (sum(memory.values()) <= LIMITS.memory)
    if isinstance(verdict, EndPage):
        assert verdict.pid in pages
        assert memory[verdict.pid] * 2 > sum(memory.values())


def test_busy_is_who_computes_for_the_whole_window_until_calm() -> None:
    watch = Watch(LIMITS, 0.0)
    found = [watch.busy(float(n), [process(7, cpu=n * 0.95), process(8, cpu=min(n, 3) * 1.0)]) for n in range(CPU_WINDOW + 1)]
    assert found[:-1] == [frozenset()] * CPU_WINDOW
    assert found[-1] == {7}
    cpu = CPU_WINDOW * 0.95
    found += [watch.busy(float(n), [process(7, cpu=cpu)]) for n in range(CPU_WINDOW + 1, 2 * CPU_WINDOW + 2)]
    assert found[CPU_WINDOW + 2] == {7}, "still above calm"
    assert found[-1] == frozenset()
    watch.busy(99.0, [])
    assert watch.busy(100.0, [process(7, cpu=200.0)]) == frozenset(), "a new process under an old number"


def test_busy_is_also_who_wants_the_processor_at_every_look() -> None:
    watch, hungry = Watch(LIMITS, 0.0), frozenset[int]()
    for n in range(CPU_WINDOW + 1):
        hungry = watch.busy(float(n), [process(7, cpu=n * 0.1, state="R"), process(8, cpu=n * 0.1, state="R" if n % 4 else "S")])
    assert hungry == {7}


def test_a_tree_of_processes() -> None:
    census = Census(
        {p.pid: p for p in (process(2), process(3, parent=2), process(4, parent=3), process(5), process(6, parent=2, state="Z"))}
    )
    assert [p.pid for p in census.tree(2)] == [2, 3, 4]
    assert census.tree(99) == []


def test_proc_is_read_as_it_is() -> None:
    me = processes.read(os.getpid())
    assert me is not None
    assert me.parent == os.getppid()
    assert me.resident > 1_000_000
    assert 0 < processes.own_memory(os.getpid()) <= me.resident * 2
    child = subprocess.Popen([sys.executable, "-c", "input()  # a) b (c"], stdin=subprocess.PIPE)
    try:
        assert child.pid in {p.pid for p in processes.take_census().tree(os.getpid())}
        assert child.pid in processes.children(os.getpid())
    finally:
        child.communicate(b"\n")
    assert processes.read(child.pid) is None
    assert processes.command(child.pid) == b""
    assert processes.own_memory(child.pid) == 0
    assert processes.available_memory() > 0


@pytest.mark.parametrize("name", [b"plain", b"a) R 1 (b", b") ) )", b""])
def test_a_process_may_call_itself_anything(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "stat").write_bytes(b"7 (" + name + b") S 3 7 7 0 -1 0 1 2 3 4 100 50 0 0 20 0 9 0 5 1000 25 9\n")
    found = processes.read(7, tmp_path)
    assert found == Process(7, 3, "S", 150 / processes.TICKS, 9, 25 * processes.PAGE_BYTES)


def test_disk_usage_counts_what_is_below(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 200_000)
    (tmp_path / "link").symlink_to("/usr")
    assert 200_000 <= processes.disk_usage(tmp_path) < 400_000
    assert processes.disk_usage(tmp_path / "missing") == 0


def test_no_walls_change_nothing() -> None:
    assert Confinement(Walls.NONE).wrap(Path("/x/chrome"), ["--headless"], Path("/run/s")) == (Path("/x/chrome"), ["--headless"])


def test_rights_end_before_chromium_begins() -> None:
    _, arguments = Confinement(Walls.PROCESSES, (Path("/tmp"),)).wrap(Path("/x/chrome"), ["--a b", "$(x)"], Path("/run/s"))
    assert arguments[-3:] == ["/x/chrome", "--a b", "$(x)"]
    assert {"--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"} <= set(arguments)
    assert "--pid" in arguments
    _, arguments = Confinement(Walls.FILES, ()).wrap(Path("/x/chrome"), [], Path("/run/s"))
    assert "--pid" not in arguments


async def test_a_browser_that_gives_no_sign_of_life_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Browser:
        def on(self, *_: object) -> None:
            pass

        async def new_browser_cdp_session(self) -> object:
            await asyncio.Event().wait()
            raise AssertionError

    ended: list[LeaseCode] = []
    monkeypatch.setattr(lease_module, "HUNG_SECONDS", 0.01)
    monkeypatch.setattr(lease_module, "PING_EVERY", 1)
    over = asyncio.Event()

    def note(_: Lease, code: LeaseCode) -> None:
        ended.append(code)
        over.set()

    chromium = Chromium(cast("Any", Browser()), cast("Any", None), 0, tmp_path, None)
    nothing = cast("Any", None)
    lease = Lease("l", chromium, Controls.of({}), nothing, nothing, nothing, note)
    await lease.look(Census({}))
    await asyncio.wait_for(over.wait(), 10)
    assert ended == [LeaseCode.HUNG]


@pytest.mark.parametrize("killed", [True, False])
async def test_a_page_that_went_with_its_browser_is_not_taken_for_one_that_closed(killed: bool, tmp_path: Path) -> None:
    """Somebody whose page closed stays away; somebody whose browser died is brought back."""

    class Wires:
        """A browser, its line and a page, and what they tell."""

        def __init__(self) -> None:
            self.closed = False
            self.heard: dict[str, Callable[[Any], None]] = {}

        def on(self, event: str, listener: Callable[[Any], None]) -> None:
            self.heard[event] = listener

    class Screen:
        code: CloseCode | None = None

        def close(self, code: CloseCode) -> None:
            self.code = code

    line, page, screen = Wires(), Wires(), Screen()
    ended: list[LeaseCode] = []
    chromium = Chromium(cast("Any", Wires()), cast("Any", line), 0, tmp_path, None)
    nothing = cast("Any", None)
    lease = Lease("l", chromium, Controls.of({}), nothing, nothing, nothing, lambda _, code: ended.append(code))
    tab = Tab(lease, "t", cast("Any", page))
    lease.tabs["t"] = tab
    tab.viewer = cast("Any", screen)
    line.closed = killed
    page.heard["close"](page)
    async with asyncio.timeout(10):
        while screen.code is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert screen.code is (CloseCode.BROWSER_CRASHED if killed else CloseCode.PAGE_CLOSED)
    assert ended == ([LeaseCode.CRASHED] if killed else [])
    assert lease.tabs == {}
    lease.end(LeaseCode.TOLD)
