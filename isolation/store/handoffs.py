"""Values that are good exactly once: hand-offs of a session to an app's host, sign-ins under way, used viewer tickets.

Redeeming removes the row and reads it in one statement, so that of two attempts at the same moment one gets nothing. A wrong binding uses the
value up as well: a code that turns up in the wrong place has leaked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, delete, insert
from sqlalchemy.dialects import sqlite

from isolation import tokens
from isolation.store.database import Store
from isolation.store.tables import flows, handoffs, used_tickets

# ---- limits
MAX_TARGET: Final = 8_192  # characters of a return target: as long as a request target may be


@dataclass(frozen=True, slots=True)
class Handoff:
    """A session on its way to an app's host. ``target``: where on that host to go on (path and query)."""

    session_digest: str
    host: str
    nonce: str = field(repr=False)
    target: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Flow:
    """A sign-in under way at an identity provider. ``verifier``: the PKCE verifier. ``target``: the URL to return to."""

    idp: str
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)
    binding_digest: str = field(repr=False)
    target: str
    created_at: float
    expires_at: float


class HandoffRepository:
    """Keeps hand-offs. Codes are stored as digests."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, code_digest: str, session_digest: str, host: str, nonce: str, target: str, expires: float) -> None:
        """Remember a hand-off until ``expires`` (epoch seconds). ``nonce``: what the browser that may redeem it holds. Raises StoreError."""
        if len(target) > MAX_TARGET:
            raise ValueError("the return target is too long")
        values = {
            "code_digest": code_digest,
            "session_digest": session_digest,
            "host": host,
            "nonce": nonce,
            "target": target,
            "expires_at": expires,
        }

        def work(connection: Connection) -> None:
            connection.execute(insert(handoffs).values(values))

        await self._store.write(work)

    async def redeem(self, code: str, *, host: str | None = None, nonce: str | None = None) -> Handoff | None:
        """Use a code up; return its hand-off, exactly once, before it expires, on its ``host`` and with its ``nonce`` (where given)."""
        now = self._store.clock.now()
        wanted = handoffs.c.code_digest == tokens.digest(code)

        def work(connection: Connection) -> Handoff | None:
            row = connection.execute(delete(handoffs).where(wanted).returning(handoffs)).first()
            if row is None:
                return None
            return Handoff(row.session_digest, row.host, row.nonce, row.target, row.expires_at)

        found = await self._store.write(work)
        if found is None or found.expires_at <= now:
            return None
        if host is not None and not tokens.equal(host, found.host):
            return None
        if nonce is not None and not tokens.equal(nonce, found.nonce):
            return None
        return found

    async def prune(self) -> int:
        """Forget what has expired; return how many."""
        now = self._store.clock.now()
        return await self._store.write(
            lambda connection: connection.execute(delete(handoffs).where(handoffs.c.expires_at <= now)).rowcount
        )


class FlowRepository:
    """Keeps sign-ins under way. The ``state`` parameter is stored as a digest."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create(self, state: str, *, idp: str, nonce: str, verifier: str, binding: str, target: str, expires: float) -> None:
        """Remember a sign-in until ``expires`` (epoch seconds). ``binding``: a secret in the browser's cookie; its digest is kept."""
        if len(target) > MAX_TARGET:
            raise ValueError("the return target is too long")
        values = {
            "state_digest": tokens.digest(state),
            "idp": idp,
            "nonce": nonce,
            "verifier": verifier,
            "binding_digest": tokens.digest(binding),
            "target": target,
            "created_at": self._store.clock.now(),
            "expires_at": expires,
        }

        def work(connection: Connection) -> None:
            connection.execute(insert(flows).values(values))

        await self._store.write(work)

    async def redeem(self, state: str, *, binding: str | None = None) -> Flow | None:
        """Use a sign-in up; return it exactly once, before it expires, to the browser that began it (None: the caller compares)."""
        now = self._store.clock.now()
        wanted = flows.c.state_digest == tokens.digest(state)

        def work(connection: Connection) -> Flow | None:
            row = connection.execute(delete(flows).where(wanted).returning(flows)).first()
            if row is None:
                return None
            return Flow(row.idp, row.nonce, row.verifier, row.binding_digest, row.target, row.created_at, row.expires_at)

        found = await self._store.write(work)
        if found is None or found.expires_at <= now:
            return None
        if binding is not None and not tokens.equal(found.binding_digest, tokens.digest(binding)):
            return None
        return found

    async def prune(self) -> int:
        """Forget what has expired; return how many."""
        now = self._store.clock.now()
        return await self._store.write(
            lambda connection: connection.execute(delete(flows).where(flows.c.expires_at <= now)).rowcount
        )


class UsedTicketRepository:
    """Remembers used single-use tickets for as long as their signature would be good. Shared between workers."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def first_use(self, ticket: str, *, until: float) -> bool:
        """Record a use; say whether it was the first. ``until``: epoch seconds after which it may be forgotten. Raises StoreError."""
        row = sqlite.insert(used_tickets).values(ticket_digest=tokens.digest(ticket), until=until).on_conflict_do_nothing()
        return await self._store.write(lambda connection: connection.execute(row).rowcount == 1)

    async def prune(self) -> int:
        """Forget what has expired; return how many."""
        now = self._store.clock.now()
        return await self._store.write(
            lambda connection: connection.execute(delete(used_tickets).where(used_tickets.c.until <= now)).rowcount
        )
