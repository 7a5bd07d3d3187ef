"""When a viewer gets its next frame. Pure: the caller says what time it is.

So many frames are under way as the round trip needs, and no more: a viewer that draws slowly gets fewer pictures, not older ones. What is
under way is bounded in bytes too, and where the session's bandwidth is capped a frame waits until it may be sent.
"""

from __future__ import annotations

from collections import deque

# ---------------------------------------------------------------- limits
LEAST_IN_FLIGHT = 2  # one on the wire while one is drawn
MOST_IN_FLIGHT = 4  # covers 100 ms at 30 frames a second; farther away, fewer frames rather than a longer queue
MOST_BYTES = 512 * 1024  # under way, after which no frame is begun: half a second on a slow line
INTERVAL = 1 / 30  # seconds between two pictures of a screencast
WINDOW = 64  # round trips remembered: the shortest of them is the line's, the rest waiting and drawing
SLOW_SECONDS = 0.1  # a frame that took so much longer than the line itself has waited behind others
BURST_SECONDS = 0.5  # of a capped bandwidth that may be used at once


class Pace:
    """One viewer's. ``bandwidth``: bytes a second, or None."""

    def __init__(self, bandwidth: float | None = None) -> None:
        self.bandwidth = bandwidth
        self._flying: deque[tuple[int, int, float]] = deque()  # number, bytes, when sent
        self._bytes = 0
        self._trips: deque[float] = deque(maxlen=WINDOW)
        self._late = False
        self._credit = 0.0  # bytes
        self._counted_at: float | None = None

    def sent(self, seq: int, size: int, now: float) -> None:
        """Note a frame that was sent."""
        self._flying.append((seq, size, now))
        self._bytes += size
        if self.bandwidth is not None:
            self._count(now)
            self._credit -= size

    def acknowledged(self, seq: int, now: float) -> None:
        """Note that the viewer has drawn a frame, and so all before it."""
        while self._flying and self._flying[0][0] <= seq:
            number, size, sent = self._flying.popleft()
            self._bytes -= size
            if number == seq:
                trip = max(0.0, now - sent)
                self._trips.append(trip)
                self._late = trip > min(self._trips) + SLOW_SECONDS

    @property
    def round_trip(self) -> float | None:
        """The line's, in seconds, as far as known."""
        return min(self._trips) if self._trips else None

    @property
    def window(self) -> int:
        """How many frames may be under way."""
        if self._late:
            return 1
        trip = self.round_trip or 0.0
        return max(LEAST_IN_FLIGHT, min(MOST_IN_FLIGHT, 1 + -int(-trip // INTERVAL)))

    def wait(self, now: float) -> float | None:
        """Return the seconds until the next frame may be sent (0: now); None: not before an acknowledgement."""
        if len(self._flying) >= self.window or self._bytes >= MOST_BYTES:
            return None
        if self.bandwidth is None:
            return 0.0
        self._count(now)
        return max(0.0, -self._credit / self.bandwidth)

    def _count(self, now: float) -> None:
        if self.bandwidth is None:
            return
        most = self.bandwidth * BURST_SECONDS
        past = now - self._counted_at if self._counted_at is not None else BURST_SECONDS
        self._credit = min(most, self._credit + past * self.bandwidth)
        self._counted_at = now
