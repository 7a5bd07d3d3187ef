"""What one process writes the others learn: once, in order, whole, even when the writer is killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from isolation.policy.facts import RiskLevel
from isolation.store import events
from isolation.store.database import Store
from isolation.store.events import Event, EventKind
from isolation.store.risk import TagRepository
from isolation.store.watcher import EventWatcher

WRITER = """
    import sys
    from isolation.store.database import Store
    from isolation.store.events import EventKind, EventRepository
    store = Store.open(sys.argv[1])
    announce = EventRepository(store).announce
    for number in range(int(sys.argv[3])):
        store.run_sync(announce(EventKind.PERSON_CHANGED, f"{sys.argv[2]}-{number}"))
    store.close()
"""

HALF_WAY = """
    import sys, time
    from isolation.store import events
    from isolation.store.database import Store
    from isolation.store.events import EventKind
    store = Store.open(sys.argv[1])
    def work(connection):
        for number in range(1000):
            events.append(connection, 0.0, EventKind.PERSON_CHANGED, "half-written")
        print("half-way", flush=True)
        time.sleep(60)
    store.run_sync(store.write(work))
"""

TAGGER = """
    import sys
    from isolation.policy.facts import RiskLevel
    from isolation.store.database import Store
    from isolation.store.risk import TagRepository
    store = Store.open(sys.argv[1])
    store.run_sync(TagRepository(store).add("t/alice", RiskLevel.HIGH, "phishing", "erin"))
    store.close()
"""

WATCHER = """
    import asyncio, sys
    from isolation.store.database import Store
    from isolation.store.watcher import EventWatcher
    store = Store.open(sys.argv[1])
    wanted = int(sys.argv[2])
    seen = []
    async def main():
        watcher = EventWatcher(store, interval=0.01)
        await watcher.start()
        print("ready", flush=True)
        done = asyncio.Event()
        async def deliver(event):
            print(event.id, event.subject, flush=True)
            seen.append(event)
            if len(seen) == wanted:
                done.set()
        async def resync():
            print("resync", flush=True)
        task = asyncio.create_task(watcher.run(deliver, resync))
        await done.wait()
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await watcher.close()
    asyncio.run(main())
    store.close()
"""


def start(source: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(source), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    return out


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path}/store.db"
    Store.open(url).close()
    return url


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.01)


async def test_writers_and_watchers_in_several_processes(url: str) -> None:
    store = Store.open(url)
    watcher = EventWatcher(store, interval=0.01)
    await watcher.start()
    seen: list[Event] = []

    async def deliver(event: Event) -> None:
        seen.append(event)

    async def resync() -> None:
        raise AssertionError("nothing was pruned")

    task = asyncio.create_task(watcher.run(deliver, resync))
    elsewhere = start(WATCHER, url, "240")
    assert elsewhere.stdout
    assert await asyncio.to_thread(elsewhere.stdout.readline) == "ready\n"
    writers = [start(WRITER, url, name, "80") for name in ("a", "b")]
    for number in range(80):
        await store.write(lambda c, n=number: events.append(c, 0.0, EventKind.PERSON_CHANGED, f"c-{n}"))
    for process in writers:
        await asyncio.to_thread(finish, process)
    await until(lambda: len(seen) >= 240)
    there = await asyncio.to_thread(finish, elsewhere)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await watcher.close()
    store.close()

    assert [event.id for event in seen] == list(range(seen[0].id, seen[0].id + 240))
    for name in "abc":
        assert [event.subject for event in seen if event.subject.startswith(name)] == [f"{name}-{n}" for n in range(80)]
    assert there.splitlines() == [f"{event.id} {event.subject}" for event in seen]


async def test_a_tag_from_the_command_line_reaches_a_running_worker(url: str) -> None:
    store = Store.open(url)
    watcher = EventWatcher(store)
    await watcher.start()
    seen: list[Event] = []

    async def deliver(event: Event) -> None:
        # Whoever is told of a change can read it: they are one transaction.
        assert [tag.level for tag in await TagRepository(store).list("t/alice")] == [RiskLevel.HIGH]
        seen.append(event)

    async def resync() -> None:
        raise AssertionError("the tag could not be read")

    task = asyncio.create_task(watcher.run(deliver, resync))
    await asyncio.to_thread(finish, start(TAGGER, url))
    await until(lambda: bool(seen))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await watcher.close()
    store.close()

    assert [(event.kind, event.subject) for event in seen] == [(EventKind.PERSON_CHANGED, "t/alice")]


async def test_a_writer_that_is_killed_half_way_leaves_nothing_and_blocks_nobody(url: str) -> None:
    victim = start(HALF_WAY, url)
    assert victim.stdout
    assert await asyncio.to_thread(victim.stdout.readline) == "half-way\n"
    store = Store.open(url, busy_seconds=30)
    waiting = asyncio.ensure_future(store.write(lambda c: events.append(c, 0.0, EventKind.PERSON_CHANGED, "whole")))
    victim.send_signal(signal.SIGKILL)
    await asyncio.to_thread(victim.communicate, None, 60)
    await waiting

    batch = await store.read(lambda connection: events.since(connection, 0))
    store.close()
    assert [event.subject for event in batch.events] == ["whole"]
