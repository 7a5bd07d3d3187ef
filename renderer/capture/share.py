"""The node's processor time for pictures, shared fairly: a page that never rests is drawn as often as its share allows, others at once. Pure.

Each session has an account that fills up with time and pays for each picture what it took. The rate is the machine's, divided among those
who use it; who was still has credit and is never made to wait.
"""

from __future__ import annotations

import weakref

# ---------------------------------------------------------------- limits
FOR_PICTURES = 0.6  # of the processors; the rest is Chromium's own, which makes what we take
LEAST_RATE = 0.05  # of one processor: a few pictures a second whatever the crowd
BURST = 0.3  # seconds of processor time saved up by resting: a page that loads, scrolls or animates a menu
DEBT = 0.15  # seconds a session may overdraw while its person types or points: their answer is not to wait behind their page's animation
ACTIVE_SECONDS = 1.0  # who used anything within this time shares


class FairShare:
    """One node's. ``processors``: how many there are."""

    def __init__(self, processors: float) -> None:
        self._capacity = processors * FOR_PICTURES
        self._shares: weakref.WeakSet[Share] = weakref.WeakSet()

    def join(self) -> Share:
        """Return a new session's account."""
        share = Share(self)
        self._shares.add(share)
        return share

    def rate(self, now: float) -> float:
        """Return what each session in use gets: processors."""
        active = sum(now - share.used_at < ACTIVE_SECONDS for share in self._shares)
        return max(LEAST_RATE, self._capacity / max(1, active))


class Share:
    """One session's account."""

    def __init__(self, fair: FairShare) -> None:
        self._fair = fair
        self._credit = BURST
        self._counted_at = 0.0
        self.used_at = float("-inf")

    def pay(self, seconds: float, now: float) -> None:
        """Pay for processor time that was used."""
        self._count(now)
        self._credit -= seconds
        self.used_at = now

    def wait(self, now: float, *, prompt: bool) -> float:
        """Return the seconds until the next picture may be made (0: now). ``prompt``: the person just did something."""
        self._count(now)
        missing = -self._credit - (DEBT if prompt else 0.0)
        return max(0.0, missing / self._fair.rate(now))

    def _count(self, now: float) -> None:
        self._credit = min(BURST, self._credit + max(0.0, now - self._counted_at) * self._fair.rate(now))
        self._counted_at = now
