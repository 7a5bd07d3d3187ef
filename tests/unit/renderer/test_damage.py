"""Frames are exact: whatever changed, drawing the frame over the old surface gives the new one, pixel for pixel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renderer.capture.compose import BANDS, HOT, REST_SECONDS, Composer
from renderer.capture.damage import FINE, TILE, plan
from renderer.capture.picture import BadFrameError, decode_png
from renderer.capture.scroll import slanted_shifts
from renderer.capture.surface import Rect, Surface, any_in_cells, components, count_in_cells, cover, covered, merge
from renderer.wire.codec import decode_from_renderer, encode
from renderer.wire.messages import Encoding, Frame
from tests.support.renderer import Screen

slow = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def text_like(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Lines of dark marks on white: rows differ, columns repeat, much is blank."""
    page = np.full((height, width, 3), 255, np.uint8)
    for top in range(4, height - 12, 18):
        marks = rng.random((10, width)) < 0.3
        marks[:, int(rng.integers(width // 3, width)) :] = False
        page[top : top + 10][marks] = rng.integers(0, 120, 3)
    return page


@st.composite
def changes(draw_: st.DrawFn) -> tuple[Pixels, Pixels]:
    """Two surfaces of one size: noise, fills, scrolled regions with fixed parts beside them."""
    rng = np.random.default_rng(draw_(st.integers(0, 2**32 - 1)))
    width, height = draw_(st.integers(1, 400)), draw_(st.integers(1, 300))
    old = text_like(rng, height, width)
    new = old.copy()
    for _ in range(draw_(st.integers(0, 4))):
        x0, x1 = sorted((draw_(st.integers(0, width)), draw_(st.integers(0, width))))
        y0, y1 = sorted((draw_(st.integers(0, height)), draw_(st.integers(0, height))))
        if x0 == x1 or y0 == y1:
            continue
        region = new[y0:y1, x0:x1]
        match draw_(st.sampled_from(["fill", "noise", "down", "across", "slanted", "dot", "page"])):
            case "fill":
                region[...] = rng.integers(0, 256, 3)
            case "noise":
                region[...] = rng.integers(0, 256, region.shape)
            case "down":
                region[...] = np.roll(region, draw_(st.integers(-200, 200)), axis=0)
            case "across":
                region[...] = np.roll(region, draw_(st.integers(-200, 200)), axis=1)
            case "slanted":
                region[...] = np.roll(region, (draw_(st.integers(-90, 90)), draw_(st.integers(-90, 90))), axis=(0, 1))
            case "page":
                region[...] = text_like(rng, *region.shape[:2])
            case _:
                region[0, 0] = rng.integers(0, 256, 3)
    return old, new


def shown(frames: list[Frame]) -> Pixels:
    screen = Screen()
    for frame in frames:
        again = decode_from_renderer(encode(frame))
        assert again == frame
        screen.draw(frame)
    return screen.pixels


@slow
@given(changes())
def test_a_frame_gives_exactly_the_new_surface(pair: tuple[Pixels, Pixels]) -> None:
    composer = Composer()
    frames = [composer.step(Surface.of(pixels), float(at)) for at, pixels in enumerate(pair)]
    assert np.array_equal(shown([f for f in frames if f is not None]), pair[1])
    assert (frames[1] is None) == np.array_equal(*pair)
    for frame in frames:
        for paint in frame.paints if frame is not None else ():
            assert paint.encoding is not Encoding.WEBP_LOSSY


@slow
@given(st.lists(changes(), min_size=1, max_size=3), st.booleans())
def test_whatever_moves_is_exact_at_rest(pairs: list[tuple[Pixels, Pixels]], video: bool) -> None:
    """Motion mode and copies mixed, at film speed; then two rests, after which every pixel is right."""
    composer = Composer(video=video)
    frames: list[Frame] = []
    now = 0.0
    height, width = pairs[0][0].shape[:2]

    def step(pixels: Pixels) -> None:
        frame = composer.step(Surface.of(np.ascontiguousarray(pixels)), now)
        if frame is not None:
            frames.append(frame)

    last = pairs[0][0]
    rng = np.random.default_rng(1)
    for old, new in pairs:
        if old.shape != last.shape:
            continue
        for turn in range(12):
            now += 0.02
            last = (new if turn % 2 else old).copy()
            last[: height // 2, : width // 2] = rng.integers(0, 256, (height // 2, width // 2, 3))
            step(last)
    for _rest in range(3):
        now += REST_SECONDS + 0.01
        step(last)
    assert np.array_equal(shown(frames), last)
    assert composer.rests_at is None


def scroll_frames(build: Any, steps: int = 10) -> tuple[list[Frame], int]:
    composer = Composer()
    frames, raw = [], 0
    for at in range(steps):
        pixels = build(at)
        raw += len(imagecodecs.png_encode(pixels))
        frame = composer.step(Surface.of(pixels), float(at))
        assert frame is not None
        frames.append(frame)
    assert np.array_equal(shown(frames), build(steps - 1))
    return frames, raw


def test_scrolling_below_a_fixed_header_beside_a_side_bar_and_a_scroll_bar() -> None:
    rng = np.random.default_rng(7)
    long = text_like(rng, 3000, 900)
    frame_of = text_like(rng, 800, 1280)

    def build(at: int) -> Pixels:
        page = frame_of.copy()
        page[80:780, 300:1200] = long[at * 53 : at * 53 + 700]
        page[80:780, 1200:1215] = 240
        page[80 + at * 9 : 140 + at * 9, 1202:1213] = 120  # the scroll bar's thumb
        page[400:440, 700:820] = (255, 220, 0)  # something that floats over the text
        return page

    frames, raw = scroll_frames(build)
    sent = sum(len(encode(frame)) for frame in frames[1:])
    assert all(frame.copies for frame in frames[1:])
    assert sent * 8 < raw


@pytest.mark.parametrize("distance", [-45, 30, 120, 400])
def test_a_long_scroll_never_goes_lossy(distance: int) -> None:
    """The strip where text comes into view is painted with every frame, and always with something new: blurring it would send it twice."""
    rng = np.random.default_rng(11)
    long = text_like(rng, 17_000, 900)
    composer = Composer()
    start = 0 if distance > 0 else 16_200
    for at in range(40):
        page = np.full((800, 1280, 3), 255, np.uint8)
        page[56:, 240:1140] = long[start + at * distance : start + at * distance + 744]
        frame = composer.step(Surface.of(page), at / 30)
        assert frame is not None
        assert all(p.encoding is not Encoding.WEBP_LOSSY for p in frame.paints), at
    assert composer.rests_at is None


def test_a_picture_that_moves_beside_a_scrolled_text_goes_lossy_all_the_same() -> None:
    rng = np.random.default_rng(12)
    long = text_like(rng, 4000, 500)
    composer = Composer()
    lossy = 0
    for at in range(40):
        page = np.full((800, 1280, 3), 255, np.uint8)
        page[:, 20:520] = long[at * 40 : at * 40 + 800]
        page[100:500, 700:1200] = rng.integers(0, 256, (400, 500, 3))
        frame = composer.step(Surface.of(page), at / 30)
        assert frame is not None
        lossy += any(p.encoding is Encoding.WEBP_LOSSY for p in frame.paints)
    assert lossy > 20


@pytest.mark.parametrize("distance", [-60, 16, 60])
def test_scrolling_sideways(distance: int) -> None:
    rng = np.random.default_rng(3)
    wide = np.ascontiguousarray(text_like(rng, 2400, 500).transpose(1, 0, 2))

    def build(at: int) -> Pixels:
        page = np.full((600, 1000, 3), 255, np.uint8)
        start = 900 + at * distance
        page[50:550, 100:900] = wide[:, start : start + 800]
        return page

    frames, _ = scroll_frames(build, 5)
    assert all(frame.copies for frame in frames[1:])


@pytest.mark.parametrize(("right", "down"), [(9, 7), (-13, 30), (64, -1), (-1, 2)])
def test_a_map_that_is_dragged_slantwise(right: int, down: int) -> None:
    """Under a button that stays: nothing is sent but its edges."""
    rng = np.random.default_rng(3)
    town = text_like(rng, 1800, 2400)

    def build(at: int) -> Pixels:
        page = np.full((600, 1000, 3), 255, np.uint8)
        y, x = 600 + at * down, 400 + at * right
        page[50:550, 100:900] = town[y : y + 500, x : x + 800]
        page[80:120, 120:180] = 40
        return page

    frames, _ = scroll_frames(build, 6)
    for frame in frames[1:]:
        assert frame.copies
        assert sum(paint.width * paint.height for paint in frame.paints if paint.encoding is not Encoding.GLYPHS) < 800 * 500 // 4


@pytest.mark.parametrize(("right", "down"), [(12, 0), (0, -17), (-9, -7)])
def test_a_map_whose_lines_are_drawn_a_shade_differently_where_they_moved_to(right: int, down: int) -> None:
    """A canvas drawn anew from other coordinates: nearly all of it only moved, and a few pixels everywhere did not."""
    rng = np.random.default_rng(6)
    town = text_like(rng, 1800, 2400)

    def build(at: int) -> Pixels:
        y, x = 600 + at * down, 700 + at * right
        page = town[y : y + 600, x : x + 1000].copy()
        dots = np.random.default_rng(at)
        page[dots.integers(0, 600, 100), dots.integers(0, 1000, 100)] ^= 1
        return page

    frames, _ = scroll_frames(build, 8)
    first = sum(len(paint.data) for paint in frames[0].paints)
    for frame in frames[1:]:
        assert sum(copy.width * copy.height for copy in frame.copies) > 600 * 1000 * 0.9
        assert sum(len(paint.data) for paint in frame.paints) < first / 2


def test_what_changes_in_many_places_is_not_painted_whole() -> None:
    composer, rng = Composer(), np.random.default_rng(8)
    page = rng.integers(0, 256, (640, 960, 3)).astype(np.uint8)
    frames = [composer.step(Surface.of(page), 0.0)]
    page = page.copy()
    page[16:640:64, 16:400:64] ^= 255  # 60 tiles, each for itself
    page[630, 950] ^= 255  # and one at the other end
    frames.append(composer.step(Surface.of(page), 1.0))
    first, second = frames
    assert first is not None
    assert second is not None
    assert np.array_equal(shown([first, second]), page)
    assert sum(paint.width * paint.height for paint in second.paints) < 640 * 450


def test_what_only_looks_shifted_is_painted() -> None:
    """One window that is met by chance moves nothing."""
    rng = np.random.default_rng(4)
    old, new = (rng.integers(0, 2**24, (300, 400)).astype(np.uint32) for _ in range(2))
    assert slanted_shifts(old, new) == []
    new[40:44, 60:200] = old[50:54, 70:210]
    assert slanted_shifts(old, new) in ([], [(10, 10)])
    found = plan(Surface(old), Surface(new))
    assert found is not None
    assert not found.copies
    assert slanted_shifts(np.zeros((300, 400), np.uint32), np.ones((300, 400), np.uint32)) == []


def test_a_fixed_picture_that_keeps_changing_goes_lossy_and_rests_lossless() -> None:
    composer, rng = Composer(), np.random.default_rng(5)
    base = text_like(rng, 480, 640)
    frames: list[Frame] = []
    lossy = 0
    page = base
    for turn in range(40):
        page = base.copy()
        page[64:384, 64:448] = rng.integers(0, 256, (320, 384, 3))
        frame = composer.step(Surface.of(page), turn * 0.03)
        assert frame is not None
        frames.append(frame)
        lossy += any(p.encoding is Encoding.WEBP_LOSSY for p in frame.paints)
    assert lossy > 20
    assert composer.rests_at is not None
    assert composer.moving
    assert composer.step(Surface.of(page), 40 * 0.03 + 0.01) is None  # not rested yet
    final = composer.step(Surface.of(page), 40 * 0.03 + REST_SECONDS + 0.1)
    assert final is not None
    assert {p.encoding for p in final.paints} == {Encoding.WEBP_LOSSLESS}
    assert np.array_equal(shown([*frames, final]), page)
    assert composer.rests_at is None


def test_typing_never_goes_lossy() -> None:
    composer, rng = Composer(), np.random.default_rng(5)
    page = text_like(rng, 480, 640)
    for turn in range(100):
        page = page.copy()
        page[100:116, (turn * 8) % 600 : (turn * 8) % 600 + 8] = rng.integers(0, 256, (16, 8, 3))
        frame = composer.step(Surface.of(page), turn * 0.03)
        assert frame is None or all(p.encoding is not Encoding.WEBP_LOSSY for p in frame.paints)
    assert HOT > 2


def test_bands_in_parallel_are_exact() -> None:
    rng = np.random.default_rng(9)
    with ThreadPoolExecutor(2) as pool:
        composer = Composer(pool)
        page = text_like(rng, 1100, 900)
        frame = composer.step(Surface.of(page), 0.0)
        assert frame is not None
        assert [paint.encoding for paint in frame.paints[:BANDS]] == [Encoding.WEBP_LOSSLESS] * BANDS
        assert sum(paint.height for paint in frame.paints[:BANDS]) == 1100
        assert np.array_equal(shown([frame]), page)


def test_forgetting_sends_the_whole_surface_and_counts_on() -> None:
    composer = Composer(sent=41)
    page = Surface.of(np.zeros((50, 60, 3), np.uint8))
    first = composer.step(page, 0.0)
    composer.forget(video=False)
    second = composer.step(page, 1.0)
    assert first is not None
    assert second is not None
    assert (first.seq, second.seq, second.whole) == (42, 43, True)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_cells(width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).random((height, width)) < 0.001
    cells = any_in_cells(pixels, TILE, TILE)
    for y, x in zip(*np.nonzero(pixels), strict=True):
        assert cells[y // TILE, x // TILE]
    found = np.zeros_like(cells)
    for rect in cover(cells, cells.size):
        assert not found[rect.y : rect.bottom, rect.x : rect.right].any()
        found[rect.y : rect.bottom, rect.x : rect.right] = True
    assert np.array_equal(found, cells)
    boxes = components(cells)
    inside = np.zeros_like(cells)
    for box in boxes:
        inside[box.y : box.bottom, box.x : box.right] = True
    assert (inside | ~cells).all()


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.02, 0.3, 0.9, 1.0]),
    st.integers(1, 30),
)
def test_cells_are_covered_by_no_more_rectangles_than_wanted(width: int, height: int, seed: int, share: float, most: int) -> None:
    cells = np.random.default_rng(seed).random((height, width)) < share
    rects = covered(cells, most)
    assert len(rects) <= most
    got = np.zeros(cells.shape, int)
    for r in rects:
        assert r.right <= width
        assert r.bottom <= height
        got[r.y : r.bottom, r.x : r.right] += 1
    assert (got[cells] == 1).all()
    assert got.max(initial=0) <= 1
    if len(cover(cells, most + 1)) <= most:
        assert np.array_equal(got > 0, cells)


@given(st.integers(1, 200), st.integers(1, 100), st.integers(0, 2**32 - 1), st.sampled_from([0.01, 0.5, 1.0]))
def test_pixels_are_counted_by_cell(width: int, height: int, seed: int, share: float) -> None:
    pixels = np.random.default_rng(seed).random((height, width)) < share
    for across, down in ((TILE, FINE), (FINE, TILE), (TILE, TILE)):
        counts = count_in_cells(pixels, across, down)
        for y, x in np.ndindex(counts.shape):
            assert counts[y, x] == pixels[y * down : (y + 1) * down, x * across : (x + 1) * across].sum()


@given(st.lists(st.builds(Rect, st.integers(0, 300), st.integers(0, 300), st.integers(1, 90), st.integers(1, 90)), max_size=20))
def test_merging_keeps_every_pixel_and_never_paints_one_twice(drawn: list[Rect]) -> None:
    wanted, got = np.zeros((400, 400), int), np.zeros((400, 400), int)
    rects: list[Rect] = []
    for r in drawn:
        if not wanted[r.y : r.bottom, r.x : r.right].any():
            wanted[r.y : r.bottom, r.x : r.right] = 1
            rects.append(r)
    for r in merge(rects, 1.15, 1024):
        got[r.y : r.bottom, r.x : r.right] += 1
    assert (got >= wanted).all()
    assert got.max(initial=0) <= 1


def test_equal_surfaces_need_nothing() -> None:
    page = Surface.of(np.zeros((50, 60, 3), np.uint8))
    assert plan(page, page) is None


@given(st.binary(max_size=200))
def test_hostile_pictures(data: bytes) -> None:
    good = bytes(imagecodecs.png_encode(np.zeros((4, 4, 3), np.uint8)))
    for hostile in (data, good[:16] + data, good[: len(good) // 2] + data, good[:8] + data):
        try:
            surface = decode_png(hostile, 8192)
        except BadFrameError:
            continue
        assert surface.shape[1] <= 8192


def test_a_picture_that_claims_to_be_huge_is_not_decoded() -> None:
    bomb = bytearray(imagecodecs.png_encode(np.zeros((4, 4, 3), np.uint8)))
    bomb[16:24] = b"\x00\x00\xff\xff\x00\x00\xff\xff"
    with pytest.raises(BadFrameError):
        decode_png(bytes(bomb), 8192)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 2), (5, 4, 3), (5, 4, 4)])
def test_every_kind_of_png(shape: tuple[int, ...]) -> None:
    pixels = np.full(shape, 255, np.uint8)
    assert decode_png(bytes(imagecodecs.png_encode(pixels)), 100).shape == (5, 4, 3)
