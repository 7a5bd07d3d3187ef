"""What one session may use of its node, and noticing when it uses more. Pure: fed with what /proc says, it answers what to do.

Control groups hold memory, processes and processor exactly where the node may make them (see :mod:`renderer.chromium.cgroups`); this watch holds
everywhere. It looks once a second. Between two looks the kernel's own limits hold (``RLIMIT_NPROC``, and V8's heap limit).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from renderer.chromium.processes import Process

# ---------------------------------------------------------------- limits
WATCH_SECONDS = 1.0  # between two looks: a page that allocates as fast as it can takes a gigabyte in this time
DISK_EVERY = 10  # looks: a private directory is walked, which costs more than a look at /proc
CPU_WINDOW = 10  # looks over which processor time is averaged: the burst of a loading page is over by then
BUSY_CORES = 0.8  # average of one process over the window: a page that computes on and on
CALM_CORES = 0.4  # average below which it counts as calm again
CULPRIT = 0.5  # a page's process with more than this part of its session's memory is the one that ends
SECOND_CHANCE_SECONDS = 60.0  # a session whose page is ended for its memory twice in this time is ended

MIB = 1024 * 1024


class Limit(StrEnum):
    """What ran out. The words are those of :class:`renderer.wire.control.LeaseCode`, log lines and metrics."""

    MEMORY = "memory"
    PROCESSES = "processes"
    DISK = "disk"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may use. ``memory`` and ``disk`` in bytes, ``seconds`` of life; ``cores``: processor, where control groups can hold it."""

    memory: int = 3072 * MIB  # a laptop's browser with many heavy tabs
    processes: int = 200  # twenty tabs with frames of many sites have a hundred
    disk: int = 2048 * MIB  # the HTTP cache (64 MB), what the page stores, and files on their way
    seconds: float = 24 * 3600.0  # a browser gathers memory: after a day it begins anew
    cores: float = 1.5  # one page at full speed and the browser around it


@dataclass(frozen=True, slots=True)
class EndPage:
    """End this process: the page in it is the one that takes too much."""

    pid: int
    used: int


@dataclass(frozen=True, slots=True)
class EndSession:
    """End the session."""

    limit: Limit
    used: int


Verdict = EndPage | EndSession | None


@dataclass(slots=True)
class Watch:
    """The memory of one session's watch. ``started``: seconds on the caller's clock, as ``now`` of every call."""

    limits: Limits
    started: float
    _spared: float = field(default=float("-inf"))
    _cpu: dict[int, deque[tuple[float, float, bool]]] = field(default_factory=dict)
    _busy: set[int] = field(default_factory=set)

    def over(self, now: float, tree: Sequence[Process]) -> Limit | None:
        """Return what the session seems to use too much of. Memory counts shared pages more than once here: ask :meth:`judge` before acting."""
        if now - self.started > self.limits.seconds:
            return Limit.TIME
        if len(tree) > self.limits.processes:
            return Limit.PROCESSES
        if sum(process.resident for process in tree) > self.limits.memory:
            return Limit.MEMORY
        return None

    def judge(self, now: float, memory: Mapping[int, int], pages: frozenset[int]) -> Verdict:
        """Return what to do about a session's memory. ``memory``: bytes by process, shared pages counted once; ``pages``: processes that run pages."""
        used = sum(memory.values())
        if used <= self.limits.memory:
            return None
        largest = max(pages & memory.keys(), key=lambda pid: memory[pid], default=0)
        if largest and memory[largest] > CULPRIT * used and now - self._spared > SECOND_CHANCE_SECONDS:
            self._spared = now
            return EndPage(largest, used)
        return EndSession(Limit.MEMORY, used)

    def busy(self, now: float, tree: Sequence[Process]) -> frozenset[int]:
        """Return the processes that compute on and on; one stays among them until it is calm.

        That is: a core's worth of time for the whole window; or, where the machine has less to give, wanting it at every look.
        """
        known = {process.pid for process in tree}
        for gone in self._cpu.keys() - known:
            del self._cpu[gone]
        self._busy &= known
        for process in tree:
            seen = self._cpu.setdefault(process.pid, deque(maxlen=CPU_WINDOW + 1))
            seen.append((now, process.cpu, process.state == "R"))
            first, before, _ = seen[0]
            if len(seen) <= CPU_WINDOW or now <= first:
                continue
            cores = (process.cpu - before) / (now - first)
            if cores > BUSY_CORES or all(runs for _, _, runs in seen):
                self._busy.add(process.pid)
            elif cores < CALM_CORES:
                self._busy.discard(process.pid)
        return frozenset(self._busy)
