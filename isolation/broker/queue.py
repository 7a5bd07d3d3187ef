"""Who waits for an isolated browser, in the order in which they came. Pure: the caller brings the time and does the waiting.

A session has one place, however many of its viewers wait. It keeps the place for some seconds when its viewer's connection is lost, so that a bad
network costs nobody their turn. Sessions are let in from the front as far as browsers are free: nobody overtakes.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

# ---------------------------------------------------------------- limits
KEEP_SECONDS = 20.0  # of a place whose viewer is gone: a lost network is back, or noticed to be lost, within thirteen
MOST = 1000  # sessions that wait; who comes then is told that everything is in use
REMEMBERED = 20  # waits that the hint of how long people waited lately is made of
LATELY_SECONDS = 1800.0  # older waits say nothing about now


@dataclass(slots=True, eq=False)
class Place:
    """A session's place. ``since``: when it came; ``left``: when its last viewer went."""

    session: str
    since: float
    viewers: int = 0
    left: float = 0.0


class FullLineError(Exception):
    """So many wait that another one is not told to."""


class WaitingLine:
    """The line of one worker. ``now``: seconds on one clock of the caller's."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._waits: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def __len__(self) -> int:
        return sum(place.viewers > 0 for place in self._places.values())

    def join(self, session: str, now: float) -> Place:
        """Give a session's viewer its place: the one the session has, or the last. Raises :class:`FullLineError`."""
        self._forget(now)
        place = self._places.get(session)
        if place is None:
            if len(self._places) >= MOST:
                raise FullLineError
            place = self._places[session] = Place(session, now)
        place.viewers += 1
        return place

    def leave(self, place: Place, now: float) -> None:
        """Let a viewer go. Its session may come back for its place; until then nobody waits behind it."""
        place.viewers -= 1
        place.left = now

    def served(self, place: Place, now: float) -> None:
        """Take a session out of the line: it has its browser."""
        if self._places.get(place.session) is place:
            del self._places[place.session]
            self._waits.append((now, now - place.since))

    def holds(self, place: Place) -> bool:
        """Say whether a place is still one. It is none when another viewer of its session was served."""
        return self._places.get(place.session) is place

    def ahead(self, session: str, now: float) -> int:
        """Return how many sessions with a viewer come before this one; for one without a place, all that wait."""
        self._forget(now)
        count = 0
        for waiting, place in self._places.items():
            if waiting == session:
                break
            count += place.viewers > 0
        return count

    def waited(self, now: float) -> int:
        """Return how many seconds people waited lately (the middle of the last waits), 0 when nobody has."""
        lately = sorted(wait for at, wait in self._waits if now - at <= LATELY_SECONDS)
        return round(lately[len(lately) // 2]) if lately else 0

    def _forget(self, now: float) -> None:
        for session in [s for s, p in self._places.items() if p.viewers <= 0 and now - p.left > KEEP_SECONDS]:
            del self._places[session]
