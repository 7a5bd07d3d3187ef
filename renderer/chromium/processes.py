"""What /proc says of processes: who is whose child, and what each uses. One pass over all of them serves every session."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # of processor time, a second
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as in proc_pid_stat(5). ``cpu``: seconds so far. ``resident``: bytes, pages shared with others included."""

    pid: int
    parent: int
    state: str
    cpu: float
    threads: int
    resident: int


class Census:
    """All processes of one moment."""

    def __init__(self, processes: Mapping[int, Process]) -> None:
        self._processes = processes
        self._children: dict[int, list[Process]] = defaultdict(list)
        for process in processes.values():
            self._children[process.parent].append(process)

    def tree(self, pid: int) -> list[Process]:
        """Return a process and everything it started that is alive, parents first."""
        found = [self._processes[pid]] if pid in self._processes else []
        for process in found:
            found.extend(self._children.get(process.pid, ()))
        return [process for process in found if process.state not in "ZX"]


def take_census(proc: Path = PROC) -> Census:
    """Read every process that may be read."""
    return Census({process.pid: process for process in _read_all(proc)})


def _read_all(proc: Path) -> Iterator[Process]:
    for entry in os.listdir(proc):
        if entry.isdigit():
            process = read(int(entry), proc)
            if process is not None:
                yield process


def read(pid: int, proc: Path = PROC) -> Process | None:
    """Return one process, or None when there is none of that number."""
    try:
        with open(f"{proc}/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return None
    # The name in the second field may hold anything, blanks and brackets included; what follows its last bracket may not.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return Process(
        pid,
        int(fields[1]),
        fields[0].decode(),
        (int(fields[11]) + int(fields[12])) / TICKS,
        int(fields[17]),
        int(fields[21]) * PAGE_BYTES,
    )


def command(pid: int, proc: Path = PROC) -> bytes:
    """Return a process's arguments, each ended by a zero byte; nothing when it is gone."""
    try:
        return Path(proc, str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


def is_page(pid: int, proc: Path = PROC) -> bool:
    """Say whether a process is one of Chromium's that run pages."""
    return b"--type=renderer" in command(pid, proc)


def browser_of(tree: Sequence[int], proc: Path = PROC) -> int:
    """Return Chromium's browser process among the processes of a session, parents first; 0 for none.

    What made its namespaces has the same arguments, and is its parent. Chromium joins its own arguments by blanks once it runs.
    """
    found = 0
    for pid in tree:
        arguments = command(pid, proc)
        if b"--remote-debugging-pipe" in arguments and b"--type=" not in arguments:
            found = pid
    return found


def own_memory(pid: int, proc: Path = PROC) -> int:
    """Return the bytes a process takes, with its share of what it shares (PSS); where that is closed, what only it holds."""
    for name, key in (("smaps_rollup", "Pss:"), ("status", "RssAnon:")):
        try:
            for line in Path(proc, str(pid), name).read_text().splitlines():
                if line.startswith(key):
                    return int(line.split()[1]) * 1024
        except (OSError, ValueError, IndexError):
            continue
    return 0


def children(pid: int, proc: Path = PROC) -> list[int]:
    """Return the processes that a process's threads have started, and those they inherited."""
    found: list[int] = []
    try:
        for thread in (proc / str(pid) / "task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except OSError:
        return found
    return found


def available_memory(proc: Path = PROC) -> int:
    """Return the bytes that programs can still take without swapping (MemAvailable of proc_meminfo(5))."""
    for line in (proc / "meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def disk_usage(directory: Path) -> int:
    """Return the bytes that a directory takes on its disk. What vanishes meanwhile counts nothing."""
    used, waiting = 0, [str(directory)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    try:
                        used += entry.stat(follow_symlinks=False).st_blocks * 512
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(entry.path)
                    except OSError:
                        continue
        except OSError:
            continue
    return used
