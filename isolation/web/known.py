"""Sessions this worker knows, so that a request costs a dictionary lookup and not a signature check and a read of the store.

An entry ends when the store says that a session ended (an event, within a tenth of a second), and is checked against its own expiry at
every use. A session that ends while it is being read is not kept: the epoch tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import structlog

from isolation.clock import Clock
from isolation.errors import StoreError
from isolation.identity.sessions.model import Session
from isolation.web.cookies import Cookies
from isolation.web.endpoints.kit import Site

log = structlog.get_logger()

MAX_KNOWN = 100_000
"""Cookie headers remembered: about 1 KiB each with what they lead to."""

TOUCH_SECONDS = 60.0
"""How often "last seen" is worth writing down; idle times are counted in minutes."""


class SessionStore(Protocol):
    """Sessions on the server."""

    async def get(self, secret: str) -> Session | None:
        """Return the live session that a secret id opens."""
        ...

    async def by_digest(self, digest: str) -> Session | None:
        """Return a live session by its digest."""
        ...

    async def touch(self, session: Session) -> Session:
        """Note that a session is in use."""
        ...


class KnownSessions:
    """One per worker."""

    def __init__(self, store: SessionStore, cookies: Cookies, site: Site, clock: Clock) -> None:
        self._store = store
        self._cookies = cookies
        self._site = site
        self._clock = clock
        self._by_cookie: dict[tuple[str, bytes], Session] = {}
        self._by_digest: dict[str, Session] = {}
        self._epoch = 0
        self._touching: dict[str, asyncio.Task[None]] = {}
        self._marker = f"{cookies.session_name}=".encode()

    def known(self, headers: Sequence[tuple[bytes, bytes]], host: str) -> Session | None:
        """Return the session of a request if it is known and alive, without asking anybody."""
        cookie = _cookie(headers)
        if cookie is None:
            return None
        session = self._by_cookie.get((host, cookie))
        if session is None:
            return None
        now = self._clock.now()
        if not session.is_live(now):
            del self._by_cookie[host, cookie]
            return None
        if now - session.last_seen_at > TOUCH_SECONDS:
            self._touch(session)
        return session

    async def find(self, headers: Sequence[tuple[bytes, bytes]], host: str) -> Session | None:
        """Return the live session of a request, or None. Raises StoreError."""
        session = self.known(headers, host)
        if session is not None:
            return session
        secret = self._cookies.read_session(headers, self._site.authority(host))
        if secret is None:
            return None
        epoch = self._epoch
        session = await self._store.get(secret)
        if session is None or not session.is_live(self._clock.now()):
            return None
        cookie = _cookie(headers)
        if epoch == self._epoch and cookie is not None:
            if len(self._by_cookie) >= MAX_KNOWN:
                self._by_cookie.pop(next(iter(self._by_cookie)))
            self._by_cookie[host, cookie] = session
        return session

    async def by_digest(self, digest: str) -> Session | None:
        """Return a live session by its digest (renderer traffic carries no cookie), or None. Raises StoreError."""
        session = self._by_digest.get(digest)
        if session is not None and session.is_live(self._clock.now()):
            return session
        epoch = self._epoch
        session = await self._store.by_digest(digest)
        if session is not None and epoch == self._epoch:
            self._by_digest[digest] = session
        return session

    def carries_cookie(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Say whether a request carries a session cookie of ours at all, good or bad."""
        return any(name == b"cookie" and self._marker in value for name, value in headers)

    def forget(self) -> None:
        """Forget everything: a session ended, or may have."""
        self._epoch += 1
        self._by_cookie.clear()
        self._by_digest.clear()

    def _touch(self, session: Session) -> None:
        if session.digest in self._touching:
            return

        async def work() -> None:
            try:
                touched = await self._store.touch(session)
                for kept in (self._by_cookie, self._by_digest):
                    for key in [key for key, value in kept.items() if value.digest == session.digest]:
                        kept[key] = touched  # type: ignore[index]
            except StoreError as error:
                log.warning("session.not-touched", session=session.id, error=str(error))
            finally:
                self._touching.pop(session.digest, None)

        self._touching[session.digest] = asyncio.get_running_loop().create_task(work())


def _cookie(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """Return the Cookie header, several of them joined: the whole of it is the key, so nothing in it can be confused with another."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"cookie":
            found = value if found is None else found + b"\n" + value
    return found
