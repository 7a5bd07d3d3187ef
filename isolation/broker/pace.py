"""How fast a renderer is read, whatever it sends. Pure."""

from __future__ import annotations

# ---------------------------------------------------------------- limits
BURST_SECONDS = 1.0  # what a line that was quiet may send at once: the first picture of a page comes in one piece


class Pace:
    """A bound on bytes a second. It is told the time (monotonic seconds)."""

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._most = bytes_per_second * BURST_SECONDS
        self._level = self._most
        self._at: float | None = None

    def take(self, size: int, now: float) -> float:
        """Count ``size`` bytes; return how many seconds nothing more should be read."""
        if self._at is not None:
            self._level = min(self._most, self._level + max(0.0, now - self._at) * self._rate)
        self._at = now
        self._level -= size
        return max(0.0, -self._level / self._rate)
