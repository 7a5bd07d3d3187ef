"""Reads a signed-in person with every signal, in one transaction: a decision never sees half of a change."""

from __future__ import annotations

from sqlalchemy import Connection

from isolation.errors import StoreError
from isolation.identity.principals import build_person
from isolation.identity.sessions.model import Session
from isolation.policy.facts import Person
from isolation.signals.freshness import Freshness
from isolation.signals.merge import groups_signal, merge_risk, user_type_signal
from isolation.signals.model import RISK_PROVIDER, ProviderStatus
from isolation.store.database import Store
from isolation.store.people import read_groups, read_person
from isolation.store.risk import read_overrides, read_provider, read_risk, read_tags


class PrincipalReader:
    """Puts a person together as of now. ``freshness``: how old each kind of reading may be."""

    def __init__(self, store: Store, freshness: Freshness, *, risk_provider: str = RISK_PROVIDER) -> None:
        self._store = store
        self._freshness = freshness
        self._risk_provider = risk_provider

    async def read(self, person_key: str, session: Session) -> Person:
        """Return the person behind a session. Raises StoreError, also where nobody is recorded under this key: then nothing may be decided."""
        now = self._store.clock.now()
        return await self._store.read(lambda connection: self._read(connection, person_key, session, now))

    def _read(self, connection: Connection, person_key: str, session: Session, now: float) -> Person:
        record = read_person(connection, person_key)
        if record is None:
            raise StoreError("the store does not know the person of this session")
        groups = read_groups(connection, person_key)
        return build_person(
            record,
            session,
            risk=merge_risk(
                read_risk(connection, person_key),
                read_provider(connection, self._risk_provider),
                read_tags(connection, person_key),
                read_overrides(connection, person_key),
                now,
                self._freshness.risk,
            ),
            groups=groups_signal([groups] if groups is not None else [], now, self._freshness.groups),
            user_type=user_type_signal(
                record.user_type,
                record.user_type_as_of,
                now,
                self._freshness.user_type,
                source=record.user_type_source,
                failure=ProviderStatus.parse(record.profile_failure) if record.profile_failure else None,
            ),
        )
