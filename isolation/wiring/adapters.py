"""Small adapters between rooms that do not know each other."""

from __future__ import annotations

from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from isolation.audit import events as audit
from isolation.broker.leases import LeaseService
from isolation.broker.model import Grant, Lease
from isolation.broker.transfers import Record
from isolation.clock import Clock
from isolation.egress import leases as egress_leases
from isolation.errors import IsolationError, StoreError
from isolation.store.audit import AuditLog
from isolation.store.keys import KeyRepository

log = structlog.get_logger()


class SigningKeys:
    """The signing key of the moment, in memory: the data plane never waits for the store."""

    def __init__(self, keys: KeyRepository, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock
        self._current: tuple[str, RSAPrivateKey] | None = None

    async def refresh(self) -> None:
        """Read the key of this moment, making or rotating it when due. Raises StoreError."""
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        await self._keys.rotate_if_due(self._clock.now())
        key = await self._keys.current()
        loaded = load_pem_private_key(key.pem.encode(), password=None)
        if not isinstance(loaded, RSAPrivateKey):
            raise IsolationError("the signing key in the store is not an RSA key")
        self._current = (key.kid, loaded)

    def current(self) -> tuple[str, RSAPrivateKey]:
        """Return key id and key."""
        if self._current is None:
            raise IsolationError("no signing key has been read yet")
        return self._current

    async def public_jwks(self) -> dict[str, Any]:
        """Return the published keys."""
        return dict(await self._keys.public_jwks())


class IsolationAudit:
    """Start and end of isolation in the audit log."""

    def __init__(self, log_: AuditLog, clock: Clock) -> None:
        self._log = log_
        self._clock = clock

    async def isolation_started(self, lease: Lease) -> None:
        """Record that a browser starts."""
        await self._log.record(
            audit.isolation_started(
                at=self._clock.now(),
                person=lease.person_key,
                session=lease.session_digest,
                lease=lease.id,
                node=lease.node,
                app=", ".join(sorted(lease.apps)),
                controls=lease.controls.as_json(),
            )
        )

    async def isolation_ended(self, lease: Lease, why: str) -> None:
        """Record that it ended."""
        now = self._clock.now()
        await self._log.record(
            audit.isolation_ended(
                at=now,
                person=lease.person_key,
                session=lease.session_digest,
                lease=lease.id,
                node=lease.node,
                app=", ".join(sorted(lease.apps)),
                why=why,
                seconds=round(now - lease.started_at, 1),
            )
        )


class TransferAudit:
    """What crosses between devices and isolated pages, in the audit log."""

    def __init__(self, log_: AuditLog, clock: Clock) -> None:
        self._log = log_
        self._clock = clock

    async def transferred(self, grant: Grant, record: Record) -> None:
        """Record one transfer. Raises StoreError."""
        await self._log.record(
            audit.transfer(
                at=self._clock.now(),
                person=grant.person_key,
                session=grant.session_digest,
                app=grant.app,
                outcome=record.outcome,
                direction=record.direction,
                name=record.name,
                size=record.size,
                type_=record.kind,
                sha256=record.sha256,
                why=record.why,
            )
        )


class EgressLookup:
    """The broker's leases as the gateway sees them."""

    def __init__(self, leases: LeaseService) -> None:
        self._leases = leases

    async def find(self, username: str, password: str) -> egress_leases.Lease | None:
        """Return the live lease with these credentials. A store that cannot be read knows nobody."""
        try:
            lease = await self._leases.find(username, password)
        except StoreError as error:
            log.error("egress.leases-unreadable", error=str(error))
            return None
        if lease is None:
            return None
        return egress_leases.Lease(
            id=lease.id,
            session_digest=lease.session_digest,
            person_key=lease.person_key,
            apps=lease.apps,
            domains=lease.controls.domains,
        )
