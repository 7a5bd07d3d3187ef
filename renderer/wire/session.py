"""Which message is legal when, on one viewer's stream. No I/O: both ends, and the router between them, can hold their own copy.

``Hello`` first and once; ``Ready`` answers it; ``Closed`` is the end; frames count up by one; acknowledgements only rise and never run ahead.
"""

from __future__ import annotations

from enum import Enum

from renderer.wire.fields import WireError
from renderer.wire.messages import Ack, Closed, Frame, FromRenderer, Hello, Ready, ToRenderer


class Phase(Enum):
    """Where a stream is."""

    NEW = "new"  # nothing said yet
    GREETED = "greeted"  # Hello was said
    OPEN = "open"  # Ready was said
    CLOSED = "closed"


class StreamRules:
    """One stream's state. Every message of either direction is shown to it; it raises :class:`WireError` for one that must not come now."""

    def __init__(self) -> None:
        self.phase = Phase.NEW
        self.sent = 0  # seq of the newest frame
        self.acked = 0  # seq of the newest acknowledged frame
        self._first: int | None = None

    @property
    def unacked(self) -> int:
        """Frames under way."""
        return self.sent - self.acked

    def to_renderer(self, message: ToRenderer) -> None:
        """Check a viewer's message."""
        if self.phase is Phase.CLOSED:
            raise WireError("a message after the end")
        if isinstance(message, Hello):
            if self.phase is not Phase.NEW:
                raise WireError("a second hello")
            self.phase = Phase.GREETED
            return
        if self.phase is Phase.NEW:
            raise WireError("a message before hello")
        if isinstance(message, Ack):
            if not self.acked < message.seq <= self.sent:
                raise WireError("an acknowledgement out of order")
            self.acked = message.seq

    def from_renderer(self, message: FromRenderer) -> None:
        """Check a renderer's message."""
        if self.phase is Phase.CLOSED:
            raise WireError("a message after the end")
        if isinstance(message, Closed):
            self.phase = Phase.CLOSED
            return
        if isinstance(message, Ready):
            if self.phase is not Phase.GREETED:
                raise WireError("ready without hello")
            self.phase = Phase.OPEN
            return
        if self.phase is not Phase.OPEN:
            raise WireError("a message before ready")
        if isinstance(message, Frame):
            if self._first is None:
                # A stream begins with a picture that needs none before it; counting starts wherever it says.
                if not message.whole:
                    raise WireError("the first frame is a whole one")
                self._first = message.seq
                self.acked = message.seq - 1
            elif message.seq != self.sent + 1:
                raise WireError("a frame out of order")
            self.sent = message.seq
