"""Starts the product's processes, restarts those that die, and ends all of them in reverse order.

Each child leads a session of its own, so Ctrl-C reaches only the supervisor, which ends the others in order. Each child's standard
input is a pipe that nobody but the supervisor holds open: when the supervisor dies, however it dies, every child reads end-of-file
and leaves. The first line on that pipe is the child's bootstrap (addresses, secrets), which therefore never stands in a
command line or an environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from isolation.clock import Clock

log = structlog.get_logger()

FIRST_BACKOFF = 0.05
"""A single crash is answered at once: the viewer promises to be back within three seconds."""
LAST_BACKOFF = 10.0
"""A process that keeps dying is tried again this often: fast enough to notice a repaired cause, slow enough not to burn a core."""
READY_SECONDS = 20.0
"""A successor has this long to say that it is ready before the one it replaces ends all the same: what a loaded machine needs for a start, several times over."""
HEALTHY_AFTER = 30.0
"""A process that lived this long starts again from the first back-off."""
SPARE_AFTER = 5.0
"""Seconds a process has lived when its spare is started: by then it does its work, and those who waited for it have what they wanted."""
TERM_SECONDS = 8.0
"""A child told to end has this long before it is killed: longer than any drain a child does."""


READY_VARIABLE = "ISOLATION_READY"
"""Names the descriptor a successor says through that it is ready."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One child: how to start it and what to tell it. ``bootstrap`` is asked anew at every start.

    ``independent``: no other child needs it to end well, nor it them; it ends while they do. ``says_ready``: it calls :func:`say_ready` when it
    does its work, and may run beside the one it replaces. ``spare``: it does nothing until it has read its bootstrap, so that another one can be kept
    started that has read none, and takes over at once when it dies.
    """

    name: str
    argv: Sequence[str]
    bootstrap: Callable[[], bytes]
    pass_fds: Sequence[int] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    independent: bool = False
    says_ready: bool = False
    spare: bool = False


class Supervisor:
    """Runs children until told to stop. ``gone``: called with the name and process id of every child that has ended, however it did."""

    def __init__(
        self, specs: Sequence[Spec], clock: Clock, *, gone: Callable[[str, int], None] = lambda _name, _pid: None
    ) -> None:
        self._specs = list(specs)
        self._clock = clock
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._spares: dict[str, asyncio.subprocess.Process] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._gone = gone

    @property
    def pids(self) -> dict[str, int]:
        """Return the process id of each child alive now, by name."""
        return {name: process.pid for name, process in self._processes.items() if process.returncode is None}

    async def start(self) -> None:
        """Start every child, in order."""
        for spec in self._specs:
            await self._launch(spec)
            self._watchers[spec.name] = asyncio.create_task(self._watch(spec), name=f"watch {spec.name}")

    async def restart(self, name: str, spec: Spec) -> None:
        """Replace a child by another of the same name. The old one ends gracefully: when the new one is ready, if it says so, else before it starts."""
        watcher = self._watchers.pop(name)
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        await self._end_spare(name)
        self._specs = [spec if existing.name == name else existing for existing in self._specs]
        old = self._processes.get(name)
        try:
            if spec.says_ready:
                await self._succeed(spec)
            if old is not None:
                await self._end(name, old)
            if not spec.says_ready:
                await self._launch(spec)
        except OSError as error:
            log.error("process.cannot-start", name=name, error=str(error), again_in=FIRST_BACKOFF)
            await self._end_named(name)  # its watcher then starts the new one
        self._watchers[name] = asyncio.create_task(self._watch(spec), name=f"watch {name}")

    async def _succeed(self, spec: Spec) -> None:
        """Start a successor, and wait until it is ready, has died (its watcher will start it again), or takes too long."""
        heard, says = os.pipe()
        ready = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(ready), os.fdopen(heard, "rb", buffering=0)
        )
        said = b""
        try:
            try:
                process = await self._launch(spec, says)
            finally:
                os.close(says)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READY_SECONDS):
                    said = await ready.read(1)  # nothing: it has died, nobody else holds the other end
        finally:
            pipe.close()
        if not said:
            log.error("process.not-ready", name=spec.name, pid=process.pid, waited_at_most=READY_SECONDS)

    async def stop(self) -> None:
        """End every child, last started first; independent ones at the same time."""
        self._stopping = True
        for watcher in self._watchers.values():
            watcher.cancel()
        await asyncio.gather(*self._watchers.values(), return_exceptions=True)
        ordered = [spec.name for spec in reversed(self._specs) if not spec.independent]
        independent = [spec.name for spec in self._specs if spec.independent]
        await asyncio.gather(self._end_one_by_one(ordered), *(self._end_named(name) for name in independent))

    async def _end_one_by_one(self, names: Sequence[str]) -> None:
        for name in names:
            await self._end_named(name)

    async def _end_named(self, name: str) -> None:
        await self._end_spare(name)
        if (process := self._processes.get(name)) is not None:
            await self._end(name, process)

    async def _end_spare(self, name: str) -> None:
        if (spare := self._spares.pop(name, None)) is not None:
            await self._end(name, spare)

    async def _launch(self, spec: Spec, says_ready: int | None = None) -> asyncio.subprocess.Process:
        """Start a child and tell it what to do. ``says_ready``: the descriptor it tells its readiness through."""
        process = await self._spawn(spec, says_ready)
        await self._employ(spec, process)
        return process

    async def _spawn(self, spec: Spec, says_ready: int | None = None) -> asyncio.subprocess.Process:
        descriptors = [] if says_ready is None else [says_ready]
        said = {} if says_ready is None else {READY_VARIABLE: str(says_ready)}
        return await asyncio.create_subprocess_exec(
            *spec.argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            pass_fds=(*spec.pass_fds, *descriptors),
            env={**os.environ, **spec.env, **said},
            cwd=spec.cwd,
            start_new_session=True,
        )

    async def _employ(self, spec: Spec, process: asyncio.subprocess.Process) -> None:
        """Make a process the child of this name, and tell it what to do."""
        self._processes[spec.name] = process
        log.info("process.started", name=spec.name, pid=process.pid)
        if process.stdin is not None:
            try:
                process.stdin.write(spec.bootstrap() + b"\n")
                await process.stdin.drain()
            except ConnectionError:
                log.error("process.died-at-start", name=spec.name, pid=process.pid)

    async def _ended(self, spec: Spec, process: asyncio.subprocess.Process) -> int:
        """Return a child's exit status when it has ended; meanwhile start its spare."""
        if spec.spare:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SPARE_AFTER):
                    return await process.wait()
            try:
                self._spares[spec.name] = spare = await self._spawn(spec)
                log.info("process.spare", name=spec.name, pid=spare.pid)
            except OSError as error:
                log.error("process.no-spare", name=spec.name, error=str(error))
        return await process.wait()

    async def _watch(self, spec: Spec) -> None:
        backoff = FIRST_BACKOFF
        while not self._stopping:
            process = self._processes[spec.name]
            born = self._clock.monotonic()
            code = await self._ended(spec, process)
            spare = self._spares.pop(spec.name, None)
            lived = self._clock.monotonic() - born
            if lived >= HEALTHY_AFTER:
                backoff = FIRST_BACKOFF
            wait = 0.0 if spare is not None and spare.returncode is None else backoff
            log.error("process.ended", name=spec.name, pid=process.pid, exit_status=code, lived=round(lived, 1), restart_in=wait)
            _kill_group(process.pid)
            self._gone(spec.name, process.pid)
            if spare is not None and spare.returncode is None:
                await self._employ(spec, spare)
                continue
            while True:
                await asyncio.sleep(backoff)
                backoff = min(LAST_BACKOFF, backoff * 4)
                try:
                    await self._launch(spec)
                    break
                except OSError as error:
                    log.error("process.cannot-start", name=spec.name, error=str(error), again_in=backoff)

    async def _end(self, name: str, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            if process.stdin is not None:
                process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(TERM_SECONDS):
                    await process.wait()
            except TimeoutError:
                log.warning("process.killed", name=name, pid=process.pid)
        _kill_group(process.pid)
        await process.wait()
        self._gone(name, process.pid)
        log.info("process.stopped", name=name, pid=process.pid)


def _kill_group(pid: int) -> None:
    """End what is left of a child's session: it led a process group of its own, so nobody else is in it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def say_ready() -> None:
    """Tell the supervisor, if it waits for it, that this process does its work now (a child's side)."""
    descriptor = os.environ.pop(READY_VARIABLE, "")
    if descriptor:
        with contextlib.suppress(OSError), os.fdopen(int(descriptor), "wb", buffering=0) as says:
            says.write(b"+")


async def wait_for_end_of_input(reader: asyncio.StreamReader) -> None:
    """Return when the supervisor is gone: nothing follows the bootstrap line, so any read ends only at end-of-file."""
    while await reader.read(4096):
        pass


async def standard_input() -> asyncio.StreamReader:
    """Return standard input as a stream (a child's side of the bootstrap pipe)."""
    import sys

    reader = asyncio.StreamReader(limit=4 * 1024 * 1024)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader
