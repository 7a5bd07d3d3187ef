"""Surfaces as arrays, and sets of cells on them as rectangles."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]  # height × width × 3
Words = NDArray[np.uint32]  # height × width, one word per pixel
Cells = NDArray[np.bool_]  # rows × columns of a grid laid over the surface


class Rect(NamedTuple):
    """A rectangle in pixels (or in cells, where said so)."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        """Pixels (or cells) inside."""
        return self.width * self.height

    @property
    def right(self) -> int:
        """First column to the right of it."""
        return self.x + self.width

    @property
    def bottom(self) -> int:
        """First row below it."""
        return self.y + self.height

    def union(self, other: Rect) -> Rect:
        """Return the smallest rectangle around both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Rect(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)

    def scaled(self, cell_width: int, cell_height: int, width: int, height: int) -> Rect:
        """Turn a rectangle of cells into pixels, cut at the surface's edge."""
        x, y = self.x * cell_width, self.y * cell_height
        return Rect(x, y, min(self.right * cell_width, width) - x, min(self.bottom * cell_height, height) - y)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Surface:
    """One picture of a page, never changed once made. A word compares three bytes at once; its bytes are red, green, blue and zero.

    ``before`` and ``rows``: the surface it was made from (one of the same size) and the rows, first and after the last, that alone may
    differ from it. ``scale``: device pixels per CSS pixel in hundredths.
    """

    words: Words
    scale: int = 100
    before: weakref.ref[Surface] | None = None
    rows: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, rgb: Rgb, scale: int = 100) -> Surface:
        """Pack a height × width × 3 array."""
        words = np.empty(rgb.shape[:2], np.uint32)
        pack(rgb, words)
        return cls(words, scale)

    def pixels(self, rect: Rect) -> Rgb:
        """Return a copy of a rectangle's bytes."""
        return unpack(self.words[rect.y : rect.bottom, rect.x : rect.right])

    def band(self, old: Surface) -> tuple[int, int]:
        """Return the rows, first and after the last, outside of which this surface equals ``old``, as far as that is known."""
        return self.rows if self.before is not None and self.before() is old else (0, self.height)

    @property
    def width(self) -> int:
        """Device pixels."""
        return int(self.words.shape[1])

    @property
    def height(self) -> int:
        """Device pixels."""
        return int(self.words.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


def pack(rgb: Rgb, words: Words) -> None:
    """Put bytes (rows × columns × 3) into words."""
    into = words.view(np.uint8).reshape(*words.shape, 4)
    for channel in range(3):  # one at a time: four times as fast as all three in one assignment
        into[:, :, channel] = rgb[:, :, channel]
    into[:, :, 3] = 0


def unpack(words: Words) -> Rgb:
    """Return words' bytes, rows × columns × 3."""
    packed = np.ascontiguousarray(words).view(np.uint8).reshape(*words.shape, 4)
    rgb = np.empty((*words.shape, 3), np.uint8)
    for channel in range(3):
        rgb[:, :, channel] = packed[:, :, channel]
    return rgb


def any_in_cells(pixels: NDArray[np.bool_], cell_width: int, cell_height: int) -> Cells:
    """Reduce pixels to cells: true where any pixel of the cell is. Cells at the right and lower edge may be cut off.

    ``cell_width``: a multiple of eight, for eight pixels are looked at as one number.
    """
    cells: Cells = _reduce(np.bitwise_or, pixels, cell_width, cell_height) != 0
    return cells


def count_in_cells(pixels: NDArray[np.bool_], cell_width: int, cell_height: int) -> NDArray[np.intp]:
    """Count the true pixels of each cell, as :func:`any_in_cells` does. A cell has at most 255 × 8 pixels: of eight, each is counted in a byte."""
    sums = _reduce(np.add, pixels, cell_width, cell_height)
    counts: NDArray[np.intp] = sums.view(np.uint8).reshape(*sums.shape, 8).sum(axis=2, dtype=np.intp)
    return counts


def _reduce(how: np.ufunc, pixels: NDArray[np.bool_], cell_width: int, cell_height: int) -> NDArray[np.uint64]:
    height, width = pixels.shape
    if width % 8 or not pixels.flags.c_contiguous:
        padded = np.zeros((height, -(-width // 8) * 8), np.bool_)
        padded[:, :width] = pixels
        pixels = padded
    eights = pixels.view(np.uint64)
    rows = how.reduceat(eights, np.arange(0, height, cell_height), axis=0)
    cells: NDArray[np.uint64] = how.reduceat(rows, np.arange(0, eights.shape[1], cell_width // 8), axis=1)
    return cells


def cover(cells: Cells, most: int) -> list[Rect]:
    """Cover true cells by disjoint rectangles of true cells, in reading order, at most ``most`` of them (then incompletely)."""
    left = cells.copy()
    found: list[Rect] = []
    while len(found) < most:
        y = int(np.argmax(left.any(axis=1)))
        x = int(np.argmax(left[y]))
        if not left[y, x]:
            break
        # argmin finds the first false cell, or answers 0 where all are true.
        width = int(np.argmin(left[y, x:])) or left.shape[1] - x
        height = int(np.argmin(left[y:, x : x + width].all(axis=1))) or left.shape[0] - y
        left[y : y + height, x : x + width] = False
        found.append(Rect(x, y, width, height))
    return found


def covered(cells: Cells, most: int) -> list[Rect]:
    """Cover true cells by at most ``most`` disjoint rectangles of cells, false ones among them where there are too many."""
    rows, columns = cells.shape
    side = 1
    while len(rects := cover(cells, most + 1)) > most:
        side *= 2
        cells = np.pad(cells, ((0, cells.shape[0] % 2), (0, cells.shape[1] % 2)))
        cells = cells[::2, ::2] | cells[1::2, ::2] | cells[::2, 1::2] | cells[1::2, 1::2]
    return [rect.scaled(side, side, columns, rows) for rect in rects]


def bounds(cells: Cells) -> Rect:
    """Return the rectangle around all true cells (an empty one when there are none)."""
    rows, columns = np.flatnonzero(cells.any(axis=1)), np.flatnonzero(cells.any(axis=0))
    if not len(rows):
        return Rect(0, 0, 0, 0)
    x, y = int(columns[0]), int(rows[0])
    return Rect(x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)


def components(cells: Cells) -> list[Rect]:
    """Return the bounding rectangles (in cells) of groups of true cells that touch or lie one cell apart; overlapping ones are joined."""
    boxes = [Rect(r.x, r.y, r.width, r.height) for r in cover(cells, cells.size)]
    joined = True
    while joined:
        joined = False
        kept: list[Rect] = []
        for box in boxes:
            current = box
            for index in range(len(kept) - 1, -1, -1):
                other = kept[index]
                if (
                    current.x <= other.right + 1
                    and other.x <= current.right + 1
                    and current.y <= other.bottom + 1
                    and other.y <= current.bottom + 1
                ):
                    current = current.union(kept.pop(index))
                    joined = True
            kept.append(current)
        boxes = kept
    return boxes


def merge(rects: list[Rect], waste: float, overhead: int) -> list[Rect]:
    """Join disjoint rectangles while the joint one costs less: ``overhead`` pixels are what one of its own costs, ``waste`` the area allowed over.

    They stay disjoint: no pixel is sent twice.
    """
    boxes = list(rects)
    index = 0
    while index < len(boxes):
        joined = next(
            (group for other in range(len(boxes)) if other != index and (group := _joint(boxes, index, other, waste, overhead))),
            None,
        )
        if joined is None:
            index += 1
            continue
        union = boxes[index]
        for number in joined:
            union = union.union(boxes[number])
        boxes = [box for number, box in enumerate(boxes) if number not in joined]
        boxes.append(union)
        index = 0
    return boxes


def _joint(boxes: list[Rect], one: int, other: int, waste: float, overhead: int) -> set[int] | None:
    """Return which boxes become one if these two do, for it covers others, too; None: not worth it."""
    union = boxes[one].union(boxes[other])
    area = boxes[one].area + boxes[other].area
    if union.area > area * waste + overhead:
        return None
    group = {one, other}
    while met := [
        number
        for number, box in enumerate(boxes)
        if number not in group and box.x < union.right and union.x < box.right and box.y < union.bottom and union.y < box.bottom
    ]:
        for number in met:
            union = union.union(boxes[number])
            area += boxes[number].area
        group.update(met)
        if union.area > area * waste + overhead * (len(group) - 1):
            return None
    return group
