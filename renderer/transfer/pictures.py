"""Pictures of the clipboard: decoded, and encoded anew, so that of what somebody sent nothing goes on but its pixels."""

from __future__ import annotations

import imagecodecs
import numpy as np

from renderer.wire.blobs import MAX_IMAGE, MAX_IMAGE_SIDE
from renderer.wire.images import png_size

# ---------------------------------------------------------------- limits
MAX_PIXELS = 16 * 1024 * 1024  # a 4K screen twice; the router holds to the same


def picture(png: bytes) -> bytes | None:
    """Return a PNG of the same pixels, 8 bits a channel; None: not a PNG, or larger than a clipboard's picture may be. Takes up to half a second."""
    size = png_size(png) if len(png) <= MAX_IMAGE else None
    if size is None or not all(1 <= side <= MAX_IMAGE_SIDE for side in size) or size[0] * size[1] > MAX_PIXELS:
        return None
    try:
        pixels = imagecodecs.png_decode(png)
    except (ValueError, RuntimeError):
        return None
    if pixels.shape[:2] != (size[1], size[0]) or (pixels.ndim == 3 and pixels.shape[2] not in {1, 2, 3, 4}):
        return None
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        return None
    again = bytes(imagecodecs.png_encode(pixels, level=6))
    return again if len(again) <= MAX_IMAGE else None
