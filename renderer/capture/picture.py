"""Chromium's pictures, decoded. What did not change since the last one is not decoded again.

A screencast picture is a PNG whose rows are each stored as the difference to the row above ("up", filter 2), which Chromium's fast encoder
always chooses. Unpacked, such rows can be compared with the last picture's before they are undone: all rows above the first that
differs are the same pixels. Other PNGs are decoded whole. Unpacking with libdeflate and comparing takes 2 ms for 1280 × 800, where decoding
takes 8 (measured).
"""

from __future__ import annotations

import sys
import weakref
from typing import cast

import imagecodecs
import numpy as np
import pybase64
from numpy.typing import NDArray

from renderer.capture.surface import Rgb, Surface, Words

# ---------------------------------------------------------------- limits
_PLAIN = b"\x08\x02\x00\x00\x00"  # IHDR of the pictures read here: 8 bits, RGB, deflate, the five filters, not interlaced
_UP = 2  # PNG's number of the filter; RFC 2083 §6.4

_PIXEL = np.uint32(0x00FFFFFF if sys.byteorder == "little" else 0xFFFFFF00)

Bytes = NDArray[np.uint8]


class BadFrameError(Exception):
    """Chromium sent something that is not a picture of the announced kind."""


class Decoder:
    """Decodes one screencast's pictures. Not for several threads at once. ``largest``: pixels a side may have.

    Memory is kept and written again: fresh memory costs as much as what is unpacked into it.
    """

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._filtered: Bytes | None = None  # the last picture's rows, as they were stored
        self._spare: Bytes | None = None  # room for the next one's
        self._raw = _Raw(0, 0)  # the last picture's bytes
        self._surface: Surface | None = None  # and what was made of them

    def decode(self, data: str, scale: int) -> Surface:
        """Decode a picture in base64. ``scale``: device pixels per CSS pixel in hundredths. Raises :class:`BadFrameError`."""
        try:
            png = pybase64.b64decode(data, validate=True)
        except ValueError as problem:
            raise BadFrameError("not base64") from problem
        width, height = png_size(png, self._largest)
        shape = (height, 1 + 3 * width)
        filtered = self._spare if self._spare is not None and self._spare.shape == shape else _room(shape)
        self._spare = None
        last, before = self._filtered, self._surface
        self._filtered = None
        if not _stored_rows(png, filtered):
            self._surface = Surface.of(_decode_whole(png, width, height), scale)
            return self._surface
        if last is None or before is None or last.shape != filtered.shape or before.scale != scale:
            self._raw = _Raw(width, height)
            self._raw.undo(filtered, 0, height)
            surface = Surface(self._raw.words(np.empty((height, width), np.uint32), 0, height), scale)
        else:
            surface = self._changed(before, last, filtered)
        self._filtered, self._spare, self._surface = filtered, last, surface
        return surface

    def rest(self) -> None:
        """Give memory back: nothing is to be decoded for a while. The next picture is decoded whole."""
        self._filtered = self._spare = None
        self._raw = _Raw(0, 0)

    def _changed(self, before: Surface, last: Bytes, filtered: Bytes) -> Surface:
        """Return the surface for ``filtered``, given that ``last`` was ``before``."""
        top, bottom = _differing(last, filtered)
        if top == bottom:
            return Surface(before.words, before.scale, weakref.ref(before), (0, 0))
        below = self._raw.rows[bottom - 1].copy()
        self._raw.undo(filtered, top, bottom)
        if bottom < before.height and not np.array_equal(self._raw.rows[bottom - 1], below):
            # The last row that is stored differently is itself another one: so are all below it.
            self._raw.undo(filtered, bottom, before.height)
            bottom = before.height
        whole = top == 0 and bottom == before.height
        words = np.empty_like(before.words) if whole else before.words.copy()
        return Surface(self._raw.words(words, top, bottom), before.scale, weakref.ref(before), (top, bottom))


class _Raw:
    """The bytes of a picture, three a pixel."""

    def __init__(self, width: int, height: int) -> None:
        room = np.zeros(height * width * 3 + 8, np.uint8)  # a pixel is read as four bytes, the last one past the end
        self.rows: Bytes = room[: height * width * 3].reshape(height, width * 3)
        first = np.frombuffer(room.data, np.uint32, count=1)
        self._pixels = np.lib.stride_tricks.as_strided(first, (height, width), (width * 3, 3), writeable=False)

    def undo(self, filtered: Bytes, top: int, bottom: int) -> None:
        """Add to each row the one above it: what "up" took away."""
        rows = self.rows
        if top == 0:
            rows[0] = filtered[0, 1:]
        for row in range(max(1, top), bottom):
            np.add(rows[row - 1], filtered[row, 1:], out=rows[row])

    def words(self, into: Words, top: int, bottom: int) -> Words:
        """Put rows into an array of words, which is returned: each the four bytes from a pixel on, without the last, which is the next one's."""
        np.bitwise_and(self._pixels[top:bottom], _PIXEL, out=into[top:bottom])
        return into


def png_size(png: bytes, largest: int) -> tuple[int, int]:
    """Read a PNG's size from its head, where a decoder would allocate whatever it claims. Raises :class:`BadFrameError` past ``largest``."""
    width, height = int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
    if png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR" or not (1 <= width <= largest and 1 <= height <= largest):
        raise BadFrameError("not a PNG, or too large")
    return width, height


def decode_png(png: bytes, largest: int) -> Rgb:
    """Decode any PNG to RGB. Raises :class:`BadFrameError`."""
    return _decode_whole(png, *png_size(png, largest))


def _decode_whole(png: bytes, width: int, height: int) -> Rgb:
    try:
        pixels = imagecodecs.png_decode(png)
    except Exception as problem:  # each codec has its own error class, without a common parent
        raise BadFrameError("undecodable PNG") from problem
    if pixels.dtype != np.uint8 or pixels.shape[:2] != (height, width):
        raise BadFrameError("PNG of an unexpected kind")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    elif pixels.shape[2] == 2:
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2)
    return np.ascontiguousarray(pixels[:, :, :3])


def _room(shape: tuple[int, int]) -> Bytes:
    """Return an array whose memory is a whole number of eight-byte words, for :func:`_differing`."""
    size = shape[0] * shape[1]
    return np.zeros(-(-size // 8) * 8, np.uint8)[:size].reshape(shape)


def _stored_rows(png: bytes, rows: Bytes) -> bool:
    """Unpack the rows as stored (a filter byte, then three bytes a pixel). False: the PNG is of another kind than Chromium's."""
    if png[24:29] != _PLAIN:
        return False
    view = memoryview(png)
    parts = []
    at = 33
    while at + 12 <= len(png):
        length = int.from_bytes(view[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            parts.append(view[at + 8 : at + 8 + length])
        at += 12 + length
    try:
        unpacked = imagecodecs.deflate_decode(b"".join(parts), out=rows.reshape(-1).data)
    except Exception:  # noqa: BLE001 - see _decode_whole, which has the last word
        return False
    return len(unpacked) == rows.size and bool((rows[:, 0] == _UP).all())


def _differing(one: Bytes, two: Bytes) -> tuple[int, int]:
    """Return the first row that differs and the one after the last (0, 0: none does)."""
    width = one.shape[1]
    different = _words(one) != _words(two)
    first = int(np.argmax(different))
    if not different[first]:
        return 0, 0
    last = len(different) - 1 - int(np.argmax(different[::-1]))
    # A word may lie across two rows: one row too many does no harm.
    return first * 8 // width, min(len(one), (last * 8 + 7) // width + 1)


def _words(rows: Bytes) -> NDArray[np.uint64]:
    # The rows are the beginning of an array from _room().
    return cast("Bytes", rows.base).view(np.uint64)
