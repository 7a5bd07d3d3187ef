"""The store's connections: one writer thread and a few readers over one SQLite file in WAL mode.

Work is a function of a :class:`sqlalchemy.Connection`; it runs in a thread, inside a transaction, and either all of it happened or none::

    await store.write(lambda connection: connection.execute(...))
    people = await store.read(load_people)

Writes that wait at the same time share one transaction and so one flush to disk (*group commit*). When any of them fails, all are rolled back and
each is run again alone, unless the store is locked. **Work may therefore run twice**; it must have no effect but on its connection.

A write is on the disk when ``write`` returns (``synchronous=FULL``): the audit log promises that an entry is durable before its effect is
visible. Every failure is a :class:`~isolation.errors.StoreError`; when its cause is gone the store works again without a restart.

Code without an event loop uses the same repositories: ``store.run_sync(repository.method(...))``.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from isolation.clock import Clock, SystemClock
from isolation.errors import ConfigurationError, StoreError
from isolation.store.failures import is_locked, needs_reopening, store_error
from isolation.store.migrate import is_current, migrate

T = TypeVar("T")
Work = Callable[[Connection], T]

# ---- limits
READERS = (
    3  # reading threads: reads take microseconds, so a few serve thousands a second; each costs a connection and 2 MiB of cache
)
BUSY_SECONDS = 5.0  # wait for another process's transaction, which takes milliseconds; longer means something is stuck
MAX_BATCH = 64  # writes in one group commit: bounds how long another process waits for the write lock
MAX_WAITING = 10_000  # writes that may wait; beyond it the disk has been stuck for long, and saying so beats using up memory
DIRECTORY_MODE = 0o700  # sessions and personal data: nobody else on the machine reads them
FILE_MODE = 0o600

log = structlog.get_logger()


class Store:
    """One process's access to the store. Made by :meth:`open`; safe for use from any thread and any event loop. Not to be carried over a fork."""

    def __init__(self, path: Path, clock: Clock, busy_seconds: float) -> None:
        self._path = path
        self.clock = clock
        self._write_engine = _engine(path, "BEGIN IMMEDIATE", 1, busy_seconds, ("PRAGMA synchronous=FULL",))
        # Readers cannot write even by mistake.
        self._read_engine = _engine(path, "BEGIN", READERS, busy_seconds, ("PRAGMA query_only=ON",))
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._waiting: queue.Queue[_Job[Any] | None] = queue.Queue(MAX_WAITING)
        self._writer = threading.Thread(target=self._write_loop, name="store-write", daemon=True)
        self._closing = threading.Lock()
        self._closed = False

    @classmethod
    def open(cls, url: str, *, clock: Clock | None = None, busy_seconds: float = BUSY_SECONDS) -> Store:
        """Open (and create or migrate) the store at ``sqlite:///relative/path`` or ``sqlite:////absolute/path``.

        ``busy_seconds``: how long to wait for another process's transaction.
        Raises ConfigurationError for a URL that cannot be used, StoreError where the file cannot.
        """
        path = _path_of(url)
        try:
            _create(path)
        except OSError as error:
            raise StoreError(f"the store cannot be created at {path}: {error.strerror}") from error
        store = cls(path, clock or SystemClock(), busy_seconds)
        try:
            # Looking first needs no write lock: a store that is up to date opens while another process writes.
            if not cls._run(store._read_engine, is_current):
                with store._write_engine.connect() as connection:
                    migrate(connection)
        except Exception as error:
            store._dispose()
            if isinstance(error, SQLAlchemyError):
                raise store_error(error) from error
            raise
        store._writer.start()
        return store

    @property
    def path(self) -> Path:
        """Return the database file."""
        return self._path

    async def write(self, work: Work[T]) -> T:
        """Run ``work`` in a write transaction; return its result once that is on the disk. Raises StoreError, or what ``work`` raised.

        Cancelled before its turn, it does not happen; after that it happens whole.
        """
        return await asyncio.wrap_future(self._submit(work))

    async def read(self, work: Work[T]) -> T:
        """Run ``work`` in a read transaction: one consistent view. Raises StoreError, or what ``work`` raised."""
        try:
            future = self._readers.submit(self._run, self._read_engine, work)
        except RuntimeError as error:  # submitted after shutdown
            raise StoreError("the store is closed") from error
        return await asyncio.wrap_future(future)

    def run_sync(self, call: Coroutine[Any, Any, T]) -> T:
        """Run one repository call from code that has no event loop, and return its result."""
        return asyncio.run(call)

    def reader(self) -> Connection:
        """Return a connection of its own for a long-lived reader (see ``watcher``), which closes it. Raises StoreError."""
        if self._closed:
            raise StoreError("the store is closed")
        try:
            connection = self._read_engine.connect()
            connection.detach()  # it does not count against the pool, and closing it really closes it
        except SQLAlchemyError as error:
            raise store_error(error) from error
        return connection

    def close(self) -> None:
        """Finish what waits, then close every connection. Later calls raise StoreError."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._waiting.put(None)
        self._writer.join()
        self._dispose()

    def _dispose(self) -> None:
        self._readers.shutdown(wait=True)
        self._read_engine.dispose()
        self._write_engine.dispose()  # the last connection to close folds the WAL back into the file

    def _submit(self, work: Work[T]) -> Future[T]:
        job = _Job(work)
        with self._closing:  # so that nothing is queued behind the writer's last job
            if self._closed:
                raise StoreError("the store is closed")
            try:
                self._waiting.put_nowait(job)
            except queue.Full as error:
                raise StoreError(f"the store does not keep up: {MAX_WAITING} writes are waiting; look at the disk") from error
        return job.future

    def _write_loop(self) -> None:
        last = False
        while not last:
            jobs: list[_Job[Any]] = []
            waiting = self._waiting.get()
            while waiting is not None:
                if waiting.future.set_running_or_notify_cancel():
                    jobs.append(waiting)
                if len(jobs) == MAX_BATCH or self._waiting.empty():
                    break
                waiting = self._waiting.get()
            last = waiting is None
            if jobs:
                self._commit_together(jobs)

    def _commit_together(self, jobs: list[_Job[Any]]) -> None:
        if len(jobs) > 1:
            try:
                results = self._run(self._write_engine, lambda connection: [job.work(connection) for job in jobs])
            except StoreError as error:
                if is_locked(error.__cause__):
                    # Nobody here is to blame, and alone each would wait as long again, one after the other.
                    for job in jobs:
                        job.future.set_exception(StoreError(str(error)))
                    return
            except BaseException:  # noqa: BLE001, S110 - whoever is to blame finds out below, alone
                pass
            else:
                for job, result in zip(jobs, results, strict=True):
                    job.future.set_result(result)
                return
        for job in jobs:
            try:
                outcome = self._run(self._write_engine, job.work)
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for this write
                job.future.set_exception(error)
            else:
                job.future.set_result(outcome)

    @staticmethod
    def _run(engine: Engine, work: Work[T]) -> T:
        try:
            with engine.connect() as connection:
                try:
                    with connection.begin():
                        return work(connection)
                except SQLAlchemyError as error:
                    if needs_reopening(error):
                        connection.invalidate()
                    raise
        except SQLAlchemyError as error:
            failure = store_error(error)
            log.error("store.failed", reason=str(failure), error=type(getattr(error, "orig", None) or error).__name__)
            raise failure from error


class _Job(Generic[T]):
    """A write that waits for its turn."""

    def __init__(self, work: Work[T]) -> None:
        self.work = work
        self.future: Future[T] = Future()


def _path_of(url: str) -> Path:
    try:
        parsed: URL = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("store: not a database URL; write sqlite:////var/lib/isolation/store.db") from error
    if parsed.get_backend_name() != "sqlite":
        # The URL itself may hold a password and is not repeated.
        raise ConfigurationError(
            f"store: {parsed.get_backend_name()} is not supported yet (PostgreSQL comes later); write sqlite:////var/lib/isolation/store.db"
        )
    if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:") or parsed.query:
        raise ConfigurationError(
            "store: the store is shared by several processes, so it has to be a plain file: sqlite:////absolute/path"
        )
    return Path(parsed.database).absolute()


def _create(path: Path) -> None:
    """Make folder and file with tight permissions before SQLite sees them; its -wal and -shm files take the file's own."""
    path.parent.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))
    except FileExistsError:
        if path.stat().st_mode & 0o077:
            log.warning("store.permissions", path=str(path), advice=f"others on this machine may read it: chmod 600 {path}")


def _engine(path: Path, begin: str, size: int, busy_seconds: float, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=1,  # a reader of its own passes through the pool once
        pool_reset_on_return=None,  # every transaction is ended here, by commit or rollback
        connect_args={"timeout": busy_seconds, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # sqlite3 would otherwise begin transactions by its own rules; we say when.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")
        for pragma in pragmas:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
