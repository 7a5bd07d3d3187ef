"""The book of leases in the store: shared by all router workers, and there again after a restart."""

from __future__ import annotations

from dataclasses import fields

from isolation.broker.model import Lease
from isolation.policy.controls import read_controls
from isolation.store.leases import LeaseRecord, LeaseRepository


class StoreLeaseBook:
    """A :class:`~isolation.broker.leases.LeaseBook` on the store. Every method raises :class:`~isolation.errors.StoreError` when that fails."""

    def __init__(self, repository: LeaseRepository) -> None:
        self._repository = repository

    async def live(self, session_digest: str) -> Lease | None:
        """Return the session's live lease."""
        return _lease(await self._repository.live(session_digest))

    async def by_id(self, lease: str) -> Lease | None:
        """Return a live lease by its id."""
        return _lease(await self._repository.by_id(lease))

    async def open(self, lease: Lease) -> Lease:
        """Write a lease down, unless its session has a live one; return the one that is live now."""
        return _lease(await self._repository.open(_record(lease))) or lease

    async def change(self, lease: Lease) -> None:
        """Write down new controls, apps and credentials of a live lease."""
        await self._repository.change(_record(lease))

    async def touch(self, lease: str, at: float) -> None:
        """Note that somebody did something in a live lease."""
        await self._repository.touch(lease, at)

    async def close(self, lease: str, *, at: float, why: str) -> bool:
        """Mark a lease as ended; say whether it was live until now."""
        return await self._repository.close(lease, at=at, why=why)


def _record(lease: Lease) -> LeaseRecord:
    values = {field.name: getattr(lease, field.name) for field in fields(lease)}
    return LeaseRecord(**values | {"controls": lease.controls.as_json()})


def _lease(record: LeaseRecord | None) -> Lease | None:
    if record is None:
        return None
    values = {field.name: getattr(record, field.name) for field in fields(record)}
    return Lease(**values | {"controls": read_controls(record.controls)})
