"""Find in page over frames that are played: what is counted, what is shown, and frames that lie or stand still."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from renderer import find
from renderer.find import MAX_FOUND, Finder
from renderer.wire import messages as m
from renderer.world import Place, WorldHost


class Frames:
    """Isolated worlds that answer as they are told, and note what they are asked to show."""

    def __init__(self, *said: object) -> None:
        self.said = said
        self.shown: dict[int, object] = {}
        self.stopped: list[int] = []

    def places(self) -> list[Place]:
        return [Place(cast("Any", None), number) for number in range(len(self.said))]

    async def call(self, place: Place, function: str, *arguments: object) -> object:
        said = self.said[place.context]
        if said is asyncio:
            await asyncio.sleep(60)
        if function == "find":
            return said
        if function == "findShow":
            self.shown[place.context] = arguments[0]
        else:
            self.stopped.append(place.context)
        return None


def finder(*said: object) -> tuple[Finder, Frames]:
    frames = Frames(*said)
    return Finder(cast("WorldHost", frames)), frames


def wanted(text: str = "x", *, again: bool = True, backward: bool = False) -> m.Find:
    return m.Find(text, backward, again)


async def test_matches_are_counted_over_all_frames_and_come_round() -> None:
    search, frames = finder({"count": 2, "first": 1}, {"count": 0, "first": 0}, {"count": 1, "first": 0})
    assert await search.find(wanted(again=False)) == m.Found(2, 3)  # the first that is not above what is seen
    assert frames.shown == {0: 1, 1: -1, 2: -1}
    assert await search.find(wanted()) == m.Found(3, 3)
    assert frames.shown == {0: -1, 1: -1, 2: 0}
    assert await search.find(wanted()) == m.Found(1, 3)
    assert await search.find(wanted(backward=True)) == m.Found(3, 3)
    assert await search.find(m.Find("", False, False)) == m.Found(0, 0)
    assert frames.stopped == [0, 1, 2]


@pytest.mark.parametrize(
    "lie", [None, 7, "many", {"count": "3"}, {"count": -5, "first": 9}, {"count": float("nan")}, {"count": True}]
)
async def test_a_frame_that_talks_nonsense_has_no_matches(lie: object) -> None:
    search, _ = finder(lie, {"count": 1, "first": 0})
    assert await search.find(wanted(again=False)) == m.Found(1, 1)


async def test_a_frame_that_boasts_is_cut_to_what_the_wire_holds() -> None:
    search, _ = finder({"count": 2**60, "first": 2**61}, {"count": 2**60, "first": 0})
    found = await search.find(wanted(again=False))
    assert found == m.Found(MAX_FOUND, MAX_FOUND)
    assert await search.find(wanted()) == m.Found(1, MAX_FOUND)


async def test_a_frame_that_stands_still_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find, "FRAME_SECONDS", 0.01)
    search, _ = finder(asyncio, {"count": 4, "first": 0})
    assert await search.find(wanted(again=False)) == m.Found(1, 4)
