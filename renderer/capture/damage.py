"""From two surfaces to a plan: which rectangles to copy, which to paint. Pure; exact: copying and painting gives the new surface."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from renderer.capture.scroll import horizontal_shifts, slanted_shifts, vertical_shifts
from renderer.capture.surface import (
    Cells,
    Rect,
    Surface,
    Words,
    any_in_cells,
    bounds,
    components,
    count_in_cells,
    cover,
    covered,
    merge,
)
from renderer.wire.frames import MAX_COPIES
from renderer.wire.messages import Copy

# ---------------------------------------------------------------- limits
TILE = 32  # pixels: the grid of damage; comparing by it takes a third of a millisecond
FINE = 8  # rows: the grid of movement, so that a scroll by a few pixels loses little at its edges
MIN_MOVING_AREA = 96 * 64  # pixels: below, painting is cheaper than looking for movement
MIN_SAVED_AREA = 64 * 64  # pixels a movement must explain to be worth its copies
MAX_MOVES = 48  # copy rectangles per moving region
MAX_PAINTED = 48  # paint rectangles; more are joined
STRAY = 16  # pixels of such a cell: what lines drawn anew elsewhere differ by, a sixteenth
EXPLAINED = 0.5  # of a region's differing pixels, which a movement that explains them leaves no need to look for another
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
    moves: list[_Move] = []
    for box in components(tiles):
        region = box.scaled(TILE, TILE, new.width, new.height)
        if region.area >= MIN_MOVING_AREA:
            moves += _moves(old.words, new.words, different, region)
    del moves[MAX_COPIES:]
    if not moves:
        return Plan((), tiles, different)
    for copy, wrong in moves:
        different[copy.y : copy.y + copy.height, copy.x : copy.x + copy.width] = wrong
    return Plan(tuple(copy for copy, _ in moves), any_in_cells(different, TILE, TILE), different)


class _Move(NamedTuple):
    copy: Copy
    wrong: NDArray[np.bool_]  # the pixels of its target that are to be painted all the same


def _moves(old: Words, new: Words, different: NDArray[np.bool_], region: Rect) -> list[_Move]:
    inside = np.s_[region.y : region.bottom, region.x : region.right]
    ways: tuple[Callable[[Words, Words], list[tuple[int, int]]], ...] = (
        lambda one, two: [(0, d) for d in vertical_shifts(one, two)],
        lambda one, two: [(d, 0) for d in horizontal_shifts(one, two)],
        slanted_shifts,
    )
    enough = int(np.count_nonzero(different[inside])) * EXPLAINED
    best: list[_Move] = []
    most = 0
    for way in ways:
        for dx, dy in way(old[inside], new[inside]):
            moves, gain = _moved(old, new, different, region, dx, dy)
            if gain > most:
                best, most = moves, gain
        if most >= enough:
            break
    return best


def _moved(old: Words, new: Words, different: NDArray[np.bool_], region: Rect, dx: int, dy: int) -> tuple[list[_Move], int]:
    """Return the copies by this shift that leave much less to paint than there was, and how many pixels less."""
    height, width = old.shape
    # The part of the region whose source lies on the surface.
    x0, x1 = max(region.x, -dx), min(region.right, width - dx)
    y0, y1 = max(region.y, -dy), min(region.bottom, height - dy)
    if x1 <= x0 or y1 <= y0:
        return [], 0
    wrong = new[y0:y1, x0:x1] != old[y0 + dy : y1 + dy, x0 + dx : x1 + dx]
    cell_width, cell_height = (TILE, FINE) if dy else (FINE, TILE)
    after = count_in_cells(wrong, cell_width, cell_height)
    before = count_in_cells(different[y0:y1, x0:x1], cell_width, cell_height)
    moves: list[_Move] = []
    area = gain = 0
    # Where a few pixels are wrong either way it came along with the rest.
    better = (after * 2 < before) | ((after <= before) & (after <= STRAY))
    for rect in cover(better, MAX_MOVES):
        cells = np.s_[rect.y : rect.bottom, rect.x : rect.right]
        explained = int((before[cells] - after[cells]).sum())
        if explained > 0:
            r = rect.scaled(cell_width, cell_height, x1 - x0, y1 - y0)
            x, y = x0 + r.x, y0 + r.y
            moves.append(_Move(Copy(x + dx, y + dy, x, y, r.width, r.height), wrong[r.y : r.bottom, r.x : r.right]))
            area += r.area
            gain += explained
    # Pixels explained are few where text moves over plain ground, so what makes it worth while is the ground they stand on.
    return (moves, gain) if area > MIN_SAVED_AREA else ([], 0)


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
    rects = [trimmed(different, box.scaled(TILE, TILE, width, height)) for box in covered(tiles, MAX_PAINTED)]
    return merge([r for r in rects if r.area], WASTE, OVERHEAD)


def trimmed(different: NDArray[np.bool_], rect: Rect) -> Rect:
    """Cut a rectangle down to the pixels in it that differ (an empty one when none does)."""
    tight = bounds(different[rect.y : rect.bottom, rect.x : rect.right])
    return Rect(rect.x + tight.x, rect.y + tight.y, tight.width, tight.height)
