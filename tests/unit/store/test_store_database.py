"""The store as such: transactions, and every way in which a disk can fail."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Connection, func, insert, select, text

from isolation.errors import ConfigurationError, StoreError
from isolation.store.database import MAX_BATCH, Store
from isolation.store.tables import provider_states


def add(name: str, message: str = ""):
    def work(connection: Connection) -> str:
        connection.execute(insert(provider_states).values(name=name, status="ok", message=message))
        return name

    return work


def count(connection: Connection) -> int:
    return connection.execute(select(func.count()).select_from(provider_states)).scalar_one()


def run_python(source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *arguments], capture_output=True, text=True, timeout=60, check=False
    )


# ---- opening


def test_file_and_folder_are_for_this_user_only(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/new/deep/store.db")
    try:
        folder = tmp_path / "new" / "deep"

        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in os.listdir(folder):
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600, name
    finally:
        store.close()


def test_permissions_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Store.open(f"sqlite:///{tmp_path}/new/store.db").close()
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "new" / "store.db").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("postgresql://router:hunter2@db.corp.example/isolation", "PostgreSQL comes later"),
        ("mysql+pymysql://router:hunter2@db/isolation", "not supported yet"),
        ("sqlite://", "plain file"),
        ("sqlite:///:memory:", "plain file"),
        ("sqlite:///file:x?mode=memory&uri=true", "plain file"),
        ("/var/lib/store.db", "not a database URL"),
        ("", "not a database URL"),
    ],
)
def test_urls_that_cannot_be_used_are_refused_without_repeating_a_password(url: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word) as caught:
        Store.open(url)

    assert "hunter2" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreError, match="cannot be created"):
        Store.open(f"sqlite:///{tmp_path}/file/store.db")


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"important notes, not a database\n" * 100)

    with pytest.raises(StoreError, match="not a SQLite database"):
        Store.open(f"sqlite:///{path}")

    assert path.read_bytes().startswith(b"important notes")


def test_a_damaged_file_says_so_and_opens_again_once_restored(path: Path) -> None:
    good = path.read_bytes()
    page = 4096
    path.write_bytes(good[:100] + b"\xff" * (page - 100) + good[page:])

    with pytest.raises(StoreError, match="damaged"):
        Store.open(f"sqlite:///{path}")

    path.write_bytes(good)
    Store.open(f"sqlite:///{path}").close()


def test_a_store_of_a_newer_version_is_refused(path: Path) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()

    with pytest.raises(StoreError, match="newer version"):
        Store.open(f"sqlite:///{path}")


# ---- transactions


async def test_a_write_returns_what_the_work_returned_and_is_seen_by_readers(store: Store) -> None:
    assert await store.write(add("one")) == "one"
    assert await store.read(count) == 1


async def test_what_raised_wrote_nothing(store: Store) -> None:
    def work(connection: Connection) -> None:
        add("one")(connection)
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        await store.write(work)

    assert await store.read(count) == 0


async def test_writes_that_wait_together_do_not_share_their_failures(store: Store) -> None:
    def bad(connection: Connection) -> None:
        add("bad")(connection)
        raise RuntimeError("mine alone")

    jobs = [store.write(add(f"n{number}")) for number in range(3 * MAX_BATCH)]
    jobs[10:10] = [store.write(bad)]
    jobs[100:100] = [store.write(add("n0"))]  # a constraint is broken

    results = await asyncio.gather(*jobs, return_exceptions=True)

    assert isinstance(results[10], RuntimeError)
    # Which of the two that want the same name comes first is not ours to say; exactly one gets it.
    assert sum(isinstance(result, StoreError) for result in results) == 1
    assert await store.read(count) == 3 * MAX_BATCH


async def test_writes_happen_in_the_order_they_were_asked_for(store: Store) -> None:
    await asyncio.gather(*[store.write(add(f"{number:04}")) for number in range(200)])

    names = await store.read(lambda c: c.execute(text("SELECT name FROM provider_states ORDER BY rowid")).scalars().all())

    assert names == sorted(names)


async def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError, match="read-only"):
        await store.read(add("one"))

    assert await store.read(count) == 0


async def test_a_reader_sees_one_moment(store: Store) -> None:
    loop = asyncio.get_running_loop()
    reading, written = asyncio.Event(), asyncio.Event()

    def look_twice(connection: Connection) -> tuple[int, int]:
        first = count(connection)
        loop.call_soon_threadsafe(reading.set)
        asyncio.run_coroutine_threadsafe(written.wait(), loop).result(10)
        return first, count(connection)

    looking = asyncio.ensure_future(store.read(look_twice))
    await reading.wait()
    await store.write(add("one"))
    written.set()

    assert await looking == (0, 0)
    assert await store.read(count) == 1


async def test_a_write_cancelled_before_its_turn_does_not_happen(store: Store) -> None:
    loop = asyncio.get_running_loop()
    running, go_on = asyncio.Event(), asyncio.Event()

    def slow(connection: Connection) -> None:
        loop.call_soon_threadsafe(running.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)

    first = asyncio.ensure_future(store.write(slow))
    await running.wait()
    second = asyncio.ensure_future(store.write(add("never")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    go_on.set()
    await first

    await store.write(add("after"))
    assert await store.read(count) == 1


async def test_closing_finishes_what_waits_and_ends_the_rest(path: Path) -> None:
    store = Store.open(f"sqlite:///{path}")
    waiting = [asyncio.ensure_future(store.write(add(f"n{number}"))) for number in range(50)]
    await asyncio.sleep(0)
    store.close()

    assert len(await asyncio.gather(*waiting)) == 50
    with pytest.raises(StoreError, match="closed"):
        await store.write(add("late"))
    with pytest.raises(StoreError, match="closed"):
        await store.read(count)
    with pytest.raises(StoreError, match="closed"):
        store.reader()
    store.close()  # twice does no harm


def test_code_without_an_event_loop_uses_the_same_calls(store: Store) -> None:
    assert store.run_sync(store.write(add("one"))) == "one"
    assert store.run_sync(store.read(count)) == 1


async def test_the_writer_flushes_to_disk_before_it_returns(store: Store) -> None:
    def pragmas(connection: Connection) -> tuple[object, ...]:
        names = ("synchronous", "journal_mode", "foreign_keys")
        return tuple(connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names)

    # SQLite's documentation: 2 is FULL, which syncs the WAL at every commit; NORMAL (1) does not.
    assert await store.write(pragmas) == (2, "wal", 1)


def test_what_was_written_survives_a_kill(path: Path) -> None:
    source = """
        import os, signal, sys
        from isolation.store.database import Store
        from isolation.store.risk import RiskRepository
        store = Store.open("sqlite:///" + sys.argv[1])
        store.run_sync(RiskRepository(store, stale_after=1).set_provider_state("written", "ok", "", 1.0))
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert run_python(source, str(path)).returncode == -9

    store = Store.open(f"sqlite:///{path}")
    assert store.run_sync(store.read(count)) == 1
    store.close()


# ---- failures that pass


async def test_a_full_disk_writes_nothing_and_goes_on_by_itself(store: Store) -> None:
    def pages(number: int):
        return lambda connection: connection.exec_driver_sql(f"PRAGMA max_page_count={number}").scalar()

    used = await store.write(pages(1))  # SQLite takes the least it can do with and says what that is

    def much(connection: Connection) -> None:
        for number in range(100):
            add(f"much{number}", "x" * 4000)(connection)

    for _ in range(3):
        with pytest.raises(StoreError, match="disk is full"):
            await store.write(much)
        assert await store.read(count) == 0

    mixed = await asyncio.gather(store.write(add("small")), store.write(much), return_exceptions=True)
    assert isinstance(mixed[1], StoreError)

    await store.write(pages(used + 10_000))
    await store.write(much)
    assert await store.read(count) == 100 + (mixed[0] == "small")


def test_a_file_system_that_refuses_to_grow_the_file_is_survived(path: Path) -> None:
    """The limit on file size makes write(2) itself fail, as a full disk does."""
    source = """
        import resource, sys
        from isolation.errors import StoreError
        from isolation.store.database import Store
        from isolation.store.events import EventKind, EventRepository
        store = Store.open("sqlite:///" + sys.argv[1])
        events = EventRepository(store)
        small = store.path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (small, resource.RLIM_INFINITY))
        failed = None
        for number in range(400):
            try:
                store.run_sync(events.announce(EventKind.SYNC_WANTED, "x" * 2000))
            except StoreError as error:
                failed = error
                break
        print("failed:", failed)
        done = number
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.run_sync(events.announce(EventKind.SYNC_WANTED, "after"))
        from isolation.store.events import position
        print("kept:", store.run_sync(store.read(position)) == done + 1)
        store.close()
    """
    result = run_python(source, str(path))

    assert result.returncode == 0, result.stderr
    assert "disk" in result.stdout.splitlines()[-2]
    assert result.stdout.splitlines()[-1] == "kept: True"


async def test_a_store_locked_by_another_process_is_waited_for_then_refused(store: Store, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreError, match="locked by another process"):
        await store.write(add("one"))
    assert await store.read(count) == 0  # readers go on

    other.execute("ROLLBACK")
    other.close()
    await store.write(add("one"))
    assert await store.read(count) == 1


async def test_many_that_wait_for_a_locked_store_wait_together(store: Store, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with structlog.testing.capture_logs() as logs:
        outcomes = await asyncio.gather(*(store.write(add(f"p{number}")) for number in range(20)), return_exceptions=True)
    other.rollback()
    other.close()

    assert {type(outcome) for outcome in outcomes} == {StoreError}
    assert len([line for line in logs if line["event"] == "store.failed"]) <= 3  # not one wait for each of them
    assert await store.write(add("after")) == "after"
    assert await store.read(count) == 1


def test_a_read_only_store_says_so_and_recovers() -> None:
    """Run as an unprivileged user, since root may write everywhere."""
    source = """
        import os, sys
        from isolation.errors import StoreError
        from isolation.store.database import Store
        from isolation.store.events import EventKind, EventRepository
        path = sys.argv[1]
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        try:
            Store.open("sqlite:///" + path)
        except StoreError as error:
            print(error)
        for name in (os.path.dirname(path), path):
            os.chmod(name, 0o700)
        store = Store.open("sqlite:///" + path)
        store.run_sync(EventRepository(store).announce(EventKind.SYNC_WANTED, "x"))
        store.close()
        print("recovered")
    """
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        home = Path(folder) / "state"
        home.mkdir()
        path = home / "store.db"
        Store.open(f"sqlite:///{path}").close()
        if os.geteuid() == 0:
            os.chown(home, 65534, 65534)
            os.chown(path, 65534, 65534)
        path.chmod(0o400)
        home.chmod(0o500)

        result = run_python(source, str(path))

    assert result.returncode == 0, result.stderr
    assert "read-only" in result.stdout
    assert result.stdout.endswith("recovered\n")
