"""What one stream may take of the router's time, from the side of somebody who wants all of it."""

from __future__ import annotations

import pytest

from isolation.broker.allowance import EVENTS_BURST, EVENTS_PER_SECOND, INPUTS_BURST, INPUTS_PER_SECOND, Allowance, cost
from renderer.wire import messages as m
from renderer.wire.codec import MAX_EVENT_BYTES, MAX_INPUT_BYTES
from renderer.wire.frames import MAX_PAINTS
from renderer.wire.glyphs import MAX_STAMPS, Glyphs, Stamp, pack_glyphs

SELECT = m.Select(1, m.SelectKind.OPTIONS, 0, 0, 9, 9, False, (), "", "", "")


def frame(paints: int) -> m.Frame:
    return m.Frame(1, 640, 480, True, (), tuple(m.Paint(i % 640, i // 640, 1, 1, m.Encoding.FILL, b"abc") for i in range(paints)))


def stamps(count: int) -> m.Frame:
    data = pack_glyphs(Glyphs(False, (), b"", (Stamp(0, 0, 0),) * count))
    return m.Frame(1, 640, 480, True, (), (m.Paint(0, 0, 640, 480, m.Encoding.GLYPHS, data),))


def passed(allowance: Allowance, amount: float, seconds: float) -> int:
    """How many messages of a cost come through in a time, to somebody who sends without a break."""
    now, count = 0.0, 0
    while now < seconds:
        now += allowance.spend(amount, now) or 1e-6
        count += 1
    return count


@pytest.mark.case(39, 49)
@pytest.mark.parametrize(
    ("message", "size", "most"),
    [
        (SELECT, MAX_EVENT_BYTES, 6),  # a quarter of a second of the loop each
        (frame(MAX_PAINTS), 65_554, 40),
        (stamps(MAX_STAMPS), 24_600, 40),  # 25 milliseconds, as those before
        (m.Title("x"), 20, 2400),
        (None, 20, 2400),  # what is dropped has been read all the same
    ],
    ids=["events-of-megabytes", "frames-of-crumbs", "frames-of-stamps", "titles", "dropped"],
)
def test_a_renderer_cannot_take_all_of_the_loop(message: m.FromRenderer | None, size: int, most: int) -> None:
    allowance = Allowance(EVENTS_PER_SECOND, EVENTS_BURST, 0.0)
    assert passed(allowance, cost(message, size), 10.0) <= most


@pytest.mark.case(30)
def test_a_viewer_cannot_take_all_of_the_loop() -> None:
    allowance = Allowance(INPUTS_PER_SECOND, INPUTS_BURST, 0.0)
    assert passed(allowance, cost(m.Paste("x"), MAX_INPUT_BYTES), 10.0) <= 110
    assert passed(Allowance(INPUTS_PER_SECOND, INPUTS_BURST, 0.0), cost(None, 20), 10.0) <= 13_100


def test_honest_streams_never_wait() -> None:
    down, up = Allowance(EVENTS_PER_SECOND, EVENTS_BURST, 0.0), Allowance(INPUTS_PER_SECOND, INPUTS_BURST, 0.0)
    for tick in range(60 * 60):  # a minute of a busy dashboard under a busy hand
        now = tick / 60
        assert down.spend(cost(frame(200) if tick % 2 else m.Cursor("text"), 30_000 if tick % 2 else 20), now) == 0
        assert up.spend(4 * cost(m.Pointer(m.PointerKind.MOVE, 1, 1, 0, 0, 0, 0), 90), now) == 0
        if tick % 120 == 0:
            assert down.spend(cost(SELECT, 200_000), now) == 0  # a list of two thousand names


def test_files_are_carried_at_the_speed_of_the_line() -> None:
    down = Allowance(EVENTS_PER_SECOND, EVENTS_BURST, 0.0)
    piece = m.DownloadData(1, 0, b"x" * 131_072)
    assert passed(down, cost(piece, 131_085), 10.0) * 131_072 > 200e6


def test_time_that_goes_backwards_gives_nothing() -> None:
    allowance = Allowance(10.0, 10.0, 100.0)
    assert allowance.spend(10, 100.0) == 0
    assert allowance.spend(5, 0.0) == 0.5
