"""The processes of a deployment under soak: ended as nobody should end them, and counted."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import psutil

# ---------------------------------------------------------------- limits
ATTEMPTS = 100  # to find something to end
AGAIN_SECONDS = 0.2

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sample:
    """What a deployment holds at one moment. Memory in MiB."""

    zombies: int
    browsers: int
    directories: int
    router_files: int
    node_files: int
    router_memory: float
    node_memory: float
    everything_memory: float

    def figures(self, prefix: str) -> dict[str, float | int | None]:
        """Return every value under its name."""
        return {f"{prefix}.{name}": round(value, 1) for name, value in asdict(self).items()}


class Deployment:
    """What runs below one supervisor. ``pids``: process ids a child had so far, by its name."""

    def __init__(self, supervisor: int, pids: Callable[[str], Sequence[int]], runtime_dir: Path) -> None:
        self._supervisor = psutil.Process(supervisor)
        self._pids = pids
        self._runtime_dir = runtime_dir

    def family(self) -> list[psutil.Process]:
        """Return every process below the supervisor."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(self._supervisor.children(recursive=True))
        return []

    def browsers(self) -> list[int]:
        """Return the processes that lead a browser each: children of the node's driver."""
        return [
            process.pid
            for process in self.family()
            if _has(process, "--remote-debugging-pipe", "--user-data-dir=") and _leads(process)
        ]

    def pages(self) -> list[int]:
        """Return the processes that run pages."""
        return [process.pid for process in self.family() if _has(process, "--type=renderer")]

    def kill(self, what: str, chance: random.Random) -> str:
        """End a ``browser``, the ``node`` or a ``router`` worker, with kill -9. Returns what it was."""
        child = {"node": "renderer", "router": "worker-0"}.get(what)
        for _ in range(ATTEMPTS):
            found = self.browsers() if child is None else list(self._pids(child))[-1:]
            if found and end(chance.choice(found)):
                return what
            time.sleep(AGAIN_SECONDS)  # it is just being started after the fault before
        return f"{what} (was gone)"

    def sample(self) -> Sample:
        """Count what there is now."""
        family = self.family()
        statuses = [_value(process.status, "") for process in family]
        node, router = (psutil.Process(list(self._pids(name))[-1]) for name in ("renderer", "worker-0"))
        return Sample(
            zombies=statuses.count(psutil.STATUS_ZOMBIE),
            browsers=len(self.browsers()),
            directories=sum(path.name.startswith("session-") for path in self._runtime_dir.iterdir()),
            router_files=_value(router.num_fds, 0),
            node_files=_value(node.num_fds, 0),
            router_memory=_memory(router),
            node_memory=_memory(node),
            everything_memory=sum(map(_memory, family)),
        )


def end(pid: int) -> bool:
    """Kill -9. False: it was gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _leads(process: psutil.Process) -> bool:
    return _value(lambda: os.getpgid(process.pid) == process.pid, False) and not _has(process, "--type=")


def _has(process: psutil.Process, *words: str) -> bool:
    arguments = " ".join(_value(process.cmdline, []))
    return all(word in arguments for word in words)


def _memory(process: psutil.Process) -> float:
    return float(_value(lambda: process.memory_full_info().pss, 0)) / 1024**2


def _value(read: Callable[[], T], otherwise: T) -> T:
    try:
        return read()
    except (psutil.Error, OSError):
        return otherwise
