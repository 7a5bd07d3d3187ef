"""Frames for one viewer: what it has been shown, what it should see, and the step between the two.

Lossless, except where a region keeps changing: there pictures go lossy while they move and are sent again, lossless, when they rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import imagecodecs
import numpy as np

from renderer.capture.damage import MAX_PAINTED, TILE, Plan, painted, plan, uncovered
from renderer.capture.surface import Cells, Rect, Rgb, Surface, bounds, cover
from renderer.wire.messages import Copy, Encoding, Frame, Paint

# ---------------------------------------------------------------- limits
HEAT_SECONDS = 1.0  # a tile's count of repaints halves about this often
HOT = 7.0  # repaints within that time: faster than a blinking caret, a typed text or a clock
HOT_TILES = 24  # tiles (about 150 × 150 pixels): smaller pictures are cheap lossless
REST_SECONDS = 0.2  # a picture that has rested this long is sent again, lossless
LOSSY_QUALITY = 60.0  # WebP quality of moving pictures
LOSSLESS_METHOD = 1  # of 0 to 6: the same bytes as the default of 4 within half a percent, for a fifth of its time on a strip of text (7 ms, 32)
BANDS = 2  # pieces of a large picture, encoded side by side: one per encoder of the node; each costs a little more than its share of the bytes
BAND_AREA = 256 * 1024  # pixels from which bands are worth it


class BadFrameError(Exception):
    """Chromium sent something that is not a picture of the announced kind."""


def decode_png(data: bytes, largest: int) -> Surface:
    """Decode a screencast frame. Its size is read first: a picture larger than ``largest`` on a side is not decoded. Raises :class:`BadFrameError`."""
    # Width and height of a PNG stand at a fixed place; the decoder would allocate whatever they claim.
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    if data[:8] != b"\x89PNG\r\n\x1a\n" or not (1 <= width <= largest and 1 <= height <= largest):
        raise BadFrameError("not a PNG, or too large")
    try:
        pixels = imagecodecs.png_decode(data)
    except Exception as problem:  # each codec has its own error class, without a common parent
        raise BadFrameError("undecodable PNG") from problem
    if pixels.dtype != np.uint8 or pixels.shape[:2] != (height, width):
        raise BadFrameError("PNG of an unexpected kind")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    elif pixels.shape[2] == 2:
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    return Surface.of(np.ascontiguousarray(pixels[:, :, :3]))


def encode_rect(rgb: Rgb, rect: Rect, *, lossy: bool) -> Paint:
    """Encode one rectangle: one colour as a fill, else WebP."""
    pixels = np.ascontiguousarray(rgb[rect.y : rect.bottom, rect.x : rect.right])
    first = pixels[0, 0]
    if (pixels == first).all():
        return Paint(rect.x, rect.y, rect.width, rect.height, Encoding.FILL, first.tobytes())
    if lossy:
        data = imagecodecs.webp_encode(pixels, level=LOSSY_QUALITY, lossless=False, method=0)
        return Paint(rect.x, rect.y, rect.width, rect.height, Encoding.WEBP_LOSSY, bytes(data))
    data = imagecodecs.webp_encode(pixels, lossless=True, method=LOSSLESS_METHOD)
    return Paint(rect.x, rect.y, rect.width, rect.height, Encoding.WEBP_LOSSLESS, bytes(data))


@dataclass(slots=True)
class _Job:
    rect: Rect
    lossy: bool


class Composer:
    """Makes the frames of one viewer. Not for several threads at once; ``pool`` encodes large pictures in parallel; ``sent``: the last frame's number."""

    def __init__(self, pool: Executor | None = None, sent: int = 0) -> None:
        self._pool = pool
        self._shown: Surface | None = None
        self._seq = sent
        self._heat = np.zeros((0, 0))
        self._heated_at = 0.0
        self._lossy: Cells = np.zeros((0, 0), np.bool_)
        self._painted_at = np.zeros((0, 0))

    @property
    def unsettled(self) -> bool:
        """Whether lossy pixels wait to become lossless: then :meth:`step` wants to be called again within ``REST_SECONDS``."""
        return bool(self._lossy.any())

    @property
    def moving(self) -> bool:
        """Whether a region is in motion mode now."""
        return int(np.count_nonzero(self._heat > HOT)) >= HOT_TILES

    def forget(self) -> None:
        """Forget what was shown: the next frame is a whole one."""
        self._shown = None

    def step(self, surface: Surface, now: float) -> Frame | None:
        """Return the frame that brings the viewer to ``surface`` (None: nothing to send). ``now``: monotonic seconds."""
        shown = self._shown
        if shown is None or shown.size != surface.size:
            return self._whole(surface, now)
        found = plan(shown, surface)
        damage = found.damage if found is not None else np.zeros_like(self._lossy)
        copies = found.copies if found is not None else ()
        self._cool(now)
        # A copied region is as blurred as where it came from.
        self._carry_blur(copies, now)
        # What scrolling brings into view is new, however often the place it appears at is painted: it stays still where it now is.
        restless = damage & ~uncovered(copies, damage.shape)
        self._heat[restless] += 1.0
        self._painted_at[damage] = now
        hot = (self._heat > HOT) & restless
        if int(np.count_nonzero(hot)) < HOT_TILES:
            hot = np.zeros_like(damage)
        rested = self._lossy & ~damage & (now - self._painted_at >= REST_SECONDS)
        jobs = self._jobs(found, surface, damage & ~hot, hot, rested)
        if not jobs and not copies:
            self._shown = surface
            return None
        self._lossy &= ~rested
        # A cold tile is painted by its differing pixels alone; if it was blurred it is now painted whole, see _jobs.
        self._lossy &= ~(damage & ~hot)
        self._lossy |= hot
        self._shown = surface
        return self._frame(surface, copies, jobs, whole=False)

    def _whole(self, surface: Surface, now: float) -> Frame:
        rows, columns = -(-surface.height // TILE), -(-surface.width // TILE)
        self._heat = np.zeros((rows, columns))
        self._lossy = np.zeros((rows, columns), np.bool_)
        self._painted_at = np.zeros((rows, columns))
        self._heated_at = now
        self._shown = surface
        return self._frame(surface, (), [_Job(Rect(0, 0, surface.width, surface.height), lossy=False)], whole=True)

    def _cool(self, now: float) -> None:
        self._heat *= math.exp(-max(0.0, now - self._heated_at) / HEAT_SECONDS)
        self._heated_at = now

    def _carry_blur(self, copies: Iterable[Copy], now: float) -> None:
        if not self._lossy.any():
            return
        before = self._lossy.copy()
        for c in copies:
            source = before[c.sy // TILE : -(-(c.sy + c.height) // TILE), c.sx // TILE : -(-(c.sx + c.width) // TILE)]
            if source.any():
                target = np.s_[c.y // TILE : -(-(c.y + c.height) // TILE), c.x // TILE : -(-(c.x + c.width) // TILE)]
                self._lossy[target] = True
                self._painted_at[target] = now

    def _jobs(self, found: Plan | None, surface: Surface, cold: Cells, hot: Cells, rested: Cells) -> list[_Job]:
        jobs: list[_Job] = []
        whole_tiles = rested | (cold & self._lossy)
        if found is not None:
            sharp = cold & ~self._lossy
            jobs += [_Job(rect, lossy=False) for rect in painted(found.after, surface.words, sharp)]
        jobs += [_Job(rect, lossy=False) for rect in self._tiles(whole_tiles, surface)]
        jobs += [_Job(rect, lossy=True) for rect in self._tiles(hot, surface)]
        return jobs

    @staticmethod
    def _tiles(tiles: Cells, surface: Surface) -> list[Rect]:
        boxes = cover(tiles, MAX_PAINTED + 1)
        if len(boxes) > MAX_PAINTED:
            boxes = [bounds(tiles)]
        return [rect.scaled(TILE, TILE, surface.width, surface.height) for rect in boxes]

    def _frame(self, surface: Surface, copies: tuple[Copy, ...], jobs: list[_Job], *, whole: bool) -> Frame:
        self._seq += 1
        pieces = [piece for job in jobs for piece in _bands(job)]
        run: Callable[[_Job], Paint] = lambda job: encode_rect(surface.rgb, job.rect, lossy=job.lossy)  # noqa: E731
        parallel = self._pool is not None and len(pieces) > 1 and sum(p.rect.area for p in pieces) >= BAND_AREA
        paints = self._pool.map(run, pieces) if parallel and self._pool is not None else map(run, pieces)
        return Frame(self._seq, surface.width, surface.height, whole, copies, tuple(paints))


def _bands(job: _Job) -> list[_Job]:
    rect = job.rect
    if rect.area < BAND_AREA:
        return [job]
    rows = -(-rect.height // BANDS)
    return [_Job(Rect(rect.x, y, rect.width, min(rows, rect.bottom - y)), job.lossy) for y in range(rect.y, rect.bottom, rows)]
