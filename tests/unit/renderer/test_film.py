"""Moving pictures as film: for viewers that play it, in one place, and exact at rest."""

from __future__ import annotations

from typing import Any

import numpy as np

from renderer.capture.compose import REST_SECONDS, Composer
from renderer.capture.surface import Surface
from renderer.wire.codec import decode_from_renderer, encode
from renderer.wire.images import vp8_frame
from renderer.wire.messages import Encoding, Frame
from tests.support.renderer import Screen

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def moving(turn: int, left: int = 64, top: int = 96, width: int = 400, height: int = 303) -> Pixels:
    """A page with a picture in it that glides: smooth, as film is."""
    rng = np.random.default_rng(3)
    page = np.full((500, 700, 3), 255, np.uint8)
    page[rng.random((500, 700)) < 0.1] = 30
    y, x = np.mgrid[0:height, 0:width]
    page[top : top + height, left : left + width] = np.dstack(
        [(x + 7 * turn) % 256, (y + x // 2 + 3 * turn) % 256, (x * y // 97 + turn) % 256]
    )
    return page


def play(composer: Composer, screen: Screen, pages: list[Pixels], now: float = 0.0) -> list[Frame]:
    frames = []
    for at, page in enumerate(pages):
        frame = composer.step(Surface.of(page), now + at / 30)
        assert frame is not None
        assert decode_from_renderer(encode(frame)) == frame
        screen.draw(frame)
        frames.append(frame)
    return frames


def films(frames: list[Frame]) -> list[Any]:
    return [p for frame in frames for p in frame.paints if p.encoding is Encoding.VIDEO]


def test_what_keeps_moving_becomes_one_film_and_is_exact_at_rest() -> None:
    composer, screen = Composer(video=True), Screen()
    pages = [moving(turn) for turn in range(24)]
    frames = play(composer, screen, pages)
    shown = films(frames)
    assert len(shown) > 15
    assert len({(p.x, p.y, p.width, p.height) for p in shown}) == 1
    heads = [vp8_frame(p.data) for p in shown]
    assert [head.key for head in heads if head is not None] == [True] + [False] * (len(shown) - 1)
    # Around the film not a pixel is touched, and in it the picture is like itself.
    place = shown[0]
    around = np.ones(pages[-1].shape[:2], np.bool_)
    around[place.y : place.y + place.height, place.x : place.x + place.width] = False
    assert np.array_equal(screen.pixels[around], pages[-1][around])
    assert composer.rests_at is not None
    rested = composer.step(Surface.of(pages[-1]), composer.rests_at + 0.001)
    assert rested is not None
    assert {p.encoding for p in rested.paints} <= {Encoding.WEBP_LOSSLESS, Encoding.FILL}
    screen.draw(rested)
    assert np.array_equal(screen.pixels, pages[-1])
    assert composer.rests_at is None


def test_a_film_that_cannot_be_kept_up_with_is_one_all_the_same() -> None:
    """Two seconds between two steps, with pictures passed over between them; pages that merely follow each other so slowly are no film."""
    found = {}
    for behind in (True, False):
        composer, screen, frames = Composer(video=True), Screen(), []
        for turn in range(12):
            frame = composer.step(Surface.of(moving(turn)), 2.0 * turn, behind=behind)
            assert frame is not None
            screen.draw(frame)
            frames.append(frame)
        found[behind] = len(films(frames))
    assert found[True] > 4
    assert found[False] == 0


def test_a_viewer_without_a_decoder_gets_pictures() -> None:
    frames = play(Composer(video=False), Screen(), [moving(turn) for turn in range(30)])
    assert not films(frames)
    assert any(p.encoding is Encoding.WEBP_LOSSY for frame in frames for p in frame.paints)


def test_a_viewer_that_lost_its_decoder_gets_pictures_from_then_on() -> None:
    composer, screen = Composer(video=True), Screen()
    assert films(play(composer, screen, [moving(turn) for turn in range(20)]))
    composer.forget(video=False)
    after = play(composer, screen, [moving(turn) for turn in range(20, 34)], 1.0)
    assert after[0].whole
    assert not films(after)


def test_after_a_whole_frame_film_begins_with_a_key_frame() -> None:
    composer, screen = Composer(video=True), Screen()
    play(composer, screen, [moving(turn) for turn in range(20)])
    composer.forget(video=True)
    again = films(play(composer, screen, [moving(turn) for turn in range(20, 34)], 1.0))  # Screen refuses anything else
    head = vp8_frame(again[0].data)
    assert head is not None
    assert head.key


def test_film_follows_what_moves_elsewhere() -> None:
    composer, screen = Composer(video=True), Screen()
    play(composer, screen, [moving(turn) for turn in range(20)])
    later = [moving(turn, 280, 160, 200, 210) for turn in range(20, 60)]
    frames = play(composer, screen, later, 1.0)
    place = films(frames)[-1]
    assert place.x >= 256
    assert place.y >= 128
    assert composer.rests_at is not None
    for _ in range(3):
        frame = composer.step(Surface.of(later[-1]), 10.0 + _)
        if frame is not None:
            screen.draw(frame)
    assert np.array_equal(screen.pixels, later[-1])


def test_film_costs_a_fraction_of_pictures() -> None:
    pages = [moving(turn) for turn in range(32)]
    costs = {}
    for video in (True, False):
        frames = play(Composer(video=video), Screen(), pages)
        costs[video] = sum(len(encode(frame)) for frame in frames[16:])
    assert costs[True] * 2 < costs[False]
    assert REST_SECONDS <= 0.2
