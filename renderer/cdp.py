"""The little of Chromium's control protocol that the node uses, as a protocol of ours: tests pass fakes, and Playwright stays in ``chromium``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

# ---------------------------------------------------------------- limits
BETWEEN_SECONDS = 0.02  # between attempts while a page changes its process, which takes some tens of milliseconds
BETWEEN_TIMES = 100

_BETWEEN = "Not attached to an active page"

log = logging.getLogger("renderer")

Event = dict[str, Any]


class Cdp(Protocol):
    """One session with a page, a frame of its own process, or the browser."""

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send a command, return its answer. Raises ``playwright.async_api.Error`` when the target is gone."""
        ...

    def on(self, event: str, f: Callable[[Event], None]) -> None:
        """Listen to an event."""

    async def detach(self) -> None:
        """Close the session."""


class Steady:
    """A session that waits out the moment in which a page changes its process: Chromium refuses commands then ("Not attached to an active page")."""

    def __init__(self, cdp: Cdp) -> None:
        self._cdp = cdp

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """See :meth:`Cdp.send`."""
        for _ in range(BETWEEN_TIMES):
            try:
                return await self._cdp.send(method, params)
            except Exception as problem:
                if not is_gone(problem) or _BETWEEN not in str(problem):
                    raise
            await asyncio.sleep(BETWEEN_SECONDS)
        return await self._cdp.send(method, params)

    def on(self, event: str, f: Callable[[Event], None]) -> None:
        """See :meth:`Cdp.on`."""
        self._cdp.on(event, f)

    async def detach(self) -> None:
        """See :meth:`Cdp.detach`."""
        await self._cdp.detach()


class Tasks:
    """The running tasks of one owner: none is lost to the garbage collector, failures are logged, all end with the owner."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any] | None:
        """Run something in the background (None: the owner has ended)."""
        if self._closed:
            work.close()
            return None
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if task.cancelled():
            return
        problem = task.exception()
        # A page that goes away takes every answer we still waited for with it.
        if problem is not None and not is_gone(problem):
            log.error("task.failed", extra={"owner": self._name, "error": type(problem).__name__}, exc_info=problem)

    def close(self) -> None:
        """Cancel what runs."""
        self._closed = True
        for task in list(self._running):
            task.cancel()


def is_gone(problem: BaseException) -> bool:
    """Whether a failure only says that Chromium refused or lost the target: a closed page, a navigated frame, a dead browser."""
    from playwright.async_api import Error

    return isinstance(problem, Error)
