"""Chromium never runs as root: a node started as root becomes an unprivileged account before it does anything else.

The node re-executes itself through ``setpriv`` (no groups, no capabilities, no new privileges). Where that account may not read the
interpreter or the checkout (a virtual environment under ``/root``), the process first enters a mount namespace of its own in which each
directory that bars the way is covered by an empty one holding read-only bind mounts of just what is needed; nothing else below it is visible.
Started as an ordinary user, nothing happens.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import resource
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from renderer.chromium import cgroups

# ---------------------------------------------------------------- limits
ACCOUNT = "isolation"  # used when it exists, so that an operator can choose
NOBODY_ELSE = 61984  # else this uid and gid: above Debian's ordinary accounts (60000) and systemd's dynamic ones start at 61184 and end at 65519
STAGE = "ISOLATION_RENDERER_DROPPED"  # set for the second life of the process; it must then not be root
# What the node may know of the environment of whoever started it: no secret of the router travels by accident.
KEPT = frozenset(
    {"PATH", "LANG", "LC_ALL", "TZ", "PYTHONUNBUFFERED", "PYTHONWARNINGS", "ISOLATION_CHROMIUM", "ISOLATION_NODE_TOKEN"}
)
KEPT_PREFIXES = ("PLAYWRIGHT_",)

_ORDINARY_PRIORITY = 20  # as setrlimit(2) counts: nice 0

_CLONE_NEWNS = 0x00020000  # linux/sched.h
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = (
    1,
    2,
    4,
    32,
    4096,
    16384,
    1 << 18,
)  # linux/mount.h


class PrivilegeError(Exception):
    """The node cannot get rid of root's rights. The text says how to fix it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The account the node becomes."""

    uid: int
    gid: int


def unprivileged_identity() -> Identity:
    """Return the account ``isolation`` if there is one (and it is not root), else the fixed numbers."""
    try:
        account = pwd.getpwnam(ACCOUNT)
    except KeyError:
        return Identity(NOBODY_ELSE, NOBODY_ELSE)
    return Identity(account.pw_uid, account.pw_gid) if account.pw_uid else Identity(NOBODY_ELSE, NOBODY_ELSE)


def needed_paths(chromium: Path | None) -> list[Path]:
    """Return every directory the unprivileged process reads: interpreter, packages, this checkout, browsers."""
    found = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent, Path(__file__).resolve().parent]
    found += [Path(entry) for entry in sys.path if entry and Path(entry).exists()]
    browsers = os.environ.get("PLAYWRIGHT_BROWSERS_PATH", "")
    if browsers and browsers != "0" and Path(browsers).is_dir():
        found.append(Path(browsers))
    if chromium is not None:
        found.append(chromium.resolve().parent)
    return _outermost(path.resolve() for path in found)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Drop every path that lies below another one of the list."""
    kept: list[Path] = []
    for path in sorted(set(paths)):
        if not any(path.is_relative_to(other) for other in kept):
            kept.append(path)
    return kept


def barred(paths: Sequence[Path], who: Identity, *, write: bool = False) -> dict[Path, Path | None]:
    """Map each path that ``who`` cannot read to the directory above it that bars the way (None: the path itself does).

    Asked of the kernel, by a child that has become ``who``: access lists and namespaces count, not only mode bits.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:  # the child only asks and reports; it never returns into the caller's code
        status = 1
        try:
            os.setgroups([])
            os.setresgid(who.gid, who.gid, who.gid)
            os.setresuid(who.uid, who.uid, who.uid)
            mode = os.R_OK | (os.W_OK if write else 0)
            lines = []
            for number, path in enumerate(paths):
                above = next((parent for parent in reversed(path.parents) if not os.access(parent, os.X_OK)), None)
                if above is not None or not os.access(path, mode | (os.X_OK if path.is_dir() else 0)):
                    lines.append(f"{number}\0{above or ''}")
            os.write(writer, "\n".join(lines).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode()
    if os.waitpid(child, 0)[1] != 0:
        raise PrivilegeError("cannot become the unprivileged account to see what it may read (is CAP_SETUID missing?)")
    result: dict[Path, Path | None] = {}
    for line in answer.splitlines():
        index, _, bar = line.partition("\0")
        result[paths[int(index)]] = Path(bar) if bar else None
    return result


def _call(what: str, result: int) -> None:
    if result != 0:
        raise PrivilegeError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(libc: ctypes.CDLL, source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    result = libc.mount(
        source.encode(), target.encode(), kind.encode() if kind else None, ctypes.c_ulong(flags), data.encode() if data else None
    )
    _call(f"mount on {target}", result)


def open_the_way(readable: Sequence[Path], writable: Sequence[Path], blockers: Iterable[Path]) -> None:
    """Enter a private mount namespace and cover each blocker, so that of what lies below it only the given paths remain.

    Raises :class:`PrivilegeError` when the kernel or the container does not allow mounts.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    os.umask(0o022)  # the directories on the way are for the other account to walk through, whatever our parent's umask was
    _call("unshare the mount namespace", libc.unshare(_CLONE_NEWNS))
    _mount(libc, "none", "/", None, _MS_REC | _MS_PRIVATE)  # nothing of what follows leaks back
    for blocker in _outermost(blockers):
        inside: list[tuple[Path, bool]] = [(path, False) for path in readable if path.is_relative_to(blocker)]
        inside += [(path, True) for path in writable if path.is_relative_to(blocker)]
        # Handles taken before the cover is laid still lead to the originals.
        handles = [(os.open(path, os.O_PATH | os.O_CLOEXEC), path, write) for path, write in inside]
        _mount(libc, "tmpfs", str(blocker), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=1m")
        for handle, path, writes in sorted(handles, key=lambda item: item[1]):
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                path.mkdir(mode=0o755, parents=True, exist_ok=True)
            else:
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                path.touch(mode=0o644)
            _mount(libc, f"/proc/self/fd/{handle}", str(path), None, _MS_BIND | _MS_REC)
            if not writes:
                _mount(libc, "none", str(path), None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID)
            os.close(handle)


def kept_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the little of the environment that the node inherits; its home is its runtime directory."""
    kept = {name: value for name, value in environment.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    return kept | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def prepare_runtime_dir(directory: Path, who: Identity | None) -> None:
    """Create the node's own directory, 0700. An existing one must be a real directory of the right owner, not somebody's trap in /tmp.

    Raises :class:`PrivilegeError`.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = directory.lstat()
    owners = {os.geteuid()} | ({who.uid} if who is not None else set())
    if not stat.S_ISDIR(about.st_mode) or about.st_uid not in owners:
        raise PrivilegeError(f"{directory} is not a directory of ours; choose another --runtime-dir")
    if who is not None:
        os.chown(directory, who.uid, who.gid, follow_symlinks=False)
    directory.chmod(0o700)


def drop_root(arguments: Sequence[str], runtime_dir: Path, chromium: Path | None) -> None:
    """Return at once for an ordinary user; as root, replace this process by an unprivileged one running the same command.

    Raises :class:`PrivilegeError` when neither works; the node then does not start.
    """
    if os.geteuid() != 0:
        prepare_runtime_dir(runtime_dir, None)
        return
    if os.environ.get(STAGE):
        raise PrivilegeError("still root after dropping root's rights")
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise PrivilegeError("started as root, but setpriv is missing: install util-linux, or start the node as an ordinary user")
    who = unprivileged_identity()
    prepare_runtime_dir(runtime_dir, who)
    readable, writable = needed_paths(chromium), [runtime_dir.resolve()]
    shut = barred(readable, who) | barred(writable, who, write=True)
    if shut:
        _cover(shut, readable, writable, who)
    cgroups.delegate(who.uid, who.gid)
    _become(setpriv, who, arguments, runtime_dir)


def _cover(shut: Mapping[Path, Path | None], readable: Sequence[Path], writable: Sequence[Path], who: Identity) -> None:
    advice = (
        f"started as root, and uid {who.uid} may not read {', '.join(map(str, shut))}. Install the product outside of /root "
        "(for instance in /opt/isolation), start the node as an ordinary user, or allow mounts (CAP_SYS_ADMIN)"
    )
    blockers = [above for above in shut.values() if above is not None and above != Path("/")]
    if len(blockers) < len(shut):
        raise PrivilegeError(advice)
    try:
        open_the_way(readable, writable, blockers)
    except (PrivilegeError, OSError) as problem:
        raise PrivilegeError(f"{advice}. ({problem})") from problem
    if barred(readable, who) or barred(writable, who, write=True):
        raise PrivilegeError(advice)


def _become(setpriv: str, who: Identity, arguments: Sequence[str], runtime_dir: Path) -> NoReturn:
    os.chdir("/")
    os.umask(0o077)
    # Lets the account take back what it did to the priority of its own processes (see renderer.chromium.priority), and no more.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NICE, (_ORDINARY_PRIORITY, _ORDINARY_PRIORITY))
    command = [
        setpriv,
        f"--reuid={who.uid}",
        f"--regid={who.gid}",
        "--clear-groups",
        "--no-new-privs",
        "--inh-caps=-all",
        "--bounding-set=-all",
        "--",
        sys.executable,
        "-m",
        "renderer",
        *arguments,
    ]
    os.execve(setpriv, command, kept_environment(os.environ, runtime_dir) | {STAGE: "1"})  # noqa: S606
