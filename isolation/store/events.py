"""The bus between workers, sync and command line: a table with a growing id.

Whatever changes a decision appends an event in the same transaction, so there is no change without its event and no event without its
change. Other processes learn of it through :mod:`isolation.store.watcher`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from isolation.store.database import Store
from isolation.store.tables import bus, events

# ---- limits
KEEP_SECONDS: Final = 86_400.0  # a worker that slept longer than a day drops all it knows instead of catching up
BATCH: Final = 500  # events read at once: about 100 KiB


class EventKind(StrEnum):
    """What may have changed. The subject is given in brackets."""

    PERSON_CHANGED = "person-changed"  # risk, tags, groups, profile, disabled (person key)
    SESSION_ENDED = "session-ended"  # (session digest)
    POLICY_CHANGED = "policy-changed"  # a configuration was applied (its digest)
    KEYS_CHANGED = "keys-changed"  # a signing key was made or retired (key id)
    LEASE_ENDED = "lease-ended"  # (lease id)
    SYNC_WANTED = "sync-wanted"  # somebody waits for a fresh reading (person key)
    PROVIDER_CHANGED = "provider-changed"  # a provider's state changed: concerns everybody (provider name)


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the bus. ``at``: epoch seconds. ``data``: small JSON values, for logs; nothing depends on it."""

    id: int
    at: float
    kind: EventKind
    subject: str
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events after a position, in order. ``missed``: some were pruned before they could be read. ``position``: where to go on from."""

    events: tuple[Event, ...]
    position: int
    missed: bool = False


def append(connection: Connection, at: float, kind: EventKind, subject: str, data: Mapping[str, object] | None = None) -> None:
    """Add an event to the open transaction."""
    append_many(connection, at, kind, [subject], data)


def append_many(
    connection: Connection, at: float, kind: EventKind, subjects: Sequence[str], data: Mapping[str, object] | None = None
) -> None:
    """Add an event of one kind for each subject to the open transaction."""
    text = json.dumps(data or {}, separators=(",", ":"))
    rows = [{"at": at, "kind": kind.value, "subject": subject, "data": text} for subject in subjects]
    if rows:
        connection.execute(insert(events), rows)


def position(connection: Connection) -> int:
    """Return the id of the newest event, 0 where there was none yet."""
    newest = connection.execute(select(func.max(events.c.id))).scalar() or 0
    return max(newest, _pruned_through(connection))


def since(connection: Connection, last: int, limit: int = BATCH) -> Batch:
    """Return up to ``limit`` events after id ``last``.

    When events after ``last`` are gone, or ``last`` is ahead of the table (an older backup was restored), there is no telling what was missed:
    the batch says so, is empty, and goes on from the newest event.
    """
    if _pruned_through(connection) > last or position(connection) < last:
        return Batch((), position(connection), missed=True)
    rows = connection.execute(
        select(events.c.id, events.c.at, events.c.kind, events.c.subject, events.c.data)
        .where(events.c.id > last)
        .order_by(events.c.id)
        .limit(limit)
    ).all()
    known = {kind.value for kind in EventKind}
    if any(row.kind not in known for row in rows):
        # Written by a newer version during an upgrade: what it means is unknown, so it may mean anything.
        return Batch((), position(connection), missed=True)
    found = tuple(Event(row.id, row.at, EventKind(row.kind), row.subject, json.loads(row.data)) for row in rows)
    return Batch(found, found[-1].id if found else last)


def prune(connection: Connection, before: float) -> int:
    """Remove events older than ``before`` (epoch seconds) and note how far; return how many."""
    through = connection.execute(select(func.max(events.c.id)).where(events.c.at < before)).scalar()
    if through is None:
        return 0
    # Up to that id whatever the times say: clocks of several machines differ, ids do not.
    removed = connection.execute(delete(events).where(events.c.id <= through)).rowcount
    connection.execute(update(bus).values(pruned_through=through))
    return removed


class EventRepository:
    """Events for callers outside a transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def announce(self, kind: EventKind, subject: str, data: Mapping[str, object] | None = None) -> None:
        """Append an event that stands for no other change in the store (``policy-changed``, ``sync-wanted``)."""
        at = self._store.clock.now()
        await self._store.write(lambda connection: append(connection, at, kind, subject, data))

    async def prune(self, keep_seconds: float = KEEP_SECONDS) -> int:
        """Remove events older than ``keep_seconds``; return how many."""
        before = self._store.clock.now() - keep_seconds
        return await self._store.write(lambda connection: prune(connection, before))


def _pruned_through(connection: Connection) -> int:
    return int(connection.execute(select(bus.c.pruned_through)).scalar_one())
