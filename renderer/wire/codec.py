"""Bytes ⇄ messages. Total: for any bytes the answer is a message whose every field was checked, or :class:`WireError`.

Encoding is canonical: fields in the dataclass's order, JSON without blanks, text as UTF-8. So two encoders agree byte for byte, which the
golden vectors in ``tests/vectors/wire`` hold this module and the viewer's JavaScript to. What is encoded is checked by the same rules as
what is decoded; a bug of ours cannot emit what the other side must refuse.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import cast

from renderer.wire import messages as m
from renderer.wire.blobs import BLOBS, MAX_BLOB_BYTES, MAX_FILE, MAX_FILES, Blob, pack_blob, unpack_blob
from renderer.wire.fields import (
    BASE64_PNG,
    BOOLEAN,
    CURSOR,
    EXTERNAL,
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
from renderer.wire.frames import MAX_ID, MAX_SCALE, MAX_SIDE, MIN_SCALE, pack, unpack

# ---------------------------------------------------------------- limits
MAX_INPUT_BYTES = 1024 * 1024  # the largest thing a viewer sends in JSON is a paste, whose escapes may grow it fourfold
MAX_EVENT_BYTES = 4 * 1024 * 1024  # the largest thing but a frame is a drop-down of MAX_OPTIONS lines
MAX_TEXT = 64 * 1024  # typed text in bytes of UTF-8: no keyboard or IME commits more at once
MAX_CLIPBOARD = 256 * 1024  # clipboard text in bytes: a long document; more is a data transfer, not a paste
MAX_TITLE = 1024
MAX_DIALOG = 8 * 1024
MAX_LABEL = 1024
MAX_OPTIONS = 2000  # longer lists exist, but no person scrolls through them
MAX_VALUE = 64  # values of date, time and colour inputs
MAX_PATH = 32 * 1024  # Chromium itself shows no more of an address
MIN_SIDE = 16  # CSS pixels: below, Chromium's own layout misbehaves
MAX_COORDINATE = 32767
MAX_WHEEL = 10_000  # CSS pixels in one message: ten screens
MAX_HISTORY = 100
MAX_FINGERS = 10
MAX_FIND = 1024  # bytes of text to find: a long sentence
MAX_HINT = 2048  # bytes of a link's address as it is shown
MAX_CREDENTIAL = 1024  # bytes of a name or password for HTTP authentication
MAX_FILE_NAME = 255  # bytes: what file systems take
MAX_FILE_TYPE = 127  # bytes: RFC 6838 §4.2, a type and a subtype of 63 and the slash
MAX_QUEUE_SHOWN = 100_000
MAX_SECONDS = 604_800  # a week

_COORDINATE = integer(-MAX_COORDINATE, MAX_COORDINATE)
_LENGTH = integer(0, MAX_COORDINATE)
_SIDE = integer(MIN_SIDE, MAX_SIDE)
_MODIFIERS = integer(0, 15)
_IDENTIFIER = integer(1, MAX_ID)
_SCALE = integer(MIN_SCALE, MAX_SCALE)
_OPTIONAL_PAGE = Bounded(PAGE, allow_empty=True)
_COUNT = integer(0, 65_535)
_BYTES = integer(0, MAX_FILE)
_TOUCH_POINT = Object(m.TouchPoint, {"id": integer(0, MAX_FINGERS - 1), "x": _COORDINATE, "y": _COORDINATE})
_FILE_INFO = Object(m.FileInfo, {"name": text(MAX_FILE_NAME, least=1), "size": _BYTES, "type": text(MAX_FILE_TYPE)})

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
            "video": BOOLEAN,
            "touch": BOOLEAN,
        },
    ),
    m.Type.RESIZE: (m.Resize, {"width": _SIDE, "height": _SIDE, "scale": _SCALE}),
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
    m.Type.REFRESH: (m.Refresh, {"video": BOOLEAN}),
    m.Type.TOUCH: (
        m.Touch,
        {"kind": Keyword(m.TouchKind), "points": Many(_TOUCH_POINT, MAX_FINGERS), "modifiers": _MODIFIERS},
    ),
    m.Type.FIND: (m.Find, {"text": text(MAX_FIND), "backward": BOOLEAN, "again": BOOLEAN}),
    m.Type.MENU_REPLY: (m.MenuReply, {"id": _IDENTIFIER, "action": Keyword(m.MenuAction)}),
    m.Type.PRINT: (m.Print, {}),
    m.Type.AUTH_REPLY: (
        m.AuthReply,
        {"id": _IDENTIFIER, "accept": BOOLEAN, "username": text(MAX_CREDENTIAL), "password": text(MAX_CREDENTIAL)},
    ),
    m.Type.EXIT_FULLSCREEN: (m.ExitFullscreen, {}),
    m.Type.FILE_CHOICE: (m.FileChoice, {"id": _IDENTIFIER, "files": Many(_FILE_INFO, MAX_FILES)}),
    m.Type.FILE_DROP: (
        m.FileDrop,
        {"id": integer(2**31, MAX_ID), "x": _COORDINATE, "y": _COORDINATE, "files": Many(_FILE_INFO, MAX_FILES)},
    ),
    m.Type.FILE_CANCEL: (m.FileCancel, {"id": _IDENTIFIER}),
    m.Type.DOWNLOAD_REPLY: (m.DownloadReply, {"id": _IDENTIFIER, "accept": BOOLEAN}),
    m.Type.DOWNLOAD_ACK: (m.DownloadAck, {"id": _IDENTIFIER, "received": _BYTES}),
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
    m.Type.LINK_HINT: (m.LinkHint, {"text": text(MAX_HINT)}),
    m.Type.FOUND: (m.Found, {"index": _COUNT, "count": _COUNT}),
    m.Type.MENU: (
        m.Menu,
        {
            "id": _IDENTIFIER,
            "x": _COORDINATE,
            "y": _COORDINATE,
            "link": text(MAX_HINT),
            "image": BOOLEAN,
            "editable": BOOLEAN,
            "selection": BOOLEAN,
        },
    ),
    m.Type.FULLSCREEN: (m.Fullscreen, {"active": BOOLEAN}),
    m.Type.AUTH: (
        m.Auth,
        {"id": _IDENTIFIER, "origin": Bounded(ORIGIN, allow_empty=True), "realm": text(MAX_LABEL)},
    ),
    m.Type.EXTERNAL: (m.External, {"url": EXTERNAL}),
    m.Type.FILE_ASK: (m.FileAsk, {"id": _IDENTIFIER, "multiple": BOOLEAN, "accept": text(MAX_LABEL)}),
    m.Type.FILE_PROGRESS: (m.FileProgress, {"id": _IDENTIFIER, "received": _BYTES}),
    m.Type.FILE_CLOSED: (m.FileClosed, {"id": _IDENTIFIER, "code": Keyword(m.TransferCode)}),
    m.Type.DOWNLOAD: (
        m.Download,
        {"id": _IDENTIFIER, "kind": Keyword(m.DownloadKind), "name": text(MAX_FILE_NAME, least=1), "size": _BYTES},
    ),
    m.Type.DOWNLOAD_CLOSED: (m.DownloadClosed, {"id": _IDENTIFIER, "code": Keyword(m.TransferCode)}),
    m.Type.PERMISSION: (m.Permission, {"kind": Keyword(m.PermissionKind)}),
    m.Type.QUEUED: (m.Queued, {"position": integer(1, MAX_QUEUE_SHOWN), "waited": integer(0, MAX_SECONDS)}),
    m.Type.ENDING: (m.Ending, {"reason": Keyword(m.EndingReason), "seconds": integer(0, MAX_SECONDS)}),
    m.Type.EDITING: (
        m.Editing,
        {"mode": Keyword(m.EditingMode), "x": _COORDINATE, "y": _COORDINATE, "width": _LENGTH, "height": _LENGTH},
    ),
}
_TYPE_OF: Mapping[type, m.Type] = {shape: kind for kind, (shape, _) in _SHAPES.items()} | {m.Frame: m.Type.FRAME}
_BLOB_OF: Mapping[type, m.Type] = {shape: kind for kind, shape in BLOBS.items()}
_FIRST_FROM_RENDERER = 64


def _fits(message: m.Hello | m.Resize | m.Ready) -> None:
    if max(message.width, message.height) * message.scale > MAX_SIDE * 100:
        raise WireError("the surface would be larger than a frame may be")


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


def _touch(message: m.Touch) -> None:
    if len({point.id for point in message.points}) != len(message.points):
        raise WireError("touch: one finger at two places")
    if message.kind in {m.TouchKind.START, m.TouchKind.MOVE} and not message.points:
        raise WireError("touch: no finger")


def _found(message: m.Found) -> None:
    if message.index > message.count:
        raise WireError("found: the match lies outside the matches")


_WHOLE_CHECKS: Mapping[type, Callable[..., None]] = {
    m.Hello: _fits,
    m.Resize: _fits,
    m.Composition: _composition,
    m.Location: _location,
    m.Opened: _located,
    m.Ready: _fits,
    m.Touch: _touch,
    m.Found: _found,
}


# ---------------------------------------------------------------- the public face


def encode(message: m.ToRenderer | m.FromRenderer) -> bytes:
    """Pack a message. Raises :class:`WireError` when a field is out of its range."""
    if isinstance(message, m.Frame):
        return pack(message)
    if isinstance(message, Blob):
        return bytes([_BLOB_OF[type(message)]]) + pack_blob(message)
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
        return unpack(data)
    return cast("m.FromRenderer", _decode(data, MAX_EVENT_BYTES))


def _decode(data: bytes, limit: int) -> object:
    if len(data) > max(limit, MAX_BLOB_BYTES):
        raise WireError("message too long")
    try:
        kind = m.Type(data[0])
    except ValueError:
        raise WireError("unknown message type") from None
    if kind in BLOBS:
        return unpack_blob(kind, data[1:])
    if len(data) > limit:
        raise WireError("message too long")
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
