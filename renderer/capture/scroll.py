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

_WEIGHTS: NDArray[np.uint32] = (
    np.arange(1, STRIP + 1, dtype=np.uint64) * np.uint64(2_654_435_761) % np.uint64(2**32) | np.uint64(1)
).astype(np.uint32)


def _row_hashes(words: Words) -> NDArray[np.uint64]:
    """One number per row and strip; the strip is part of the number, so that equal numbers lie in the same strip."""
    height, width = words.shape
    if width < STRIP:
        words = np.pad(words, ((0, 0), (0, STRIP - width)))
        width = STRIP
    strips = width // STRIP
    blocks = words[:, : strips * STRIP].reshape(height, strips, STRIP)
    hashes = np.einsum("hsk,k->hs", blocks, _WEIGHTS).astype(np.uint64)
    salted: NDArray[np.uint64] = hashes | (np.arange(strips, dtype=np.uint64) << np.uint64(32))
    return salted


def _once(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """Return the numbers that occur once, and the rows where they do."""
    values, first, counts = np.unique(hashes.ravel(), return_index=True, return_counts=True)
    single = counts == 1
    return values[single], first[single] // hashes.shape[1]


def vertical_shifts(old: Words, new: Words) -> list[int]:
    """Return the likeliest shifts ``d`` with ``new[y] == old[y + d]``, best first. Both arrays are the same region of the two surfaces."""
    old_values, old_rows = _once(_row_hashes(old))
    new_values, new_rows = _once(_row_hashes(new))
    _, in_old, in_new = np.intersect1d(old_values, new_values, assume_unique=True, return_indices=True)
    shifts = old_rows[in_old] - new_rows[in_new]
    shifts = shifts[shifts != 0]
    if len(shifts) < MIN_VOTES:
        return []
    values, counts = np.unique(shifts, return_counts=True)
    order = np.argsort(counts)[::-1][:CANDIDATES]
    return [int(values[i]) for i in order if counts[i] >= MIN_VOTES]


def horizontal_shifts(old: Words, new: Words) -> list[int]:
    """Return the likeliest shifts ``d`` with ``new[:, x] == old[:, x + d]``, best first."""
    return vertical_shifts(np.ascontiguousarray(old.T), np.ascontiguousarray(new.T))
