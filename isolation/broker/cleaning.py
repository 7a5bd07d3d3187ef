"""Texts and icons of a hostile page, made harmless to look at. Pure.

A text that reaches a person's own browser can no longer be markup (it travels as a text node), but it can still deceive: control
characters break lines out of their place, and bidirectional overrides make ``moc.live`` read as something it is not (CVE-2021-42574).
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import unicodedata
import zlib

# ---------------------------------------------------------------- limits
ICON_SIDE = 32  # pixels, from the wire contract
_ICON_CHANNELS = {2: 3, 6: 4}  # PNG colour types RGB and RGBA at 8 bits: all our own encoder writes

# Embeddings, overrides, isolates and their ends. The plain marks U+200E, U+200F and U+061C, which honest right-to-left text needs, stay.
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])
_BREAKS = re.compile(r"[\r\n\t\u2028\u2029\x0b\x0c\x85]+")
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def line(text: str) -> str:
    """Return the text as one line: line breaks become a blank, other control characters and bidi overrides go."""
    return _without_controls(_BREAKS.sub(" ", text))


def lines(text: str) -> str:
    """Return the text with its line feeds and tabs, and no other control character or bidi override."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n").replace("\x85", "\n")
    return _without_controls(text, keep="\n\t")


def clipboard(text: str) -> str:
    """Return clipboard text that is safe to paste into a terminal: no escapes, no backspaces; bidi characters are part of the text."""
    return "".join(c for c in text if c in "\n\t\r" or unicodedata.category(c) != "Cc")


def _without_controls(text: str, keep: str = "") -> str:
    text = text.translate(_BIDI)
    if text.isprintable():
        return text
    return "".join(c for c in text if c in keep or unicodedata.category(c) not in {"Cc", "Cs"})


def icon(encoded: str) -> str | None:
    """Return a 32 × 32 PNG, written anew from the pixels of the one given (base64), or None when that is not one.

    Only the filtered pixel rows are taken over; they are inflated up to their exact size and no further, so that neither a
    decompression bomb nor a chunk that some decoder mishandles travels on.
    """
    try:
        data = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        return None
    if data[:8] != _SIGNATURE:
        return None
    at, head, packed, ended = 8, b"", b"", False
    while at < len(data) and not ended:
        if len(data) - at < 12:
            return None
        (length,) = struct.unpack_from(">I", data, at)
        if length > len(data) - at - 12:
            return None
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        if zlib.crc32(kind + body) != struct.unpack_from(">I", data, at + 8 + length)[0]:
            return None
        at += 12 + length
        if kind == b"IHDR" and not head:
            head = body
        elif kind == b"IDAT" and head:
            packed += body
        elif kind == b"IEND":
            ended = True
        elif not kind[0] & 0x20:  # an unknown critical chunk; ancillary ones are left behind
            return None
    rows = _rows(head, packed)
    if not ended or at != len(data) or rows is None:
        return None
    return base64.b64encode(_png(head, rows)).decode()


def _rows(head: bytes, packed: bytes) -> bytes | None:
    if len(head) != 13:
        return None
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", head)
    if (width, height, depth, compression, filtering, interlace) != (
        ICON_SIDE,
        ICON_SIDE,
        8,
        0,
        0,
        0,
    ) or colour not in _ICON_CHANNELS:
        return None
    stride = 1 + ICON_SIDE * _ICON_CHANNELS[colour]
    inflater = zlib.decompressobj()
    try:
        rows = inflater.decompress(packed, stride * ICON_SIDE + 1)
    except zlib.error:
        return None
    if len(rows) != stride * ICON_SIDE or not inflater.eof or inflater.unused_data or max(rows[::stride]) > 4:
        return None
    return rows


def _png(head: bytes, rows: bytes) -> bytes:
    parts = [_SIGNATURE]
    for kind, body in ((b"IHDR", head), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")):
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(kind + body))]
    return b"".join(parts)
