"""What the viewer was told to keep, so that it can be shown again by a reference: a page seen before, a menu that closes, a blinking caret.

Tiles are known by a hash with a secret key, which a page can neither guess nor make collide; so their pixels need not be held here.
Before a tile's content is painted over it is kept, where it was part of a larger change (a menu opened over it, another page came) or
has come and gone before. Kept rectangles live in the viewer's slots; the least used make room for new ones.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from renderer.capture.surface import Cells, Rect, Surface, components, cover
from renderer.wire.frames import MAX_KEEPS, MAX_KEPT_PIXELS, MAX_SLOTS, RECALL
from renderer.wire.messages import Encoding, Keep, Paint

# ---------------------------------------------------------------- limits
LARGE = 6  # tiles that change together: a menu or a tooltip; typing changes one or two
MAX_SEEN = 4096  # hashes of tiles that were painted, to notice what comes back
MAX_RECALLS = 64  # rectangles of one frame
MAX_EVICTED = 32  # slots emptied for one frame: more small ones are worth more than the large one they would make room for

Digest = bytes


@dataclass(slots=True)
class _Slot:
    pixels: int
    tiles: list[Digest] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Place:
    slot: int
    column: int
    row: int


class Kept:
    """One viewer's slots, and what its surface shows as hashes. ``tile``: pixels a side of a tile."""

    def __init__(self, tile: int) -> None:
        self._tile = tile
        self._key = secrets.token_bytes(16)
        self._slots: OrderedDict[int, _Slot] = OrderedDict()  # least used first
        self._pixels = 0
        self._places: dict[Digest, _Place] = {}
        self._seen: OrderedDict[Digest, bool] = OrderedDict()  # painted once (False) or again (True)
        self._shown: dict[tuple[int, int], Digest] = {}  # by row and column, as far as known

    def reset(self) -> None:
        """Begin anew with a whole frame: the viewer has forgotten everything."""
        self._slots.clear()
        self._places.clear()
        self._shown.clear()
        self._pixels = 0

    def unknown(self, tiles: Cells) -> None:
        """Hear that tiles were changed by something else than an exact repaint."""
        for spot in _spots(tiles):
            self._shown.pop(spot, None)

    def moved(self) -> None:
        """Hear that parts of the surface moved."""
        self._shown.clear()

    def change(self, old: Surface, new: Surface, tiles: Cells, sharp: Cells) -> tuple[list[Keep], list[Paint], Cells]:
        """Take note that ``tiles`` change from ``old`` to ``new``; return what to keep, what is recalled, and the tiles that is.

        ``sharp``: tiles whose pixels on the viewer's side are exactly ``old``.
        """
        large = int(np.count_nonzero(tiles)) >= LARGE
        recalled: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        worth: Cells = np.zeros_like(tiles)
        lost: dict[tuple[int, int], Digest] = {}
        for spot in _spots(tiles):
            if sharp[spot]:
                before = self._shown.get(spot) or self._digest(old, spot)
                if before not in self._places and (large or self._seen.get(before, False)):
                    worth[spot] = True
                    lost[spot] = before
            digest = self._shown[spot] = self._digest(new, spot)
            place = self._places.get(digest)
            if place is None:
                self._note(digest)
            else:
                recalled.setdefault((place.slot, spot[0] - place.row, spot[1] - place.column), []).append(spot)
        paints, done = self._recall(recalled, tiles, new)
        keeps = self._keep(worth, lost, new, {slot for slot, _, _ in recalled})
        return keeps, paints, done

    def _note(self, digest: Digest) -> None:
        self._seen[digest] = digest in self._seen
        self._seen.move_to_end(digest)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)

    def _digest(self, surface: Surface, spot: tuple[int, int]) -> Digest:
        y, x = spot[0] * self._tile, spot[1] * self._tile
        pixels = surface.words[y : y + self._tile, x : x + self._tile]
        salt = len(pixels).to_bytes(8, "little")  # tiles at the edge are cut: their shape is part of what they are
        return hashlib.blake2b(pixels.tobytes(), digest_size=16, key=self._key, salt=salt).digest()

    def _recall(
        self, found: dict[tuple[int, int, int], list[tuple[int, int]]], tiles: Cells, new: Surface
    ) -> tuple[list[Paint], Cells]:
        paints: list[Paint] = []
        done: Cells = np.zeros_like(tiles)
        for (slot, down, right), spots in found.items():
            self._slots.move_to_end(slot)
            mask: Cells = np.zeros_like(tiles)
            for spot in spots:
                mask[spot] = True
            for box in cover(mask, MAX_RECALLS - len(paints)):
                rect = box.scaled(self._tile, self._tile, new.width, new.height)
                data = RECALL.pack(slot, (box.x - right) * self._tile, (box.y - down) * self._tile)
                paints.append(Paint(rect.x, rect.y, rect.width, rect.height, Encoding.RECALL, data))
                done[box.y : box.bottom, box.x : box.right] = True
        return paints, done

    def _keep(self, worth: Cells, lost: dict[tuple[int, int], Digest], new: Surface, used: set[int]) -> list[Keep]:
        keeps: list[Keep] = []
        if not lost:
            return keeps
        for box in components(worth):
            rect = box.scaled(self._tile, self._tile, new.width, new.height)
            slot = self._make_room(rect, keeps, used)
            if slot is None:
                continue
            held = _Slot(rect.area)
            for row in range(box.y, box.bottom):
                for column in range(box.x, box.right):
                    digest = lost.get((row, column))
                    if digest is not None and digest not in self._places:
                        self._places[digest] = _Place(slot, column - box.x, row - box.y)
                        held.tiles.append(digest)
            self._slots[slot] = held
            self._pixels += rect.area
            used.add(slot)
            keeps.append(Keep(slot, rect.x, rect.y, rect.width, rect.height))
        return keeps

    def _make_room(self, rect: Rect, keeps: list[Keep], used: set[int]) -> int | None:
        """Return a free slot, after emptying others as needed (a pixel stays, for a slot is emptied by keeping something smaller in it)."""
        free = [slot for slot in self._slots if slot not in used]
        needed = self._pixels + rect.area + MAX_EVICTED - MAX_KEPT_PIXELS
        slot = next((number for number in range(len(self._slots) + 1) if number not in self._slots), 0)
        evicted: list[int] = []
        while needed > 0 or (slot >= MAX_SLOTS and not evicted):
            if not free or len(evicted) >= MAX_EVICTED or len(keeps) + len(evicted) + 1 >= MAX_KEEPS:
                break
            evicted.append(free.pop(0))
            needed -= self._slots[evicted[-1]].pixels
        if needed > 0 or (slot >= MAX_SLOTS and not evicted) or len(keeps) >= MAX_KEEPS:
            return None
        for number in evicted:
            self._forget(number)
        if evicted:
            slot = evicted[0]
        for number in evicted[1:]:
            self._slots[number] = _Slot(1)
            self._slots.move_to_end(number, last=False)
            self._pixels += 1
            keeps.append(Keep(number, 0, 0, 1, 1))
        return slot

    def _forget(self, number: int) -> None:
        slot = self._slots.pop(number)
        self._pixels -= slot.pixels
        for digest in slot.tiles:
            del self._places[digest]


def _spots(tiles: Cells) -> list[tuple[int, int]]:
    return [(int(y), int(x)) for y, x in zip(*np.nonzero(tiles), strict=True)]
