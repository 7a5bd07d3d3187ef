"""Bytes ⇄ messages. Total: for any bytes the answer is a message whose every field was checked, or :class:`WireError`.

Encoding is canonical: fields in the dataclass's order, JSON without blanks, text as UTF-8. So two encoders agree byte for byte, which the
golden vectors in ``tests/vectors/wire`` hold this module and the viewer's JavaScript to. What is encoded is checked by the same rules as
what is decoded; a bug of ours cannot emit what the other side must refuse.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import cast

from renderer.wire import messages as m
from renderer.wire.fields import (
    BASE64_PNG,
    BOOLEAN,
    CURSOR,
    ORIGIN,
    PAGE,
    Bounded,
    Field,
    Keyword,
    Many,
    Object,
    WireError,
    integer,
    path,
    text,
)
from renderer.wire.images import webp_size

# ---------------------------------------------------------------- limits
MAX_INPUT_BYTES = 1024 * 1024  # the largest thing a viewer sends is a paste, whose escapes may grow it fourfold
MAX_EVENT_BYTES = 4 * 1024 * 1024  # the largest thing but a frame is a drop-down of MAX_OPTIONS lines
MAX_FRAME_BYTES = 64 * 1024 * 1024  # a whole noisy 4096 × 4096 surface, lossless, fits
MAX_TEXT = 64 * 1024  # typed text in bytes of UTF-8: no keyboard or IME commits more at once
MAX_CLIPBOARD = 256 * 1024  # clipboard text in bytes: a long document; more is a data transfer, not a paste
MAX_TITLE = 1024
MAX_DIALOG = 8 * 1024
MAX_LABEL = 1024
MAX_OPTIONS = 2000  # longer lists exist, but no person scrolls through them
MAX_VALUE = 64  # values of date, time and colour inputs
MAX_PATH = 32 * 1024  # Chromium itself shows no more of an address
MAX_SIDE = 8192  # device pixels: 8K screens, and what fits WebP (16,383) and u16 with room
MIN_SIDE = 16  # CSS pixels: below, Chromium's own layout misbehaves
MAX_COORDINATE = 32767
MAX_WHEEL = 10_000  # CSS pixels in one message: ten screens
MAX_ID = 2**32 - 1
MAX_HISTORY = 100
MAX_COPIES = 512
MAX_PAINTS = 4096
MAX_COVER = 2  # paints (and copies) of one frame may cover its surface this many times; more is a decoder bomb

_COORDINATE = integer(-MAX_COORDINATE, MAX_COORDINATE)
_LENGTH = integer(0, MAX_COORDINATE)
_SIDE = integer(MIN_SIDE, MAX_SIDE)
_MODIFIERS = integer(0, 15)
_IDENTIFIER = integer(1, MAX_ID)
_SCALE = integer(100, 400)
_OPTIONAL_PAGE = Bounded(PAGE, allow_empty=True)

_OPTION = Object(m.Option, {"label": text(MAX_LABEL), "group": text(MAX_LABEL), "disabled": BOOLEAN, "selected": BOOLEAN})

_SHAPES: Mapping[m.Type, tuple[type, Mapping[str, Field]]] = {
    m.Type.HELLO: (
        m.Hello,
        {
            "version": integer(m.VERSION, m.VERSION),
            "page": _OPTIONAL_PAGE,
            "path": path(MAX_PATH),
            "width": _SIDE,
            "height": _SIDE,
            "scale": _SCALE,
            "mac": BOOLEAN,
        },
    ),
    m.Type.RESIZE: (m.Resize, {"width": _SIDE, "height": _SIDE}),
    m.Type.POINTER: (
        m.Pointer,
        {
            "kind": Keyword(m.PointerKind),
            "x": _COORDINATE,
            "y": _COORDINATE,
            "button": integer(0, 4),
            "buttons": integer(0, 31),
            "clicks": integer(0, 3),
            "modifiers": _MODIFIERS,
        },
    ),
    m.Type.WHEEL: (
        m.Wheel,
        {
            "x": _COORDINATE,
            "y": _COORDINATE,
            "dx": integer(-MAX_WHEEL, MAX_WHEEL),
            "dy": integer(-MAX_WHEEL, MAX_WHEEL),
            "modifiers": _MODIFIERS,
        },
    ),
    m.Type.KEY: (
        m.Key,
        {
            "down": BOOLEAN,
            "key": text(32, least=1),
            "code": text(32),
            "location": integer(0, 3),
            "modifiers": _MODIFIERS,
            "repeat": BOOLEAN,
        },
    ),
    m.Type.TEXT: (m.Text, {"text": text(MAX_TEXT, least=1)}),
    m.Type.COMPOSITION: (
        m.Composition,
        {"text": text(MAX_TEXT), "start": integer(0, MAX_TEXT), "end": integer(0, MAX_TEXT)},
    ),
    m.Type.NAVIGATE: (m.Navigate, {"path": path(MAX_PATH)}),
    m.Type.HISTORY: (m.History, {"delta": integer(-MAX_HISTORY, MAX_HISTORY)}),
    m.Type.RELOAD: (m.Reload, {"hard": BOOLEAN}),
    m.Type.STOP: (m.Stop, {}),
    m.Type.DIALOG_REPLY: (m.DialogReply, {"id": _IDENTIFIER, "accept": BOOLEAN, "text": text(MAX_DIALOG)}),
    m.Type.SELECT_REPLY: (m.SelectReply, {"id": _IDENTIFIER, "values": Many(text(MAX_VALUE), MAX_OPTIONS)}),
    m.Type.ACK: (m.Ack, {"seq": _IDENTIFIER}),
    m.Type.FOCUS: (m.Focus, {"focused": BOOLEAN, "visible": BOOLEAN}),
    m.Type.PASTE: (m.Paste, {"text": text(MAX_CLIPBOARD, least=1)}),
    m.Type.COPY_REQUEST: (m.CopyRequest, {"cut": BOOLEAN}),
    m.Type.CLOSE_PAGE: (m.ClosePage, {}),
    m.Type.REFRESH: (m.Refresh, {}),
    m.Type.READY: (
        m.Ready,
        {"page": PAGE, "width": _SIDE, "height": _SIDE, "scale": _SCALE, "resumed": BOOLEAN},
    ),
    m.Type.LOCATION: (
        m.Location,
        {
            "origin": Bounded(ORIGIN, allow_empty=True),
            "path": Bounded(path(MAX_PATH), allow_empty=True),
            "index": integer(0, 65_535),
            "length": integer(1, 65_535),
            "replace": BOOLEAN,
        },
    ),
    m.Type.TITLE: (m.Title, {"text": text(MAX_TITLE)}),
    m.Type.ICON: (m.Icon, {"png": Bounded(BASE64_PNG, allow_empty=True)}),
    m.Type.LOADING: (m.Loading, {"active": BOOLEAN}),
    m.Type.CURSOR: (m.Cursor, {"name": CURSOR}),
    m.Type.DIALOG: (
        m.Dialog,
        {
            "id": _IDENTIFIER,
            "kind": Keyword(m.DialogKind),
            "origin": Bounded(ORIGIN, allow_empty=True),
            "message": text(MAX_DIALOG),
            "default": text(MAX_DIALOG),
        },
    ),
    m.Type.DIALOG_CLOSED: (m.DialogClosed, {"id": _IDENTIFIER}),
    m.Type.SELECT: (
        m.Select,
        {
            "id": _IDENTIFIER,
            "kind": Keyword(m.SelectKind),
            "x": _COORDINATE,
            "y": _COORDINATE,
            "width": _LENGTH,
            "height": _LENGTH,
            "multiple": BOOLEAN,
            "options": Many(_OPTION, MAX_OPTIONS),
            "value": text(MAX_VALUE),
            "low": text(MAX_VALUE),
            "high": text(MAX_VALUE),
        },
    ),
    m.Type.SELECT_CLOSED: (m.SelectClosed, {"id": _IDENTIFIER}),
    m.Type.OPENED: (
        m.Opened,
        {
            "page": PAGE,
            "origin": Bounded(ORIGIN, allow_empty=True),
            "path": Bounded(path(MAX_PATH), allow_empty=True),
        },
    ),
    m.Type.CLIPBOARD: (m.Clipboard, {"text": text(MAX_CLIPBOARD)}),
    m.Type.NOTICE: (m.Notice, {"code": Keyword(m.NoticeCode)}),
    m.Type.CLOSED: (m.Closed, {"code": Keyword(m.CloseCode)}),
}
_TYPE_OF: Mapping[type, m.Type] = {shape: kind for kind, (shape, _) in _SHAPES.items()} | {m.Frame: m.Type.FRAME}
_FIRST_FROM_RENDERER = 64


def _hello(message: m.Hello) -> None:
    if max(message.width, message.height) * message.scale > MAX_SIDE * 100:
        raise WireError("hello: the surface would be larger than a frame may be")


def _composition(message: m.Composition) -> None:
    # JavaScript counts UTF-16 units; a selection ends inside the text it selects.
    if not message.start <= message.end <= len(message.text.encode("utf-16-le")) // 2:
        raise WireError("composition: the selection lies outside the text")


def _located(message: m.Location | m.Opened) -> None:
    if bool(message.origin) != bool(message.path):
        raise WireError("location: origin and path come together")


def _location(message: m.Location) -> None:
    _located(message)
    if message.index >= message.length:
        raise WireError("location: the position lies outside the history")


def _ready(message: m.Ready) -> None:
    if max(message.width, message.height) * message.scale > MAX_SIDE * 100:
        raise WireError("ready: the surface is larger than a frame may be")


_WHOLE_CHECKS: Mapping[type, Callable[..., None]] = {
    m.Hello: _hello,
    m.Composition: _composition,
    m.Location: _location,
    m.Opened: _located,
    m.Ready: _ready,
}


# ---------------------------------------------------------------- frames

_HEAD = struct.Struct(">IHHBHH")
_COPY = struct.Struct(">6H")
_PAINT = struct.Struct(">4HBI")


def check_frame(frame: m.Frame) -> None:
    """Raise :class:`WireError` unless every rectangle lies on the surface and every picture is what its rectangle says."""
    width, height = frame.width, frame.height
    if not 1 <= frame.seq <= MAX_ID:
        raise WireError("frame: seq out of range")
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        raise WireError("frame: surface size out of range")
    if len(frame.copies) > MAX_COPIES or len(frame.paints) > MAX_PAINTS:
        raise WireError("frame: too many rectangles")
    if frame.whole and frame.copies:
        raise WireError("frame: a whole frame has nothing to copy from")
    room = MAX_COVER * width * height
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
        _check_picture(paint)
        covered += paint.width * paint.height
    if covered > room:
        raise WireError("frame: paints cover the surface too often")


def _check_rectangle(x: int, y: int, width: int, height: int, right: int, bottom: int) -> None:
    if x < 0 or y < 0 or width < 1 or height < 1 or x + width > right or y + height > bottom:
        raise WireError("frame: a rectangle lies outside the surface")


def _check_picture(paint: m.Paint) -> None:
    if paint.encoding is m.Encoding.FILL:
        if len(paint.data) != 3:
            raise WireError("frame: a fill is three bytes")
        return
    size = webp_size(paint.data)
    if size is None:
        raise WireError("frame: not a plain WebP picture")
    if (size.width, size.height) != (paint.width, paint.height):
        raise WireError("frame: the picture's size differs from its rectangle's")
    if size.lossless is not (paint.encoding is m.Encoding.WEBP_LOSSLESS):
        raise WireError("frame: the picture's kind differs from what was announced")


def _encode_frame(frame: m.Frame) -> bytes:
    check_frame(frame)
    parts = [
        bytes([m.Type.FRAME]),
        _HEAD.pack(frame.seq, frame.width, frame.height, int(frame.whole), len(frame.copies), len(frame.paints)),
    ]
    parts += [_COPY.pack(c.sx, c.sy, c.x, c.y, c.width, c.height) for c in frame.copies]
    for p in frame.paints:
        parts += [_PAINT.pack(p.x, p.y, p.width, p.height, p.encoding, len(p.data)), p.data]
    return b"".join(parts)


def _decode_frame(data: bytes) -> m.Frame:
    try:
        seq, width, height, flags, copy_count, paint_count = _HEAD.unpack_from(data, 1)
        if flags > 1 or copy_count > MAX_COPIES or paint_count > MAX_PAINTS:
            raise WireError("frame: head out of range")
        at = 1 + _HEAD.size
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
    frame = m.Frame(seq, width, height, flags == 1, tuple(copies), tuple(paints))
    check_frame(frame)
    return frame


# ---------------------------------------------------------------- the public face


def encode(message: m.ToRenderer | m.FromRenderer) -> bytes:
    """Pack a message. Raises :class:`WireError` when a field is out of its range."""
    if isinstance(message, m.Frame):
        return _encode_frame(message)
    kind = _TYPE_OF.get(type(message))
    if kind is None:
        raise WireError("not a message")
    _, shape = _SHAPES[kind]
    check = _WHOLE_CHECKS.get(type(message))
    document = {name: field.dump(getattr(message, name)) for name, field in shape.items()}
    if check is not None:
        check(message)
    return bytes([kind]) + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def decode_to_renderer(data: bytes) -> m.ToRenderer:
    """Unpack what a viewer sent. Raises :class:`WireError` for anything but one well-formed message of that direction."""
    if not data or data[0] >= _FIRST_FROM_RENDERER:
        raise WireError("not a message to the renderer")
    return cast("m.ToRenderer", _decode(data, MAX_INPUT_BYTES))


def decode_from_renderer(data: bytes) -> m.FromRenderer:
    """Unpack what a renderer sent. Raises :class:`WireError` for anything but one well-formed message of that direction."""
    if not data or data[0] < _FIRST_FROM_RENDERER:
        raise WireError("not a message from the renderer")
    if data[0] == m.Type.FRAME:
        if len(data) > MAX_FRAME_BYTES:
            raise WireError("frame: too long")
        return _decode_frame(data)
    return cast("m.FromRenderer", _decode(data, MAX_EVENT_BYTES))


def _decode(data: bytes, limit: int) -> object:
    if len(data) > limit:
        raise WireError("message too long")
    try:
        kind = m.Type(data[0])
    except ValueError:
        raise WireError("unknown message type") from None
    shape, spec = _SHAPES[kind]
    document = parse_object(data[1:])
    if document.keys() != spec.keys():
        raise WireError(f"{kind.name.lower()}: wrong fields")
    message = shape(**{name: field.load(document[name]) for name, field in spec.items()})
    check = _WHOLE_CHECKS.get(shape)
    if check is not None:
        check(message)
    return cast("object", message)


def parse_object(data: bytes) -> dict[str, object]:
    """One JSON object: strict UTF-8, no duplicate keys, no fractions, no NaN; else :class:`WireError`."""
    try:
        document = json.loads(data.decode(), object_pairs_hook=_unique, parse_float=_no_fraction, parse_constant=_no_fraction)
    except WireError:
        raise
    except (ValueError, RecursionError):
        raise WireError("not JSON") from None
    if not isinstance(document, dict):
        raise WireError("not an object")
    return document


def _unique(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise WireError("a field twice")
    return document


def _no_fraction(_: str) -> object:
    raise WireError("numbers are whole")


# Every dataclass field has its rule and no rule lacks its field: checked once, at import, so that an added field cannot travel unchecked.
for _shape, _spec in _SHAPES.values():
    if [f.name for f in fields(_shape)] != list(_spec):
        raise AssertionError(f"{_shape.__name__}: codec and message differ")
