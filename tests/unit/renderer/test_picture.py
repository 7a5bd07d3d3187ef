"""Decoding a screencast: whatever Chromium sends, the surface is the picture, and rows said to be untouched are."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderer.capture.picture import BadFrameError, Decoder
from renderer.capture.surface import Rect, Surface

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def chromium_png(pixels: Pixels, filters: int = 2, chunk: int = 4000) -> bytes:
    """A PNG as Chromium's fast encoder makes it: RGB, every row filtered by "up", many IDAT chunks."""
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, -1)
    stored = rows.copy()
    stored[1:] = rows[1:] - rows[:-1]
    if filters == 0:
        stored = rows
    data = zlib.compress(np.concatenate([np.full((height, 1), filters, np.uint8), stored], axis=1).tobytes(), 1)

    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = part(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = b"".join(part(b"IDAT", data[at : at + chunk]) for at in range(0, len(data), chunk))
    return b"\x89PNG\r\n\x1a\n" + head + body + part(b"IEND", b"")


def text(png: bytes) -> str:
    return base64.b64encode(png).decode()


def bytes_of(surface: Surface) -> Pixels:
    return surface.pixels(Rect(0, 0, surface.width, surface.height))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_picture_of_a_sequence_is_itself(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    width, height = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 40))
    decoder = Decoder(100)
    page: Pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    before: Surface | None = None
    for _ in range(data.draw(st.integers(1, 6))):
        page = page.copy()
        match data.draw(st.sampled_from(["same", "rows", "dots", "all", "shift", "size", "column"])):
            case "rows":
                top, bottom = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
                page[top:bottom] = rng.integers(0, 256, (bottom - top, width, 3))
            case "dots":
                page[data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))] ^= 1
            case "all":
                page = rng.integers(0, 256, page.shape, np.uint8)
            case "shift":
                page += 7  # every row below the first is stored as before
            case "column":
                page[data.draw(st.integers(0, height - 1)) :, 0] += 1
            case "size":
                height = data.draw(st.integers(1, 40))
                page = rng.integers(0, 256, (height, width, 3), np.uint8)
            case _:
                pass
        png = chromium_png(page) if data.draw(st.booleans()) else bytes(imagecodecs.png_encode(page))
        surface = decoder.decode(text(png), 100)
        assert np.array_equal(bytes_of(surface), page)
        assert surface.scale == 100
        if before is not None and before.size == surface.size:
            top, bottom = surface.band(before)
            assert np.array_equal(surface.words[:top], before.words[:top])
            assert np.array_equal(surface.words[bottom:], before.words[bottom:])
        before = surface


def test_a_small_change_is_known_to_be_small() -> None:
    decoder = Decoder(2000)
    page = np.random.default_rng(1).integers(0, 256, (400, 300, 3)).astype(np.uint8)
    first = decoder.decode(text(chromium_png(page)), 100)
    page = page.copy()
    page[200:210, 50:60] = 0
    second = decoder.decode(text(chromium_png(page)), 100)
    top, bottom = second.band(first)
    assert 199 <= top <= 200
    assert 210 <= bottom <= 212
    assert second.band(second) == (0, 400)  # of any other surface nothing is known


@given(st.binary(max_size=120), st.integers(0, 400))
def test_hostile_pictures_are_refused_or_decoded(noise: bytes, cut: int) -> None:
    good = chromium_png(np.zeros((4, 4, 3), np.uint8), chunk=5)
    decoder = Decoder(64)
    for hostile in (noise, good[:33] + noise, good[:cut], good[: min(cut, len(good))] + noise, good[:29] + noise + good[29:]):
        try:
            surface = decoder.decode(text(hostile), 100)
        except BadFrameError:
            continue
        assert max(surface.size) <= 64
    assert np.array_equal(bytes_of(decoder.decode(text(good), 100)), np.zeros((4, 4, 3)))


def test_a_picture_that_unpacks_to_more_than_its_size_is_no_larger_for_it() -> None:
    good = chromium_png(np.zeros((4, 4, 3), np.uint8))
    bomb = chromium_png(np.zeros((4000, 4, 3), np.uint8))
    assert Decoder(64).decode(text(good[:33] + bomb[33:]), 100).size == (4, 4)


@pytest.mark.parametrize("data", ["", "?", "AAA", "é", "AAAA=AAA"])
def test_what_is_not_base64(data: str) -> None:
    with pytest.raises(BadFrameError):
        Decoder(64).decode(data, 100)
