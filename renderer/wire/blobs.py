"""Messages whose body is bytes, packed: pieces of files, pictures of the clipboard. Total, like the rest of the contract."""

from __future__ import annotations

import struct
from typing import cast

from renderer.wire import messages as m
from renderer.wire.fields import WireError
from renderer.wire.images import png_size

# ---------------------------------------------------------------- limits
MAX_CHUNK = (
    128 * 1024
)  # bytes of one piece of a file: a fifth of a second on a slow line, so frames and input pass between two of them
FILE_WINDOW = 1024 * 1024  # bytes of a file under way: a fast line's round trip, and all that anybody has to hold
MAX_FILE = 2**40  # bytes: what a length may say; controls say what may pass
MAX_FILES = 100  # files of one upload
MAX_IMAGE = 4 * 1024 * 1024  # bytes of a clipboard picture: a screenshot of a 4K screen
MAX_IMAGE_SIDE = 8192  # pixels: decoders allocate what a header claims
MAX_BLOB_BYTES = MAX_IMAGE + 64  # the longest message to a renderer

_FILE_DATA = struct.Struct(">IHQ")
_DOWNLOAD_DATA = struct.Struct(">IQ")

BLOBS: dict[m.Type, type] = {
    m.Type.FILE_DATA: m.FileData,
    m.Type.DOWNLOAD_DATA: m.DownloadData,
    m.Type.PASTE_IMAGE: m.PasteImage,
    m.Type.CLIPBOARD_IMAGE: m.ClipboardImage,
}

Blob = m.FileData | m.DownloadData | m.PasteImage | m.ClipboardImage


def pack_blob(message: Blob) -> bytes:
    """Return the body (without the type byte). Raises :class:`WireError` when a field is out of its range."""
    _check(message)
    match message:
        case m.FileData():
            return _FILE_DATA.pack(message.id, message.index, message.offset) + message.data
        case m.DownloadData():
            return _DOWNLOAD_DATA.pack(message.id, message.offset) + message.data
        case _:
            return message.png


def unpack_blob(kind: m.Type, body: bytes) -> Blob:
    """Read a body. Raises :class:`WireError`."""
    message: Blob
    try:
        if kind is m.Type.FILE_DATA:
            number, index, offset = _FILE_DATA.unpack_from(body)
            message = m.FileData(number, index, offset, body[_FILE_DATA.size :])
        elif kind is m.Type.DOWNLOAD_DATA:
            number, offset = _DOWNLOAD_DATA.unpack_from(body)
            message = m.DownloadData(number, offset, body[_DOWNLOAD_DATA.size :])
        else:
            message = cast("Blob", BLOBS[kind](body))
    except struct.error:
        raise WireError("a piece of a file: cut off") from None
    _check(message)
    return message


def _check(message: Blob) -> None:
    if isinstance(message, m.PasteImage | m.ClipboardImage):
        size = png_size(message.png) if len(message.png) <= MAX_IMAGE else None
        if size is None or not all(1 <= side <= MAX_IMAGE_SIDE for side in size):
            raise WireError("a clipboard picture: not a PNG, or too large")
        return
    if not 1 <= message.id < 2**32 or (isinstance(message, m.FileData) and not 0 <= message.index < MAX_FILES):
        raise WireError("a piece of a file: a number is out of range")
    if not 1 <= len(message.data) <= MAX_CHUNK or not 0 <= message.offset <= MAX_FILE - len(message.data):
        raise WireError("a piece of a file: its length is out of range")
