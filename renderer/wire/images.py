"""What a picture's own header says, read without decoding it."""

from __future__ import annotations

from dataclasses import dataclass

_VP8_START_CODE = b"\x9d\x01\x2a"  # RFC 6386 §9.1
_VP8L_SIGNATURE = 0x2F  # RFC 9649 §3.4


@dataclass(frozen=True, slots=True)
class WebpSize:
    """Pixels, and whether the picture is of the lossless kind."""

    width: int
    height: int
    lossless: bool


@dataclass(frozen=True, slots=True)
class Vp8Frame:
    """What the head of a VP8 frame says. ``width`` and ``height`` are 0 unless it is a ``key`` frame: others have the size of the last key frame."""

    key: bool
    width: int
    height: int


def vp8_frame(data: bytes) -> Vp8Frame | None:
    """Head of one VP8 frame that is shown, has no upscaling hints and whose first partition lies inside the data; else None. RFC 6386 §9.1."""
    if len(data) < 4:
        return None
    tag = int.from_bytes(data[:3], "little")
    key = not tag & 1
    head = 10 if key else 3
    # Versions above 3 are reserved; an empty first partition holds no frame header.
    if tag >> 1 & 7 > 3 or not tag >> 4 & 1 or not 0 < tag >> 5 <= len(data) - head:
        return None
    if not key:
        return Vp8Frame(key=False, width=0, height=0)
    width, height = int.from_bytes(data[6:8], "little"), int.from_bytes(data[8:10], "little")
    if data[3:6] != _VP8_START_CODE or (width | height) >> 14 or not width or not height:
        return None
    return Vp8Frame(key=True, width=width, height=height)


def webp_size(data: bytes) -> WebpSize | None:
    """Size of a plain WebP file: RIFF with exactly one VP8 (lossy) or VP8L (lossless) chunk and not a byte more; else None.

    The extended form (VP8X: animation, metadata, colour profiles) is refused on purpose. RFC 9649 §2.4–2.6.
    """
    if len(data) < 26 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        return None
    if int.from_bytes(data[4:8], "little") != len(data) - 8:
        return None
    kind, length = data[12:16], int.from_bytes(data[16:20], "little")
    if length + (length & 1) != len(data) - 20 or (length & 1 and data[-1] != 0):
        return None
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        if data[20] != _VP8L_SIGNATURE or bits >> 29:  # three version bits, zero
            return None
        return WebpSize((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, lossless=True)
    if kind == b"VP8 " and length >= 10:
        tag = int.from_bytes(data[20:23], "little")
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        # A key frame that is shown, without upscaling hints.
        if tag & 1 or not tag >> 4 & 1 or data[23:26] != _VP8_START_CODE or (width | height) >> 14:
            return None
        return WebpSize(width, height, lossless=False) if width and height else None
    return None


def png_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a PNG, or None when the bytes do not begin like one. RFC 2083 §3, §4.1.1."""
    if len(data) < 45 or data[:16] != b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" or data[-12:] != b"\x00\x00\x00\x00IEND\xaeB`\x82":
        return None
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
