"""The bus: in order, exactly once, nothing missed, whatever happens to the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import Connection, delete, text

from isolation.errors import StoreError
from isolation.store import events
from isolation.store.database import Store
from isolation.store.events import BATCH, Event, EventKind, EventRepository
from isolation.store.tables import events as table
from isolation.store.watcher import EventWatcher
from isolation.testing.clock import FakeClock


class Listener:
    """Collects what a watcher delivers."""

    def __init__(self, store: Store, *, fail_on: str = "") -> None:
        self.watcher = EventWatcher(store, interval=0.005)
        self.events: list[Event] = []
        self.resyncs = 0
        self._fail_on = fail_on

    async def deliver(self, event: Event) -> None:
        self.events.append(event)
        if event.subject == self._fail_on:
            raise RuntimeError("cannot handle this")

    async def resync(self) -> None:
        self.resyncs += 1

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        if self.watcher.position is None:
            await self.watcher.start()
        task = asyncio.create_task(self.watcher.run(self.deliver, self.resync))
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    @property
    def subjects(self) -> list[str]:
        return [event.subject for event in self.events]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.005)


@pytest.fixture
async def listener(store: Store) -> AsyncIterator[Listener]:
    made = Listener(store)
    yield made
    await made.watcher.close()


async def announce(store: Store, *subjects: str, kind: EventKind = EventKind.PERSON_CHANGED) -> None:
    await store.write(lambda connection: events.append_many(connection, store.clock.now(), kind, subjects))


async def test_what_happened_before_the_start_is_not_delivered(store: Store, listener: Listener) -> None:
    await announce(store, "before")
    async with listener.listening():
        await announce(store, "after")
        await until(lambda: bool(listener.events))

    assert listener.subjects == ["after"]


async def test_what_happens_between_start_and_run_is_delivered(store: Store, listener: Listener) -> None:
    await listener.watcher.start()
    await announce(store, "between")
    async with listener.listening():
        await until(lambda: bool(listener.events))

    assert listener.subjects == ["between"]


async def test_an_event_comes_whole(store: Store, listener: Listener, clock: FakeClock) -> None:
    async with listener.listening():
        await EventRepository(store).announce(EventKind.POLICY_CHANGED, "digest", {"file": "a.yaml"})
        await until(lambda: bool(listener.events))

    [event] = listener.events
    assert (event.kind, event.subject, event.data, event.at) == (
        EventKind.POLICY_CHANGED,
        "digest",
        {"file": "a.yaml"},
        clock.now(),
    )


async def test_a_transaction_that_fails_announces_nothing(store: Store, listener: Listener) -> None:
    def work(connection: Connection) -> None:
        events.append(connection, 0.0, EventKind.PERSON_CHANGED, "never")
        raise RuntimeError

    async with listener.listening():
        with pytest.raises(RuntimeError):
            await store.write(work)
        await announce(store, "real")
        await until(lambda: bool(listener.events))

    assert listener.subjects == ["real"]


async def test_concurrent_writers_are_all_heard_once_and_in_order(store: Store, listener: Listener, path: object) -> None:
    second = Store.open(f"sqlite:///{path}", clock=store.clock)
    try:
        async with listener.listening():
            await asyncio.gather(
                *[announce(chosen, f"{name}{number}") for number in range(150) for name, chosen in (("a", store), ("b", second))]
            )
            await until(lambda: len(listener.events) >= 300)
            await asyncio.sleep(0.05)
    finally:
        second.close()

    assert len(set(listener.subjects)) == len(listener.subjects) == 300
    ids = [event.id for event in listener.events]
    assert ids == list(range(ids[0], ids[0] + 300))


async def test_more_events_than_one_batch(store: Store, listener: Listener) -> None:
    await listener.watcher.start()
    await announce(store, *[str(number) for number in range(2 * BATCH + 7)])
    async with listener.listening():
        await until(lambda: len(listener.events) >= 2 * BATCH + 7)

    assert listener.subjects == [str(number) for number in range(2 * BATCH + 7)]


async def test_a_watcher_that_was_stopped_goes_on_where_it_was(store: Store, listener: Listener) -> None:
    async with listener.listening():
        await announce(store, "one")
        await until(lambda: bool(listener.events))
    await announce(store, "two", "three")
    async with listener.listening():
        await until(lambda: len(listener.events) >= 3)

    assert listener.subjects == ["one", "two", "three"]


async def test_pruning_keeps_what_is_young(store: Store, clock: FakeClock, listener: Listener) -> None:
    repository = EventRepository(store)
    await announce(store, "old")
    clock.advance(90_000)
    await listener.watcher.start()
    await announce(store, "young")
    assert await repository.prune() == 1
    assert await repository.prune() == 0
    async with listener.listening():
        await until(lambda: bool(listener.events))

    assert (listener.subjects, listener.resyncs) == (["young"], 0)


async def test_a_watcher_that_was_pruned_past_drops_everything(store: Store, clock: FakeClock, listener: Listener) -> None:
    await listener.watcher.start()
    await announce(store, "missed")
    clock.advance(90_000)
    await EventRepository(store).prune()
    async with listener.listening():
        await until(lambda: listener.resyncs == 1)
        await announce(store, "next")
        await until(lambda: bool(listener.events))

    assert (listener.subjects, listener.resyncs) == (["next"], 1)


async def test_ids_are_not_used_again_after_everything_was_pruned(store: Store, clock: FakeClock) -> None:
    await announce(store, "one", "two")
    before = await store.read(events.position)
    clock.advance(90_000)
    await EventRepository(store).prune()

    assert await store.read(events.position) == before
    await announce(store, "three")
    assert await store.read(events.position) == before + 1


async def test_a_restored_backup_drops_everything(store: Store, listener: Listener) -> None:
    await announce(store, "one", "two")
    await listener.watcher.start()
    await store.write(lambda c: c.execute(delete(table)) and c.execute(text("DELETE FROM sqlite_sequence")))
    async with listener.listening():
        await until(lambda: listener.resyncs == 1)
        await announce(store, "three")
        await until(lambda: bool(listener.events))

    assert listener.subjects == ["three"]


async def test_an_event_of_a_newer_version_drops_everything(store: Store, listener: Listener) -> None:
    async with listener.listening():
        await store.write(
            lambda c: c.execute(text("INSERT INTO events (at, kind, subject, data) VALUES (1, 'device-changed', 'd', '{}')"))
        )
        await until(lambda: listener.resyncs == 1)

    assert listener.events == []


async def test_a_handler_that_fails_is_followed_by_a_resync_and_the_next_events(store: Store) -> None:
    listener = Listener(store, fail_on="bad")
    async with listener.listening():
        await announce(store, "good", "bad", "better")
        await until(lambda: listener.resyncs == 1)
    await listener.watcher.close()

    assert listener.subjects == ["good", "bad", "better"]


async def test_an_unreadable_store_is_survived_without_loss(store: Store, listener: Listener, clock: FakeClock) -> None:
    async with listener.listening():
        await store.write(lambda c: c.execute(text("ALTER TABLE events RENAME TO events_away")))
        await until(lambda: listener.watcher._blind_since is not None)
        clock.advance(3)
        assert listener.watcher.blind_for == 3
        await store.write(
            lambda c: c.execute(text("INSERT INTO events_away (at, kind, subject, data) VALUES (1, 'person-changed', 'p', '{}')"))
        )
        await store.write(lambda c: c.execute(text("ALTER TABLE events_away RENAME TO events")))
        await until(lambda: bool(listener.events))

        assert listener.subjects == ["p"]
        assert listener.watcher.blind_for == 0


async def test_a_closed_store_leaves_the_watcher_blind_not_dead(path: object) -> None:
    store = Store.open(f"sqlite:///{path}")
    listener = Listener(store)
    store.close()
    with pytest.raises(StoreError):
        await listener.watcher.start()
    task = asyncio.create_task(listener.watcher.run(listener.deliver, listener.resync))
    await until(lambda: listener.watcher._blind_since is not None)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await listener.watcher.close()


async def test_an_event_is_delivered_once_even_when_the_watcher_is_stopped_in_the_middle_of_it(store: Store) -> None:
    watcher = EventWatcher(store, interval=0.005)
    await watcher.start()
    await announce(store, "one", "two", "three")
    seen: list[str] = []
    stuck = asyncio.Event()

    async def deliver(event: Event) -> None:
        seen.append(event.subject)
        if event.subject == "two" and not stuck.is_set():
            stuck.set()
            await asyncio.Event().wait()

    async def resync() -> None:
        raise AssertionError("nothing was missed")

    first = asyncio.create_task(watcher.run(deliver, resync))
    await stuck.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(watcher.run(deliver, resync))
    await until(lambda: "three" in seen)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    await watcher.close()

    assert seen == ["one", "two", "three"]
