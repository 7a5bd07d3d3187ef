"""What ``make fuzz`` looks for, briefly: Hypothesis damages the seeds. And the harness itself finds what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isolation.broker import cleaning
from isolation.broker.gatekeeper import Gatekeeper
from renderer.wire import messages as m
from renderer.wire.codec import encode
from tests.hostile.fuzz import ways
from tests.hostile.fuzz.seeds import seeds, words
from tests.hostile.fuzz.ways import MARK, WAYS

SEEDS = {way: seeds(way) for way in WAYS}
WORDS = [word.replace('\\"', '"').encode() for word in words()] + [MARK]


@st.composite
def damaged(draw: st.DrawFn, way: str) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS[way])))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
            case 1:
                del data[at : at + draw(st.integers(1, 9))]
            case 2:
                data[at:at] = draw(st.sampled_from(WORDS))
            case 3:
                other = draw(st.sampled_from(SEEDS[way]))
                data[at:at] = MARK + other[1:]
            case _:
                data = data[: at + 1]
    return bytes(data)


@pytest.mark.case(30, 39)
@pytest.mark.parametrize("way", WAYS)
@given(data=st.data())
@settings(max_examples=150)
def test_what_must_hold_of_every_input(way: str, data: st.DataObject) -> None:
    WAYS[way](data.draw(damaged(way)))


@pytest.mark.parametrize("way", WAYS)
def test_every_seed_is_good(way: str) -> None:
    assert SEEDS[way]
    for seed in SEEDS[way]:
        WAYS[way](seed)


def test_the_harness_sees_a_text_that_deceives(monkeypatch: pytest.MonkeyPatch) -> None:
    evil = b"\0" + encode(m.Title("\u202egpj.exe"))
    ways.renderer(evil)
    monkeypatch.setattr(cleaning, "line", lambda text: text)
    with pytest.raises(AssertionError):
        ways.renderer(evil)


def test_the_harness_sees_a_control_that_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = b"\1" + encode(m.Text("typed all the same"))
    ways.viewer(typed)

    def careless(self: Gatekeeper, message: Any, *_: Any) -> str:
        return ""

    monkeypatch.setattr(Gatekeeper, "_viewer_rule", careless)
    with pytest.raises(AssertionError):
        ways.viewer(typed)
