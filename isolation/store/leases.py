"""Live isolated browsers: which session has which lease on which node. One live lease per session, held by the table itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from isolation.store import events
from isolation.store.database import Store
from isolation.store.events import EventKind
from isolation.store.tables import leases

# ---- limits
KEEP_ENDED_SECONDS: Final = 86_400.0  # ended leases stay for a day, to look something up; the audit log keeps start and end


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """One Chromium of one signed-in session.

    ``credential_digest``: what the lease's egress credentials are compared with, kept as it was given. ``controls``: as
    :meth:`isolation.policy.controls.Controls.as_json` has them. ``scale``: device pixels per CSS pixel in hundredths. ``started_at``, ``active_at``: epoch seconds.
    """

    id: str
    session_digest: str
    person_key: str
    node: str
    credential_digest: str = field(repr=False)
    controls: Mapping[str, object]
    scale: int
    started_at: float
    apps: frozenset[str] = frozenset()
    active_at: float = 0.0


class LeaseRepository:
    """Keeps leases. The end of one appends ``lease-ended`` in the same transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def live(self, session_digest: str) -> LeaseRecord | None:
        """Return the session's live lease."""
        return await self._first(leases.c.session_digest == session_digest)

    async def by_id(self, lease: str) -> LeaseRecord | None:
        """Return a live lease by its id."""
        return await self._first(leases.c.id == lease)

    async def open(self, lease: LeaseRecord) -> LeaseRecord:
        """Write a lease down, unless its session has a live one; return the one that is live now. Raises StoreError."""

        def work(connection: Connection) -> LeaseRecord:
            held = _select(connection, leases.c.session_digest == lease.session_digest)
            if held:
                return held[0]
            connection.execute(insert(leases).values(**_values(lease), ended_because=""))
            return lease

        return await self._store.write(work)

    async def change(self, lease: LeaseRecord) -> None:
        """Write down new controls, apps and credentials of a live lease. One that has ended stays as it is."""
        values = {name: value for name, value in _values(lease).items() if name in {"controls", "apps", "credential_digest"}}

        def work(connection: Connection) -> None:
            connection.execute(update(leases).where(leases.c.id == lease.id, leases.c.ended_at.is_(None)).values(values))

        await self._store.write(work)

    async def touch(self, lease: str, at: float) -> None:
        """Note that somebody did something in a live lease."""

        def work(connection: Connection) -> None:
            which = (leases.c.id == lease, leases.c.ended_at.is_(None), leases.c.active_at < at)
            connection.execute(update(leases).where(*which).values(active_at=at))

        await self._store.write(work)

    async def close(self, lease: str, *, at: float, why: str) -> bool:
        """Mark a lease as ended; say whether it was live until now."""
        return bool(await self._end(leases.c.id == lease, at, why))

    async def close_node(self, node: str, *, at: float, why: str) -> Sequence[str]:
        """Mark every live lease of a node as ended; return their ids."""
        return await self._end(leases.c.node == node, at, why)

    async def list_live(self) -> list[LeaseRecord]:
        """Return every live lease, oldest first."""
        return await self._store.read(lambda connection: _select(connection, leases.c.ended_at.is_(None)))

    async def prune(self) -> int:
        """Forget leases that ended more than a day ago; return how many."""
        before = self._store.clock.now() - KEEP_ENDED_SECONDS
        return await self._store.write(
            lambda connection: connection.execute(delete(leases).where(leases.c.ended_at < before)).rowcount
        )

    async def _first(self, which: ColumnElement[bool]) -> LeaseRecord | None:
        found = await self._store.read(lambda connection: _select(connection, which))
        return found[0] if found else None

    async def _end(self, which: ColumnElement[bool], at: float, why: str) -> Sequence[str]:
        def work(connection: Connection) -> Sequence[str]:
            wanted = update(leases).where(which, leases.c.ended_at.is_(None)).values(ended_at=at, ended_because=why)
            ended = connection.execute(wanted.returning(leases.c.id)).scalars().all()
            events.append_many(connection, self._store.clock.now(), EventKind.LEASE_ENDED, ended, {"why": why})
            return ended

        return await self._store.write(work)


def _select(connection: Connection, which: ColumnElement[bool]) -> list[LeaseRecord]:
    rows = connection.execute(select(leases).where(which, leases.c.ended_at.is_(None)).order_by(leases.c.started_at, leases.c.id))
    return [
        LeaseRecord(
            id=row.id,
            session_digest=row.session_digest,
            person_key=row.person_key,
            node=row.node,
            credential_digest=row.credential_digest,
            controls=json.loads(row.controls),
            scale=row.scale,
            started_at=row.started_at,
            apps=frozenset(json.loads(row.apps)),
            active_at=row.active_at,
        )
        for row in rows
    ]


def _values(lease: LeaseRecord) -> dict[str, Any]:
    return {
        "id": lease.id,
        "session_digest": lease.session_digest,
        "person_key": lease.person_key,
        "node": lease.node,
        "credential_digest": lease.credential_digest,
        "controls": json.dumps(dict(lease.controls), sort_keys=True),
        "scale": lease.scale,
        "apps": json.dumps(sorted(lease.apps)),
        "started_at": lease.started_at,
        "active_at": lease.active_at,
    }
