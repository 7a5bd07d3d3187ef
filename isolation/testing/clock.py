"""A clock that a test moves by hand."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

# ---- limits
SETTLE_ROUNDS = 20  # how often the loop is let run after each step: enough for a chain of awaits without I/O


class FakeClock:
    """A :class:`isolation.clock.Clock` that stands still until it is told to move.

    ``sleep`` has the signature of :func:`asyncio.sleep` and ends when the clock has been moved far enough. All times are
    seconds. Not for use from several threads.
    """

    def __init__(self, now: float = 1_760_000_000.0) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Return the wall clock: seconds since the Unix epoch, UTC."""
        return self._now

    def monotonic(self) -> float:
        """Return the monotonic clock."""
        return self._monotonic

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP does. The monotonic clock and sleepers do not notice."""
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let time pass and wake every sleeper whose time has come. Raises ValueError for a negative number."""
        if seconds < 0:
            raise ValueError("time does not go back; use jump() for a wall clock that is set back")
        self._now += seconds
        self._monotonic += seconds
        while self._sleepers and self._sleepers[0][0] <= self._monotonic:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    async def elapse(self, seconds: float) -> None:
        """Let time pass in steps, from one sleeper to the next, running the event loop after each step."""
        end = self._monotonic + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self.advance(max(0.0, self._sleepers[0][0] - self._monotonic))
            await self.settle()
        self.advance(max(0.0, end - self._monotonic))
        await self.settle()

    async def settle(self) -> None:
        """Run the event loop until tasks that wait for no I/O have come to rest."""
        for _ in range(SETTLE_ROUNDS):
            await asyncio.sleep(0)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has been moved by ``seconds``; for none or less, only let others run."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), future))
        await future

    @property
    def sleeping(self) -> tuple[float, ...]:
        """Return how many seconds each sleeper still has to wait, soonest first."""
        return tuple(sorted(due - self._monotonic for due, _, future in self._sleepers if not future.done()))
