"""How much of the router's time one side of a stream may take. Pure: told the time, says how long to wait.

A message is read, checked and written anew on the event loop that serves everybody. A drop-down of four megabytes takes a quarter of a second
of it, a frame of four thousand rectangles fifteen milliseconds; a renderer (or a viewer) that sends nothing else would stop the router for all.
So each message costs what it takes, roughly, and whoever has spent what they had is read from no further until they have it again.
"""

from __future__ import annotations

from renderer.wire.glyphs import glyph_count
from renderer.wire.messages import ClipboardImage, DownloadData, Encoding, FileData, Frame, FromRenderer, PasteImage, ToRenderer

# ---------------------------------------------------------------- limits
EVENTS_PER_SECOND = 200.0  # from a renderer: a page that changes its title in a loop must not stall a person's browser
EVENTS_BURST = 400.0
INPUTS_PER_SECOND = 1000.0  # from a viewer: a 240 Hz mouse and fast typing are a third of it
INPUTS_BURST = 3000.0
TEXT_BYTES = 8192  # bytes of JSON that count as one more message: the largest event takes the loop less than a tenth of the time
PICTURE_BYTES = (
    256 * 1024
)  # bytes of a frame that count as one message: they are only carried, and its acknowledgement holds it back too
RECTANGLES = 64  # parts of a frame that count as one message: thirty frames a second of some hundreds pass freely
GLYPHS = 2  # that take as long as a rectangle


def cost(message: ToRenderer | FromRenderer | None, size: int) -> float:
    """Return what a message of ``size`` bytes costs, in plain messages. None: one that was not passed on."""
    match message:
        case Frame(copies=copies, paints=paints, keeps=keeps):
            glyphs = sum(glyph_count(paint.data) for paint in paints if paint.encoding is Encoding.GLYPHS) / GLYPHS
            return (len(copies) + len(paints) + len(keeps) + glyphs) / RECTANGLES + size / PICTURE_BYTES
        case FileData() | DownloadData() | PasteImage() | ClipboardImage():
            return 1.0
        case _:
            return 1.0 + size / TEXT_BYTES


class Allowance:
    """A bucket that may run into debt: who is in debt waits until it is paid."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._level, self._at = burst, now

    def spend(self, amount: float, now: float) -> float:
        """Take from the bucket; return the seconds to wait before anything more is read (0: none)."""
        self._level = min(self._burst, self._level + max(0.0, now - self._at) * self._rate) - amount
        self._at = now
        return max(0.0, -self._level / self._rate)
