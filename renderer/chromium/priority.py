"""Let a page that computes without end wait behind everybody else's: no process is stopped, each only gets less while others want more.

Every browser leads a session of its own, so where the kernel groups sessions for fairness (``sched_autogroup_enabled``) two browsers share the processor
evenly whatever they run; lowering the group makes the busy one give way further. Elsewhere the busy process's own threads are lowered.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

# ---------------------------------------------------------------- limits
LOW = 10  # nice value: a tenth of the weight of an ordinary process

log = logging.getLogger("renderer.priority")


def lower(pid: int, proc: Path = Path("/proc")) -> bool:
    """Put a process behind others. False: it is gone, or may not be changed."""
    return _set(pid, LOW, proc)


def restore(pid: int, proc: Path = Path("/proc")) -> bool:
    """Undo :func:`lower`. The kernel lets an ordinary account do so for groups; for threads only where its RLIMIT_NICE allows."""
    return _set(pid, 0, proc)


def _set(pid: int, nice: int, proc: Path) -> bool:
    try:
        threads = [int(thread) for thread in os.listdir(proc / str(pid) / "task")]
    except OSError:
        return False
    done = False
    try:
        (proc / str(pid) / "autogroup").write_text(str(nice))
        done = True
    except OSError:
        log.debug("priority.no-group")
    for thread in threads:
        try:
            os.setpriority(os.PRIO_PROCESS, thread, nice)
            done = True
        except OSError:
            continue
    return done
