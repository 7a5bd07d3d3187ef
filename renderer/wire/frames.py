"""Frames ⇄ bytes: the packed part of the wire. Total, like the rest of the codec; ``static/viewer/frames.js`` is its twin."""

from __future__ import annotations

import struct

from renderer.wire import messages as m
from renderer.wire.fields import WireError
from renderer.wire.glyphs import MAX_GLYPHS, MAX_STAMPS, unpack_glyphs
from renderer.wire.images import vp8_frame, webp_size

# ---------------------------------------------------------------- limits
MAX_FRAME_BYTES = 64 * 1024 * 1024  # a whole noisy 4096 × 4096 surface, lossless, fits
MAX_SIDE = 8192  # device pixels: 8K screens, and what fits WebP (16,383) and u16 with room
MAX_ID = 2**32 - 1
MIN_SCALE = 25  # hundredths: a browser zooms out to a quarter
MAX_SCALE = 500  # and in to five; finer screens than this do not exist for browsers
MAX_COPIES = 512
MAX_KEEPS = 64
MAX_SLOTS = 256  # each is a picture of its own in the viewer's browser
MAX_KEPT_PIXELS = 16 * 1024 * 1024  # in all slots together: 64 MiB in the viewer's browser, a dozen screens
MAX_PAINTS = 4096
MAX_COVER = 2  # paints (and copies) of one frame may cover its surface this many times; more is a decoder bomb

_HEAD = struct.Struct(">IHHHBHHH")
_KEEP = struct.Struct(">5H")
_COPY = struct.Struct(">6H")
_PAINT = struct.Struct(">4HBI")
RECALL = struct.Struct(">3H")  # the data of a paint that recalls: slot, x, y


def check_frame(frame: m.Frame) -> None:
    """Raise :class:`WireError` unless every rectangle lies on the surface and every picture is what its rectangle says."""
    width, height = frame.width, frame.height
    if not 1 <= frame.seq <= MAX_ID:
        raise WireError("frame: seq out of range")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise WireError("frame: surface size out of range")
    if not MIN_SCALE <= frame.scale <= MAX_SCALE:
        raise WireError("frame: scale out of range")
    if len(frame.keeps) > MAX_KEEPS or len(frame.copies) > MAX_COPIES or len(frame.paints) > MAX_PAINTS:
        raise WireError("frame: too many rectangles")
    if frame.whole and (frame.copies or frame.keeps):
        raise WireError("frame: a whole frame has nothing to copy from")
    room = MAX_COVER * width * height
    covered = 0
    for keep in frame.keeps:
        _check_rectangle(keep.x, keep.y, keep.width, keep.height, width, height)
        covered += keep.width * keep.height
    if (
        covered > room
        or len({keep.slot for keep in frame.keeps}) != len(frame.keeps)
        or any(k.slot >= MAX_SLOTS for k in frame.keeps)
    ):
        raise WireError("frame: keeps too much")
    covered = 0
    for copy in frame.copies:
        _check_rectangle(copy.x, copy.y, copy.width, copy.height, width, height)
        _check_rectangle(copy.sx, copy.sy, copy.width, copy.height, width, height)
        covered += copy.width * copy.height
    if covered > room:
        raise WireError("frame: copies cover the surface too often")
    covered = 0
    for paint in frame.paints:
        _check_rectangle(paint.x, paint.y, paint.width, paint.height, width, height)
        if paint.encoding is m.Encoding.GLYPHS:
            continue  # what they cover is known to who knows their sizes: renderer.wire.memory
        _check_picture(paint)
        covered += paint.width * paint.height
    if covered > room:
        raise WireError("frame: paints cover the surface too often")
    if sum(paint.encoding is m.Encoding.VIDEO for paint in frame.paints) > 1:
        raise WireError("frame: two films")
    _check_glyphs(frame)


def _check_glyphs(frame: m.Frame) -> None:
    learnt = stamped = 0
    for paint in frame.paints:
        if paint.encoding is m.Encoding.GLYPHS:
            glyphs = unpack_glyphs(paint.data)
            learnt += len(glyphs.sizes)
            stamped += len(glyphs.stamps)
            if learnt > MAX_GLYPHS or stamped > MAX_STAMPS:
                raise WireError("frame: too many glyphs")


def _check_rectangle(x: int, y: int, width: int, height: int, right: int, bottom: int) -> None:
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > right or y + height > bottom:
        raise WireError("frame: a rectangle lies outside the surface")


def _check_picture(paint: m.Paint) -> None:
    if paint.encoding is m.Encoding.FILL:
        if len(paint.data) != 3:
            raise WireError("frame: a fill is three bytes")
        return
    if paint.encoding is m.Encoding.RECALL:
        if len(paint.data) != RECALL.size:
            raise WireError("frame: a recall is a slot and a place in it")
        return
    if paint.encoding is m.Encoding.VIDEO:
        film = vp8_frame(paint.data)
        if film is None:
            raise WireError("frame: not a plain VP8 frame")
        if film.key and (film.width, film.height) != (paint.width, paint.height):
            raise WireError("frame: the film's size differs from its rectangle's")
        return
    size = webp_size(paint.data)
    if size is None:
        raise WireError("frame: not a plain WebP picture")
    if (size.width, size.height) != (paint.width, paint.height):
        raise WireError("frame: the picture's size differs from its rectangle's")
    if size.lossless is not (paint.encoding is m.Encoding.WEBP_LOSSLESS):
        raise WireError("frame: the picture's kind differs from what was announced")


def pack(frame: m.Frame) -> bytes:
    """Pack a frame. Raises :class:`WireError` when it breaks a rule of :func:`check_frame`."""
    check_frame(frame)
    parts = [
        bytes([m.Type.FRAME]),
        _HEAD.pack(
            frame.seq,
            frame.width,
            frame.height,
            frame.scale,
            int(frame.whole),
            len(frame.keeps),
            len(frame.copies),
            len(frame.paints),
        ),
    ]
    parts += [_KEEP.pack(k.slot, k.x, k.y, k.width, k.height) for k in frame.keeps]
    parts += [_COPY.pack(c.sx, c.sy, c.x, c.y, c.width, c.height) for c in frame.copies]
    for p in frame.paints:
        parts += [_PAINT.pack(p.x, p.y, p.width, p.height, p.encoding, len(p.data)), p.data]
    return b"".join(parts)


def unpack(data: bytes) -> m.Frame:
    """Unpack a frame (its type byte included). Raises :class:`WireError` for anything but one well-formed frame."""
    if len(data) > MAX_FRAME_BYTES:
        raise WireError("frame: too long")
    try:
        seq, width, height, scale, flags, keep_count, copy_count, paint_count = _HEAD.unpack_from(data, 1)
        if flags > 1 or keep_count > MAX_KEEPS or copy_count > MAX_COPIES or paint_count > MAX_PAINTS:
            raise WireError("frame: head out of range")
        at = 1 + _HEAD.size
        keeps = []
        for _ in range(keep_count):
            keeps.append(m.Keep(*_KEEP.unpack_from(data, at)))
            at += _KEEP.size
        copies = []
        for _ in range(copy_count):
            copies.append(m.Copy(*_COPY.unpack_from(data, at)))
            at += _COPY.size
        paints = []
        for _ in range(paint_count):
            x, y, w, h, encoding, length = _PAINT.unpack_from(data, at)
            at += _PAINT.size
            if length > len(data) - at:
                raise WireError("frame: cut off")
            paints.append(m.Paint(x, y, w, h, m.Encoding(encoding), data[at : at + length]))
            at += length
    except struct.error:
        raise WireError("frame: cut off") from None
    except ValueError as problem:
        if isinstance(problem, WireError):
            raise
        raise WireError("frame: unknown encoding") from None
    if at != len(data):
        raise WireError("frame: bytes after its end")
    frame = m.Frame(seq, width, height, flags == 1, tuple(copies), tuple(paints), tuple(keeps), scale)
    check_frame(frame)
    return frame
