"""What a viewer holds after the frames so far: its surface, what it was told to keep, its glyphs, the film it is in the middle of. Pure.

A frame says what is to be done with these; it makes sense only where they are as it supposes. The router holds its own copy and lets no
frame pass that supposes what is not there.
"""

from __future__ import annotations

from renderer.wire.fields import WireError
from renderer.wire.frames import MAX_COVER, MAX_KEPT_PIXELS, RECALL
from renderer.wire.glyphs import MAX_GLYPHS, MAX_SHEET_PIXELS, MAX_SHEETS, layout, unpack_glyphs
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
        self._glyphs: list[tuple[int, int]] = []
        self._sheets = 0
        self._sheet_pixels = 0

    def take(self, frame: Frame) -> None:
        """Go one frame on. Raises :class:`WireError` for a frame that supposes what is not so; then nothing may be taken any more."""
        shape = (frame.width, frame.height, frame.scale)
        if frame.whole:
            if frame.seq <= self.seq:
                raise WireError("frames out of order")
            self._slots.clear()
            self._kept = 0
            self._film = None
            self._forget_glyphs()
        elif self.surface is None:
            raise WireError("a change before the whole picture")
        elif frame.seq != self.seq + 1:
            raise WireError("frames out of order")
        elif shape != self.surface:
            raise WireError("the surface changed its size under a change")
        self.surface, self.seq = shape, frame.seq
        for keep in frame.keeps:
            self._keep(keep)
        stamped = 0
        for paint in frame.paints:
            if paint.encoding is Encoding.RECALL:
                self._recall(paint)
            elif paint.encoding is Encoding.VIDEO:
                self._play(paint)
            elif paint.encoding is Encoding.GLYPHS:
                stamped += self._stamp(paint)
                if stamped > MAX_COVER * frame.width * frame.height:
                    raise WireError("glyphs cover the surface too often")

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

    def _forget_glyphs(self) -> None:
        self._glyphs.clear()
        self._sheets = self._sheet_pixels = 0

    def _stamp(self, paint: Paint) -> int:
        """Return how many pixels are stamped."""
        glyphs = unpack_glyphs(paint.data)
        if glyphs.forget:
            self._forget_glyphs()
        if glyphs.sizes:
            _, width, height = layout(glyphs.sizes)
            self._sheets += 1
            self._sheet_pixels += width * height
            self._glyphs += glyphs.sizes
            if self._sheets > MAX_SHEETS or self._sheet_pixels > MAX_SHEET_PIXELS or len(self._glyphs) > MAX_GLYPHS:
                raise WireError("more glyphs than a viewer holds")
        stamped = 0
        for number, x, y in glyphs.stamps:
            if number >= len(self._glyphs):
                raise WireError("a glyph that was never sent")
            width, height = self._glyphs[number]
            if not (
                paint.x <= x and x + width <= paint.x + paint.width and paint.y <= y and y + height <= paint.y + paint.height
            ):
                raise WireError("a glyph lies outside its rectangle")
            stamped += width * height
        return stamped

    def _play(self, paint: Paint) -> None:
        if not self._video:
            raise WireError("film for a viewer that has no decoder")
        place = (paint.x, paint.y, paint.width, paint.height)
        film = vp8_frame(paint.data)
        if film is not None and film.key:
            self._film = place
        elif place != self._film:
            raise WireError("film without its beginning")
