"""The node: leases by name, their browsers, and what routers are told about them."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from renderer.capture.share import FairShare
from renderer.cdp import Tasks
from renderer.chromium.flags import Proxy
from renderer.chromium.launch import Chromium, Engine, LaunchError, NoSandboxError, children
from renderer.chromium.pool import SETTLE_SECONDS, Pool
from renderer.chromium.processes import available_memory, take_census
from renderer.input.validate import Controls
from renderer.lease import Lease
from renderer.watch import MIB, WATCH_SECONDS, Limits
from renderer.wire.control import (
    GRACE_SECONDS,
    FromNode,
    LeaseCode,
    LeaseReport,
    LeaseState,
    Mark,
    NodeState,
    NodeStatus,
    Prepare,
    StartLease,
)

# ---------------------------------------------------------------- limits
TEND_SECONDS = 5.0  # between two looks at every lease
FLOOR = (
    256 * MIB
)  # bytes of memory left to the machine: what a browser of its own takes from the start, and room for those that run
WARM_MEMORY = 128 * MIB  # what a browser takes that nobody uses yet
ENCODERS = 2  # threads for large pictures, beside one worker per core
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

log = logging.getLogger("renderer.node")


class Node:
    """All leases of this node. ``tell`` reaches every connected router."""

    def __init__(
        self,
        engine: Engine,
        version: str,
        *,
        capacity: int,
        warm: int,
        grace: float = GRACE_SECONDS,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        floor: int = FLOOR,
    ) -> None:
        """``floor``: bytes of memory that are left free: with less, nobody new is taken in."""
        self._engine = engine
        self._version = version
        self._capacity = capacity
        self._grace = grace
        self._limits = limits
        self._floor = floor
        self._low = False
        self.draining = asyncio.Event()  # set when the node was told to take nobody new
        self._drained = asyncio.Event()
        self._tasks = Tasks("node")
        self._leases: dict[str, Lease] = {}
        self._starting: dict[str, asyncio.Task[LeaseReport]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._workers = ThreadPoolExecutor(os.cpu_count() or 1, "picture")
        self._encoders = ThreadPoolExecutor(ENCODERS, "encoder")
        self._fair = FairShare(os.cpu_count() or 1)
        self._listeners: set[Callable[[FromNode], None]] = set()
        self._last_status: NodeStatus | None = None
        self._pool = Pool(engine, warm, self._changed, self._may_warm)
        self._stopping = False

    def start(self, first: Chromium) -> None:
        """Begin to look after leases, and become the parent of what Chromium leaves behind. ``first``: a browser that is nobody's yet."""
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._engine.lost = self._driver_lost
        self._tasks.start(self._tend())
        self._tasks.start(self._watch())
        self._pool.adopt(first)

    def _driver_lost(self) -> None:
        self._pool.lose()
        for lease in list(self._leases.values()):
            lease.end(LeaseCode.CRASHED)

    # ------------------------------------------------------------ routers

    def listen(self, tell: Callable[[FromNode], None]) -> None:
        """Tell a router everything from now on, the status first."""
        self._listeners.add(tell)
        tell(self.status())

    def unlisten(self, tell: Callable[[FromNode], None]) -> None:
        """Stop telling."""
        self._listeners.discard(tell)

    def status(self) -> NodeStatus:
        """Return how full the node is."""
        return NodeStatus(self._live, len(self._pool), self._capacity, self._version, self._state)

    @property
    def _live(self) -> int:
        return len(self._leases) + len(self._starting)

    @property
    def _state(self) -> NodeState:
        if self.draining.is_set():
            return NodeState.DRAINING
        return NodeState.LOW_MEMORY if self._low else NodeState.OPEN

    def prepare(self, order: Prepare) -> None:
        """Keep browsers ready for a gateway, before anybody waits for one."""
        self._pool.prepare(Proxy(order.host, order.port, order.spki))

    def drain(self) -> asyncio.Event:
        """Take no new leases from now on. Returns the event that is set when the last one has ended."""
        if not self.draining.is_set():
            log.info("node.draining", extra={"leases": self._live})
            self.draining.set()
            self._pool.empty()
            self._changed()
        return self._drained

    def _may_warm(self) -> bool:
        """Say whether a browser may be started that nobody has asked for yet."""
        return self._state is NodeState.OPEN and available_memory() > self._floor + WARM_MEMORY

    def _changed(self) -> None:
        status = self.status()
        if self.draining.is_set() and not self._live:
            self._drained.set()
        if status != self._last_status:
            self._last_status = status
            self._tell(status)

    def _tell(self, message: FromNode) -> None:
        for listener in list(self._listeners):
            listener(message)

    # ------------------------------------------------------------ leases

    def lease(self, name: str) -> Lease | None:
        """Return a live lease."""
        return self._leases.get(name)

    async def begin(self, order: StartLease) -> LeaseReport:
        """Start a lease, or give a live one new controls. Two orders for one lease share one start."""
        running = self._starting.get(order.lease)
        if running is None and order.lease not in self._leases:
            self._low = available_memory() < self._floor
            if self._stopping or self._state is not NodeState.OPEN or self._live >= self._capacity:
                self._changed()
                return LeaseReport(order.lease, LeaseState.FAILED, LeaseCode.NO_CAPACITY)
            running = asyncio.ensure_future(self._start(order))
            self._starting[order.lease] = running
            self._changed()
        if running is not None:
            report = await asyncio.shield(running)
            if report.state is not LeaseState.STARTED:
                return report
        lease = self._leases.get(order.lease)
        if lease is None:
            return LeaseReport(order.lease, LeaseState.FAILED, LeaseCode.CRASHED)
        await lease.control(Controls.of(order.controls))
        return LeaseReport(order.lease, LeaseState.STARTED, LeaseCode.OK)

    def mark(self, order: Mark) -> None:
        """Change what the watermark of a live lease says; a lease without one gets none."""
        lease = self._leases.get(order.lease)
        if lease is not None and lease.controls.watermark:
            lease.controls = replace(lease.controls, watermark=order.text)
            for tab in lease.tabs.values():
                tab.marked()

    async def _start(self, order: StartLease) -> LeaseReport:
        egress = order.egress
        try:
            chromium = await self._pool.take(Proxy(egress.host, egress.port, egress.spki))
            controls = Controls.of(order.controls)
            lease = Lease(
                order.lease,
                chromium,
                controls,
                self._workers,
                self._encoders,
                self._fair.join(),
                self._lease_ended,
                self._limits,
            )
            try:
                await lease.start(egress)
            except BaseException:
                lease.over = True  # never announced as started, so never announced as ended
                await self._engine.end(chromium)
                raise
            if lease.over or self._stopping:
                raise LaunchError("Chromium ended while it started")
        except NoSandboxError as problem:
            log.error("lease.no-sandbox", extra={"why": str(problem)})
            return LeaseReport(order.lease, LeaseState.FAILED, LeaseCode.NO_SANDBOX)
        except LaunchError as problem:
            log.error("lease.failed", extra={"lease": order.lease[:8], "why": str(problem)})
            return LeaseReport(order.lease, LeaseState.FAILED, LeaseCode.LAUNCH_FAILED)
        finally:
            self._starting.pop(order.lease, None)
            self._tasks.start(self._after_start())
        self._leases[order.lease] = lease
        log.info("lease.started", extra={"lease": order.lease[:8], "pid": chromium.pid})
        return LeaseReport(order.lease, LeaseState.STARTED, LeaseCode.OK)

    async def _after_start(self) -> None:
        self._changed()
        # Whoever was just served now loads a page, and would share the processors with a browser that nobody waits for.
        await asyncio.sleep(SETTLE_SECONDS)
        self._pool.fill()

    def stop_lease(self, name: str) -> None:
        """End a lease because the router says so. One that is still starting ends when it has started."""
        lease = self._leases.get(name)
        if lease is not None:
            lease.end(LeaseCode.TOLD)
            return
        starting = self._starting.get(name)
        if starting is not None:
            starting.add_done_callback(lambda _: self.stop_lease(name))
        else:
            self._tell(LeaseReport(name, LeaseState.ENDED, LeaseCode.TOLD))

    def _lease_ended(self, lease: Lease, code: LeaseCode) -> None:
        if self._leases.get(lease.name) is lease:
            del self._leases[lease.name]
            log.info("lease.ended", extra={"lease": lease.name[:8], "code": code.value})
            self._tell(LeaseReport(lease.name, LeaseState.ENDED, code))
            self._changed()
        ending = asyncio.ensure_future(self._engine.end(lease.chromium))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(min(TEND_SECONDS, self._grace / 4))
            for lease in list(self._leases.values()):
                await lease.tend(self._grace)
            self._pool.tend()
            reap()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self._low = available_memory() < self._floor
            self._changed()
            if self._leases:
                census = await asyncio.to_thread(take_census)
                for lease in list(self._leases.values()):
                    await lease.look(census)

    async def stop(self) -> None:
        """End every lease and every browser."""
        self._stopping = True
        for lease in list(self._leases.values()):
            lease.end(LeaseCode.TOLD)
        await asyncio.gather(*self._starting.values(), return_exceptions=True)
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._pool.close()
        self._tasks.close()
        reap()
        self._workers.shutdown(wait=False, cancel_futures=True)
        self._encoders.shutdown(wait=False, cancel_futures=True)


def reap(proc: Path = Path("/proc")) -> int:
    """Bury dead processes that became ours because their parent, a Chromium, died first. The driver is left to asyncio. Returns how many."""
    buried = 0
    for pid in children(proc):
        try:
            state, name = _state(proc, pid)
        except OSError:
            continue
        if state == "Z" and not name.startswith(("node", "MainThread")):
            try:
                buried += os.waitpid(pid, os.WNOHANG)[0] != 0
            except ChildProcessError:
                continue
    return buried


def _state(proc: Path, pid: int) -> tuple[str, str]:
    stat = (proc / str(pid) / "stat").read_text()
    name = stat[stat.index("(") + 1 : stat.rindex(")")]
    return stat[stat.rindex(")") + 2], name
