"""Everything that is open on behalf of a session: responses on their way, WebSockets, viewers.

When a decision changes or a session ends, :meth:`LiveRegistry.end` cuts what rests on it (invariant 4: within a second of the event).
One per worker; not for use from several threads. Opening and closing cost under a microsecond: every forwarded request does both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import structlog

log = structlog.get_logger()

Closer = Callable[[str], None]
"""Ends one live thing at once; the argument says why (``session-ended``, ``isolated``, ``refused`` …). Must not block."""


class LiveHandle:
    """One live thing. Close it when it ends by itself."""

    __slots__ = ("_registry", "app", "closer", "session")

    def __init__(self, registry: LiveRegistry, session: str, app: str, closer: Closer) -> None:
        self._registry = registry
        self.session = session
        self.app = app
        self.closer = closer

    def close(self) -> None:
        """Take it out of the registry. Does nothing where it is out already."""
        self._registry._forget(self)


class LiveRegistry:
    """Live things by session digest. Anonymous traffic (a Bypass policy) is registered under ``""``."""

    def __init__(self) -> None:
        self._sessions: dict[str, set[LiveHandle]] = {}

    def open(self, session_digest: str, app_name: str, closer: Closer) -> LiveHandle:
        """Register something that is live, and return its handle."""
        handle = LiveHandle(self, session_digest, app_name, closer)
        held = self._sessions.get(session_digest)
        if held is None:
            self._sessions[session_digest] = {handle}
        else:
            held.add(handle)
        return handle

    def end(self, session_digest: str, app_name: str | None, why: str) -> int:
        """End what a session has open on one app (``None``: on all). Return how many things that were.

        One closer that fails does not keep the others from being called.
        """
        ended = [handle for handle in self._sessions.get(session_digest, ()) if app_name is None or handle.app == app_name]
        for handle in ended:
            handle.close()
        for handle in ended:
            try:
                handle.closer(why)
            except Exception:
                log.exception("live.end_failed", app=handle.app, why=why)
        return len(ended)

    def end_app(self, app_name: str, why: str) -> int:
        """End what every session, and anonymous traffic, has open on one app (it was removed, or moved)."""
        return sum(self.end(session, app_name, why) for session in list(self._sessions))

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Return each (session digest, app name) that has something open, once."""
        return iter({(handle.session, handle.app) for held in self._sessions.values() for handle in held})

    def count(self, session_digest: str | None = None) -> int:
        """Return how many things are live, in one session or in all."""
        if session_digest is not None:
            return len(self._sessions.get(session_digest, ()))
        return sum(len(held) for held in self._sessions.values())

    def _forget(self, handle: LiveHandle) -> None:
        held = self._sessions.get(handle.session)
        if held is not None:
            held.discard(handle)
            if not held:
                del self._sessions[handle.session]
