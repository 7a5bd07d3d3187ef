"""Text as glyphs: what a viewer makes of them is the picture, whatever the picture is; and what is seen again costs next to nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from renderer.capture import glyphs as subject
from renderer.capture.compose import Composer
from renderer.capture.glyphs import GlyphBook, Room, take_apart
from renderer.capture.surface import Rect, Surface
from renderer.wire import messages as m
from renderer.wire.codec import encode
from renderer.wire.glyphs import MAX_STAMPS, unpack_glyphs
from tests.support.renderer import Screen

WHITE, INK, BOX = 0xFFFFFF, 0x332211, 0xE0D0C0
LETTERS = [np.random.default_rng(number).integers(0, 2, (11, 7)).astype(np.bool_) for number in range(9)]
for letter in LETTERS:
    letter[:, ::3] = True  # in one piece, and as high as the others


def page(words: list[list[int]], ground: int = WHITE, width: int = 320) -> np.ndarray[Any, Any]:
    """A picture of lines of letters, by number."""
    picture = np.full((24 * len(words) + 16, width), ground, np.uint32)
    for row, line in enumerate(words):
        for column, number in enumerate(line):
            y, x = 12 + 24 * row, 24 + 10 * column
            picture[y : y + 11, x : x + 7][LETTERS[number]] = INK
    return picture


def shown(screen: Screen, frame: m.Frame | None) -> np.ndarray[Any, Any]:
    assert frame is not None
    encode(frame)  # passes the gate
    return screen.draw(frame)


def stamped(frame: m.Frame | None) -> list[m.Paint]:
    assert frame is not None
    return [paint for paint in frame.paints if paint.encoding is m.Encoding.GLYPHS]


def test_what_stands_on_a_ground_is_found_letter_by_letter() -> None:
    picture = page([[0, 1, 2, 0], [3, 3]])
    picture[30:52, 20:120] = np.where(picture[30:52, 20:120] == WHITE, BOX, picture[30:52, 20:120])  # one line stands in a box
    taken = take_apart(picture)
    assert taken is not None
    rest, shapes = taken
    letters = {(24 + 10 * column, 12 + 24 * row, 7, 11) for row, columns in ((0, 4), (1, 2)) for column in range(columns)}
    assert {tuple(shape) for shape in shapes} == letters
    assert np.array_equal(np.unique(rest), np.unique([WHITE, BOX]))


def test_letters_that_touch_are_cut_where_they_are_thin() -> None:
    picture = page([[0]])
    picture[12:23, 24:31] = INK
    picture[14, 31] = WHITE - 0x202020  # the soft edge of one, beside the stem of the next
    picture[12:23, 32:39] = INK
    taken = take_apart(picture)
    assert taken is not None
    assert [(shape.x, shape.width) for shape in taken[1]] == [(24, 8), (32, 7)]


@pytest.mark.parametrize(
    "picture",
    [
        np.random.default_rng(1).integers(0, 2**24, (200, 200)).astype(np.uint32),  # a photo
        np.tile(np.arange(200, dtype=np.uint32), (200, 1)),  # a gradient across
    ],
    ids=["photo", "gradient"],
)
def test_what_is_no_text_is_left_alone(picture: np.ndarray[Any, Any]) -> None:
    assert take_apart(picture) is None
    assert GlyphBook().find(picture, Rect(0, 0, *picture.shape[::-1]), Room(MAX_STAMPS, 4096, 2 * picture.size)) is None


def test_a_page_of_dust_is_given_up() -> None:
    picture = np.full((600, 2000), WHITE, np.uint32)
    picture[::3, ::40] = INK
    picture[::3, 1::40] = INK
    dust = np.full((1200, 4000), WHITE, np.uint32)
    dust[::4, ::18] = INK
    assert len(range(0, 1200, 4)) * len(range(0, 4000, 18)) > subject.MOST_INK
    assert take_apart(dust) is None
    taken = take_apart(picture)
    assert taken is not None
    assert len(taken[1]) > MAX_STAMPS
    assert (
        GlyphBook().find(picture, Rect(0, 0, *picture.shape[::-1]), Room(MAX_STAMPS, 4096, 2 * picture.size)) is None
    )  # more than one paint may stamp


def test_a_letter_is_sent_once() -> None:
    composer, screen = Composer(), Screen()
    first, second = page([[0, 1, 2, 3, 4, 0, 1]]), page([[4, 2, 0, 3, 1, 1, 0]])
    frames = [composer.step(Surface(picture), float(number)) for number, picture in enumerate((first, second))]
    for frame, picture in zip(frames, (first, second), strict=True):
        assert np.array_equal(shown(screen, frame), Surface(picture).pixels(Rect(0, 0, 320, 40)))
    learnt = [unpack_glyphs(paint.data).sizes for frame in frames for paint in stamped(frame)]
    assert learnt == [((7, 11),) * 5, ()]
    assert len(encode(frames[1] or pytest.fail("nothing was sent"))) < 120


def test_a_whole_picture_begins_with_no_glyphs() -> None:
    composer = Composer()
    composer.step(Surface(page([[0, 1, 2]])), 0.0)
    composer.forget(video=False)
    (again,) = stamped(composer.step(Surface(page([[0, 1, 2]])), 1.0))
    glyphs = unpack_glyphs(again.data)
    assert len(glyphs.sizes) == 3
    assert not glyphs.forget


@pytest.mark.parametrize("limit", ["MAX_GLYPHS", "MAX_SHEETS", "MAX_SHEET_PIXELS"])
def test_a_full_book_begins_anew(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, limit, {"MAX_GLYPHS": 5, "MAX_SHEETS": 1, "MAX_SHEET_PIXELS": 5 * 7 * 11}[limit])
    composer, screen = Composer(), Screen()
    pictures = [page([[0, 1, 2, 3]]), page([[4, 5, 0, 6]]), page([[4, 5]])]
    forgot = []
    for number, picture in enumerate(pictures):
        frame = composer.step(Surface(picture), float(number))
        assert np.array_equal(shown(screen, frame), Surface(picture).pixels(Rect(0, 0, 320, 40)))
        forgot += [unpack_glyphs(paint.data).forget for paint in stamped(frame)]
    assert forgot[:2] == [False, True]


def test_what_does_not_fit_an_empty_book_goes_as_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_GLYPHS", 2)
    composer, screen = Composer(), Screen()
    picture = page([[0, 1, 2, 3]])
    frame = composer.step(Surface(picture), 0.0)
    assert not stamped(frame)
    assert np.array_equal(shown(screen, frame), Surface(picture).pixels(Rect(0, 0, 320, 40)))


def test_a_book_that_was_emptied_in_vain_says_so_with_its_next_glyphs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MAX_GLYPHS", 4)
    composer, screen = Composer(), Screen()
    for number, line in enumerate(([0, 1, 2], [3, 4, 5, 6, 7], [8, 1])):
        picture = page([line])
        frame = composer.step(Surface(picture), float(number))
        assert bool(stamped(frame)) is (number != 1)
        assert np.array_equal(shown(screen, frame), Surface(picture).pixels(Rect(0, 0, 320, 40)))


COLOURS = st.sampled_from([WHITE, INK, BOX, 0x00FF00, 0x0000FF])


@st.composite
def pictures(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Fills, boxes, lines, letters and noise, in any arrangement."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 130))
    picture = np.full((height, width), draw(COLOURS), np.uint32)
    for _ in range(draw(st.integers(0, 9))):
        y, x = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        kind = draw(st.sampled_from(["box", "letter", "letter", "noise"]))
        if kind == "box":
            picture[y : y + draw(st.integers(1, 60)), x : x + draw(st.integers(1, 100))] = draw(COLOURS)
        elif kind == "letter":
            room = picture[y : y + 11, x : x + 7]
            room[draw(st.sampled_from(LETTERS))[: room.shape[0], : room.shape[1]]] = draw(COLOURS)
        else:
            shape = picture[y : y + 9, x : x + 9].shape
            picture[y : y + 9, x : x + 9] = draw(hnp.arrays(np.uint32, shape, elements=st.integers(0, 0xFFFFFF)))
    return picture


@settings(max_examples=80)
@given(st.lists(pictures(), min_size=1, max_size=4))
def test_stamps_over_the_rest_are_the_picture(several: list[np.ndarray[Any, Any]]) -> None:
    height, width = (max(picture.shape[axis] for picture in several) for axis in (0, 1))
    composer, screen = Composer(), Screen()
    for number, picture in enumerate(several):
        padded = np.full((height, width), WHITE, np.uint32)
        padded[: picture.shape[0], : picture.shape[1]] = picture
        frame = composer.step(Surface(padded), float(number))
        if frame is not None:
            shown(screen, frame)
        assert np.array_equal(screen.pixels, Surface(padded).pixels(Rect(0, 0, width, height)))


@settings(max_examples=200)
@given(pictures())
def test_shapes_are_disjoint_and_hold_all_that_differs(picture: np.ndarray[Any, Any]) -> None:
    taken = take_apart(picture)
    if taken is None:
        return
    rest, shapes = taken
    seen = np.zeros(picture.shape, np.int32)
    for x, y, width, height in shapes:
        assert 0 < width <= subject.WIDEST
        assert 0 < height <= subject.TALLEST
        seen[y : y + height, x : x + width] += 1
    assert seen.max(initial=0) <= 1
    assert not ((rest != picture) & (seen == 0)).any()
