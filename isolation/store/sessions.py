"""Sessions, found by a secret id of which only the digest is stored.

A session has one secret id per host that has a cookie of it, so that no secret ever has to travel from one host to another: the hand-off
names the session by its digest, and the app's host is given a secret of its own (:meth:`SessionRepository.add_secret`). The session itself is known
by the digest of its first secret, which is worth nothing to whoever reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, or_, select, update

from isolation import tokens
from isolation.audit.events import session_ended
from isolation.errors import SignInError
from isolation.identity.sessions.model import EndReason, Session, short_id
from isolation.store import audit, events
from isolation.store.database import Store
from isolation.store.events import EventKind
from isolation.store.tables import people, session_secrets, sessions

# ---- limits
TOUCH_SECONDS: Final = (
    60.0  # "last seen" is written at most this often per session, and more often only where idle times are very short
)
MAX_LAPSED: Final = 500  # sessions ended by time in one transaction, so that others get their turn to write
MAX_SECRETS: Final = 200  # secret ids of one session: one per host with a cookie, and re-issues of a lost cookie
KEEP_ENDED_SECONDS: Final = 7 * 86_400.0  # ended sessions stay listed for a week, then only the audit log knows them

UNASKED: Final = frozenset({EndReason.DISABLED, EndReason.REVOKED_AT_IDP, EndReason.EXPIRED, EndReason.IDLE})
"""Ends that the directory or the clock brings about."""


class SessionRepository:
    """Keeps sessions. Whatever ends one appends ``session-ended`` in the same transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(
        self, person_key: str, *, idp: str, lifetime: float, idle_seconds: float, sid: str | None = None
    ) -> tuple[Session, str]:
        """Start a session of ``lifetime`` seconds for a person already recorded; return it with its secret id (256 bits).

        Raises SignInError (``disabled``) for an account that must not be used, StoreError when nothing could be written.
        """
        secret = tokens.new_secret()
        now = self._store.clock.now()
        digest = tokens.digest(secret)
        session = Session(
            id=short_id(digest),
            digest=digest,
            person_key=person_key,
            idp=idp,
            created_at=now,
            expires_at=now + lifetime,
            idle_seconds=idle_seconds,
            last_seen_at=now,
            sid=sid,
        )

        def work(connection: Connection) -> None:
            disabled_at = connection.execute(select(people.c.disabled_at).where(people.c.key == person_key)).scalar()
            if disabled_at is not None:
                raise SignInError("This account has been disabled. Ask your administrator.", code="disabled", retry=False)
            connection.execute(
                insert(sessions).values(
                    digest=digest,
                    person_key=person_key,
                    idp=idp,
                    created_at=now,
                    expires_at=session.expires_at,
                    idle_seconds=idle_seconds,
                    last_seen_at=now,
                    sid=sid,
                    revoked_because="",
                )
            )
            connection.execute(insert(session_secrets).values(digest=digest, session_digest=digest))

        await self._store.write(work)
        return session, secret

    async def add_secret(self, session_digest: str) -> str | None:
        """Return another secret id of a live session, for the cookie of one more host. None where the session is over."""
        secret = tokens.new_secret()
        now = self._store.clock.now()

        def work(connection: Connection) -> str | None:
            session = _first(connection, sessions.c.digest == session_digest)
            if session is None or not session.is_live(now):
                return None
            held = connection.execute(
                select(session_secrets.c.digest).where(session_secrets.c.session_digest == session_digest)
            ).all()
            if len(held) >= MAX_SECRETS:
                return None
            connection.execute(insert(session_secrets).values(digest=tokens.digest(secret), session_digest=session_digest))
            return secret

        return await self._store.write(work)

    async def get(self, secret: str) -> Session | None:
        """Return the live session that a secret id opens. None for an id nobody has, and for a revoked, expired or idle session."""
        return await self._store.read(lambda connection: self.read(connection, secret))

    def read(self, connection: Connection, secret: str) -> Session | None:
        """Do what :meth:`get` does, inside an open transaction."""
        row = connection.execute(
            select(sessions)
            .join(session_secrets, session_secrets.c.session_digest == sessions.c.digest)
            .where(session_secrets.c.digest == tokens.digest(secret))
        ).first()
        session = _session(row) if row is not None else None
        return session if session is not None and session.is_live(self._store.clock.now()) else None

    async def by_digest(self, digest: str) -> Session | None:
        """Return the live session of this digest, or None. The digest proves nothing: only for callers inside the router."""
        session = await self._store.read(lambda connection: _first(connection, sessions.c.digest == digest))
        return session if session is not None and session.is_live(self._store.clock.now()) else None

    async def touch(self, session: Session) -> Session:
        """Note that a session is in use, about once a minute; return it as it is known now. Cheap to call on every request."""
        now = self._store.clock.now()
        if now - session.last_seen_at < min(TOUCH_SECONDS, session.idle_seconds / 4):
            return session

        def work(connection: Connection) -> None:
            connection.execute(
                update(sessions)
                .where(sessions.c.digest == session.digest, sessions.c.revoked_at.is_(None), sessions.c.last_seen_at < now)
                .values(last_seen_at=now)
            )

        await self._store.write(work)
        return replace(session, last_seen_at=now)

    async def revoke(self, digest: str, why: EndReason | str) -> bool:
        """End a session; say whether it was still live."""
        return bool(await self._end(sessions.c.digest == digest, why))

    async def revoke_person(self, person_key: str, why: EndReason | str) -> Sequence[str]:
        """End every session of a person; return the digests of those that were live."""
        return await self._end(sessions.c.person_key == person_key, why)

    async def revoke_sid(self, idp: str, sid: str, why: EndReason | str = EndReason.SIGNED_OUT_AT_IDP) -> Sequence[str]:
        """End the sessions of an identity provider's session; return the digests of those that were live."""
        return await self._end(and_(sessions.c.idp == idp, sessions.c.sid == sid), why) if sid else ()

    async def end_lapsed(self) -> int:
        """End the sessions whose time is over or that nobody used for too long, so that what is open on them ends; return how many."""
        now = self._store.clock.now()
        expired = sessions.c.expires_at <= now
        idle = and_(sessions.c.expires_at > now, sessions.c.last_seen_at + sessions.c.idle_seconds <= now)
        lapsed = select(sessions.c.digest).where(sessions.c.revoked_at.is_(None), or_(expired, idle)).limit(MAX_LAPSED)
        found = await self._store.read(lambda connection: connection.execute(lapsed).scalars().all())
        if not found:
            return 0

        def work(connection: Connection) -> int:
            these = sessions.c.digest.in_(found)
            ended = end_sessions(connection, now, and_(these, expired), EndReason.EXPIRED)
            return len(ended) + len(end_sessions(connection, now, and_(these, idle), EndReason.IDLE))

        return await self._store.write(work)

    async def list_active(self, person_key: str | None = None) -> list[Session]:
        """Return live sessions, newest first, of everybody or of one person."""
        now = self._store.clock.now()

        def work(connection: Connection) -> list[Session]:
            wanted = select(sessions).where(sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)
            if person_key is not None:
                wanted = wanted.where(sessions.c.person_key == person_key)
            found = [_session(row) for row in connection.execute(wanted.order_by(sessions.c.created_at.desc()))]
            return [session for session in found if session.is_live(now)]

        return await self._store.read(work)

    async def prune(self) -> int:
        """Forget sessions that ended more than a week ago; return how many."""
        before = self._store.clock.now() - KEEP_ENDED_SECONDS
        over = or_(
            sessions.c.revoked_at < before,
            sessions.c.expires_at < before,
            sessions.c.last_seen_at + sessions.c.idle_seconds < before,
        )
        return await self._store.write(lambda connection: connection.execute(delete(sessions).where(over)).rowcount)

    async def _end(self, which: ColumnElement[bool], why: str) -> Sequence[str]:
        now = self._store.clock.now()
        return await self._store.write(lambda connection: end_sessions(connection, now, which, why))


def end_sessions(connection: Connection, now: float, which: ColumnElement[bool], why: str) -> Sequence[str]:
    """End the sessions that ``which`` selects, with an event for each, in the open transaction; return their digests.

    Where no person and no administrator asked for it, there is nobody else to write it down: the audit entry is made here.
    """
    rows = connection.execute(
        update(sessions)
        .where(which, sessions.c.revoked_at.is_(None))
        .values(revoked_at=now, revoked_because=str(why))
        .returning(sessions.c.digest, sessions.c.person_key)
    ).all()
    ended = [row.digest for row in rows]
    if why in UNASKED:
        for row in rows:
            audit.append(connection, session_ended(at=now, person=row.person_key, session=row.digest, why=str(why)))
    events.append_many(connection, now, EventKind.SESSION_ENDED, ended, {"why": str(why)})
    return ended


def _first(connection: Connection, which: ColumnElement[bool]) -> Session | None:
    row = connection.execute(select(sessions).where(which)).first()
    return _session(row) if row is not None else None


def _session(row: Row[tuple[object, ...]]) -> Session:
    return Session(id=short_id(row.digest), **row._mapping)
