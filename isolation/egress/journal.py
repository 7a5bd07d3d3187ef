"""What the gateway refused, told to log and audit trail: at once for the first attempt, with a count for its repeats."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import structlog

from isolation.audit import events as audit
from isolation.clock import Clock
from isolation.egress.address import MAX_HOST_CHARACTERS, Reason
from isolation.egress.leases import Lease
from isolation.errors import IsolationError

# limits
WINDOW_SECONDS = 10.0
"""Repeats of one lease towards one host are gathered for this long: a page that scans makes a few lines, not a full disk."""
MAX_OPEN_WINDOWS = 200
"""Hosts per lease that are counted one by one at a time; further ones are counted together under ``OTHER``."""
OTHER = "(other hosts)"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Blocked:
    """One or several refused attempts of one lease. ``host`` is hostile text, cut to the length of a DNS name."""

    lease: Lease
    host: str
    port: int
    reason: Reason
    count: int = 1


class BlockedSink(Protocol):
    """Where refusals are kept for the security team: the audit log."""

    async def blocked(self, record: Blocked) -> None:
        """Keep ``record`` durably before returning."""
        ...


class Recorder(Protocol):
    """The audit log."""

    async def record(self, event: audit.AuditEvent) -> str:
        """Keep an event durably and return its reference id. Raises an :class:`IsolationError` when it cannot."""
        ...


class AuditSink:
    """Writes refusals into the audit log."""

    def __init__(self, recorder: Recorder, clock: Clock) -> None:
        self._recorder = recorder
        self._clock = clock

    async def blocked(self, record: Blocked) -> None:
        """Keep ``record`` durably before returning."""
        event = audit.egress_blocked(
            at=self._clock.now(),
            session=record.lease.session_digest,
            person=record.lease.person_key,
            lease=record.lease.id,
            host=record.host,
            port=record.port,
            why=record.reason.value,
            count=record.count,
        )
        await self._recorder.record(event)


@dataclass(slots=True)
class _Window:
    record: Blocked
    repeats: int
    timer: asyncio.TimerHandle


class Journal:
    """Counts refusals and tells each of them, first ones at once, repeats as a count when their window ends."""

    def __init__(self, sink: BlockedSink, window: float = WINDOW_SECONDS) -> None:
        self._sink = sink
        self._window = window
        self._windows: dict[tuple[str, str, Reason], _Window] = {}
        self._open: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.refused: dict[Reason, int] = dict.fromkeys(Reason, 0)
        self.strangers = 0  # heads with credentials of no live lease
        self._strangers_told = 0
        self._stranger_timer: asyncio.TimerHandle | None = None

    async def refuse(self, lease: Lease, host: str, port: int, reason: Reason) -> None:
        """Record one refusal. Returns when a first attempt is kept; a failing sink is logged and does not make the refusal fail."""
        self.refused[reason] += 1
        host = host[:MAX_HOST_CHARACTERS]
        if (lease.id, host, reason) not in self._windows and self._open.get(lease.id, 0) >= MAX_OPEN_WINDOWS:
            host = OTHER
        window = self._windows.get((lease.id, host, reason))
        if window is not None:
            window.repeats += 1
            return
        record = Blocked(lease, host, port, reason)
        key = (lease.id, host, reason)
        timer = asyncio.get_running_loop().call_later(self._window, self._end, key)
        self._windows[key] = _Window(record, 0, timer)
        self._open[lease.id] = self._open.get(lease.id, 0) + 1
        await self._tell(record)

    def stranger(self) -> None:
        """Count a connection with forged or dead credentials; told at once, then as a count per window."""
        self.strangers += 1
        if self._stranger_timer is None:
            self._tell_strangers()

    async def flush(self, lease_id: str | None = None) -> None:
        """End the open windows (of one lease) now and tell their counts."""
        for key in [key for key in self._windows if lease_id is None or key[0] == lease_id]:
            self._end(key)
        if lease_id is None and self._stranger_timer is not None:
            self._stranger_timer.cancel()
            self._tell_strangers()
            if self._stranger_timer is not None:
                self._stranger_timer.cancel()
        while self._tasks:
            await asyncio.gather(*self._tasks)

    def _end(self, key: tuple[str, str, Reason]) -> None:
        window = self._windows.pop(key)
        window.timer.cancel()
        remaining = self._open[key[0]] - 1
        if remaining:
            self._open[key[0]] = remaining
        else:
            del self._open[key[0]]
        if window.repeats:
            last = window.record
            again = Blocked(last.lease, last.host, last.port, last.reason, window.repeats)
            task = asyncio.get_running_loop().create_task(self._tell(again))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _tell_strangers(self) -> None:
        self._stranger_timer = None
        new = self.strangers - self._strangers_told
        if new:
            _log.warning("egress.credentials_refused", count=new)
            self._strangers_told = self.strangers
            self._stranger_timer = asyncio.get_running_loop().call_later(self._window, self._tell_strangers)

    async def _tell(self, record: Blocked) -> None:
        _log.warning(
            "egress.blocked",
            lease=record.lease.id,
            person=record.lease.person_key,
            host=record.host,
            port=record.port,
            reason=record.reason.value,
            count=record.count,
        )
        try:
            await self._sink.blocked(record)
        except IsolationError as error:
            _log.error("egress.audit_failed", lease=record.lease.id, code=error.code)
