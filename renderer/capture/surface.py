"""Surfaces as arrays, and sets of cells on them as rectangles."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """One picture of a page: its pixels twice, as bytes for encoding and as words for comparing (a word compares three bytes at once)."""

    rgb: Rgb
    words: Words

    @classmethod
    def of(cls, rgb: Rgb) -> Surface:
        """Take over a height × width × 3 array."""
        height, width, _ = rgb.shape
        packed = np.empty((height, width, 4), np.uint8)
        for channel in range(3):  # one at a time: four times as fast as all three in one assignment
            packed[:, :, channel] = rgb[:, :, channel]
        packed[:, :, 3] = 0
        return cls(rgb, packed.view(np.uint32)[:, :, 0])

    @property
    def width(self) -> int:
        """Device pixels."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Device pixels."""
        return int(self.rgb.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


def any_in_cells(pixels: NDArray[np.bool_], cell_width: int, cell_height: int) -> Cells:
    """Reduce pixels to cells: true where any pixel of the cell is. Cells at the right and lower edge may be cut off."""
    rows = np.logical_or.reduceat(pixels, np.arange(0, pixels.shape[0], cell_height), axis=0)
    cells: Cells = np.logical_or.reduceat(rows, np.arange(0, pixels.shape[1], cell_width), axis=1)
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
    """Join rectangles while the joint one costs less: ``overhead`` pixels are what a rectangle of its own costs, ``waste`` the area allowed over."""
    boxes = list(rects)
    index = 0
    while index < len(boxes):
        best: int | None = None
        for other in range(len(boxes)):
            if other == index:
                continue
            union = boxes[index].union(boxes[other])
            if union.area <= (boxes[index].area + boxes[other].area) * waste + overhead:
                best = other
                break
        if best is None:
            index += 1
            continue
        union = boxes[index].union(boxes[best])
        boxes = [box for number, box in enumerate(boxes) if number not in {index, best}]
        boxes.append(union)
        index = 0
    return _disjoint(boxes)


def _disjoint(boxes: list[Rect]) -> list[Rect]:
    """Join what overlaps, so that no pixel is sent twice."""
    again = True
    while again:
        again = False
        for i, one in enumerate(boxes):
            for j in range(i + 1, len(boxes)):
                two = boxes[j]
                if one.x < two.right and two.x < one.right and one.y < two.bottom and two.y < one.bottom:
                    boxes = [box for number, box in enumerate(boxes) if number not in {i, j}]
                    boxes.append(one.union(two))
                    again = True
                    break
            if again:
                break
    return boxes
