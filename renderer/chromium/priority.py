"""Who waits for whom when the processors are busy: browsers wait for the node and the router, and a page that computes without end for everybody.

Every browser leads a session of its own, and where the kernel groups sessions for fairness (``sched_autogroup_enabled``) each gets as much as the node
that serves them all: with four that scrolled, what costs it 23 ms of processor took half a second, and pictures were made that nobody took. So browsers
start behind it (see :mod:`renderer.chromium.line`). A busy page's process, and its browser's group, go further back; no process is ever stopped.
Where the kernel groups nothing, the processes' own priorities say the same.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

# ---------------------------------------------------------------- limits
BROWSER = 5  # nice value of every browser: a third of the weight of an ordinary process (sched(7): each step is a factor of 1.25)
LOW = 15  # of a busy one: a tenth of another browser's weight

log = logging.getLogger("renderer.priority")


def lower(pid: int, proc: Path = Path("/proc")) -> bool:
    """Put a process behind others. False: it is gone, or may not be changed."""
    return _set(pid, LOW, proc)


def restore(pid: int, proc: Path = Path("/proc")) -> bool:
    """Undo :func:`lower`. The kernel lets an ordinary account do so for groups; for threads only where its RLIMIT_NICE allows."""
    return _set(pid, BROWSER, proc)


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
