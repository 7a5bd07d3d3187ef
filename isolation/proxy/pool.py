"""Connections to upstreams, kept alive and used last-in first-out.

Time limits are kept by one ticker per :class:`Pools`, so that a request sets no timer of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from isolation.errors import UpstreamError
from isolation.proxy.connection import Connection
from isolation.routing.model import Upstream

# limits
MAX_CONNECTIONS = 1_024
"""Connections to one upstream at a time, per worker. Common app servers accept far fewer; the bound keeps one app from using up our file
descriptors. Requests beyond it wait for a connection, as long as a connect may take."""

MAX_IDLE = 128
"""Unused connections kept per upstream."""

IDLE_SECONDS = 55.0
"""An unused connection is closed after this. Below the 60 s after which common load balancers and firewalls forget a connection silently."""

FRESH_SECONDS = 1.0
"""A request that must not be sent twice only uses a connection idle for less than this, else a new one. App servers commonly close idle
connections after 2 to 5 s (gunicorn 2, Node 5, uvicorn 5), and one that closes just now cannot be told from one that fails."""

TICK_SECONDS = 0.25
"""How often time limits are looked at: responses, idle connections."""


class Pool:
    """The connections to one upstream."""

    def __init__(self, pools: Pools, upstream: Upstream, *, max_connections: int = MAX_CONNECTIONS) -> None:
        self.upstream = upstream
        self.loop = pools.loop  # asked of asyncio once: in Python 3.11 every get_running_loop() is a system call
        self._pools = pools
        self._max = max_connections
        self._idle: list[Connection] = []
        self._all: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._tls: ssl.SSLContext | None = None
        self._closed = False

    def take(self, *, repeatable: bool) -> Connection | None:
        """Return an idle connection, or None. ``repeatable``: the request may be sent again on another one if this one turns out to be dead."""
        idle = self._idle
        while idle:
            connection = idle[-1]
            if not repeatable and self.loop.time() - connection.idle_since > FRESH_SECONDS:
                return None  # the others are older still
            idle.pop()
            if not connection.transport.is_closing():
                return connection
        return None

    async def connect(self) -> Connection:
        """Return a new connection; where there are too many, the next one that becomes free.

        Raises :class:`UpstreamError`: ``connect-failed``, ``connect-timeout``, ``tls-failed``, ``busy``.
        """
        upstream = self.upstream
        try:
            async with asyncio.timeout(upstream.connect_timeout):
                while len(self._all) + self._opening >= self._max:
                    freed: asyncio.Future[Connection | None] = self.loop.create_future()
                    self._waiting.append(freed)
                    try:
                        connection = await freed
                    except asyncio.CancelledError:
                        self._pass_on(freed)
                        raise
                    if connection is not None and not connection.transport.is_closing():
                        return connection
        except TimeoutError as error:
            raise UpstreamError(f"too many requests are waiting for {upstream.origin}", code="busy") from error
        self._opening += 1
        try:
            return await self._open()
        finally:
            self._opening -= 1
            if len(self._all) + self._opening < self._max:
                self._wake(None)

    async def _open(self) -> Connection:
        upstream = self.upstream
        loop = self.loop
        try:
            if upstream.tls and self._tls is None:
                self._tls = await loop.run_in_executor(None, _tls_context, upstream.ca_file)
            async with asyncio.timeout(upstream.connect_timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, loop),
                    upstream.host,
                    upstream.port,
                    ssl=self._tls,
                    server_hostname=upstream.host if upstream.tls else None,
                )
        except TimeoutError as error:
            raise UpstreamError(f"{upstream.origin} did not accept a connection in time", code="connect-timeout") from error
        except ssl.SSLError as error:
            raise UpstreamError(f"{upstream.origin} could not be reached over verified TLS", code="tls-failed") from error
        except OSError as error:
            raise UpstreamError(f"{upstream.origin} cannot be reached", code="connect-failed") from error
        if connection.closed:
            raise UpstreamError(f"{upstream.origin} closed a new connection at once", code="connect-failed")
        self._all.add(connection)
        self._pools.tick()
        return connection

    # -- Owner

    def release(self, connection: Connection) -> None:
        """Take back a connection between two exchanges."""
        if self._closed:
            connection.transport.close()
        elif self._waiting:
            self._wake(connection)
        elif len(self._idle) >= MAX_IDLE:
            connection.transport.close()
        else:
            connection.idle_since = self.loop.time()
            self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        self._wake(None)

    def detach(self, connection: Connection) -> None:
        """Stop counting a connection that has become a tunnel."""
        self._all.discard(connection)
        self._wake(None)

    def tend(self, now: float) -> None:
        """Close what has been idle too long; end exchanges whose response is late."""
        while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
            self._idle.pop(0).transport.close()
        for connection in [connection for connection in self._all if connection.deadline <= now]:
            connection.expire(now)

    def close(self) -> None:
        """Close idle connections now, and the others as they become free."""
        self._closed = True
        for connection in self._idle:
            connection.transport.close()
        self._idle.clear()

    @property
    def size(self) -> int:
        """Return how many connections there are, idle ones included."""
        return len(self._all)

    @property
    def idle(self) -> int:
        """Return how many connections are idle."""
        return len(self._idle)

    def _wake(self, connection: Connection | None) -> None:
        while self._waiting:
            freed = self._waiting.popleft()
            if not freed.done():
                freed.set_result(connection)
                return
        if connection is not None:
            self.release(connection)

    def _pass_on(self, freed: asyncio.Future[Connection | None]) -> None:
        """Give what a waiter got in the moment it gave up to the next one."""
        if freed.done() and not freed.cancelled():
            connection = freed.result()
            if connection is not None:
                self.release(connection)
            else:
                self._wake(None)


class Pools:
    """The pools of one worker, by upstream. Close it when the worker stops."""

    def __init__(self) -> None:
        self._pools: dict[Upstream, Pool] = {}
        self._retiring: list[Pool] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticker: asyncio.TimerHandle | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop in use (the first caller's)."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    def of(self, upstream: Upstream) -> Pool:
        """Return the pool of an upstream."""
        pool = self._pools.get(upstream)
        if pool is None:
            pool = self._pools[upstream] = Pool(self, upstream)
        return pool

    def keep_only(self, upstreams: set[Upstream]) -> None:
        """Close the pools of upstreams that the configuration does not name any more."""
        for upstream in self._pools.keys() - upstreams:
            pool = self._pools.pop(upstream)
            pool.close()
            self._retiring.append(pool)

    def close(self) -> None:
        """Close every idle connection, and the others as they become free."""
        self.keep_only(set())

    def tick(self) -> None:
        """Keep the ticker running as long as there are connections."""
        if self._ticker is None:
            self._ticker = self.loop.call_later(TICK_SECONDS, self._on_tick)

    def _on_tick(self) -> None:
        self._ticker = None
        now = self.loop.time()
        self._retiring = [pool for pool in self._retiring if pool.size]
        pools = [*self._pools.values(), *self._retiring]
        for pool in pools:
            pool.tend(now)
        if any(pool.size for pool in pools):
            self.tick()


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
