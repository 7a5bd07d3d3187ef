"""What a viewer holds: frames that suppose what it does not hold are refused, whatever the order they come in."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderer.wire import messages as m
from renderer.wire.fields import WireError
from renderer.wire.frames import MAX_COVER, MAX_KEPT_PIXELS, MAX_SLOTS
from renderer.wire.glyphs import MAX_SHEETS, Glyphs, Stamp, layout, pack_glyphs
from renderer.wire.images import vp8_frame
from renderer.wire.memory import FrameMemory

SIDE = 2048
DELTA = (1 | 1 << 4 | 4 << 5).to_bytes(3, "little") + bytes(4)


def key(width: int, height: int) -> bytes:
    """The head of a VP8 key frame of a size, and nothing behind it that would decode."""
    return (
        (1 << 4 | 4 << 5).to_bytes(3, "little")
        + b"\x9d\x01\x2a"
        + width.to_bytes(2, "little")
        + height.to_bytes(2, "little")
        + bytes(4)
    )


def frame(
    seq: int, *paints: m.Paint, keeps: tuple[m.Keep, ...] = (), whole: bool = False, side: int = SIDE, scale: int = 100
) -> m.Frame:
    return m.Frame(seq, side, side, whole, (), paints, keeps, scale)


def recall(slot: int, x: int = 0, y: int = 0, width: int = 8, height: int = 8) -> m.Paint:
    data = b"".join(n.to_bytes(2, "big") for n in (slot, x, y))
    return m.Paint(0, 0, width, height, m.Encoding.RECALL, data)


def film(data: bytes, x: int = 0, width: int = 32, height: int = 16) -> m.Paint:
    return m.Paint(x, 0, width, height, m.Encoding.VIDEO, data)


def tiny(seq: int, *paints: m.Paint, whole: bool = False) -> m.Frame:
    return frame(seq, *paints, whole=whole, side=64)


def begun(side: int = SIDE) -> FrameMemory:
    memory = FrameMemory()
    memory.take(frame(1, whole=True, side=side))
    return memory


def test_what_was_kept_may_be_recalled_until_a_whole_frame() -> None:
    memory = begun()
    memory.take(frame(2, keeps=(m.Keep(7, 0, 0, 64, 32),)))
    memory.take(frame(3, recall(7, 32, 0, 32, 32), recall(7)))
    memory.take(frame(4, whole=True))
    with pytest.raises(WireError, match="never kept"):
        memory.take(frame(5, recall(7)))


@pytest.mark.parametrize(
    "lie",
    [recall(8), recall(7, 33, 0, 32, 32), recall(7, 0, 1, 64, 32), recall(7, 65_535, 65_535), recall(MAX_SLOTS - 1)],
)
def test_a_recall_of_what_was_not_kept_is_refused(lie: m.Paint) -> None:
    memory = begun()
    memory.take(frame(2, keeps=(m.Keep(7, 0, 0, 64, 32),)))
    with pytest.raises(WireError, match="never kept"):
        memory.take(frame(3, lie))


def test_a_slot_that_was_kept_anew_is_as_large_as_its_last_rectangle() -> None:
    memory = begun()
    memory.take(frame(2, keeps=(m.Keep(7, 0, 0, 64, 32),)))
    memory.take(frame(3, keeps=(m.Keep(7, 0, 0, 8, 8),)))
    with pytest.raises(WireError):
        memory.take(frame(4, recall(7, 0, 0, 9, 8)))


def test_no_more_is_kept_than_a_viewer_holds() -> None:
    memory = begun()
    most = MAX_KEPT_PIXELS // (SIDE * SIDE)
    for slot in range(most):
        memory.take(frame(2 + slot, keeps=(m.Keep(slot, 0, 0, SIDE, SIDE),)))
    memory.take(frame(2 + most, keeps=(m.Keep(0, 0, 0, SIDE, SIDE),)))  # in the place of another
    with pytest.raises(WireError, match="more is kept"):
        memory.take(frame(3 + most, keeps=(m.Keep(most, 0, 0, 1, 1),)))


def glyphs(
    *sizes: tuple[int, int],
    stamps: tuple[Stamp, ...] = (),
    forget: bool = False,
    rect: tuple[int, int, int, int] = (0, 0, 64, 64),
) -> m.Paint:
    sheet = b""
    if sizes:
        _, width, height = layout(sizes)
        sheet = bytes(imagecodecs.webp_encode(np.zeros((height, width, 3), np.uint8), lossless=True))
    return m.Paint(*rect, m.Encoding.GLYPHS, pack_glyphs(Glyphs(forget, sizes, sheet, stamps)))


def test_a_glyph_may_be_stamped_until_it_is_forgotten() -> None:
    memory = begun(64)
    memory.take(tiny(2, glyphs((8, 12), (5, 5), stamps=(Stamp(1, 59, 59), Stamp(0, 0, 0)))))
    memory.take(tiny(3, glyphs((64, 64), stamps=(Stamp(2, 0, 0), Stamp(0, 56, 52)))))
    memory.take(tiny(4, glyphs((8, 8), forget=True, stamps=(Stamp(0, 1, 1),))))
    with pytest.raises(WireError, match="never sent"):
        memory.take(tiny(5, glyphs(stamps=(Stamp(1, 1, 1),))))
    memory = begun(64)
    memory.take(tiny(2, glyphs((8, 12))))
    memory.take(tiny(3, whole=True))
    with pytest.raises(WireError, match="never sent"):
        memory.take(tiny(4, glyphs(stamps=(Stamp(0, 1, 1),))))


@pytest.mark.parametrize("place", [(57, 0), (0, 53), (9, 30), (30, 9), (-1, 20), (20, -1), (8000, 8000)])
def test_a_stamp_outside_its_rectangle_is_refused(place: tuple[int, int]) -> None:
    memory = begun(64)
    memory.take(tiny(2, glyphs((8, 12), rect=(10, 10, 50, 50), stamps=(Stamp(0, 10, 10), Stamp(0, 52, 48)))))
    with pytest.raises(WireError, match="outside its rectangle"):
        memory.take(tiny(3, glyphs(rect=(10, 10, 50, 50), stamps=(Stamp(0, *place),))))


def test_no_more_glyphs_are_sent_than_a_viewer_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = begun(64)
    for number in range(MAX_SHEETS):
        memory.take(tiny(2 + number, glyphs((1, 1))))
    with pytest.raises(WireError, match="more glyphs"):
        memory.take(tiny(2 + MAX_SHEETS, glyphs((1, 1))))
    for name, limit in (("MAX_SHEET_PIXELS", 150), ("MAX_GLYPHS", 2)):
        with monkeypatch.context() as patch:
            patch.setattr("renderer.wire.memory." + name, limit)
            memory = begun(64)
            memory.take(tiny(2, glyphs((10, 5), (5, 10))))
            memory.take(tiny(3, glyphs((10, 5), (5, 10), forget=True)))
            with pytest.raises(WireError, match="more glyphs"):
                memory.take(tiny(4, glyphs((1, 1))))


def test_glyphs_of_one_frame_cover_its_surface_so_many_times_and_no_more() -> None:
    memory = begun(64)
    full = Stamp(0, 0, 0)
    memory.take(tiny(2, glyphs((64, 64), stamps=(full,)), glyphs(stamps=(full,) * (MAX_COVER - 1))))
    with pytest.raises(WireError, match="too often"):
        memory.take(tiny(3, glyphs(stamps=(full,)), glyphs(stamps=(full,) * MAX_COVER)))


def test_film_begins_with_a_key_frame_and_stays_in_its_place() -> None:
    memory = begun()
    memory.take(frame(2, film(key(32, 16))))
    memory.take(frame(3, film(DELTA)))
    memory.take(frame(4))
    memory.take(frame(5, film(DELTA)))
    with pytest.raises(WireError, match="without its beginning"):
        memory.take(frame(6, film(DELTA, x=8)))


@pytest.mark.parametrize("width", [31, 33])
def test_film_of_a_changed_size_needs_a_key_frame(width: int) -> None:
    memory = begun()
    memory.take(frame(2, film(key(32, 16))))
    with pytest.raises(WireError, match="without its beginning"):
        memory.take(frame(3, film(DELTA, width=width)))


def test_film_ends_with_a_whole_frame() -> None:
    memory = begun()
    memory.take(frame(2, film(key(32, 16))))
    memory.take(frame(3, whole=True))
    with pytest.raises(WireError, match="without its beginning"):
        memory.take(frame(4, film(DELTA)))


def test_a_viewer_without_a_decoder_gets_no_film() -> None:
    memory = FrameMemory(video=False)
    memory.take(frame(1, whole=True))
    with pytest.raises(WireError, match="no decoder"):
        memory.take(frame(2, film(key(32, 16))))


@pytest.mark.parametrize("lie", [frame(3), frame(1), frame(2, side=SIDE - 1), frame(2, scale=101), frame(1, whole=True)])
def test_order_and_size(lie: m.Frame) -> None:
    with pytest.raises(WireError):
        begun().take(lie)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_film_frame_of_a_sound_size_or_none(data: bytes) -> None:
    for tried in (data, key(5, 6)[: len(data)] + data, DELTA[:3] + data):
        head = vp8_frame(tried)
        if head is not None:
            assert tried[0] >> 4 & 1
            assert head.key is not bool(tried[0] & 1)
            assert (1 <= head.width < 1 << 14 and 1 <= head.height < 1 << 14) if head.key else head.width == head.height == 0


@given(st.integers(1, 16383), st.integers(1, 16383), st.integers(1, 3))
def test_a_key_frames_size_is_read_and_upscaling_hints_are_refused(width: int, height: int, hint: int) -> None:
    head = vp8_frame(key(width, height))
    assert head is not None
    assert (head.key, head.width, head.height) == (True, width, height)
    assert vp8_frame(key(width | hint << 14, height)) is None
    assert vp8_frame(key(width, height | hint << 14)) is None
