"""Find what only moved: which shift turns a region of the old surface into most of the same region of the new one.

Rows are hashed in strips of 64 pixels, so that a scroll bar, a fixed column or a floating button beside the moving text does not hide the
movement. Rows that occur once in their strip, before and after, vote for a shift; the shift with the most votes is then verified
pixel by pixel. A wrong guess therefore costs a little time and never a wrong picture.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from renderer.capture.surface import Words

# ---------------------------------------------------------------- limits
STRIP = 64  # pixels: narrower than a side bar, wide enough for a row of text in it to be unique
MIN_VOTES = 8  # rows that agree: a single line of moved text has about a dozen
CANDIDATES = 2  # shifts tried: the second helps where a list repeats itself
STRIPS = 8  # looked at, of a wider region's: what moves shows in some of them
WINDOW = 16  # pixels of a row that are looked for elsewhere: a letter and a half
EVERY = 4  # rows: of the new picture each fourth is searched, for four old ones in a row, so that one of them is met by any shift
GROUPS = 16  # of such four rows
APART = 8  # pixels between two windows that are looked for
LOOKED_FOR = 2048  # windows: more make the search longer and the answer no surer
MIN_SLANTED_VOTES = 32  # windows that agree
PLACES_BITS = 16  # of the table of numbers: ten times as many places as a usual region has rows and strips
PLACES = 1 << PLACES_BITS
_SHIFT = np.uint32(32 - PLACES_BITS)
_MIX = np.uint32(2_654_435_769)  # of Knuth's multiplicative hashing: every bit reaches the top ones, which choose the place

_WEIGHTS: NDArray[np.uint32] = (
    np.arange(1, STRIP + 1, dtype=np.uint64) * np.uint64(2_654_435_761) % np.uint64(2**32) | np.uint64(1)
).astype(np.uint32)
_SALTS: NDArray[np.uint32] = np.arange(STRIPS, dtype=np.uint32) * np.uint32(0x9E3779B1)


def _row_hashes(words: Words) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """One number per row and strip, and the row of each. The strip is part of the number: equal numbers lie in the same strip."""
    height, width = words.shape
    if width < STRIP:
        words = np.pad(words, ((0, 0), (0, STRIP - width)))
        width = STRIP
    strips = width // STRIP
    every = -(-strips // STRIPS)
    blocks = words[:, : strips * STRIP].reshape(height, strips, STRIP)[:, ::every]
    hashes = np.einsum("hsk,k->hs", blocks, _WEIGHTS)
    hashes ^= hashes >> np.uint32(15)
    hashes *= _MIX
    hashes += _SALTS[: hashes.shape[1]]
    return hashes.ravel(), np.repeat(np.arange(height), hashes.shape[1])


def vertical_shifts(old: Words, new: Words) -> list[int]:
    """Return the likeliest shifts ``d`` with ``new[y] == old[y + d]``, best first. Both arrays are the same region of the two surfaces."""
    shifts = _votes(*_row_hashes(old), *_row_hashes(new))
    if len(shifts) < MIN_VOTES:
        return []
    values, counts = np.unique(shifts, return_counts=True)
    order = np.argsort(counts)[::-1][:CANDIDATES]
    return [int(values[i]) for i in order if counts[i] >= MIN_VOTES]


def _votes(
    old: NDArray[np.uint32], old_rows: NDArray[np.intp], new: NDArray[np.uint32], new_rows: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return how far each row moved whose number occurs once on either side.

    By places in a table rather than by sorting. Two numbers that share a place are both left out: a vote less, never a wrong one.
    """
    old_places, new_places = old >> _SHIFT, new >> _SHIFT
    once = np.bincount(old_places, minlength=PLACES) == 1
    once &= np.bincount(new_places, minlength=PLACES) == 1
    at = np.zeros(PLACES, np.intp)
    at[old_places] = np.arange(len(old))
    kept = np.flatnonzero(once[new_places])
    matching = at[new_places[kept]]
    same = old[matching] == new[kept]
    shifts = old_rows[matching[same]] - new_rows[kept[same]]
    found: NDArray[np.intp] = shifts[shifts != 0]
    return found


def slanted_shifts(old: Words, new: Words) -> list[tuple[int, int]]:
    """Return the likeliest shifts ``(dx, dy)``, neither 0, with ``new[y, x] == old[y + dy, x + dx]``, best first: a map that is dragged.

    Windows of old rows are looked for in new ones. Those that occur once on either side vote.
    """
    height, width = old.shape
    if height < GROUPS * EVERY or width < 2 * WINDOW:
        return []
    # By the golden ratio: groups that are evenly apart may all fall between the lines of a text.
    tops = (np.arange(GROUPS) * 0.6180339887 % 1 * (height - EVERY)).astype(np.intp)
    rows = (tops[:, None] + np.arange(EVERY)).ravel()
    hashes = _windows(old[rows])[:, ::APART]
    beside = hashes.shape[1]
    values, first, counts = np.unique(hashes, return_index=True, return_counts=True)
    once = np.flatnonzero(counts == 1)
    once = once[:: len(once) // LOOKED_FOR + 1]
    if not len(once):
        return []
    values, first = values[once], first[once]
    there = np.zeros(PLACES, np.bool_)
    there[values >> _SHIFT] = True
    searched = _windows(new[::EVERY])
    near = np.flatnonzero(there[searched >> _SHIFT])
    found = searched.ravel()[near]
    slot = np.minimum(np.searchsorted(values, found), len(values) - 1)
    met = values[slot] == found
    slot, near = slot[met], near[met]
    single = np.bincount(slot, minlength=1)[slot] == 1
    slot, near = slot[single], near[single]
    across = searched.shape[1]
    dy = rows[first[slot] // beside] - near // across * EVERY
    dx = first[slot] % beside * APART - near % across
    shifts, votes = np.unique(np.stack([dx, dy]), axis=1, return_counts=True)
    order = np.argsort(votes)[::-1]
    likely = [(int(shifts[0, i]), int(shifts[1, i])) for i in order if votes[i] >= MIN_SLANTED_VOTES]
    return [(x, y) for x, y in likely if x and y][:CANDIDATES]


def _windows(words: Words) -> NDArray[np.uint32]:
    """One number for each :data:`WINDOW` pixels in a row, by where they begin."""
    hashes = words
    length, factor = 1, 2_654_435_761
    while length < WINDOW:
        hashes = hashes[:, :-length] * np.uint32(factor) + hashes[:, length:]
        length, factor = 2 * length, factor * factor % 2**32
    hashes = hashes ^ (hashes >> np.uint32(15))
    hashes *= _MIX
    return hashes


def horizontal_shifts(old: Words, new: Words) -> list[int]:
    """Return the likeliest shifts ``d`` with ``new[:, x] == old[:, x + d]``, best first."""
    return vertical_shifts(np.ascontiguousarray(old.T), np.ascontiguousarray(new.T))
