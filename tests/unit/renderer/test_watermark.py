"""The mark is on every pixel it belongs to and on no other, in every frame, film included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renderer.capture.compose import Composer
from renderer.capture.picture import Decoder
from renderer.capture.surface import Rect, Surface
from renderer.capture.watermark import STRENGTH, Watermark, pattern
from renderer.wire.messages import Encoding
from tests.support.renderer import Screen
from tests.unit.renderer.test_film import moving
from tests.unit.renderer.test_picture import chromium_png, text

TEXT = "bob@corp.example · 2026-11-26 09:30 · s-7F3A"
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def marked(page: Pixels, scale: int = 100) -> Pixels:
    """The mark, drawn anew on a page in the plainest way."""
    height, width, _ = page.shape
    places, ink = pattern(TEXT, width, height, scale)
    flat = page.reshape(-1, 3).astype(int)
    flat[places] = (flat[places] * (256 - STRENGTH) + ink[:, None].astype(int) * STRENGTH) >> 8
    return flat.astype(np.uint8).reshape(page.shape)


def bytes_of(surface: Surface) -> Pixels:
    return surface.pixels(Rect(0, 0, surface.width, surface.height))


@pytest.mark.parametrize("ground", [0, 128, 255])
@pytest.mark.parametrize("scale", [50, 100, 125, 300])
def test_it_is_legible_on_any_ground_sparse_and_everywhere(ground: int, scale: int) -> None:
    page = np.full((900, 1400, 3), ground, np.uint8)
    surface = bytes_of(Watermark(TEXT).mark(Surface.of(page, scale))).astype(int)
    touched = np.abs(surface - page).max(axis=2)
    assert touched.max() >= 25  # what an eye tells apart at once
    share = np.count_nonzero(touched) / touched.size
    assert 0.005 < share < 0.2
    if scale <= 125:
        for y in range(0, 900 - 299, 300):
            for x in range(0, 1400 - 699, 700):
                assert touched[y : y + 300, x : x + 700].any()


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_every_picture_of_a_sequence_differs_from_its_page_by_the_mark_alone(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    mark, decoder = Watermark(TEXT), Decoder(1000)
    page: Pixels = rng.integers(0, 256, (320, 400, 3), np.uint8)
    before: Surface | None = None
    for _ in range(data.draw(st.integers(1, 5))):
        page = page.copy()
        top, bottom = sorted(data.draw(st.tuples(st.integers(0, 320), st.integers(0, 320))))
        page[top:bottom] = rng.integers(0, 256, (bottom - top, 400, 3))
        surface = decoder.decode(text(chromium_png(page)), 100)
        shown = mark.mark(surface)
        assert mark.mark(surface) is shown
        assert np.array_equal(bytes_of(shown), marked(page))
        if before is not None:
            first, last = shown.band(before)
            assert np.array_equal(shown.words[:first], before.words[:first])
            assert np.array_equal(shown.words[last:], before.words[last:])
        before = shown


@pytest.mark.case(46)
def test_whole_frames_film_and_rest_carry_it() -> None:
    composer, screen, mark = Composer(video=True), Screen(), Watermark(TEXT)
    page = moving(0)
    kinds = set()
    for turn in range(22):
        page = moving(turn)
        if turn == 16:
            composer.forget(video=True)
        frame = composer.step(mark.mark(Surface.of(page)), turn / 30)
        assert frame is not None
        screen.draw(frame)
        kinds |= {p.encoding for p in frame.paints}
        wanted = marked(page).astype(int)
        film = [p for p in frame.paints if p.encoding is Encoding.VIDEO]
        if not film:
            if composer.rests_at is None:
                assert np.array_equal(screen.pixels, wanted)
            continue
        p = film[0]
        inside = np.s_[p.y : p.y + p.height, p.x : p.x + p.width]
        shown = screen.pixels[inside].astype(int)
        # Nearer to the marked page than to the page without its mark, where there is ink.
        ink = np.abs(wanted[inside] - page[inside]).max(axis=2) > 20
        assert ink.any()
        assert np.abs(shown - wanted[inside])[ink].mean() < np.abs(shown - page[inside])[ink].mean()
    assert Encoding.VIDEO in kinds
    assert composer.rests_at is not None
    rested = composer.step(mark.mark(Surface.of(page)), composer.rests_at + 1)
    assert rested is not None
    assert np.array_equal(screen.draw(rested), marked(page))


@pytest.mark.parametrize("words", ["", "Ж 漢字 👩‍💻 \u202e", "x" * 5000, "\n\n", "\x00"])
def test_any_text_makes_a_mark_or_none(words: str) -> None:
    page = np.zeros((200, 300, 3), np.uint8)
    assert bytes_of(Watermark(words).mark(Surface.of(page))).shape == page.shape
