"""From two surfaces to a plan: which rectangles to copy, which to paint. Pure; exact: copying and painting gives the new surface."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from renderer.capture.scroll import horizontal_shifts, slanted_shifts, vertical_shifts
from renderer.capture.surface import Cells, Rect, Surface, Words, any_in_cells, bounds, components, cover, merge
from renderer.wire.frames import MAX_COPIES
from renderer.wire.messages import Copy

# ---------------------------------------------------------------- limits
TILE = 32  # pixels: the grid of damage; comparing by it takes a third of a millisecond
FINE = 8  # rows: the grid of movement, so that a scroll by a few pixels loses little at its edges
MIN_MOVING_AREA = 96 * 64  # pixels: below, painting is cheaper than looking for movement
MIN_SAVED_AREA = 64 * 64  # pixels a movement must explain to be worth its copies
MAX_MOVES = 48  # copy rectangles per moving region
MAX_PAINTED = 48  # paint rectangles; more become one
WASTE = 1.15  # joined rectangles may be this much larger than what they join
OVERHEAD = 1024  # pixels: what a picture of its own costs in header and time


@dataclass(frozen=True, slots=True)
class Plan:
    """What turns the old surface into the new one."""

    copies: tuple[Copy, ...]
    damage: Cells  # tiles that still differ after the copies
    different: NDArray[np.bool_]  # and the pixels, height × width


def plan(old: Surface, new: Surface) -> Plan | None:
    """Compare two surfaces of one size. None: they are equal."""
    if new is old:
        return None
    top, bottom = new.band(old)
    top -= top % TILE
    different = np.zeros(new.words.shape, np.bool_)
    tiles: Cells = np.zeros((-(-new.height // TILE), -(-new.width // TILE)), np.bool_)
    if top < bottom:
        np.not_equal(old.words[top:bottom], new.words[top:bottom], out=different[top:bottom])
        tiles[top // TILE : -(-bottom // TILE)] = any_in_cells(different[top:bottom], TILE, TILE)
    if not tiles.any():
        return None
    copies: list[Copy] = []
    for box in components(tiles):
        region = box.scaled(TILE, TILE, new.width, new.height)
        if region.area >= MIN_MOVING_AREA:
            copies += _moves(old.words, new.words, different, region)
    del copies[MAX_COPIES:]
    if not copies:
        return Plan((), tiles, different)
    for c in copies:  # what a copy covers is right, to the pixel
        different[c.y : c.y + c.height, c.x : c.x + c.width] = False
    return Plan(tuple(copies), any_in_cells(different, TILE, TILE), different)


def _moves(old: Words, new: Words, different: NDArray[np.bool_], region: Rect) -> list[Copy]:
    inside = np.s_[region.y : region.bottom, region.x : region.right]
    ways: tuple[Callable[[Words, Words], list[tuple[int, int]]], ...] = (
        lambda one, two: [(0, d) for d in vertical_shifts(one, two)],
        lambda one, two: [(d, 0) for d in horizontal_shifts(one, two)],
        slanted_shifts,
    )
    for way in ways:
        best: list[Copy] = []
        saved = MIN_SAVED_AREA
        for dx, dy in way(old[inside], new[inside]):
            copies, gain = _verified(old, new, different, region, dx, dy)
            if gain > saved:
                best, saved = copies, gain
        if best:
            return best
    return []


def _verified(old: Words, new: Words, different: NDArray[np.bool_], region: Rect, dx: int, dy: int) -> tuple[list[Copy], int]:
    """Return the copies by this shift that are exact, and how many differing pixels they explain."""
    height, width = old.shape
    # The part of the region whose source lies on the surface.
    x0, x1 = max(region.x, -dx), min(region.right, width - dx)
    y0, y1 = max(region.y, -dy), min(region.bottom, height - dy)
    if x1 <= x0 or y1 <= y0:
        return [], 0
    wrong = new[y0:y1, x0:x1] != old[y0 + dy : y1 + dy, x0 + dx : x1 + dx]
    cell_width, cell_height = (TILE, FINE) if dy else (FINE, TILE)
    exact = ~any_in_cells(wrong, cell_width, cell_height)
    copies: list[Copy] = []
    gain = 0
    for rect in cover(exact, MAX_MOVES):
        r = rect.scaled(cell_width, cell_height, x1 - x0, y1 - y0)
        x, y = x0 + r.x, y0 + r.y
        explained = int(np.count_nonzero(different[y : y + r.height, x : x + r.width]))
        if explained:
            gain += explained
            copies.append(Copy(x + dx, y + dy, x, y, r.width, r.height))
    # Pixels explained are few where text moves over plain ground, so what counts is the ground they stand on.
    area = sum(c.width * c.height for c in copies)
    return copies, area if gain else 0


def uncovered(copies: Iterable[Copy], shape: tuple[int, ...]) -> Cells:
    """Return the tiles that copies moved something away from: where, at the trailing edge of a scroll, what follows comes into view."""
    tiles: Cells = np.zeros(shape, np.bool_)
    for c in copies:
        # Between the end of the target and the end of the source, on the side the content came from.
        top, bottom = (c.y + c.height, c.sy + c.height) if c.sy > c.y else (c.sy, c.y)
        if bottom > top:
            tiles[top // TILE : -(-bottom // TILE), c.x // TILE : -(-(c.x + c.width) // TILE)] = True
        left, right = (c.x + c.width, c.sx + c.width) if c.sx > c.x else (c.sx, c.x)
        if right > left:
            tiles[c.y // TILE : -(-(c.y + c.height) // TILE), left // TILE : -(-right // TILE)] = True
    return tiles


def painted(different: NDArray[np.bool_], tiles: Cells) -> list[Rect]:
    """Return disjoint rectangles in pixels that hold every differing pixel of the given tiles, cut to what differs."""
    height, width = different.shape
    boxes = cover(tiles, MAX_PAINTED + 1)
    if len(boxes) > MAX_PAINTED:
        boxes = [bounds(tiles)]
    rects = [trimmed(different, box.scaled(TILE, TILE, width, height)) for box in boxes]
    return merge([r for r in rects if r.area], WASTE, OVERHEAD)


def trimmed(different: NDArray[np.bool_], rect: Rect) -> Rect:
    """Cut a rectangle down to the pixels in it that differ (an empty one when none does)."""
    tight = bounds(different[rect.y : rect.bottom, rect.x : rect.right])
    return Rect(rect.x + tight.x, rect.y + tight.y, tight.width, tight.height)
