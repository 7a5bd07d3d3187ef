"""Frames under way, bandwidth, and the processors' time: who waits for what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderer.capture.pace import MOST_BYTES, MOST_IN_FLIGHT, Pace
from renderer.capture.share import BURST, DEBT, FairShare


def talk(pace: Pace, trip: float, times: int = 5, now: float = 0.0) -> float:
    for seq in range(1, times + 1):
        pace.sent(seq, 100, now)
        now += trip
        pace.acknowledged(seq, now)
    return now


@pytest.mark.parametrize(("trip", "window"), [(0.001, 2), (0.03, 2), (0.05, 3), (0.08, 4), (0.5, MOST_IN_FLIGHT)])
def test_so_many_frames_are_under_way_as_cover_the_round_trip(trip: float, window: int) -> None:
    pace = Pace()
    now = talk(pace, trip)
    assert pace.round_trip == pytest.approx(trip)
    assert pace.window == window
    for seq in range(window):
        assert pace.wait(now) == 0
        pace.sent(100 + seq, 100, now)
    assert pace.wait(now) is None
    pace.acknowledged(100, now + trip)
    assert pace.wait(now + trip) == 0


def test_a_viewer_that_draws_slowly_gets_one_frame_at_a_time() -> None:
    pace = Pace()
    now = talk(pace, 0.01)
    pace.sent(50, 100, now)
    pace.acknowledged(50, now + 0.4)
    assert pace.window == 1
    pace.sent(51, 100, now + 0.4)
    assert pace.wait(now + 0.4) is None
    pace.acknowledged(51, now + 0.42)
    assert pace.window == 2


def test_bytes_under_way_are_bounded_and_one_frame_always_goes() -> None:
    pace = Pace()
    assert pace.wait(0) == 0
    pace.sent(1, MOST_BYTES * 10, 0)
    assert pace.wait(0) is None
    pace.acknowledged(1, 1)
    assert pace.wait(1) == 0


def test_an_acknowledgement_stands_for_all_before_it() -> None:
    pace = Pace()
    pace.sent(1, 10, 0)
    pace.sent(2, 10, 0)
    pace.acknowledged(2, 0.1)
    assert pace.wait(0.1) == 0
    pace.acknowledged(1, 0.2)  # nobody says it; it does no harm


@pytest.mark.case(52)
@given(st.lists(st.integers(1, 200_000), min_size=5, max_size=40), st.sampled_from([10_000.0, 125_000.0]))
def test_a_capped_bandwidth_is_kept(sizes: list[int], bandwidth: float) -> None:
    pace = Pace(bandwidth)
    now = sent = 0.0
    largest = max(sizes)
    for seq, size in enumerate(sizes, 1):
        wait = pace.wait(now)
        assert wait is not None
        now += wait
        pace.sent(seq, size, now)
        pace.acknowledged(seq, now)
        sent += size
        assert sent <= bandwidth * (now + 0.5) + largest + 1


@pytest.mark.case(52)
def test_who_was_still_is_not_made_to_wait_by_who_never_rests() -> None:
    fair = FairShare(2)
    busy, calm = fair.join(), fair.join()
    now = 0.0
    drawn = 0
    while now < 10:
        wait = busy.wait(now, prompt=False)
        if wait > 0:
            now += wait + 1e-6
            continue
        busy.pay(0.05, now)
        drawn += 1
        now += 0.001
        assert calm.wait(now, prompt=False) == 0
    assert 0.05 * drawn <= 10 * 2 * 0.6 + BURST + 0.05  # its share of two processors, and no more
    assert drawn > 100


def test_shares_divide_what_there_is() -> None:
    fair = FairShare(2)
    shares = [fair.join() for _ in range(4)]
    for share in shares:
        share.pay(0.01, 5.0)
    assert fair.rate(5.0) == pytest.approx(2 * 0.6 / 4)
    assert fair.rate(7.0) == pytest.approx(2 * 0.6)  # nobody used anything lately
    del shares, share
    assert fair.rate(5.0) == pytest.approx(2 * 0.6)


def test_an_answer_to_the_person_may_overdraw_a_little() -> None:
    share = FairShare(2).join()
    share.pay(BURST + DEBT / 2, 0.0)
    assert share.wait(0.0, prompt=False) > 0
    assert share.wait(0.0, prompt=True) == 0
    share.pay(DEBT, 0.0)
    assert share.wait(0.0, prompt=True) > 0
