"""Delivers events to this process: in order, each exactly once, none missed.

``PRAGMA data_version`` (https://www.sqlite.org/pragma.html#pragma_data_version) on a connection of its own tells in microseconds whether any *other*
connection, of this process or another, has committed. Only then are rows read. The version is read before the rows: a commit in between changes the
next version and is looked at then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from isolation.errors import StoreError
from isolation.store import events
from isolation.store.database import Store
from isolation.store.events import Batch, Event
from isolation.store.failures import store_error

T = TypeVar("T")

# ---- limits
INTERVAL = 0.1  # seconds between looks: a tenth of the second within which a revocation has to arrive; a look costs microseconds
MAX_BACK_OFF = 2.0  # seconds between attempts while the store cannot be read: soon enough after it comes back

log = structlog.get_logger()


class EventWatcher:
    """Watches the bus for one process. ``start`` before anything is cached, then ``run`` until cancelled, then ``close``."""

    def __init__(self, store: Store, interval: float = INTERVAL) -> None:
        self._store = store
        self._interval = interval
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-watch")
        self._connection: Connection | None = None
        self._version: int | None = None
        self._last: int | None = None
        self._blind_since: float | None = None

    @property
    def blind_for(self) -> float:
        """Return for how many seconds the bus could not be read, 0 while all is well. A worker that is blind knows of no revocation."""
        return 0.0 if self._blind_since is None else self._store.clock.monotonic() - self._blind_since

    @property
    def position(self) -> int | None:
        """Return the id of the last event delivered (or that was there at the start), None before ``start``."""
        return self._last

    async def start(self) -> None:
        """Note the newest event: everything after it will be delivered. Raises StoreError."""
        self._last = await self._call(lambda: self._in_transaction(events.position))

    async def run(self, deliver: Callable[[Event], Awaitable[None]], resync: Callable[[], Awaitable[None]]) -> None:
        """Deliver events until cancelled. ``resync``: drop everything you know, events were missed.

        A ``deliver`` that raises is followed by ``resync``, since what it should have dropped it may have kept. Neither stops the watcher.
        """
        delay = self._interval
        self._version = None  # what a cancelled run read but did not deliver is read again
        while True:
            try:
                batch = await self._call(self._look)
            except StoreError as error:
                if self._blind_since is None:
                    self._blind_since = self._store.clock.monotonic()
                    log.error("events.unreadable", reason=str(error))
                delay = min(delay * 2, MAX_BACK_OFF)
                await asyncio.sleep(delay)
                continue
            if self._blind_since is not None:
                log.info("events.readable-again", seconds=round(self.blind_for, 1))
                self._blind_since = None
            delay = self._interval
            if batch is None:
                await asyncio.sleep(self._interval)
                continue
            await self._hand_over(batch, deliver, resync)

    async def close(self) -> None:
        """Close the connection. ``run`` must have ended."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown()

    async def _hand_over(
        self, batch: Batch, deliver: Callable[[Event], Awaitable[None]], resync: Callable[[], Awaitable[None]]
    ) -> None:
        lost = batch.missed
        if lost:
            log.warning("events.missed", position=batch.position)
        for event in batch.events:
            # Moved on before delivery: an event is delivered once, even when the task is cancelled in the middle of it.
            self._last = event.id
            try:
                await deliver(event)
            except Exception as error:  # noqa: BLE001 - one bad event must not stop the ones behind it
                log.error("events.not-handled", kind=event.kind.value, error=type(error).__name__, reason=str(error))
                lost = True
        self._last = batch.position
        if lost:
            try:
                await resync()
            except Exception as error:  # noqa: BLE001 - as above
                log.error("events.not-resynced", error=type(error).__name__, reason=str(error))

    async def _call(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    def _look(self) -> Batch | None:
        """Return new events, or None when there are none. Runs in the watcher's thread."""
        last = self._last
        if last is None:
            self._last = last = self._in_transaction(events.position)
        version = self._data_version()
        if version == self._version:
            return None
        batch = self._in_transaction(lambda connection: events.since(connection, last))
        if len(batch.events) < events.BATCH:
            self._version = version  # else there may be more: look again at once
        return batch if batch.events or batch.missed else None

    def _data_version(self) -> int:
        try:
            raw = self._connect().connection.dbapi_connection
            if raw is None:
                raise StoreError("the store's connection was lost")
            return int(raw.execute("PRAGMA data_version").fetchone()[0])
        except Exception as error:
            self._disconnect()
            raise error if isinstance(error, StoreError) else store_error(error) from error

    def _in_transaction(self, work: Callable[[Connection], T]) -> T:
        try:
            connection = self._connect()
            with connection.begin():
                return work(connection)
        except SQLAlchemyError as error:
            self._disconnect()
            raise store_error(error) from error

    def _connect(self) -> Connection:
        if self._connection is None:
            self._connection = self._store.reader()
            self._version = None  # versions of two connections cannot be compared
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
