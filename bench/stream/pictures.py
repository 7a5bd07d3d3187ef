"""Photos and a film, made here by fixed rules: what the comparison shows is the same on every machine, and belongs to nobody."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import imagecodecs
import numpy as np

from bench.report import MissingError

PHOTOS = 8
PHOTO = (960, 640)
FILM = (480, 270)
FILM_RATE = 25
FILM_SECONDS = 10  # the page plays it in a loop, for 30 seconds
FILM_BITS = 1_000_000  # a second
CODEC = "VP8"  # every Chromium plays it, also those without licensed codecs


def clouds(width: int, height: int, draw: np.random.Generator, roughness: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return noise whose details weaken as they get finer, as in photos: 0 to 1."""
    total = np.zeros((height, width), np.float32)
    weight, cells = 1.0, 3
    while cells < min(width, height) // 2:
        grid = draw.random((cells + 2, cells * width // height + 3), dtype=np.float32)
        ys = np.linspace(0, cells, height, endpoint=False, dtype=np.float32)
        xs = np.linspace(0, cells * width / height, width, endpoint=False, dtype=np.float32)
        y, x = ys.astype(int), xs.astype(int)
        fy, fx = (ys - y)[:, None], (xs - x)[None, :]
        top = grid[y][:, x] * (1 - fx) + grid[y][:, x + 1] * fx
        bottom = grid[y + 1][:, x] * (1 - fx) + grid[y + 1][:, x + 1] * fx
        total += weight * (top * (1 - fy) + bottom * fy)
        weight, cells = weight * roughness, cells * 2
    total -= total.min()
    made: np.ndarray[Any, np.dtype[np.float32]] = total / total.max()
    return made


def photo(number: int) -> bytes:
    """Return one photo, JPEG: a landscape of noise under a sky, with grain."""
    draw = np.random.default_rng(100 + number)
    width, height = PHOTO
    ground, sky = clouds(width, height, draw, 0.62), clouds(width, height, draw, 0.45)
    horizon = (0.35 + 0.3 * draw.random()) * height + 60 * (clouds(width, 64, draw, 0.6)[10] - 0.5)
    below = np.arange(height)[:, None] > horizon[None, :]
    dark, light, air = (draw.integers(low, high, 3).astype(np.float32) for low, high in ((20, 110), (120, 240), (140, 230)))
    picture = np.where(below[..., None], dark + (light - dark) * ground[..., None], air + (255 - air) * sky[..., None])
    picture += draw.standard_normal((height, width, 1), np.float32) * 5
    return bytes(imagecodecs.jpeg_encode(np.clip(picture, 0, 255).astype(np.uint8), level=88))


def film() -> bytes:
    """Return the film, VP8 in WebM. Raises MissingError where PyAV is not installed."""
    try:
        import av
    except ImportError as error:
        raise MissingError("the film needs PyAV: pip install av") from error
    target = io.BytesIO()
    with av.open(target, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=Fraction(FILM_RATE))
        stream.width, stream.height = FILM
        stream.pix_fmt, stream.bit_rate, stream.thread_count = "yuv420p", FILM_BITS, 2
        stream.options = {"deadline": "realtime", "cpu-used": "8", "g": "60"}
        for pixels in _moving():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return target.getvalue()


def _moving() -> Iterator[np.ndarray[Any, np.dtype[np.uint8]]]:
    """A camera that wanders over a landscape with things that move, every frame with grain of its own: nothing repeats exactly."""
    draw = np.random.default_rng(1)
    width, height = FILM
    base = clouds(width * 2, height * 2, draw, 0.6)
    # 20 to 220: the grain cannot leave the range of a byte.
    world = np.stack([base * 180 + 30, base[::-1] * 150 + 40, base[:, ::-1] * 120 + 60], -1).astype(np.uint8)
    grain = [draw.integers(0, 12, (height, width, 1), np.uint8) for _ in range(7)]
    frames = FILM_RATE * FILM_SECONDS
    for number in range(frames):
        turn = 2 * np.pi * number / frames
        x, y = int((1 + np.sin(2 * turn)) * width / 2), int((1 + np.cos(3 * turn)) * height / 2)
        frame = world[y : y + height, x : x + width] + grain[number % len(grain)]
        for k in range(4):
            at, size = turn * (k + 2) + k, 30 + 10 * k
            left, top = int(width * (0.5 + 0.35 * np.cos(at))), int(height * (0.4 + 0.3 * np.sin(at * 2)))
            frame[top : top + size, left : left + size] = (230 - 50 * k, 60 + 45 * k, 90 * k % 256)
        yield frame
