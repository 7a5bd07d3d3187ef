"""``python -m renderer``: run a renderer node."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import select
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from renderer.chromium.find import NoChromiumError, find_chromium
from renderer.privileges import PrivilegeError, drop_root

if TYPE_CHECKING:
    from renderer.chromium.launch import Engine
    from renderer.node import Node
    from renderer.server import NodeServer

# ---------------------------------------------------------------- limits
MAX_TOKEN = 512  # characters of the node's token
MIN_TOKEN = 16

EXIT_CANNOT_RUN = 78  # sysexits.h EX_CONFIG: starting again will not help

log = logging.getLogger("renderer")
_PLAIN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class _Json(logging.Formatter):
    """One JSON object a line: event name and what was passed as ``extra``."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _PLAIN}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def _arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m renderer", description="A renderer node: sandboxed Chromium for isolated sessions."
    )
    parser.add_argument(
        "--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="where routers connect (port 0: any free one)"
    )
    parser.add_argument("--runtime-dir", type=Path, required=True, help="a directory of the node's own; made if missing, 0700")
    parser.add_argument("--capacity", type=int, default=8, help="sessions at once")
    parser.add_argument("--warm", type=int, default=1, help="browsers kept ready")
    parser.add_argument("--grace", type=float, default=None, help="seconds a session lives on without viewers")
    parser.add_argument("--session-memory", type=int, default=3072, metavar="MIB", help="memory one session may use")
    parser.add_argument("--session-disk", type=int, default=2048, metavar="MIB", help="disk one session may use")
    parser.add_argument("--session-processes", type=int, default=200, metavar="N", help="processes one session may have")
    parser.add_argument(
        "--session-cores", type=float, default=1.5, metavar="N", help="processor cores one session may use at once"
    )
    parser.add_argument("--session-hours", type=float, default=24.0, metavar="H", help="how long one browser lives at most")
    parser.add_argument(
        "--free-memory", type=int, default=256, metavar="MIB", help="memory left free: with less, nobody new is taken in"
    )
    parser.add_argument(
        "--drain-seconds", type=float, default=3600.0, metavar="S", help="when draining, end after this at the latest"
    )
    parser.add_argument("--hide", type=Path, action="append", default=[], metavar="DIR", help="a directory browsers must not see")
    parser.add_argument("--exit-with-parent", action="store_true", help="end when standard input ends")
    return parser.parse_args(given)


def _drain(given: list[str]) -> int:
    """Tell the node that uses a runtime directory to drain. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m renderer drain",
        description="Let a renderer node of this machine take nobody new, and end when it is empty.",
    )
    parser.add_argument("--runtime-dir", type=Path, required=True, help="the node's runtime directory")
    lock = parser.parse_args(given).runtime_dir / "lock"
    try:
        with lock.open("rb") as file:
            # Only a running node holds the lock; the number of one that was killed may be somebody else's by now.
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                os.kill(int(file.read()), signal.SIGUSR1)
                return 0
    except (OSError, ValueError) as problem:
        sys.stderr.write(f"the node cannot be told: {problem}\n")
        return 1
    sys.stderr.write(f"no node runs in {lock.parent}\n")
    return 1


def _token(*, supervised: bool) -> str:
    """Return the node's token: from the environment, a file it names, or the first line of standard input. It never stands on the command line.

    ``supervised``: when standard input ends before a token came, nobody needs this node any more; the token is "".
    """
    token = os.environ.pop("ISOLATION_NODE_TOKEN", "")
    file = os.environ.pop("ISOLATION_NODE_TOKEN_FILE", "")
    if not token and file:
        try:
            token = Path(file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SystemExit(f"ISOLATION_NODE_TOKEN_FILE: {file} cannot be read: {error}") from error
    if not token:
        # Byte by byte from the descriptor: a buffered reader would swallow what follows.
        line = bytearray()
        while len(line) <= MAX_TOKEN and (byte := os.read(0, 1)) not in {b"", b"\n"}:
            line += byte
        if supervised and not line:
            return ""
        token = line.decode("ascii", "replace").strip()
    if not (MIN_TOKEN <= len(token) <= MAX_TOKEN and token.isprintable()):
        raise SystemExit(
            "no node token: give it in ISOLATION_NODE_TOKEN, in the file named by ISOLATION_NODE_TOKEN_FILE, or as the first line of "
            "standard input (16 to 512 characters)"
        )
    return token


def _is_spare() -> bool:
    """Say whether this node is kept for the death of another: nobody has told it its token yet."""
    named = {"ISOLATION_NODE_TOKEN", "ISOLATION_NODE_TOKEN_FILE"} & os.environ.keys()
    return not named and not select.select([0], [], [], 0)[0]


async def _until_told(engine: Engine, stop: asyncio.Event) -> None:
    """Do everything that takes time and that two nodes of one directory may do at once; return when standard input says something or ends."""
    from playwright.async_api import Error

    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(0, told.set)
    for module in ("renderer.server", "renderer.node"):
        import_module(module)
    with contextlib.suppress(Error):  # it is started again when it is needed, and then its failure counts
        await engine.running()
    waiting = [asyncio.ensure_future(event.wait()) for event in (told, stop)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        loop.remove_reader(0)
        for task in waiting:
            task.cancel()


def _lock(runtime_dir: Path) -> bool:
    """Make a runtime directory this node's for as long as it runs. False: another one uses it."""
    lock = os.open(runtime_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.critical("node.cannot-run", extra={"code": "busy", "why": f"another node uses {runtime_dir}"})
        return False
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return True


async def _parent_gone() -> None:
    """Return when standard input ends."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future()

    def readable() -> None:
        if not os.read(0, 4096) and not gone.done():
            gone.set_result(None)

    try:
        loop.add_reader(0, readable)
    except PermissionError:  # a regular file or /dev/null is always at its end
        return
    await gone
    loop.remove_reader(0)


async def _drained(node: Node, told: asyncio.Event, seconds: float) -> None:
    """Return when the node was told to drain and is empty, or has had its time. A router may tell it too."""
    waiting = [asyncio.ensure_future(event.wait()) for event in (told, node.draining)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
    empty = node.drain()
    try:
        async with asyncio.timeout(seconds):
            await empty.wait()
    except TimeoutError:
        log.warning("node.drain-timeout", extra={"leases": node.status().live})


async def _run(options: argparse.Namespace, chromium: Path) -> int:
    from renderer.chromium import cgroups
    from renderer.chromium.confine import probe
    from renderer.chromium.launch import Engine, LaunchError, NoSandboxError, remove_stale
    from renderer.chromium.pool import last_gateway
    from renderer.chromium.sandbox import check_sandbox
    from renderer.watch import MIB, Limits

    host, _, port = options.listen.rpartition(":")
    runtime_dir = options.runtime_dir.resolve()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    drain = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, drain.set)
    limits = Limits(
        options.session_memory * MIB,
        options.session_processes,
        options.session_disk * MIB,
        options.session_hours * 3600,
        options.session_cores,
    )
    engine = Engine(chromium, runtime_dir)
    engine.groups = cgroups.find()
    engine.limits = limits
    parent: asyncio.Future[None] | None = None
    node: Node | None = None
    server: NodeServer | None = None
    try:
        if options.exit_with_parent and _is_spare():
            await _until_told(engine, stop)
        token = "" if stop.is_set() else _token(supervised=options.exit_with_parent)
        if not token:
            log.info("node.never-told")
            return 0
        if not _lock(runtime_dir):
            return EXIT_CANNOT_RUN
        # People wait for a node that starts again: what else it needs is read from disk while the driver and the first Chromium start.
        loading = asyncio.ensure_future(asyncio.to_thread(import_module, "renderer.server"))
        removed = remove_stale(runtime_dir)
        if engine.groups is not None:
            engine.groups.clear()
        if removed:
            log.info("node.cleaned", extra={"directories": removed})
        if options.exit_with_parent:
            parent = asyncio.ensure_future(_parent_gone())
            parent.add_done_callback(lambda _: stop.set())
        engine.confinement, _ = await asyncio.gather(probe(chromium, runtime_dir, options.hide), engine.running())
        first = await check_sandbox(engine, last_gateway(runtime_dir))
        version = first.version
        await loading
        from renderer.node import Node
        from renderer.server import NodeServer
        from renderer.wire.control import GRACE_SECONDS

        node = Node(
            engine,
            version,
            capacity=options.capacity,
            warm=options.warm,
            grace=options.grace or GRACE_SECONDS,
            limits=limits,
            floor=options.free_memory * MIB,
        )
        node.start(first)
        server = NodeServer(node, token)
        bound = await server.start(host.strip("[]") or "127.0.0.1", int(port))
        sys.stdout.write(json.dumps({"port": bound, "chromium": version}) + "\n")
        sys.stdout.flush()
        about = {"port": bound, "chromium": version, "capacity": options.capacity, "walls": engine.confinement.walls.value}
        about["groups"] = engine.groups is not None
        log.info("node.ready", extra=about)
        draining = asyncio.ensure_future(_drained(node, drain, options.drain_seconds))
        draining.add_done_callback(lambda _: stop.set())
        await stop.wait()
        draining.cancel()
        log.info("node.stopping")
    except (LaunchError, NoSandboxError) as problem:
        if stop.is_set():
            return 0
        code = "no-sandbox" if isinstance(problem, NoSandboxError) else "launch-failed"
        log.critical("node.cannot-run", extra={"code": code, "why": str(problem)})
        return EXIT_CANNOT_RUN
    finally:
        if node is not None:
            await node.stop()
        if server is not None:
            await server.stop()
        await engine.stop()
        if parent is not None:
            parent.cancel()
    return 0


def main(given: list[str] | None = None) -> int:
    """Run a node until it is told to stop. Returns the exit status."""
    arguments = sys.argv[1:] if given is None else given
    if arguments[:1] == ["drain"]:
        return _drain(arguments[1:])
    options = _arguments(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(_Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("websockets").setLevel(logging.WARNING)
    try:
        chromium = find_chromium()
        drop_root(arguments, options.runtime_dir.absolute(), chromium)
    except (NoChromiumError, PrivilegeError) as problem:
        log.critical(
            "node.cannot-run",
            extra={"code": "no-browser" if isinstance(problem, NoChromiumError) else "root", "why": str(problem)},
        )
        return EXIT_CANNOT_RUN
    if options.exit_with_parent:
        # Ctrl-C in the parent's terminal is for the parent; we end, in order, when it does.
        try:
            os.setsid()
        except PermissionError:
            log.debug("node.session-leader")
    os.umask(0o077)
    return asyncio.run(_run(options, chromium))


if __name__ == "__main__":
    sys.exit(main())
