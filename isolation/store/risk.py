"""Risk levels from the directory, tags of the security team, overrides of administrators, and the state of the providers.

What they mean together is said by ``isolation.signals.merge``. A complete poll replaces the one before as a whole or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, delete, insert, select
from sqlalchemy.dialects import sqlite

from isolation.audit.events import AuditEvent, provider_state
from isolation.policy.facts import FOREVER, RiskLevel, UnknownReason
from isolation.signals.model import RISK_PROVIDER, ProviderState, ProviderStatus, RiskOverride, RiskReading, RiskTag
from isolation.store import audit, events
from isolation.store.database import Store
from isolation.store.events import EventKind
from isolation.store.people import MAX_MESSAGE, ensure_people, ensure_person
from isolation.store.tables import provider_states, risk_overrides, risk_readings, risk_tags

# ---- limits
MAX_REASON: Final = 500  # characters of a reason: a sentence and a ticket number
MAX_OVERRIDE_SECONDS: Final = 90 * 86_400.0  # an override is an exception and ends; a quarter of a year is already long

Audited = Callable[[int], AuditEvent]
"""Makes the audit entry of something that has just been given this number."""


class RiskRepository:
    """Keeps the last complete poll of risky users. ``stale_after``: the setting of that name, in seconds."""

    def __init__(self, store: Store, *, stale_after: float) -> None:
        self._store = store
        self._stale_after = stale_after

    async def replace_all(self, levels: Mapping[str, RiskReading], as_of: float, *, provider: str = RISK_PROVIDER) -> int:
        """Replace the last poll by a complete one, by person key; return how many people changed. Raises StoreError: then nothing changed.

        ``as_of``: epoch seconds at which the poll began. One ``person-changed`` for each person whose level changed, none for the others; where the
        former poll was missing, failed or stale, one ``provider-changed`` concerns everybody. People whom nobody has seen before are recorded too.
        """

        def work(connection: Connection) -> int:
            now = self._store.clock.now()
            state = _provider(connection, provider)
            if state is not None and state.last_success is not None and state.last_success > as_of:
                return 0  # a newer poll has been recorded meanwhile
            before = {row.person_key: row for row in connection.execute(select(risk_readings))}
            _write_readings(connection, before, levels, as_of)
            told = [
                key for key in [*levels, *(before.keys() - levels.keys())] if _risk(before.get(key)) != _level_of(levels.get(key))
            ]
            events.append_many(connection, now, EventKind.PERSON_CHANGED, told, {"why": "risk"})
            lapsed = state is None or state.last_success is None or now >= state.last_success + self._stale_after
            fresh = ProviderState(provider, ProviderStatus.OK, "", last_attempt=as_of, last_success=as_of)
            _set_provider(connection, fresh, now, announce=lapsed)
            return len(told)

        return await self._store.write(work)

    async def provider_state(self, name: str = RISK_PROVIDER) -> ProviderState | None:
        """Return how a provider is doing, or None when it was never asked."""
        return await self._store.read(lambda connection: _provider(connection, name))

    async def provider_states(self) -> list[ProviderState]:
        """Return the state of every provider, by name."""
        return await self._store.read(
            lambda connection: [
                _state(row) for row in connection.execute(select(provider_states).order_by(provider_states.c.name))
            ]
        )

    async def set_provider_state(
        self, name: str, status: ProviderStatus | str, message: str, at: float, *, success: bool = False
    ) -> bool:
        """Record the outcome of an attempt at ``at`` (epoch seconds); say whether the named state is another one than before.

        ``success``: the attempt brought a complete reading. A change appends ``provider-changed``.
        """
        state = ProviderStatus.parse(status)

        def work(connection: Connection) -> bool:
            before = _provider(connection, name)
            last_success = at if success else before.last_success if before is not None else None
            new = ProviderState(name, state, message[:MAX_MESSAGE], last_attempt=at, last_success=last_success)
            return _set_provider(connection, new, self._store.clock.now())

        return await self._store.write(work)


class TagRepository:
    """Keeps the security team's tags."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(
        self,
        person_key: str,
        level: RiskLevel,
        reason: str,
        by: str,
        at: float | None = None,
        until: float = FOREVER,
        *,
        audited: Audited | None = None,
    ) -> RiskTag:
        """Tag somebody from now until ``until`` (epoch seconds); return the tag. Its end needs no event: the signal knows it.

        ``audited``: makes the entry that is written to the audit log in the same transaction.
        Raises ValueError for an empty reason or an end that has passed.
        """
        now = self._store.clock.now() if at is None else at
        _check(reason, by, now, until)
        values = _given(person_key, level, reason, by, now, None if until == FOREVER else until)
        number = await self._store.write(
            lambda connection: _give(connection, risk_tags, values, self._store.clock.now(), "tag-added", audited)
        )
        return RiskTag(number, person_key, level, values["reason"], by, now, until)

    async def remove(self, tag: int) -> RiskTag | None:
        """Take a tag away and return it; None where there is no such tag."""
        now = self._store.clock.now()
        row = await self._store.write(lambda connection: _take(connection, risk_tags, tag, now, "tag-removed"))
        return _tag(row) if row is not None else None

    async def list(self, person_key: str | None = None) -> list[RiskTag]:
        """Return the tags in force, newest first, of everybody or of one person."""
        now = self._store.clock.now()
        found = await self._store.read(lambda connection: read_tags(connection, person_key))
        return [tag for tag in found if now < tag.until]


class OverrideRepository:
    """Keeps administrators' overrides."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(
        self,
        person_key: str,
        level: RiskLevel,
        reason: str,
        by: str,
        at: float | None = None,
        *,
        until: float,
        audited: Audited | None = None,
    ) -> RiskOverride:
        """Override somebody's risk from now until ``until`` (epoch seconds); return the override. ``audited``: as for tags.

        Raises ValueError for an empty reason, an end that has passed or one that is too far away.
        """
        now = self._store.clock.now() if at is None else at
        _check(reason, by, now, until)
        if until > now + MAX_OVERRIDE_SECONDS:
            raise ValueError(f"an override lasts at most {MAX_OVERRIDE_SECONDS / 86_400:.0f} days")
        values = _given(person_key, level, reason, by, now, until)
        number = await self._store.write(
            lambda connection: _give(connection, risk_overrides, values, self._store.clock.now(), "override-added", audited)
        )
        return RiskOverride(number, person_key, level, values["reason"], by, now, until)

    async def remove(self, override: int) -> RiskOverride | None:
        """Take an override away and return it; None where there is no such override."""
        now = self._store.clock.now()
        row = await self._store.write(lambda connection: _take(connection, risk_overrides, override, now, "override-removed"))
        return _override(row) if row is not None else None

    async def list(self, person_key: str | None = None) -> list[RiskOverride]:
        """Return the overrides in force, newest first, of everybody or of one person."""
        now = self._store.clock.now()
        found = await self._store.read(lambda connection: read_overrides(connection, person_key))
        return [override for override in found if now < override.until]


def read_risk(connection: Connection, person_key: str) -> RiskReading | None:
    """Return somebody's row of the last complete poll, or None, in the open transaction."""
    row = connection.execute(select(risk_readings).where(risk_readings.c.person_key == person_key)).first()
    return RiskReading(_level(row.level), row.reported_at, row.detail) if row is not None else None


def read_provider(connection: Connection, name: str) -> ProviderState | None:
    """Return a provider's state, or None, in the open transaction."""
    return _provider(connection, name)


def read_tags(connection: Connection, person_key: str | None) -> list[RiskTag]:
    """Return tags, expired ones too, newest first, in the open transaction."""
    wanted = select(risk_tags).order_by(risk_tags.c.id.desc())
    if person_key is not None:
        wanted = wanted.where(risk_tags.c.person_key == person_key)
    return [_tag(row) for row in connection.execute(wanted)]


def read_overrides(connection: Connection, person_key: str | None) -> list[RiskOverride]:
    """Return overrides, expired ones too, newest first, in the open transaction."""
    wanted = select(risk_overrides).order_by(risk_overrides.c.id.desc())
    if person_key is not None:
        wanted = wanted.where(risk_overrides.c.person_key == person_key)
    return [_override(row) for row in connection.execute(wanted)]


def _check(reason: str, by: str, now: float, until: float) -> None:
    if not reason.strip() or len(reason) > MAX_REASON:
        raise ValueError(f"give a reason of at most {MAX_REASON} characters: others will read it")
    if not by.strip():
        raise ValueError("say who does this")
    if not until > now:
        raise ValueError("the end lies in the past")


def _given(person_key: str, level: RiskLevel, reason: str, by: str, at: float, until: float | None) -> dict[str, Any]:
    return {
        "person_key": person_key,
        "level": level.value,
        "reason": reason.strip(),
        "created_by": by,
        "created_at": at,
        "until": until,
    }


def _give(connection: Connection, table: Table, values: dict[str, Any], now: float, why: str, audited: Audited | None) -> int:
    ensure_person(connection, values["person_key"], now)
    number = connection.execute(insert(table).values(values).returning(table.c.id)).scalar_one()
    if audited is not None:
        audit.append(connection, audited(number))
    events.append(connection, now, EventKind.PERSON_CHANGED, values["person_key"], {"why": why})
    return int(number)


def _take(connection: Connection, table: Table, number: int, now: float, why: str) -> Any | None:
    row = connection.execute(delete(table).where(table.c.id == number).returning(table)).first()
    if row is not None:
        events.append(connection, now, EventKind.PERSON_CHANGED, row.person_key, {"why": why})
    return row


def _set_provider(connection: Connection, state: ProviderState, now: float, *, announce: bool = False) -> bool:
    before = _provider(connection, state.name)
    values = {
        "name": state.name,
        "status": state.status.value,
        "message": state.message,
        "last_attempt": state.last_attempt,
        "last_success": state.last_success,
    }
    row = sqlite.insert(provider_states).values(values)
    connection.execute(row.on_conflict_do_update(index_elements=["name"], set_=values))
    changed = before is None or before.status is not state.status
    if changed:
        entry = provider_state(at=now, provider=state.name, status=state.status.value, message=state.message)
        audit.append(connection, entry)
    if changed or announce:
        events.append(connection, now, EventKind.PROVIDER_CHANGED, state.name, {"status": state.status.value})
    return changed


def _provider(connection: Connection, name: str) -> ProviderState | None:
    row = connection.execute(select(provider_states).where(provider_states.c.name == name)).first()
    return _state(row) if row is not None else None


def _state(row: Any) -> ProviderState:
    return ProviderState(row.name, ProviderStatus.parse(row.status), row.message, row.last_attempt, row.last_success)


def _write_readings(connection: Connection, before: Mapping[str, Any], levels: Mapping[str, RiskReading], as_of: float) -> None:
    """Make the table equal to ``levels``, writing only what differs."""
    ensure_people(connection, {key: (reading.email, reading.name) for key, reading in levels.items() if key not in before}, as_of)
    rows = []
    for key, reading in levels.items():
        level, reported_at, detail = _values(reading)
        known = before.get(key)
        if known is not None and (known.level, known.reported_at, known.detail) == (level, reported_at, detail):
            continue
        rows.append({"person_key": key, "level": level, "reported_at": reported_at, "detail": detail})
    if rows:
        row = sqlite.insert(risk_readings)
        new = {"level": row.excluded.level, "reported_at": row.excluded.reported_at, "detail": row.excluded.detail}
        connection.execute(row.on_conflict_do_update(index_elements=["person_key"], set_=new), rows)
    gone = [{"gone": key} for key in before if key not in levels]
    if gone:
        connection.execute(delete(risk_readings).where(risk_readings.c.person_key == bindparam("gone")), gone)


def _level_of(reading: RiskReading | None) -> str:
    """Return what a complete poll says of somebody. Absent and ``none`` mean the same, so going from one to the other is no change."""
    return (reading.level if reading is not None else RiskLevel.NONE).value


def _risk(row: Any | None) -> str:
    return str(row.level) if row is not None else RiskLevel.NONE.value


def _values(reading: RiskReading) -> tuple[str, float | None, str]:
    return reading.level.value, reading.reported_at, reading.detail


def _level(text: str) -> RiskLevel | UnknownReason:
    try:
        return RiskLevel(text)
    except ValueError:
        return UnknownReason(text) if text in set(UnknownReason) else UnknownReason.UNRECOGNISED


def _tag(row: Any) -> RiskTag:
    until = FOREVER if row.until is None else row.until
    return RiskTag(row.id, row.person_key, RiskLevel(row.level), row.reason, row.created_by, row.created_at, until)


def _override(row: Any) -> RiskOverride:
    return RiskOverride(row.id, row.person_key, RiskLevel(row.level), row.reason, row.created_by, row.created_at, row.until)
