"""Frames that Chromium squeezes into a page's new size are told from pictures of that size."""

from __future__ import annotations

import base64

import imagecodecs
import numpy as np
import pytest

from renderer.capture.pump import squeezed


def picture(width: int, height: int) -> str:
    return base64.b64encode(bytes(imagecodecs.png_encode(np.zeros((height, width, 3), np.uint8)))).decode()


@pytest.mark.parametrize(
    ("sides", "css", "scale"),
    [
        ((1280, 960), (640, 480), 200),
        ((1202, 902), (801, 601), 150),
        ((1201, 901), (801, 601), 150),
        ((667, 434), (533, 347), 125),
    ],
)
def test_a_picture_of_the_page_is_taken(sides: tuple[int, int], css: tuple[int, int], scale: int) -> None:
    assert not squeezed(picture(*sides), css, scale)


@pytest.mark.parametrize(
    ("sides", "css", "scale"),
    [
        ((1120, 840), (900, 420), 200),
        ((560, 420), (900, 420), 100),
        ((900, 419 - 2), (900, 420), 100),
        ((640, 480), (640, 480), 200),
    ],
)
def test_the_old_picture_in_the_new_size_is_not(sides: tuple[int, int], css: tuple[int, int], scale: int) -> None:
    assert squeezed(picture(*sides), css, scale)


@pytest.mark.parametrize("data", ["", "AAAA", "!!", "x" * 40])
def test_what_is_no_picture_is_no_reason_to_fail(data: str) -> None:
    assert squeezed(data, (640, 480), 100) in {True, False}
