"""Text as what it is: the same few shapes again and again. The viewer gets each once, and then only hears where it goes.

A picture is taken apart into the ground (fills, lines, boxes) and what stands on it, which is cut apart along empty rows and columns as
scanned pages are ("X-Y cut"): letters mostly, or two that touch. That the rest and the stamps together give the picture, to the pixel, does
not depend on any of this being guessed right: a stamp is a rectangle of the picture itself, and what is not stamped is sent as it is.

Lossless WebP gives a page of text 25 bytes a letter, for it knows nothing of the pictures before, and within one finds a letter again only
row by row. As glyphs an article that is scrolled through takes a third of its bytes, and less time to compose, for what is left to encode is
nearly flat (measured: 125 KB in place of 380, 36 ms a step in place of 55).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from renderer.capture.surface import Cells, Rect, Words
from renderer.wire.glyphs import MAX_GLYPHS, MAX_SHEET_PIXELS, MAX_SHEETS, MAX_STAMPS, Stamp, layout

# ---------------------------------------------------------------- limits
RUN = 16  # equal pixels in a row that make a ground: longer than a stroke of a letter, shorter than what pads a box
GUTTER = 24  # empty columns between blocks whose lines need not be level: wider than a space between words
WIDEST, TALLEST = 64, 48  # pixels of what may be a glyph: what is larger seldom comes again
THIN = 160  # of 255: two letters that touch are cut where a column is no darker than this in all, and lighter than its neighbours
DEPTH = 6  # cuts, crosswise: a letter in a line in a block takes three
LEAST_GROUND = 0.4  # of the pixels: a photo has none, and is not worth the search
ABOVE, AROUND = (
    20,
    RUN,
)  # pixels looked at beside what changed: a line cut by the edge of a strip is whole with them, and has its ground
MOST_INK = 4 * MAX_STAMPS  # pieces, after which a picture is no text

Digest = bytes
_WIDTHS = [width.to_bytes(8, "little") for width in range(WIDEST + 1)]


@dataclass(slots=True)
class Room:
    """What the glyphs of one frame may still take: of stamps, of new glyphs, of pixels stamped."""

    stamps: int
    glyphs: int
    pixels: int


@dataclass(frozen=True, slots=True)
class Found:
    """A part of a surface as glyphs.

    ``rest``: what to paint there first. Then, within ``rect``, as :class:`renderer.wire.glyphs.Glyphs` says; ``sheet`` as pixels, None for none.
    """

    rest: Words
    rect: Rect
    forget: bool
    sizes: tuple[tuple[int, int], ...]
    sheet: Words | None
    stamps: tuple[Stamp, ...]


class GlyphBook:
    """The glyphs that one viewer has, by hashes that no page can make collide: so their pixels need not be held here. Not for several threads at once."""

    def __init__(self) -> None:
        self._numbers: dict[Digest, int] = {}
        self._sheets = 0
        self._pixels = 0
        self._forget = False  # whether the viewer is still to be told that it holds too much

    def reset(self) -> None:
        """Begin anew with a whole frame: the viewer has forgotten everything."""
        self._clear()
        self._forget = False

    def _clear(self) -> None:
        self._numbers.clear()
        self._sheets = self._pixels = 0

    def find(self, surface: Words, part: Rect, room: Room) -> Found | None:
        """Take a part of a surface apart and learn what is new in it, which the viewer is then to be told. None: it is none of letters.

        ``room`` is reduced by what was found.
        """
        x, y = max(0, part.x - AROUND), max(0, part.y - ABOVE)
        words = surface[y : part.bottom + AROUND, x : part.right + AROUND]
        taken = take_apart(words)
        if taken is None:
            return None
        inside = Rect(part.x - x, part.y - y, part.width, part.height)
        shapes = [shape for shape in taken[1] if _meet(shape, inside)]
        pixels = sum(shape.area for shape in shapes)
        if not shapes or len(shapes) > room.stamps or pixels > room.pixels:
            return None
        digests = [_digest(words, shape) for shape in shapes]
        fresh = self._unknown(digests, shapes)
        _, width, height = layout((r.width, r.height) for r in fresh.values())
        if not self._has_room(len(fresh), width * height):
            self._clear()
            self._forget = True
            fresh = self._unknown(digests, shapes)
            _, width, height = layout((r.width, r.height) for r in fresh.values())
        if len(fresh) > room.glyphs or not self._has_room(len(fresh), width * height):
            return None
        forget, self._forget = self._forget, False
        room.stamps -= len(shapes)
        room.glyphs -= len(fresh)
        room.pixels -= pixels
        for digest in fresh:
            self._numbers[digest] = len(self._numbers)
        if fresh:
            self._sheets += 1
            self._pixels += width * height
        rest = taken[0][inside.y : inside.bottom, inside.x : inside.right]
        stamps = tuple(Stamp(self._numbers[digest], x + r.x, y + r.y) for digest, r in zip(digests, shapes, strict=True))
        sizes = tuple((r.width, r.height) for r in fresh.values())
        return Found(rest, _around(shapes, x, y), forget, sizes, _sheet(words, list(fresh.values())), stamps)

    def _unknown(self, digests: list[Digest], shapes: list[Rect]) -> dict[Digest, Rect]:
        """Return one place of each glyph the viewer has not, the tallest first: so they fill their sheet best."""
        fresh = {digest: rect for digest, rect in zip(digests, shapes, strict=True) if digest not in self._numbers}
        return dict(sorted(fresh.items(), key=lambda item: (-item[1].height, -item[1].width)))

    def _has_room(self, count: int, pixels: int) -> bool:
        return (
            len(self._numbers) + count <= MAX_GLYPHS
            and self._sheets + (count > 0) <= MAX_SHEETS
            and self._pixels + pixels <= MAX_SHEET_PIXELS
        )


def _meet(one: Rect, two: Rect) -> bool:
    return one.x < two.right and two.x < one.right and one.y < two.bottom and two.y < one.bottom


def _around(shapes: list[Rect], x: int, y: int) -> Rect:
    left, top = min(r.x for r in shapes), min(r.y for r in shapes)
    return Rect(x + left, y + top, max(r.right for r in shapes) - left, max(r.bottom for r in shapes) - top)


def _digest(words: Words, rect: Rect) -> Digest:
    x, y, width, height = rect
    return blake2b(words[y : y + height, x : x + width].tobytes(), digest_size=16, salt=_WIDTHS[width]).digest()


def _sheet(words: Words, rects: list[Rect]) -> Words | None:
    if not rects:
        return None
    places, width, height = layout((r.width, r.height) for r in rects)
    # What no glyph covers costs least where it is like the ground that most of them stand on.
    first = rects[0]
    sheet = np.full((height, width), words[first.y, first.x], np.uint32)
    for (x, y), r in zip(places, rects, strict=True):
        sheet[y : y + r.height, x : x + r.width] = words[r.y : r.bottom, r.x : r.right]
    return sheet


def take_apart(words: Words) -> tuple[Words, list[Rect]] | None:
    """Return what lies behind the letters and, as disjoint rectangles, the letters (None: no ground to stand on).

    Whatever differs between the first and ``words`` lies in one of the rectangles.
    """
    long, ground = grounds(words)
    if np.count_nonzero(long) < LEAST_GROUND * long.size:
        return None
    ink: Cells = words != ground
    darkness = _apart(words, ground)
    shapes: list[Rect] = []
    for count, box in enumerate(_cut(ink, darkness)):
        if count > MOST_INK:
            return None
        if box.width <= WIDEST and box.height <= TALLEST:
            shapes.append(box)
        else:
            ground[box.y : box.bottom, box.x : box.right] = words[box.y : box.bottom, box.x : box.right]
    return ground, shapes


def grounds(words: Words) -> tuple[Cells, Words]:
    """Return which pixels are part of a ground (a run of equal ones), and for each pixel the ground nearest above it (below, where there is none).

    In a column without any, each pixel is its own.
    """
    long = long_runs(words)
    ground = words.copy()
    known = np.logical_or.accumulate(long, axis=0)
    unlike = known & ~long
    for row in np.flatnonzero(unlike.any(axis=1)).tolist():
        np.copyto(ground[row], ground[row - 1], where=unlike[row])
    unknown = ~known
    for row in np.flatnonzero(unknown[:-1].any(axis=1))[::-1].tolist():
        np.copyto(ground[row], ground[row + 1], where=unknown[row] & known[-1])
    return long, ground


def long_runs(words: Words) -> Cells:
    """Return the pixels that lie in a row of at least :data:`RUN` equal ones."""
    long: Cells = np.zeros(words.shape, np.bool_)
    begins = words[:, 1:] == words[:, :-1]
    equal = 1  # neighbours that ``begins`` says are equal, from a pixel on
    while equal < RUN - 1:
        step = min(equal, RUN - 1 - equal)
        begins = begins[:, :-step] & begins[:, step:]
        equal += step
    long[:, : begins.shape[1]] = begins
    covered = 1  # pixels of each run that are marked
    while covered < RUN:
        step = min(covered, RUN - covered)
        long[:, step:] |= long[:, :-step].copy()
        covered += step
    return long


def _apart(one: Words, two: Words) -> NDArray[np.uint8]:
    """Return how far two pictures' green, which stands for brightness, lies apart."""
    here, there = (words.view(np.uint8).reshape(*words.shape, 4)[:, :, 1] for words in (np.ascontiguousarray(one), two))
    return np.maximum(here, there) - np.minimum(here, there)


def _cut(ink: Cells, darkness: NDArray[np.uint8]) -> Iterator[Rect]:
    """Cut everything apart: first into blocks side by side, whose lines need not be level."""
    for left, right in _spans(np.any(ink, axis=0), GUTTER):
        yield from _lines(ink, darkness, Rect(left, 0, right - left, len(ink)), DEPTH)


def _lines(ink: Cells, darkness: NDArray[np.uint8], box: Rect, depth: int) -> Iterator[Rect]:
    """Cut a box along its empty rows, and each piece along its empty (and its thin) columns."""
    inside = np.s_[box.y : box.bottom, box.x : box.right]
    for top, bottom in _spans(np.any(ink[inside], axis=1), 1):
        line = ink[inside][top:bottom]
        filled = np.any(line, axis=0)
        starts, ends = _pieces(filled, darkness[inside][top:bottom].sum(axis=0, dtype=np.uint32))
        height = bottom - top
        first = np.where(filled, line.argmax(axis=0), height)
        last = np.where(filled, height - line[::-1].argmax(axis=0), 0)
        highs = np.minimum.reduceat(first, starts).tolist()
        lows = np.maximum.reduceat(last, starts).tolist()
        for left, right, high, low in zip(starts.tolist(), ends.tolist(), highs, lows, strict=True):
            found = Rect(box.x + left, box.y + top + high, right - left, low - high)
            if depth and found != box and (found.width > WIDEST or found.height > TALLEST):
                yield from _lines(ink, darkness, found, depth - 1)
            else:
                yield found


def _pieces(filled: NDArray[np.bool_], darkness: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return where the pieces of a line begin and end: at empty columns, and behind each thin one."""
    edges = np.ones(len(filled) + 1, np.bool_)
    edges[0], edges[-1] = filled[0], filled[-1]
    np.not_equal(filled[1:], filled[:-1], out=edges[1:-1])
    before, here, behind = darkness[:-2], darkness[1:-1], darkness[2:]
    edges[2:-1] |= (here < THIN) & (here <= before) & (here < behind) & filled[:-2] & filled[1:-1]
    at = np.flatnonzero(edges)
    starts, ends = at[:-1], at[1:]
    full = filled[starts]
    return starts[full], ends[full]


def _spans(filled: NDArray[np.bool_], gap: int) -> list[tuple[int, int]]:
    """Return where true values are, first and after the last; those less than ``gap`` apart in one."""
    at = np.flatnonzero(filled)
    if not len(at):
        return []
    breaks = np.flatnonzero(np.diff(at) > gap)
    starts = at[np.concatenate(([0], breaks + 1))]
    ends = at[np.concatenate((breaks, [len(at) - 1]))] + 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
