"""The supervisor: real children, told their secrets through a pipe, started again when they die, and ended in order with all they started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from isolation.cli import supervisor
from isolation.cli.bootstrap import Bootstrap, LocalNode, free_port, listener
from isolation.cli.supervisor import Spec, Supervisor
from isolation.clock import SystemClock
from isolation.errors import ConfigurationError

BOUND = 20.0

CHILD = """
import os, signal, subprocess, sys, time
name, folder = sys.argv[1:3]
def ended():
    path = os.path.join(folder, "ends")
    return open(path).read() if os.path.exists(path) else ""
line = sys.stdin.readline().strip()
if "--stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    def end(*_):
        while "--last" in sys.argv and "first" not in ended():
            time.sleep(0.01)
        open(os.path.join(folder, "ends"), "a").write(name + "\\n")
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
if "--family" in sys.argv:
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdin=subprocess.DEVNULL)
open(os.path.join(folder, f"{name}-{os.getpid()}"), "w").write(line)
if "--dies" in sys.argv:
    sys.exit(3)
if "--ready-with" in sys.argv:
    from isolation.cli.supervisor import say_ready
    while not os.path.exists(os.path.join(folder, "go")):
        time.sleep(0.01)
    say_ready()
while sys.stdin.read(1):
    pass
open(os.path.join(folder, "orphans"), "a").write(name + "\\n")
if "--stubborn" in sys.argv:
    signal.pause()
"""


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.gone: list[tuple[str, int]] = []
        self.told = 0

    def spec(self, name: str, *options: str, secret: str = "the secret", env: dict[str, str] | None = None) -> Spec:
        def bootstrap() -> bytes:
            self.told += 1
            return f"{secret} {self.told}".encode()

        return Spec(name, [sys.executable, "-c", CHILD, name, str(self.folder), *options], bootstrap, env=env or {})

    def starts(self, name: str) -> list[Path]:
        return sorted(path for path in self.folder.glob(f"{name}-*") if path.read_text())

    def lines(self, name: str) -> list[str]:
        file = self.folder / name
        return file.read_text().split() if file.exists() else []

    @asynccontextmanager
    async def running(self, *specs: Spec) -> AsyncIterator[Supervisor]:
        running = Supervisor(specs, SystemClock(), gone=lambda name, pid: self.gone.append((name, pid)))
        await running.start()
        family: list[psutil.Process] = []
        try:
            for spec in specs:
                if "--dies" not in spec.argv:
                    await until(lambda spec=spec: len(self.starts(spec.name)) >= 1)
            yield running
            for pid in running.pids.values():
                with contextlib.suppress(psutil.NoSuchProcess):
                    family += [child := psutil.Process(pid), *child.children(recursive=True)]
        finally:
            await running.stop()
        _, left = psutil.wait_procs(family, 5)
        assert left == []


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_children_are_told_through_a_pipe_and_end_in_reverse_order(world: World) -> None:
    async with world.running(world.spec("first"), world.spec("second"), world.spec("third")) as running:
        assert set(running.pids) == {"first", "second", "third"}
        [told] = world.starts("second")
        assert told.read_text() == "the secret 2"
        process = psutil.Process(running.pids["second"])
        assert "the secret" not in " ".join(process.cmdline())
        assert "the secret" not in str(process.environ())
        # A session of its own: Ctrl-C on the terminal reaches the supervisor alone.
        assert os.getsid(process.pid) == process.pid
    assert world.lines("ends") == ["third", "second", "first"]
    assert [name for name, _ in world.gone] == ["third", "second", "first"]
    assert running.pids == {}


async def test_an_independent_child_ends_while_the_others_do(world: World) -> None:
    """It goes when the first has gone; were it waited for in its turn, it would have to be killed."""
    slow = replace(world.spec("slow", "--last"), independent=True)
    async with world.running(world.spec("first"), world.spec("second"), slow):
        pass
    assert world.lines("ends") == ["second", "first", "slow"]


async def test_a_child_that_dies_is_started_again_and_told_anew(world: World) -> None:
    async with world.running(world.spec("one"), world.spec("other")) as running:
        before = dict(running.pids)
        os.kill(before["one"], signal.SIGKILL)
        await until(lambda: len(world.starts("one")) == 2)
        assert running.pids["one"] != before["one"]
        assert running.pids["other"] == before["other"]
        assert ("one", before["one"]) in world.gone
        texts = [path.read_text() for path in world.starts("one")]
        assert len(set(texts)) == 2  # the bootstrap is asked for anew


async def test_one_that_keeps_dying_is_tried_ever_more_rarely(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LAST_BACKOFF", 0.4)
    async with world.running(world.spec("bad", "--dies"), world.spec("good")) as running:
        await until(lambda: len(world.starts("bad")) >= 4)
        assert running.pids.keys() >= {"good"}


def waiting(world: World, running: Supervisor) -> list[psutil.Process]:
    """Children that were told nothing yet."""
    busy = set(running.pids.values())
    ours = [child for child in psutil.Process().children() if child.pid not in busy and child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in ours if str(world.folder) in child.cmdline()]


@pytest.fixture
def spared(world: World, monkeypatch: pytest.MonkeyPatch) -> Spec:
    """A child with a spare, which is started soon; without one nobody would take over within this test."""
    monkeypatch.setattr(supervisor, "SPARE_AFTER", 0.05)
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF", 10 * BOUND)
    return replace(world.spec("node"), spare=True)


async def test_a_spare_takes_over_at_once_and_has_one_itself(world: World, spared: Spec) -> None:
    async with world.running(spared) as running:
        for turn in range(1, 3):
            await until(lambda: waiting(world, running))
            [spare] = waiting(world, running)
            assert len(world.starts("node")) == turn  # it was told nothing, and did nothing
            os.kill(running.pids["node"], signal.SIGKILL)
            await until(lambda turn=turn: len(world.starts("node")) == turn + 1)
            assert running.pids == {"node": spare.pid}
            assert (world.folder / f"node-{spare.pid}").read_text() == f"the secret {turn + 1}"
        await until(lambda: waiting(world, running))
        last = waiting(world, running)
    assert psutil.wait_procs(last, BOUND)[1] == []


async def test_a_spare_that_is_dead_is_not_waited_for(world: World, spared: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF", 0.05)
    async with world.running(spared) as running:
        await until(lambda: waiting(world, running))
        [spare] = waiting(world, running)
        spare.kill()
        await until(lambda: not waiting(world, running))
        os.kill(running.pids["node"], signal.SIGKILL)
        await until(lambda: len(world.starts("node")) == 2)
        assert running.pids["node"] != spare.pid


async def test_a_child_that_is_replaced_takes_its_spare_with_it(world: World, spared: Spec) -> None:
    """It was started the old way."""
    async with world.running(spared) as running:
        await until(lambda: waiting(world, running))
        [old] = waiting(world, running)
        await running.restart("node", replace(spared, bootstrap=lambda: b"a new secret"))
        assert not old.is_running()
        await until(lambda: waiting(world, running) and len(world.starts("node")) == 2)
        os.kill(running.pids["node"], signal.SIGKILL)
        await until(lambda: len(world.starts("node")) == 3)
        assert sum(path.read_text() == "a new secret" for path in world.starts("node")) == 2


async def test_one_that_dies_young_has_no_spare(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a child that cannot run would be started without end, and without a pause."""
    monkeypatch.setattr(supervisor, "FIRST_BACKOFF", 10 * BOUND)
    async with world.running(replace(world.spec("bad", "--dies"), spare=True), world.spec("good")) as running:
        await until(lambda: [name for name, _ in world.gone] == ["bad"])
        await asyncio.sleep(0.3)
        assert len(world.starts("bad")) == 1
        assert waiting(world, running) == []


async def test_what_a_dead_child_had_started_goes_with_it(world: World) -> None:
    async with world.running(world.spec("parent", "--family")) as running:
        pid = running.pids["parent"]
        await until(lambda: psutil.Process(pid).children())
        [grandchild] = psutil.Process(pid).children()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE)
        await until(lambda: len(world.starts("parent")) == 2)


async def test_one_that_will_not_end_is_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "TERM_SECONDS", 0.2)
    async with world.running(world.spec("deaf", "--stubborn", "--family")) as running:
        pid = running.pids["deaf"]
    assert not psutil.pid_exists(pid)


async def test_a_child_is_replaced_by_another_of_its_name(world: World) -> None:
    async with world.running(world.spec("worker"), world.spec("other")) as running:
        before = dict(running.pids)
        await running.restart("worker", world.spec("worker", secret="a new secret"))
        await until(lambda: len(world.starts("worker")) == 2)
        assert world.lines("ends") == ["worker"]
        assert running.pids["other"] == before["other"]
        assert any(path.read_text().startswith("a new secret") for path in world.starts("worker"))
        # The new one is looked after as the old one was.
        os.kill(running.pids["worker"], signal.SIGKILL)
        await until(lambda: len(world.starts("worker")) == 3)
        assert sum(path.read_text().startswith("a new secret") for path in world.starts("worker")) == 2


async def test_a_child_that_says_when_it_is_ready_is_replaced_without_a_gap(world: World) -> None:
    async with world.running(world.spec("worker")) as running:
        old = running.pids["worker"]
        replacing = asyncio.create_task(running.restart("worker", replace(world.spec("worker", "--ready-with"), says_ready=True)))
        await until(lambda: len(world.starts("worker")) == 2)
        await asyncio.sleep(0.2)
        assert world.lines("ends") == []  # the old one works as long as the new one does not
        (world.folder / "go").touch()
        await replacing
        assert world.gone == [("worker", old)]
        assert world.lines("ends") == ["worker"]
        os.kill(running.pids["worker"], signal.SIGKILL)
        await until(lambda: len(world.starts("worker")) == 3)


@pytest.mark.parametrize("option", ["--dies", "--silent"])
async def test_a_successor_that_is_never_ready_keeps_nothing_alive(
    world: World, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    """What the old one does is no longer in force."""
    monkeypatch.setattr(supervisor, "READY_SECONDS", 0.5 if option == "--silent" else BOUND)
    async with world.running(world.spec("worker")) as running:
        old = running.pids["worker"]
        await running.restart("worker", replace(world.spec("worker", option), says_ready=True))
        assert world.gone[0] == ("worker", old)
        await until(lambda: len(world.starts("worker")) >= (3 if option == "--dies" else 2))


async def test_a_successor_that_cannot_be_started_keeps_nothing_alive_and_is_tried_again(world: World) -> None:
    spec = world.spec("worker", "--silent")
    program = world.folder / "program"
    async with world.running(world.spec("worker")) as running:
        old = running.pids["worker"]
        await running.restart("worker", replace(spec, argv=[str(program), *spec.argv[1:]], says_ready=True))
        assert world.gone == [("worker", old)]
        program.symlink_to(sys.executable)
        await until(lambda: len(world.starts("worker")) == 2)


async def test_a_program_that_is_not_there_stops_nobody_else(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there at first, and was removed while it ran; put back, it is started again."""
    program = world.folder / "program"
    program.symlink_to(sys.executable)
    spec = world.spec("linked")
    linked = Spec("linked", [str(program), *spec.argv[1:]], spec.bootstrap)
    async with world.running(linked, world.spec("other")) as running:
        program.unlink()
        os.kill(running.pids["linked"], signal.SIGKILL)
        await until(lambda: "linked" not in running.pids)
        await asyncio.sleep(0.3)
        assert "other" in running.pids
        program.symlink_to(sys.executable)
        await until(lambda: len(world.starts("linked")) == 2)


def test_children_leave_when_the_supervisor_is_killed(world: World) -> None:
    """However it ends: their standard input ends with it."""
    program = f"""
import asyncio, sys
from isolation.cli.supervisor import Spec, Supervisor
from isolation.clock import SystemClock
specs = [Spec(name, [sys.executable, "-c", {CHILD!r}, name, {str(world.folder)!r}], lambda: b"x") for name in ("a", "b")]
async def main():
    await Supervisor(specs, SystemClock()).start()
    print("started", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    process = psutil.Popen([sys.executable, "-c", program], stdout=-1, cwd=Path(__file__).parents[3])
    for line in process.stdout:  # after the log lines
        if line == b"started\n":
            break
    children = process.children()
    assert len(children) == 2
    asyncio.run(until(lambda: len(world.starts("a")) == len(world.starts("b")) == 1))
    process.kill()
    process.wait(BOUND)
    process.stdout.close()
    _, left = psutil.wait_procs(children, BOUND)
    assert left == []
    assert sorted(world.lines("orphans")) == ["a", "b"]


# ---------------------------------------------------------------------- the first line


def test_a_bootstrap_survives_the_pipe() -> None:
    given = Bootstrap("f.yaml", "a: 1\n", "s", "pem\n", {"public": 7}, LocalNode("127.0.0.1", 9, "t"))
    line = given.encode()
    assert b"\n" not in line
    assert Bootstrap.decode(line) == given
    assert Bootstrap.decode(Bootstrap("f", "", "s", "", {}).encode()).node is None


@pytest.mark.parametrize("line", [b"", b"hello", b"[]", b"{}", b'{"node": null}', b'{"node": {"x": 1}}', b"\xff"])
def test_a_line_that_is_none_is_refused_clearly(line: bytes) -> None:
    with pytest.raises(ConfigurationError, match="started by `isolation serve`"):
        Bootstrap.decode(line)


def test_a_port_that_is_taken_names_the_setting() -> None:
    with listener(("127.0.0.1", free_port()), "listen") as taken:
        assert taken.get_inheritable()
        with pytest.raises(ConfigurationError, match=r"cannot listen on 127\.0\.0\.1:\d+ \(operations_listen\)"):
            listener(taken.getsockname(), "operations_listen")
