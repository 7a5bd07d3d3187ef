"""Control groups (cgroup v2): the kernel holds each session to its memory, processes and processor, at every moment.

The node needs a branch of the tree that it may change: a service with ``Delegate=yes``, a container with its own writable tree, or root, who makes
one before the node becomes an unprivileged account. Where there is none, the watch (:mod:`renderer.watch`) and the kernel's limits for single processes
remain. Within a session the kernel ends the process that takes most: Chromium offers its page processes first.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from renderer.watch import Limits

# ---------------------------------------------------------------- limits
PERIOD = 100_000  # microseconds over which processor time is measured out: the kernel's own default
THREADS_PER_PROCESS = 40  # the kernel counts threads: a browser process has forty at its busiest
SPARE = 1.1  # of memory above what the watch allows: it speaks first, and can say why

CLOSE_TIMES = 20
CLOSE_AGAIN_SECONDS = 0.05

ROOT = Path("/sys/fs/cgroup")
_CONTROLLERS = ("memory", "pids", "cpu")
_NODE = "node"  # where the node itself and its driver live: groups with children hold no processes
_SESSION = "session-"
_BRANCH = "isolation-renderer-"

log = logging.getLogger("renderer.cgroups")


@dataclass(frozen=True, slots=True)
class Groups:
    """A branch of the tree in which every session gets a group of its own."""

    branch: Path

    def clear(self) -> None:
        """End what a node that was killed left in the branch. Call it while the runtime directory is locked: another node may run beside."""
        for stale in self.branch.glob(f"{_SESSION}*"):
            close(stale)

    def open(self, name: str, limits: Limits) -> Path | None:
        """Make a session's group, or None when the kernel refuses: then the watch alone holds it."""
        group = self.branch / f"{_SESSION}{name}"
        try:
            group.mkdir()
            for file, value in settings(limits).items():
                (group / file).write_text(value)
        except OSError as problem:
            log.warning("cgroup.refused", extra={"why": str(problem)})
            close(group)
            return None
        return group


def settings(limits: Limits) -> dict[str, str]:
    """Return what is written into a session's group, by file."""
    return {
        "memory.max": str(round(limits.memory * SPARE)),
        "pids.max": str(limits.processes * THREADS_PER_PROCESS),
        "cpu.max": f"{max(1000, round(limits.cores * PERIOD))} {PERIOD}",
    }


def join(group: Path, pids: Sequence[int]) -> None:
    """Put processes into a group; what they start later is in it too."""
    for pid in pids:
        with contextlib.suppress(OSError):  # it ended meanwhile
            (group / "cgroup.procs").write_text(str(pid))


def close(group: Path) -> bool:
    """Remove a group, with what may still run in it. False: something in it is not gone yet."""
    with contextlib.suppress(OSError):
        (group / "cgroup.kill").write_text("1")
    for _ in range(CLOSE_TIMES):
        try:
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(CLOSE_AGAIN_SECONDS)  # killed processes take a moment to go
        else:
            return True
    return False


def delegate(uid: int, gid: int, root: Path = ROOT, proc: Path = Path("/proc")) -> None:
    """Make a branch that an account may change, and move this process into it. Does nothing where that is not possible. For root only."""
    base = _own(root, proc)
    if base is None:
        return
    branch = base / f"{_BRANCH}{os.getpid()}"
    try:
        for stale in base.glob(f"{_BRANCH}*"):
            if not (proc / stale.name.removeprefix(_BRANCH)).exists():
                _remove(stale)
        branch.mkdir()
        (branch / "cgroup.procs").write_text(str(os.getpid()))
        # The base gives its controllers to the branch only when it holds no process of its own; as the tree's root it may.
        (base / "cgroup.subtree_control").write_text(_enable())
        for path in (branch, branch / "cgroup.procs", branch / "cgroup.subtree_control", branch / "cgroup.threads"):
            os.chown(path, uid, gid)
    except OSError as problem:
        log.info("cgroup.not-delegated", extra={"why": str(problem)})
        _leave(branch, base)


def find(root: Path = ROOT, proc: Path = Path("/proc")) -> Groups | None:
    """Return the branch this process may change, with the node itself moved aside and the controllers on; None where there is none."""
    base = _own(root, proc)
    if base is None:
        return None
    node = base / _NODE
    try:
        if not set(_CONTROLLERS) <= set((base / "cgroup.controllers").read_text().split()):
            return None
        node.mkdir(exist_ok=True)
        # Only ourselves: where others live in the same group, the kernel refuses what follows, and we go back.
        (node / "cgroup.procs").write_text(str(os.getpid()))
        (base / "cgroup.subtree_control").write_text(_enable())
        # Whether limits may be set shows when one is.
        probe = Groups(base).open("probe", Limits())
        if probe is None:
            raise PermissionError("no limits may be set")
        close(probe)
    except OSError as problem:
        log.info("cgroup.none", extra={"why": str(problem)})
        _leave(node, base)
        return None
    return Groups(base)


def _enable() -> str:
    return " ".join(f"+{name}" for name in _CONTROLLERS)


def _own(root: Path, proc: Path) -> Path | None:
    """Return this process's group in the unified tree, or None when that tree does not lie at its usual place."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if path is None or not (root / "cgroup.controllers").is_file():
        return None
    base = (root / path.lstrip("/")).resolve()
    return base if base.is_relative_to(root.resolve()) and base.is_dir() else None


def _leave(group: Path, base: Path) -> None:
    with contextlib.suppress(OSError):
        for pid in (group / "cgroup.procs").read_text().split():
            (base / "cgroup.procs").write_text(pid)
        group.rmdir()


def _remove(branch: Path) -> None:
    """Remove what a node that was killed left: nothing runs in it."""
    for group in [*branch.glob("*/"), branch]:
        with contextlib.suppress(OSError):
            group.rmdir()
