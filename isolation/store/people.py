"""People as the sign-ins and the directory describe them, and the last readings of their groups and profile.

A reading that changes nothing but its age appends no event: ages are read again when the signal's ``until`` passes. A failed attempt never
removes a reading; it only becomes the reason once the reading is stale.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, func, or_, select, update
from sqlalchemy.dialects import sqlite

from isolation.identity.principals import PersonRecord, normal_email, normal_name, person_key
from isolation.identity.sessions.model import EndReason
from isolation.policy.facts import UserType
from isolation.signals.model import GroupsReading, ProviderStatus
from isolation.store import events
from isolation.store.database import Store
from isolation.store.events import EventKind
from isolation.store.sessions import end_sessions
from isolation.store.tables import group_readings, people, sessions

# ---- limits
MAX_MESSAGE: Final = 500  # characters of a provider's error text that are kept for the console
FIND_LIMIT: Final = 50  # people that one search text may match: e-mail addresses are nearly unique

DIRECTORY: Final = "directory"
"""Why an account is disabled that the directory reported as disabled. Only such a one does the directory enable again."""


class PeopleRepository:
    """Keeps people. Whatever changes what a rule may see of somebody appends ``person-changed`` in the same transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def upsert_from_sign_in(
        self,
        tenant: str,
        oid: str,
        email: str,
        name: str,
        user_type: UserType | None,
        groups: Iterable[str] | None,
        at: float,
        idp: str,
    ) -> PersonRecord:
        """Record what a verified ID token says of somebody, as of ``at`` (epoch seconds); return the record.

        ``user_type`` and ``groups`` are None where the token does not say (no claim, or overage); then earlier readings stand.
        """
        key = person_key(tenant, oid)
        wanted = _normal_groups(groups) if groups is not None else None

        def work(connection: Connection) -> PersonRecord:
            now = self._store.clock.now()
            before = _record(connection, key)
            values: dict[str, Any] = {
                "email": normal_email(email),
                "name": normal_name(name),
                "login_method": idp,
                "signed_in_at": at,
            }
            changed = before is not None and (before.email, before.name) != (values["email"], values["name"])
            ensure_person(connection, key, at)
            if user_type is not None and (before is None or before.user_type_as_of is None or before.user_type_as_of <= at):
                values |= {
                    "user_type": user_type.value,
                    "user_type_as_of": at,
                    "user_type_source": "token",
                    "profile_failure": "",
                }
                changed |= before is not None and before.user_type is not user_type
            connection.execute(update(people).where(people.c.key == key).values(values))
            if wanted is not None:
                changed |= _store_groups(connection, key, wanted, at, "token")
            # Somebody new has no session whose decisions could change.
            if changed and before is not None:
                events.append(connection, now, EventKind.PERSON_CHANGED, key, {"why": "sign-in"})
            if before is not None and before.disabled_because == DIRECTORY and at > (before.disabled_at or at):
                # The directory signs no disabled account in: its newer word counts.
                _enable(connection, key, now)
            return _require(connection, key)

        return await self._store.write(work)

    async def record_profile(
        self,
        key: str,
        *,
        as_of: float,
        email: str | None = None,
        name: str | None = None,
        user_type: UserType | None = None,
        enabled: bool | None = None,
        sessions_valid_from: float | None = None,
    ) -> None:
        """Record a directory reading of somebody's profile. What is None was not said and stays.

        ``enabled`` False disables the account and ends its sessions, True enables it again if the directory had disabled it.
        ``sessions_valid_from``: sessions begun before are ended (Graph's ``signInSessionsValidFromDateTime``). Epoch seconds.
        """

        def work(connection: Connection) -> None:
            now = self._store.clock.now()
            ensure_person(connection, key, as_of)
            before = _require(connection, key)
            values: dict[str, Any] = {"profile_failure": ""}
            if email is not None:
                values["email"] = normal_email(email)
            if name is not None:
                values["name"] = normal_name(name)
            if user_type is not None:
                values |= {"user_type": user_type.value, "user_type_as_of": as_of, "user_type_source": "graph"}
            connection.execute(update(people).where(people.c.key == key).values(values))
            after = _require(connection, key)
            if _visible(before) != _visible(after):
                events.append(connection, now, EventKind.PERSON_CHANGED, key, {"why": "profile"})
            if enabled is False:
                _disable(connection, key, now, DIRECTORY)
            elif enabled and before.disabled_because == DIRECTORY:
                _enable(connection, key, now)
            if sessions_valid_from is not None:
                earlier = (sessions.c.person_key == key) & (sessions.c.created_at < sessions_valid_from)
                end_sessions(connection, now, earlier, EndReason.REVOKED_AT_IDP)

        await self._store.write(work)

    async def record_groups(self, key: str, groups: Iterable[str], as_of: float, complete: bool) -> None:
        """Record a directory reading of somebody's transitive groups (object ids). One that is not ``complete`` counts as a failed attempt."""
        wanted = _normal_groups(groups)

        def work(connection: Connection) -> None:
            now = self._store.clock.now()
            ensure_person(connection, key, as_of)
            if not complete:
                _fail_groups(connection, key, ProviderStatus.INCOMPLETE, "not every page was read", as_of, now)
            elif _store_groups(connection, key, wanted, as_of, "graph"):
                events.append(connection, now, EventKind.PERSON_CHANGED, key, {"why": "groups"})

        await self._store.write(work)

    async def record_failure(self, key: str, what: str, status: ProviderStatus | str, message: str, at: float) -> None:
        """Record that an attempt to read ``what`` (``"groups"`` or ``"profile"``) of somebody failed."""
        state = ProviderStatus.parse(status)

        def work(connection: Connection) -> None:
            now = self._store.clock.now()
            ensure_person(connection, key, at)
            match what:
                case "groups":
                    _fail_groups(connection, key, state, message, at, now)
                case "profile":
                    _fail_profile(connection, key, state, now)
                case _:
                    raise ValueError(f"nothing called {what!r} is read of a person")

        await self._store.write(work)

    async def disable(self, key: str, why: str) -> Sequence[str]:
        """Disable an account here and end its sessions; return their digests. The directory cannot undo it."""
        now = self._store.clock.now()
        return await self._store.write(lambda connection: _disable(connection, key, now, why))

    async def enable(self, key: str) -> None:
        """Undo :meth:`disable`."""
        now = self._store.clock.now()
        await self._store.write(lambda connection: _enable(connection, key, now))

    async def get(self, key: str) -> PersonRecord | None:
        """Return what is known about a person, or None."""
        return await self._store.read(lambda connection: _record(connection, key))

    async def groups(self, key: str) -> GroupsReading | None:
        """Return the last reading of somebody's groups, or None."""
        return await self._store.read(lambda connection: read_groups(connection, key))

    async def find(self, text: str) -> list[PersonRecord]:
        """Return the people with exactly this e-mail address, object id or person key, or whose address has this local part."""
        wanted = text.strip().lower()
        if not wanted:
            return []
        where = [people.c.email == wanted, people.c.oid == wanted, people.c.key == wanted]
        if "@" not in wanted:
            where.append(people.c.email.startswith(f"{wanted}@", autoescape=True))

        def work(connection: Connection) -> list[PersonRecord]:
            rows = connection.execute(select(people).where(or_(*where)).order_by(people.c.email, people.c.key).limit(FIND_LIMIT))
            return [_person(row) for row in rows]

        return await self._store.read(work)

    async def list_signed_in(self, since: float) -> list[PersonRecord]:
        """Return the people with a session used after ``since`` (epoch seconds): those whose readings must be kept fresh."""

        def work(connection: Connection) -> list[PersonRecord]:
            live = select(sessions.c.person_key).where(sessions.c.revoked_at.is_(None), sessions.c.last_seen_at >= since)
            return [
                _person(row) for row in connection.execute(select(people).where(people.c.key.in_(live)).order_by(people.c.key))
            ]

        return await self._store.read(work)


def ensure_person(connection: Connection, key: str, at: float) -> None:
    """Make sure that a row for this person exists, without changing one that does. Raises ValueError for what is no person key."""
    ensure_people(connection, {key: ("", "")}, at)


def ensure_people(connection: Connection, wanted: Mapping[str, tuple[str, str]], at: float) -> None:
    """Make sure that rows for these people exist, by key, with e-mail and name for those who are new."""
    rows = []
    for key, (email, name) in wanted.items():
        tenant, _, oid = key.partition("/")
        if key != person_key(tenant, oid):
            raise ValueError("a person key is {tenant}/{oid} in lower case")
        rows.append(
            {
                "key": key,
                "tenant": tenant,
                "oid": oid,
                "email": normal_email(email),
                "name": normal_name(name),
                "login_method": "",
                "first_seen_at": at,
                "user_type_source": "",
                "profile_failure": "",
                "disabled_because": "",
            }
        )
    if rows:
        connection.execute(sqlite.insert(people).on_conflict_do_nothing(), rows)


def read_person(connection: Connection, key: str) -> PersonRecord | None:
    """Return what is known about a person, or None, in the open transaction."""
    return _record(connection, key)


def read_groups(connection: Connection, key: str) -> GroupsReading | None:
    """Return the last reading of somebody's groups, or None, in the open transaction."""
    row = connection.execute(select(group_readings).where(group_readings.c.person_key == key)).first()
    if row is None:
        return None
    return GroupsReading(
        groups=frozenset(json.loads(row.group_ids)) if row.group_ids is not None else None,
        as_of=row.as_of,
        source=row.source,
        failure=ProviderStatus.parse(row.failure) if row.failure is not None else None,
        failed_at=row.failed_at,
        message=row.message,
    )


def _store_groups(connection: Connection, key: str, groups: Sequence[str], as_of: float, source: str) -> bool:
    """Keep a complete reading unless a newer one is there; say whether a rule could see the difference."""
    before = read_groups(connection, key)
    if before is not None and before.as_of is not None and before.as_of > as_of:
        return False
    values = {
        "person_key": key,
        "group_ids": json.dumps(groups),
        "as_of": as_of,
        "source": source,
        "failure": None,
        "failed_at": None,
        "message": "",
    }
    row = sqlite.insert(group_readings).values(values)
    connection.execute(row.on_conflict_do_update(index_elements=["person_key"], set_=values))
    # After a failure the former reading may have gone stale in somebody's decision, so that the same groups are news.
    return before is None or before.groups != frozenset(groups) or before.failure is not None


def _fail_groups(connection: Connection, key: str, status: ProviderStatus, message: str, at: float, now: float) -> None:
    before = read_groups(connection, key)
    values = {"person_key": key, "failure": status.value, "failed_at": at, "message": message[:MAX_MESSAGE]}
    row = sqlite.insert(group_readings).values({**values, "source": ""})
    connection.execute(row.on_conflict_do_update(index_elements=["person_key"], set_=values))
    if (before is None or before.groups is None) and (before is None or before.failure is not status):
        events.append(connection, now, EventKind.PERSON_CHANGED, key, {"why": "groups", "status": status.value})


def _fail_profile(connection: Connection, key: str, status: ProviderStatus, now: float) -> None:
    before = _require(connection, key)
    connection.execute(update(people).where(people.c.key == key).values(profile_failure=status.value))
    if before.user_type is None and before.profile_failure != status.value:
        events.append(connection, now, EventKind.PERSON_CHANGED, key, {"why": "profile", "status": status.value})


def _disable(connection: Connection, key: str, now: float, why: str) -> Sequence[str]:
    # What an administrator disabled the directory must not enable, whoever came first.
    enabled = people.c.disabled_at.is_(None)
    open_to = enabled if why == DIRECTORY else or_(enabled, people.c.disabled_because == DIRECTORY)
    changed = connection.execute(
        update(people)
        .where(people.c.key == key, open_to)
        .values(disabled_at=func.coalesce(people.c.disabled_at, now), disabled_because=why)
    ).rowcount
    ended = end_sessions(connection, now, sessions.c.person_key == key, EndReason.DISABLED)
    if changed:
        events.append(connection, now, EventKind.PERSON_CHANGED, key, {"why": "disabled"})
    return ended


def _enable(connection: Connection, key: str, now: float) -> None:
    enabled = (
        update(people).where(people.c.key == key, people.c.disabled_at.is_not(None)).values(disabled_at=None, disabled_because="")
    )
    if connection.execute(enabled).rowcount:
        events.append(connection, now, EventKind.PERSON_CHANGED, key, {"why": "enabled"})


def _visible(record: PersonRecord) -> tuple[object, ...]:
    return (record.email, record.name, record.user_type, record.profile_failure)


def _normal_groups(groups: Iterable[str]) -> list[str]:
    return sorted({group.lower() for group in groups})


def _record(connection: Connection, key: str) -> PersonRecord | None:
    row = connection.execute(select(people).where(people.c.key == key)).first()
    return _person(row) if row is not None else None


def _require(connection: Connection, key: str) -> PersonRecord:
    return _person(connection.execute(select(people).where(people.c.key == key)).one())


def _person(row: Row[Any]) -> PersonRecord:
    values = dict(row._mapping)
    values["user_type"] = UserType(row.user_type) if row.user_type is not None else None
    return PersonRecord(**values)
