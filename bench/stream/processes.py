"""Other programs: started, waited for, watched by what processor time they use, and ended by process id."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from bench.report import ROOT, MissingError

START_SECONDS = 90.0  # the first start on a machine compiles half a gigabyte of packages
END_SECONDS = 20.0


def need(program: str, package: str) -> str:
    """Return the path of a program. Raises MissingError that says what to install."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
    if found is None:
        raise MissingError(f"{program} is not installed: apt-get install {package}")
    return found


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(
    argv: Sequence[str], log: Path, *, env: dict[str, str] | None = None, cwd: Path = ROOT, pass_fds: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; end it (politely first) on the way out. The kernel ends it, too, where we die."""
    setpriv = shutil.which("setpriv")
    bound = [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*bound, *argv],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            pass_fds=pass_fds,
            start_new_session=True,  # Ctrl-C is for us; we end the others in order
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(look: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, what: str) -> None:
    """Wait for something a program will do. Raises MissingError with the end of its log where it does not."""
    end = time.monotonic() + START_SECONDS
    while not look():
        if process.poll() is not None or time.monotonic() > end:
            raise MissingError(f"{what} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)


def listens(port: int) -> bool:
    """Tell whether something listens on a port of loopback."""
    try:
        with socket.create_connection(("127.0.0.1", port), 0.2):
            return True
    except OSError:
        return False


def family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def command(process: psutil.Process) -> list[str]:
    """Return a process's command line; nothing for one that is gone."""
    try:
        words = process.cmdline()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return []
    return words[0].split(" ") if len(words) == 1 else words  # Chromium's children write theirs as one word


def browser_of(switch: str) -> int:
    """Return the id of the main process of that Chromium of ours which was started with a switch."""
    for process in family(os.getpid()):
        words = command(process)
        if switch in words and not any(word.startswith("--type=") for word in words):
            return int(process.pid)
    raise MissingError("Chromium's main process was not found")


def browsers_below(pid: int) -> list[int]:
    """Return the main processes of the Chromiums below a process."""
    found = []
    for process in family(pid):
        words = command(process)
        if any(word.startswith("--user-data-dir=") for word in words) and not any(word.startswith("--type=") for word in words):
            found.append(int(process.pid))
    return found


def pss_of(pid: int) -> float:
    """Return a process's proportional share of memory, megabytes; 0 for one that is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 * 1.024 for line in lines if line.startswith("Pss:")), 0.0)


class Meter:
    """Processor time and memory of some processes and all below them, by kind. What a process used counts on when it has ended."""

    def __init__(self, pids: Sequence[int], kind: Callable[[psutil.Process], str]) -> None:
        self._pids = pids
        self._kind = kind
        self._seen: dict[tuple[int, float], tuple[str, float]] = {}

    def read(self) -> dict[str, float]:
        """Return user and system seconds so far, by kind, with the sum as ``all``."""
        for process in (each for pid in self._pids for each in family(pid)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = process.cpu_times()
                self._seen[process.pid, process.create_time()] = (self._kind(process), times.user + times.system)
        found = {"all": 0.0}
        for kind, used in self._seen.values():
            found[kind] = found.get(kind, 0.0) + used
            found["all"] += used
        return found

    def pss(self) -> dict[str, float]:
        """Return the memory now (PSS, megabytes), by kind, with the sum as ``all``."""
        found = {"all": 0.0}
        for process in (each for pid in self._pids for each in family(pid)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                kind, used = self._kind(process), pss_of(process.pid)
                found[kind] = found.get(kind, 0.0) + used
                found["all"] += used
        return found


def started_as_root() -> bool:
    """Tell whether the other systems' browsers must go without their sandbox (ours never does: the node drops root)."""
    return os.geteuid() == 0


def now() -> float:
    """Return a monotonic time in milliseconds."""
    return time.monotonic() * 1000
