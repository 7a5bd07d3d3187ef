"""Stamps ⇄ bytes: the data of a paint that stamps glyphs. Total, like the rest of the codec; ``static/viewer/glyphs.js`` is its twin.

A glyph is a small rectangle of pixels that comes again: a letter. A viewer gets each once, many of them in one picture (a sheet), and from
then on the number of the glyph and the place where it goes. Where in the sheet a glyph lies follows from the sizes of those before it
(:func:`layout`), so a sheet has no room for anything else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from renderer.wire.fields import WireError
from renderer.wire.images import webp_size

# ---------------------------------------------------------------- limits
MAX_GLYPHS = (
    4096  # that a viewer holds: the letters of a dozen fonts, four times over, for they may stand a quarter of a pixel apart
)
MAX_SHEETS = 256  # each is a picture of its own in the viewer's browser
MAX_SHEET_PIXELS = 1024 * 1024  # in all sheets together: 4 MiB in the viewer's browser
MAX_STAMPS = 8192  # of one paint: more letters than a screen of small print has
SHEET_WIDTH = 256  # pixels: the sides of a sheet of a few glyphs, and of a few hundred, differ little
MAX_GLYPH_SIDE = 255  # a byte each

_HEAD = struct.Struct(">BHHI")
_FORGET = 1


class Stamp(NamedTuple):
    """Put glyph ``number`` with its upper left corner at (x, y) of the surface, device pixels."""

    number: int
    x: int
    y: int


@dataclass(frozen=True, slots=True)
class Glyphs:
    """Learn the glyphs of ``sheet`` (a lossless WebP; b"" for none), of ``sizes`` (width, height), under the next free numbers; then stamp.

    ``forget``: first forget all glyphs; numbers begin at 0 again. Packed, big-endian: ``u8 flags (1 forget), u16 sizes, u16 stamps, u32
    length`` and the sheet's bytes, then per size two ``u8``, per stamp three LEB128 integers of at most three bytes: the number, and in
    zigzag (0, -1, 1, -2, …) how far right of and below the stamp before it (the first: the surface's corner) it goes. Nothing may follow.
    """

    forget: bool
    sizes: tuple[tuple[int, int], ...]
    sheet: bytes
    stamps: tuple[Stamp, ...]


def layout(sizes: Iterable[tuple[int, int]]) -> tuple[list[tuple[int, int]], int, int]:
    """Return where the glyphs of a sheet lie, and the sheet's width and height: side by side in rows of at most :data:`SHEET_WIDTH`."""
    places: list[tuple[int, int]] = []
    x = y = row = widest = 0
    for width, height in sizes:
        if x and x + width > SHEET_WIDTH:
            y += row
            x = row = 0
        places.append((x, y))
        x += width
        row = max(row, height)
        widest = max(widest, x)
    return places, widest, y + row


def pack_glyphs(glyphs: Glyphs) -> bytes:
    """Pack. Raises :class:`WireError` for what :func:`unpack_glyphs` would not take."""
    if len(glyphs.sizes) > MAX_GLYPHS or len(glyphs.stamps) > MAX_STAMPS:
        raise WireError("glyphs: too many")
    if any(not 0 <= number < MAX_GLYPHS for number, _, _ in glyphs.stamps):
        raise WireError("glyphs: a number that none may have")
    if any(not (1 <= side <= MAX_GLYPH_SIDE) for size in glyphs.sizes for side in size):
        raise WireError("glyphs: a size out of range")
    _check_sheet(glyphs.sizes, glyphs.sheet)
    numbers = bytearray()
    x = y = 0
    for stamp in glyphs.stamps:
        for value in (stamp.number, _zigzag(stamp.x - x), _zigzag(stamp.y - y)):
            _put(numbers, value)
        x, y = stamp.x, stamp.y
    head = _HEAD.pack(_FORGET if glyphs.forget else 0, len(glyphs.sizes), len(glyphs.stamps), len(glyphs.sheet))
    return b"".join((head, glyphs.sheet, bytes(side for size in glyphs.sizes for side in size), numbers))


def unpack_glyphs(data: bytes) -> Glyphs:
    """Unpack. Raises :class:`WireError` for anything but one well-formed set of glyphs."""
    if len(data) < _HEAD.size:
        raise WireError("glyphs: cut off")
    flags, count, stamp_count, length = _HEAD.unpack_from(data)
    if flags > _FORGET or count > MAX_GLYPHS or stamp_count > MAX_STAMPS:
        raise WireError("glyphs: head out of range")
    at = _HEAD.size + length
    end = at + 2 * count
    if end > len(data):
        raise WireError("glyphs: cut off")
    if len(data) - end > 9 * stamp_count:
        raise WireError("glyphs: bytes after their end")
    sheet = data[_HEAD.size : at]
    sides = data[at:end]
    if 0 in sides:
        raise WireError("glyphs: a size out of range")
    sizes = tuple(zip(sides[::2], sides[1::2], strict=True))
    _check_sheet(sizes, sheet)
    values = _integers(data, end, 3 * stamp_count)
    stamps: list[Stamp] = []
    x = y = 0
    for number, right, down in zip(values[::3], values[1::3], values[2::3], strict=True):
        if number >= MAX_GLYPHS:
            raise WireError("glyphs: a number that none may have")
        x += (right >> 1) ^ -(right & 1)
        y += (down >> 1) ^ -(down & 1)
        stamps.append(Stamp(number, x, y))
    return Glyphs(flags == _FORGET, sizes, sheet, tuple(stamps))


def glyph_count(data: bytes) -> int:
    """Return how many glyphs are learnt and stamped by data that :func:`unpack_glyphs` takes."""
    _, learnt, stamped, _ = _HEAD.unpack_from(data)
    return int(learnt + stamped)


def _check_sheet(sizes: Sequence[tuple[int, int]], sheet: bytes) -> None:
    if not sizes:
        if sheet:
            raise WireError("glyphs: a sheet of no glyphs")
        return
    _, width, height = layout(sizes)
    size = webp_size(sheet)
    if size is None or not size.lossless:
        raise WireError("glyphs: the sheet is not a plain lossless WebP picture")
    if (size.width, size.height) != (width, height):
        raise WireError("glyphs: the sheet's size differs from its glyphs'")


def _zigzag(value: int) -> int:
    return (value << 1) ^ (value >> 31)


def _put(into: bytearray, value: int) -> None:
    if value >> 21:
        raise WireError("glyphs: a stamp lies outside of any surface")
    while value >= 0x80:
        into.append(value & 0x7F | 0x80)
        value >>= 7
    into.append(value)


def _integers(data: bytes, at: int, count: int) -> list[int]:
    """Read ``count`` LEB128 integers of at most three bytes, each in its shortest form, up to the very end."""
    values: list[int] = []
    value = shift = 0
    for byte in data[at:]:
        value |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
            if shift > 14:
                raise WireError("glyphs: an integer is too long")
            continue
        if not byte and shift:
            raise WireError("glyphs: an integer is longer than needed")
        values.append(value)
        value = shift = 0
    if shift or len(values) != count:
        raise WireError("glyphs: more or fewer stamps than announced")
    return values
