"""What the broker counts, for whoever shows figures to operators."""

from __future__ import annotations

from typing import Protocol


class Figures(Protocol):
    """Hears what happens to isolated browsers and their streams."""

    def started(self, outcome: str, seconds: float) -> None:
        """Count a start of a browser: ``started`` or why not, and how long it took."""

    def ended(self, why: str) -> None:
        """Count an end of a browser. ``why``: a :class:`~renderer.wire.control.LeaseCode` value or the router's own reason."""

    def waited(self, seconds: float) -> None:
        """Count somebody's wait in the queue that ended with a browser."""

    def sent(self, kind: str, size: int) -> None:
        """Count a message to a viewer: ``frame`` or ``event``, and its bytes."""

    def noticed(self, code: str) -> None:
        """Count a notice to a person: a :class:`~renderer.wire.messages.NoticeCode` value."""


class NoFigures:
    """Counts nothing."""

    def started(self, outcome: str, seconds: float) -> None:
        """See :class:`Figures`."""

    def ended(self, why: str) -> None:
        """See :class:`Figures`."""

    def waited(self, seconds: float) -> None:
        """See :class:`Figures`."""

    def sent(self, kind: str, size: int) -> None:
        """See :class:`Figures`."""

    def noticed(self, code: str) -> None:
        """See :class:`Figures`."""
