"""Moving pictures as film: one rectangle, encoded by VP8 frame after frame.

VP8 rather than VP9, for its time (640 × 360: 6 ms a frame against 8 to 9) and because a frame's head can be read without a bit parser (see
renderer.wire.images). Measured on one clip: at fixed quantizers both need the same bytes for the same likeness within 15 %; told to keep to
2 Mbit/s, VP8 sends 44 % more.
"""

from __future__ import annotations

from fractions import Fraction

from renderer.capture.surface import Rect, Surface

# ---------------------------------------------------------------- limits
RATE = 30  # frames a second, as the screencast brings them
BITS_PER_PIXEL = 0.2  # of one frame: 640 × 360 is 1.4 Mbit/s; when it rests it is sent again, lossless
LEAST_BITS = 200_000  # a second; small rectangles carry the same overhead
_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "-12",  # of 16: a sixth less time than 8 for the same bytes
    "lag-in-frames": "0",  # one frame in, one frame out
    "qmin": "6",
    "qmax": "50",
    "undershoot-pct": "95",
}


class Film:
    """The film of one rectangle of the surface. Not for several threads at once."""

    def __init__(self, rect: Rect) -> None:
        # Read from disk by the first film, not by a node that people wait for.
        import av

        self.rect = rect
        context = av.CodecContext.create("libvpx", "w")
        context.width, context.height = rect.width, rect.height
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, RATE)
        context.framerate = Fraction(RATE, 1)
        context.bit_rate = max(LEAST_BITS, int(rect.area * RATE * BITS_PER_PIXEL))
        context.gop_size = 100_000  # nothing is ever lost on the way: one key frame is enough
        context.thread_count = 1  # frames of different sessions are what is encoded side by side
        context.options = _OPTIONS
        self._context = context
        self._at = 0

    def encode(self, surface: Surface) -> bytes:
        """Encode the rectangle as the film's next frame; the first is a key frame."""
        from av.video.frame import VideoFrame

        frame = VideoFrame.from_ndarray(surface.pixels(self.rect), format="rgb24").reformat(format="yuv420p")
        frame.pts = self._at
        self._at += 1
        (packet,) = self._context.encode(frame)
        return bytes(packet)
