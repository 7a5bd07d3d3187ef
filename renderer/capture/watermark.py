"""A text burnt into every picture: who looks, when, in which session. So a photograph of the screen says where it comes from.

The pattern is sparse, slanted and half transparent, light with a dark edge, so that it is legible on any ground and text stays legible
below it. It lies on the surface before anything is compared: no frame, film and whole frames included, is without it.
"""

from __future__ import annotations

import functools
import weakref

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from renderer.capture.surface import Surface, Words

# ---------------------------------------------------------------- limits
MAX_TEXT = 120  # characters shown; more is cut
SIZE = 15  # CSS pixels: the height of its letters, as running text
GAP = (140, 110)  # CSS pixels between two copies, across and down: each screenful of a phone has several
ANGLE = 24  # degrees: a slant no text of a page has
STRENGTH = 56  # of 256: how much of a pixel is the mark's
LIGHT, DARK = 255, 0
FINER = 3  # times larger is the text drawn before it is slanted: small letters stay letters
_FONTS = ("DejaVuSans-Bold.ttf", "/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf")

Bytes = NDArray[np.uint8]


class Watermark:
    """Marks one page's surfaces, each once."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._pattern: tuple[tuple[int, int, int], Words, Bytes] | None = None
        self._before: weakref.ref[Surface] | None = None  # unmarked
        self._marked: Surface | None = None

    def mark(self, surface: Surface) -> Surface:
        """Return the surface with the mark on it. Only what changed since the last call is drawn anew."""
        before = self._before() if self._before is not None else None
        marked = self._marked
        if marked is not None and before is surface:
            return marked
        if before is None or marked is None or marked.size != surface.size or marked.scale != surface.scale:
            words, (top, bottom) = surface.words.copy(), (0, surface.height)
            again = Surface(words, surface.scale)
        else:
            top, bottom = surface.band(before)
            words = marked.words.copy()
            words[top:bottom] = surface.words[top:bottom]
            again = Surface(words, surface.scale, weakref.ref(marked), (top, bottom))
        self._draw(words, surface.scale, top, bottom)
        self._before, self._marked = weakref.ref(surface), again
        return again

    def _draw(self, words: Words, scale: int, top: int, bottom: int) -> None:
        height, width = words.shape
        key = (width, height, scale)
        if self._pattern is None or self._pattern[0] != key:
            self._pattern = (key, *pattern(self._text, width, height, scale))
        _, places, ink = self._pattern
        first, last = np.searchsorted(places, [top * width, bottom * width])
        flat = words.reshape(-1)
        flat[places[first:last]] = blend(flat[places[first:last]], ink[first:last])


def blend(words: Words, ink: Bytes) -> Words:
    """Return pixels with the mark's ink over them."""
    page = np.ascontiguousarray(words).view(np.uint8).reshape(-1, 4)
    mixed = (page.astype(np.uint16) * (256 - STRENGTH) + ink[:, None].astype(np.uint16) * STRENGTH) >> 8
    mixed[:, 3] = 0
    result: Words = mixed.astype(np.uint8).view(np.uint32)[:, 0]
    return result


def pattern(text: str, width: int, height: int, scale: int) -> tuple[Words, Bytes]:
    """Return the places of a surface that are marked, as ascending indices of its pixels, and the ink of each."""
    stamp = _stamp(
        "".join(c if c.isprintable() else " " for c in text[:MAX_TEXT]), max(8, SIZE * scale // 100), max(1, scale // 100)
    )
    cell = Image.new("L", (stamp.width + GAP[0] * scale // 100, 2 * (stamp.height + GAP[1] * scale // 100)), 128)
    # Two copies, the lower one shifted by half: no straight band of the surface is without one.
    cell.paste(stamp, (0, 0))
    half = Image.new("L", (cell.width, stamp.height), 128)
    half.paste(stamp, (cell.width // 2, 0))
    half.paste(stamp, (cell.width // 2 - cell.width, 0), stamp.point(lambda value: 255 if value != 128 else 0))
    cell.paste(half, (0, cell.height // 2))
    tile = np.asarray(cell)
    across, down = -(-width // tile.shape[1]), -(-height // tile.shape[0])
    whole = np.tile(tile, (down, across))[:height, :width].reshape(-1)
    places = np.flatnonzero(whole != 128).astype(np.uint32)
    return places, np.where(whole[places] > 128, np.uint8(LIGHT), np.uint8(DARK))


def _stamp(text: str, size: int, edge: int) -> Image.Image:
    """Draw the text slanted, in three values: no ink (128), light letters, and a dark edge around them."""
    font = _font(size * FINER)
    left, top, right, bottom = (int(side) for side in font.getbbox(text or " "))
    room = 2 * (edge + 1) * FINER
    flat = Image.new("L", (right - left + room, bottom - top + room), 0)
    ImageDraw.Draw(flat).text((room // 2 - left, room // 2 - top), text, 255, font)
    slanted = flat.rotate(ANGLE, Image.Resampling.BICUBIC, expand=True).reduce(FINER)
    letters = slanted.point(lambda value: 255 if value > 96 else 0)
    around = letters.filter(ImageFilter.MaxFilter(2 * edge + 1))
    stamp = Image.new("L", letters.size, 128)
    stamp.paste(DARK, mask=around)
    stamp.paste(LIGHT, mask=letters)
    return stamp


@functools.lru_cache(4)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size, layout_engine=ImageFont.Layout.BASIC)
        except OSError:
            continue
    return ImageFont.load_default(size)
