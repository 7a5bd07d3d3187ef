"""A viewer as a page sees it: somebody to send messages to. The connection behind it is the server's business."""

from __future__ import annotations

import time
from collections.abc import Callable

from renderer.capture.pace import Pace
from renderer.input.validate import InputGate
from renderer.wire.fields import WireError
from renderer.wire.messages import Ack, CloseCode, Closed, Frame, FromRenderer
from renderer.wire.session import Phase, StreamRules


class Viewer:
    """One viewer of one page. ``origin``: the app it stands on; ``emit`` queues a message for its connection."""

    def __init__(self, origin: str, rules: StreamRules, emit: Callable[[FromRenderer], None]) -> None:
        self.origin = origin
        self.rules = rules
        self.gate = InputGate()
        self.pace = Pace()
        self.visible = True
        self._emit = emit

    @property
    def gone(self) -> bool:
        """Whether its stream has ended."""
        return self.rules.phase is Phase.CLOSED

    def send(self, message: FromRenderer) -> None:
        """Send a message, unless the stream has ended. What our own rules refuse is a bug of ours, and ends the stream."""
        if self.gone:
            return
        try:
            self.rules.from_renderer(message)
        except WireError as problem:
            raise AssertionError("the node spoke out of turn") from problem
        if isinstance(message, Frame):
            self.pace.sent(message.seq, sum(len(paint.data) for paint in message.paints), time.monotonic())
        self._emit(message)

    def close(self, code: CloseCode) -> None:
        """Say the last word."""
        self.send(Closed(code))

    def acknowledged(self, message: Ack) -> None:
        """Note that it has drawn a frame."""
        self.pace.acknowledged(message.seq, time.monotonic())

    def wait(self, now: float) -> float | None:
        """Return the seconds until another frame may be sent (0: now); None: not before it says something."""
        return self.pace.wait(now) if self.visible and self.rules.phase is Phase.OPEN else None
