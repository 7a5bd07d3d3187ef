"""The audit log: append only, durable before ``record`` returns, found again by its reference id."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select

from isolation.audit.events import AuditEvent, Kind, new_reference, normal_reference
from isolation.store.database import Store
from isolation.store.tables import audit

# ---- limits
DEFAULT_LIMIT: Final = 100  # rows a listing returns unless asked for more: two screens
MAX_LIMIT: Final = 10_000  # rows of one listing: about 10 MiB
REFERENCE_ATTEMPTS: Final = 8  # fresh references tried when one is taken: with 10 million rows one try in 100,000 is


class AuditLog:
    """Writes and finds audit events."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def record(self, event: AuditEvent) -> str:
        """Write an event; return its reference id once it is on the disk. Raises StoreError: then its effect must not happen."""
        return await self._store.write(lambda connection: append(connection, event))

    async def find(self, ref: str) -> AuditEvent | None:
        """Return the event of a reference id, however it was typed, or None."""
        wanted = normal_reference(ref)
        if wanted is None:
            return None

        def work(connection: Connection) -> AuditEvent | None:
            row = connection.execute(select(audit).where(audit.c.ref == wanted)).first()
            return _event(row) if row is not None else None

        return await self._store.read(work)

    async def list(
        self,
        *,
        person: str | None = None,
        email: str | None = None,
        session: str | None = None,
        app: str | None = None,
        kind: Kind | None = None,
        outcome: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[AuditEvent]:
        """Return events that fit every given filter, newest first. ``since`` (inclusive) and ``until`` (exclusive): epoch seconds."""
        wanted = select(audit).order_by(audit.c.id.desc()).limit(max(0, min(limit, MAX_LIMIT)))
        exact = {"person_key": person, "email": email, "session": session, "app": app, "kind": kind, "outcome": outcome}
        for name, value in exact.items():
            if value is not None:
                wanted = wanted.where(audit.c[name] == str(value))
        if since is not None:
            wanted = wanted.where(audit.c.at >= since)
        if until is not None:
            wanted = wanted.where(audit.c.at < until)
        return await self._store.read(lambda connection: [_event(row) for row in connection.execute(wanted)])

    async def prune(self, before: float) -> int:
        """Remove events older than ``before`` (epoch seconds); return how many."""
        return await self._store.write(lambda connection: connection.execute(delete(audit).where(audit.c.at < before)).rowcount)


def append(connection: Connection, event: AuditEvent) -> str:
    """Write an event in the open transaction; return its reference id, a fresh one where the event's own is taken."""
    for _ in range(REFERENCE_ATTEMPTS):
        if connection.execute(select(audit.c.id).where(audit.c.ref == event.ref)).first() is None:
            break
        event = replace(event, ref=new_reference())
    connection.execute(
        insert(audit).values(
            ref=event.ref,
            at=event.at,
            kind=event.kind.value,
            person_key=event.person,
            email=event.email,
            session=event.session,
            app=event.app,
            actor=event.actor,
            outcome=event.outcome,
            detail=json.dumps(event.detail, ensure_ascii=False, separators=(",", ":")),
        )
    )
    return event.ref


def _event(row: Any) -> AuditEvent:
    return AuditEvent(
        at=row.at,
        kind=Kind(row.kind),
        ref=row.ref,
        person=row.person_key,
        email=row.email,
        session=row.session,
        app=row.app,
        actor=row.actor,
        outcome=row.outcome,
        detail=json.loads(row.detail),
    )
