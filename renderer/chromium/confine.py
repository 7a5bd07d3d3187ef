"""Walls between sessions that run under one account: namespaces of each browser's own, made by util-linux's ``unshare``.

Chromium's sandbox holds its page processes. Its browser and network processes run with all rights of the node's account, so without walls one that
was taken over could read another session's profile, memory and arguments, and end its processes. So each Chromium starts in a user, mount and process
namespace of its own: it sees no process but its own, and of the directories that other sessions use only its own private one. No privilege is
needed for that beyond what Chromium's sandbox needs itself, nothing runs as root, and the kernel ends everything inside when its first process ends.
An account per session would need a helper with root's rights for the node's whole life; these walls need none.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

# ---------------------------------------------------------------- limits
PROBE_SECONDS = 10.0  # making namespaces takes milliseconds; a machine that starts everything at once takes longer
THREADS = 4000  # of one session, counted by the kernel in its own user namespace: twenty heavy tabs have a third of it
OPEN_FILES = 8192  # of one process
# Covered, so that no session finds another's files there, nor changes its own control group.
_SHARED = ("/tmp", "/var/tmp", "/dev/shm", "/sys/fs/cgroup")  # noqa: S108 - not written to

_TOOLS = ("unshare", "setpriv", "prlimit", "mount")
_USER = ("--user", "--map-current-user", "--keep-caps", "--mount")
_PROCESSES = ("--pid", "--fork", "--kill-child", "--mount-proc")
# $1: private directory; $2: Chromium's directory where it is covered, or ""; $3: directories to cover, one a line; then the command.
# What must stay is opened before the covers are laid: the descriptors still lead to it.
_SCRIPT = """set -e
home=$1 program=$2 covered=$3
shift 3
exec 8<"$home"
[ -z "$program" ] || exec 9<"$program"
IFS='
'
for directory in $covered; do mount -n -t tmpfs -o mode=0711,size=64k,nodev,nosuid,noexec none "$directory"; done
mkdir -p "$home"
mount -n -c --bind /proc/self/fd/8 "$home"
exec 8<&-
if [ -n "$program" ]; then mkdir -p "$program"; mount -n -c --bind /proc/self/fd/9 "$program"; exec 9<&-; fi
cd "$home"
exec "$@"
"""


class Walls(Enum):
    """How much stands between two sessions."""

    PROCESSES = "processes"  # own processes, own files
    FILES = "files"  # own files; other sessions' processes can be seen, not looked into (a container that masks parts of /proc)
    NONE = "none"  # Chromium's own sandbox only


@dataclass(frozen=True, slots=True)
class Confinement:
    """How browsers are started on this machine. ``covered``: directories hidden from every session; see :func:`probe`."""

    walls: Walls
    covered: tuple[Path, ...] = ()

    def wrap(self, executable: Path, arguments: Sequence[str], home: Path, through: Sequence[str] = ()) -> tuple[Path, list[str]]:
        """Return program and arguments that start Chromium behind the walls, with the resource limits that every process of it inherits.

        ``through``: a command that starts it in its turn, given as arguments after its own.
        """
        start = [*through, str(executable), *arguments]
        if self.walls is Walls.NONE:
            return Path(start[0]), start[1:]
        program = executable.parent if any(executable.is_relative_to(path) for path in self.covered) else None
        command = ["prlimit", "--core=0", f"--nproc={THREADS}", f"--nofile={OPEN_FILES}", "--"]
        # The rights that laid the covers end here, for good.
        command += ["setpriv", "--ambient-caps=-all", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs", "--"]
        namespaces = [*_USER, *(_PROCESSES if self.walls is Walls.PROCESSES else ())]
        covers = "\n".join(map(str, self.covered))
        script = ["/bin/sh", "-c", _SCRIPT, "chromium", str(home), str(program or ""), covers]
        return Path(shutil.which("unshare") or "unshare"), [*namespaces, "--", *script, *command, *start]


async def probe(executable: Path, runtime_dir: Path, hide: Sequence[Path] = ()) -> Confinement:
    """Find out which walls this machine allows, by building them around a command that does nothing. ``hide``: further directories to cover."""
    if any(shutil.which(tool) is None for tool in _TOOLS):
        return Confinement(Walls.NONE)
    covered = tuple(_covered(executable, [*map(Path, _SHARED), runtime_dir, *hide, *_home_directory()]))
    home = runtime_dir / "session-probe"
    home.mkdir(mode=0o700, exist_ok=True)
    try:
        for walls in (Walls.PROCESSES, Walls.FILES):
            confinement = Confinement(walls, covered)
            if await _holds(confinement, home):
                return confinement
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return Confinement(Walls.NONE)


async def _holds(confinement: Confinement, home: Path) -> bool:
    """Say whether a command runs behind the walls, and sees nothing of a neighbour's file."""
    neighbour = home.with_name("session-probe-neighbour")
    neighbour.mkdir(mode=0o700, exist_ok=True)
    program, arguments = confinement.wrap(Path("/bin/sh"), ["-c", f'[ -d "{home}" ] && [ ! -e "{neighbour}" ]'], home)
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return await process.wait() == 0
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    finally:
        shutil.rmtree(neighbour, ignore_errors=True)


def _covered(executable: Path, wanted: Sequence[Path]) -> list[Path]:
    """Return the outermost of the wanted directories that exist; never the root, nor one whose name would end a line of the script."""
    kept: list[Path] = []
    for path in sorted({path.resolve() for path in wanted}):
        harmless = path.is_dir() and path != Path("/") and "\n" not in str(path)
        if harmless and path != executable.parent and not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def _home_directory() -> list[Path]:
    """Return the home directory of the account, whose keys and files are nothing for a browser."""
    try:
        return [Path(pwd.getpwuid(os.geteuid()).pw_dir)]
    except KeyError:
        return []
