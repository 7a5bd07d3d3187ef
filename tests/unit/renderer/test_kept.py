"""What was seen before is shown again by a reference: exact, cheap, and never past what a viewer holds."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renderer.capture.compose import Composer
from renderer.capture.kept import Kept
from renderer.capture.surface import Surface
from renderer.wire.codec import decode_from_renderer, encode
from renderer.wire.frames import MAX_KEPT_PIXELS, MAX_SLOTS
from renderer.wire.messages import Encoding, Frame
from tests.support.renderer import Screen

Pixels = np.ndarray[Any, np.dtype[np.uint8]]


class Show:
    """A composer and the screen at its other end."""

    def __init__(self) -> None:
        self.composer = Composer()
        self.screen = Screen()
        self.now = 0.0

    def __call__(self, pixels: Pixels) -> Frame | None:
        self.now += 1.5
        frame = self.composer.step(Surface.of(pixels), self.now)
        if frame is not None:
            again = decode_from_renderer(encode(frame))
            assert again == frame
            self.screen.draw(frame)
        assert np.array_equal(self.screen.pixels, pixels)
        return frame


def page(seed: int, width: int = 1280, height: int = 800) -> Pixels:
    """Something that no fill and no movement explains."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[rng.random((height, width)) < 0.2] = rng.integers(0, 100, 3)
    return pixels


def test_going_back_to_a_page_seen_before_is_a_reference() -> None:
    show = Show()
    for seed in (1, 2):
        show(page(seed))
    back = show(page(1))
    assert back is not None
    assert {paint.encoding for paint in back.paints} == {Encoding.RECALL}
    assert len(encode(back)) < 200
    again = show(page(2))
    assert again is not None
    assert len(encode(again)) < 200


def test_a_menu_that_closes_and_opens_again_is_a_reference() -> None:
    show, ground, menu = Show(), page(1), page(2, 203, 301)
    opened = ground.copy()
    opened[77 : 77 + 301, 411 : 411 + 203] = menu
    show(ground)
    first = show(opened)
    assert first is not None
    costs = [show(pixels) for pixels in (ground, opened, ground)]
    for frame in costs:
        assert frame is not None
        assert len(encode(frame)) < 100 < len(encode(first))


def test_a_blinking_caret_becomes_a_reference_and_typing_keeps_nothing() -> None:
    show, ground = Show(), page(3)
    show(ground)
    with_caret = ground.copy()
    with_caret[100:118, 200] = page(4, 1, 18)[:, 0]
    frames = [show(with_caret if turn % 2 == 0 else ground) for turn in range(12)]
    last = frames[-1]
    assert last is not None
    assert [paint.encoding for paint in last.paints] == [Encoding.RECALL]
    typed = ground
    for letter in range(30):
        typed = typed.copy()
        typed[200:216, 300 + letter * 9 : 308 + letter * 9] = page(100 + letter, 8, 16)
        frame = show(typed)
        assert frame is not None
        assert not frame.keeps


def test_a_sprite_that_goes_through_its_pictures_is_sent_once() -> None:
    show, ground = Show(), page(3)
    sprite = [page(50 + n, 96, 96) for n in range(4)]
    show(ground)
    costs = []
    for turn in range(20):
        pixels = ground.copy()
        pixels[64:160, 320:416] = sprite[turn % 4]
        frame = show(pixels)
        assert frame is not None
        costs.append(len(encode(frame)))
    assert max(costs[10:]) < 60 < min(costs[:4])


def test_no_more_is_kept_than_a_viewer_holds() -> None:
    """Pages of three megapixels; the frames' own rules (see Screen) would refuse one pixel too many."""
    show = Show()

    def large(seed: int) -> Pixels:
        pixels = np.zeros((1536, 2048, 3), np.uint8)
        pixels[::32, ::32] = np.random.default_rng(seed).integers(1, 256, (48, 64, 3))
        return pixels

    for seed in range(8):
        show(large(seed))
    assert MAX_KEPT_PIXELS // (2048 * 1536) < 8
    last = show(large(6))
    assert last is not None
    assert Encoding.RECALL in {paint.encoding for paint in last.paints}
    assert len(encode(last)) < 500


def test_a_whole_frame_forgets_everything() -> None:
    show = Show()
    show(page(1))
    show(page(2))
    show.composer.forget(video=False)
    show(page(2))
    frame = show(page(1))
    assert frame is not None
    assert Encoding.RECALL not in {paint.encoding for paint in frame.paints}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.integers(0, 7), st.integers(0, 4), st.booleans()), max_size=25),
    st.integers(33, 200),
    st.integers(33, 150),
)
def test_whatever_comes_back_is_exact(turns: list[tuple[int, int, bool]], width: int, height: int) -> None:
    show = Show()
    grounds = [page(seed, width, height) for seed in range(3)]
    show(grounds[0])
    for x, kind, again in turns:
        pixels = grounds[kind % 3].copy()
        if again:
            patch = page(10 + kind, 40, 40)
            cut = pixels[8 * x : 8 * x + 40, 16 * x : 16 * x + 40]
            cut[...] = patch[: cut.shape[0], : cut.shape[1]]
        show.now -= 1.49  # at film speed: some of it goes lossy
        frame = show.composer.step(Surface.of(pixels), show.now + 1.5)
        show.now += 1.5
        if frame is not None:
            show.screen.draw(decode_from_renderer(encode(frame)))  # type: ignore[arg-type]
    for _ in range(3):
        frame = show.composer.step(Surface.of(pixels if turns else grounds[0]), show.now + 1.0)
        show.now += 1.0
        if frame is not None:
            show.screen.draw(frame)
    assert np.array_equal(show.screen.pixels, pixels if turns else grounds[0])


def test_slots_run_out_gracefully() -> None:
    kept, side = Kept(32), 32
    pixels = page(1, side * 6, side * 40)
    old = Surface.of(pixels)
    screen = Screen()
    screen.draw(Frame(1, side * 6, side * 40, True, (), ()))
    for turn in range(MAX_SLOTS + 40):
        tiles = np.zeros((40, 6), np.bool_)
        tiles[turn % 38 : turn % 38 + 3, 1:4] = True
        pixels[side * (turn % 38) : side * (turn % 38 + 3), side : side * 4] = turn % 251, turn // 251, 7
        pixels[side * (turn % 38) : side * (turn % 38 + 3) : side, side : side * 4 : side] = np.arange(27).reshape(3, 3, 3)
        new = Surface.of(pixels)
        keeps, _, _ = kept.change(old, new, tiles, np.ones_like(tiles))
        assert keeps
        screen.draw(Frame(2 + turn, side * 6, side * 40, False, (), (), tuple(keeps)))
        old = new
