"""Warm browsers: started, and not yet anybody's.

A browser's gateway is fixed at its start, so the pool warms for the gateway that a router named last; a browser that was started for
another gateway is ended, never handed out. The gateway is written down, so that the first browser of a node that starts again, whose sandbox
is looked at, can be somebody's at once. One that waited long is replaced; none is warmed while memory is short.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

from playwright.async_api import Browser

from renderer.cdp import Tasks
from renderer.chromium.flags import Proxy
from renderer.chromium.launch import Chromium, Engine, LaunchError, NoSandboxError

# ---------------------------------------------------------------- limits
SETTLE_SECONDS = 2.0  # after a router or a person came, before browsers are warmed that nobody asked for: who waits for a first page is served first
RETRY_SECONDS = 5.0  # between attempts to warm a browser when starting fails
WARM_LIFE_SECONDS = (
    3600.0  # a browser that waits longer is replaced: it gathers memory, and may be older than Chromium on the disk
)

_GATEWAY = "gateway.json"

log = logging.getLogger("renderer.pool")


def last_gateway(runtime_dir: Path) -> Proxy | None:
    """Return the gateway that the node's last life served, if that is known."""
    try:
        match json.loads((runtime_dir / _GATEWAY).read_bytes()):
            case {"host": str(host), "port": int(port), "spki": str(spki)}:
                return Proxy(host, port, spki)
    except (OSError, ValueError, RecursionError):
        pass
    return None


class Pool:
    """Up to ``warm`` browsers kept ready. ``changed`` is called when their number changes."""

    def __init__(
        self, engine: Engine, warm: int, changed: Callable[[], None], allowed: Callable[[], bool] = lambda: True
    ) -> None:
        """Keep ``warm`` browsers. ``allowed`` is asked before each that nobody waits for."""
        self._engine = engine
        self._wanted = warm
        self._changed = changed
        self._allowed = allowed
        self._born: dict[Chromium, float] = {}
        self._ready: list[Chromium] = []
        self._proxy: Proxy | None = None
        self._tasks = Tasks("pool")
        self._ending: set[asyncio.Task[None]] = set()
        self._filling: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._ready)

    async def take(self, proxy: Proxy) -> Chromium:
        """Return a browser for one session; the pool fills up again behind it. Raises LaunchError or NoSandboxError."""
        self._serve(proxy)
        chromium = self._ready.pop() if self._ready else None
        if chromium is not None and not chromium.browser.is_connected():
            self._end(chromium)
            chromium = None
        if chromium is None:
            chromium = await self._engine.launch(proxy)
        self._changed()
        return chromium

    def adopt(self, chromium: Chromium) -> None:
        """Keep a browser that was started for something else, or end it when none is kept ready."""
        if self._wanted < 1 or chromium.proxy is None or not chromium.browser.is_connected() or not self._allowed():
            self._end(chromium)
            return
        self._proxy = chromium.proxy
        self._keep(chromium)

    def _end(self, chromium: Chromium) -> None:
        ending = asyncio.ensure_future(self._engine.end(chromium))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def prepare(self, proxy: Proxy) -> None:
        """Keep browsers ready for this gateway from now on. A node that starts again is waited for: whoever waits is served first."""
        self._serve(proxy)
        self._tasks.start(self._settled())

    async def _settled(self) -> None:
        await asyncio.sleep(SETTLE_SECONDS)
        self.fill()

    def _serve(self, proxy: Proxy) -> None:
        if proxy != self._proxy:
            self._proxy = proxy
            self._drop(list(self._ready))
            try:
                (self._engine.runtime_dir / _GATEWAY).write_text(json.dumps(asdict(proxy)), encoding="utf-8")
            except OSError as problem:
                log.warning("pool.gateway-not-written", extra={"why": str(problem)})  # the next start takes longer, no more

    def _drop(self, browsers: list[Chromium]) -> None:
        for chromium in browsers:
            self._ready.remove(chromium)
            self._end(chromium)
        if browsers:
            self._changed()

    def empty(self) -> None:
        """Keep none ready from now on: the node is about to end."""
        self._wanted = 0
        self._drop(list(self._ready))

    def tend(self) -> None:
        """Replace browsers that waited long, and start those that memory did not allow before."""
        now = time.monotonic()
        self._drop([chromium for chromium in self._ready if now - self._born[chromium] > WARM_LIFE_SECONDS])
        self.fill()

    def fill(self) -> None:
        """Start what is missing, in the background. Called when a session has begun and had time for its first page: warming competes with nobody who waits."""
        if (self._filling is None or self._filling.done()) and not self._closed.is_set() and self._proxy is not None:
            self._filling = self._tasks.start(self._fill())

    async def _fill(self) -> None:
        while len(self._ready) < self._wanted and not self._closed.is_set() and self._allowed():
            proxy = self._proxy
            try:
                chromium = await self._engine.launch(proxy)
            except (LaunchError, NoSandboxError) as problem:
                log.warning("pool.launch-failed", extra={"why": str(problem)})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closed.wait(), RETRY_SECONDS)
                continue
            if self._closed.is_set() or proxy != self._proxy or len(self._ready) >= self._wanted:
                await self._engine.end(chromium)
                continue
            self._keep(chromium)

    def _keep(self, chromium: Chromium) -> None:
        chromium.browser.on("disconnected", partial(self._lost, chromium))
        self._ready.append(chromium)
        self._born = {warm: self._born.get(warm, time.monotonic()) for warm in self._ready}
        self._changed()

    def _lost(self, chromium: Chromium, _: Browser) -> None:
        if chromium in self._ready:
            self._drop([chromium])
            self.fill()

    def lose(self) -> None:
        """All browsers are dead: their driver died."""
        self._drop(list(self._ready))

    async def close(self) -> None:
        """End every browser that is nobody's: those ready, those on their way out, and the one being started. None is left half ended."""
        self._closed.set()
        self._drop(list(self._ready))
        if self._filling is not None:
            await asyncio.gather(self._filling, return_exceptions=True)
        await asyncio.gather(*self._ending, return_exceptions=True)
        self._tasks.close()
