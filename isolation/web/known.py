"""Sessions this worker knows, so that a request costs a dictionary lookup and not a signature check and a read of the store.

An entry ends when the store says that a session ended (an event, within a tenth of a second), and is checked against its own expiry at
every use. A session whose end arrives while it is being read is not given out any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
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

MAX_ENDED = 100_000
"""Ended sessions remembered, so that a read that was under way does not bring one back. A read takes milliseconds; the oldest are long done with."""

MAX_READS = 8
"""How often a session is read anew when everything known was dropped meanwhile."""

TOUCH_SECONDS = 60.0
"""How often "last seen" is worth writing down; idle times are counted in minutes. After a failure as well: a disk that is full is not asked by every request."""


_Place = tuple[str, bytes]


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
        self._by_cookie: dict[_Place, Session] = {}
        self._places: dict[str, list[_Place]] = {}  # where in it each session stands
        self._by_digest: dict[str, Session] = {}
        self._ended: dict[str, None] = {}
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
            self._drop(session.digest)
            return None
        if now - session.last_seen_at > min(TOUCH_SECONDS, session.idle_seconds / 4):
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
        session = await self._read(lambda: self._store.get(secret))
        cookie = _cookie(headers)
        if session is not None and cookie is not None:
            if len(self._by_cookie) >= MAX_KNOWN:
                self._drop(next(iter(self._by_cookie.values())).digest)
            self._by_cookie[host, cookie] = session
            self._places.setdefault(session.digest, []).append((host, cookie))
        return session

    async def by_digest(self, digest: str) -> Session | None:
        """Return a live session by its digest (renderer traffic carries no cookie), or None. Raises StoreError."""
        now = self._clock.now()
        session = self._by_digest.get(digest)
        if session is not None and session.is_live(now):
            if now - session.last_seen_at > min(TOUCH_SECONDS, session.idle_seconds / 4):
                self._touch(session)  # somebody who works in the viewer for hours sends no request of their own
            return session
        session = await self._read(lambda: self._store.by_digest(digest))
        if session is not None:
            self._by_digest[digest] = session
        return session

    async def _read(self, read: Callable[[], Awaitable[Session | None]]) -> Session | None:
        """Read a session that is live when this returns, as far as the events tell that have arrived. Raises StoreError."""
        for _ in range(MAX_READS):
            epoch = self._epoch
            session = await read()
            if session is None or not session.is_live(self._clock.now()) or session.digest in self._ended:
                return None
            if epoch == self._epoch:
                return session
        raise StoreError("sessions kept changing while one was read")

    def carries_cookie(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Say whether a request carries a session cookie of ours at all, good or bad."""
        return any(name == b"cookie" and self._marker in value for name, value in headers)

    def ended(self, digest: str) -> None:
        """Forget a session that has ended, for good."""
        if len(self._ended) >= MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        self._ended[digest] = None
        self._drop(digest)

    def forget(self) -> None:
        """Forget everything: any session may have ended."""
        self._epoch += 1
        self._by_cookie.clear()
        self._places.clear()
        self._by_digest.clear()

    def _drop(self, digest: str) -> None:
        for place in self._places.pop(digest, ()):
            self._by_cookie.pop(place, None)
        self._by_digest.pop(digest, None)

    def _touch(self, session: Session) -> None:
        if session.digest in self._touching:
            return

        async def work() -> None:
            now = self._clock.now()
            try:
                await self._store.touch(session)
            except StoreError as error:
                log.warning("session.not-touched", session=session.id, error=str(error))
            finally:
                del self._touching[session.digest]
            seen = replace(session, last_seen_at=now)
            for place in self._places.get(session.digest, ()):
                self._by_cookie[place] = seen
            if session.digest in self._by_digest:
                self._by_digest[session.digest] = seen

        self._touching[session.digest] = asyncio.get_running_loop().create_task(work())


def _cookie(headers: Sequence[tuple[bytes, bytes]]) -> bytes | None:
    """Return the Cookie header, several of them joined: the whole of it is the key, so nothing in it can be confused with another."""
    found: bytes | None = None
    for name, value in headers:
        if name == b"cookie":
            found = value if found is None else found + b"\n" + value
    return found
