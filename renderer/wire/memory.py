"""What a viewer holds after the frames so far: its surface, what it was told to keep, and the film it is in the middle of. Pure.

A frame says what is to be done with these; it makes sense only where they are as it supposes. The router holds its own copy and lets no
frame pass that supposes what is not there.
"""

from __future__ import annotations

from renderer.wire.fields import WireError
from renderer.wire.frames import MAX_KEPT_PIXELS, RECALL
from renderer.wire.images import vp8_frame
from renderer.wire.messages import Encoding, Frame, Keep, Paint

Rectangle = tuple[int, int, int, int]


class FrameMemory:
    """One stream's. Every frame is shown to it, in order, after :func:`renderer.wire.frames.check_frame`."""

    def __init__(self, *, video: bool = True) -> None:
        self._video = video  # whether the viewer can decode film at all
        self.seq = 0
        self.surface: tuple[int, int, int] | None = None  # width, height, scale
        self._slots: dict[int, tuple[int, int]] = {}
        self._kept = 0  # pixels
        self._film: Rectangle | None = None

    def take(self, frame: Frame) -> None:
        """Go one frame on. Raises :class:`WireError` for a frame that supposes what is not so; then nothing may be taken any more."""
        shape = (frame.width, frame.height, frame.scale)
        if frame.whole:
            if frame.seq <= self.seq:
                raise WireError("frames out of order")
            self._slots.clear()
            self._kept = 0
            self._film = None
        elif self.surface is None:
            raise WireError("a change before the whole picture")
        elif frame.seq != self.seq + 1:
            raise WireError("frames out of order")
        elif shape != self.surface:
            raise WireError("the surface changed its size under a change")
        self.surface, self.seq = shape, frame.seq
        for keep in frame.keeps:
            self._keep(keep)
        for paint in frame.paints:
            if paint.encoding is Encoding.RECALL:
                self._recall(paint)
            elif paint.encoding is Encoding.VIDEO:
                self._play(paint)

    def _keep(self, keep: Keep) -> None:
        width, height = self._slots.get(keep.slot, (0, 0))
        self._kept += keep.width * keep.height - width * height
        if self._kept > MAX_KEPT_PIXELS:
            raise WireError("more is kept than a viewer holds")
        self._slots[keep.slot] = (keep.width, keep.height)

    def _recall(self, paint: Paint) -> None:
        slot, x, y = RECALL.unpack(paint.data)
        width, height = self._slots.get(slot, (0, 0))
        if x + paint.width > width or y + paint.height > height:
            raise WireError("what is recalled was never kept")

    def _play(self, paint: Paint) -> None:
        if not self._video:
            raise WireError("film for a viewer that has no decoder")
        place = (paint.x, paint.y, paint.width, paint.height)
        film = vp8_frame(paint.data)
        if film is not None and film.key:
            self._film = place
        elif place != self._film:
            raise WireError("film without its beginning")
