"""The soak in short: people browse, lose their line, hang and crash, while a browser, the node and the router are killed; nothing is left over."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.soak.__main__ import VICTIMS, Plan, soak


@pytest.mark.browser
@pytest.mark.case(55, 60)
@pytest.mark.timeout(480)
async def test_everybody_comes_back_and_nothing_is_left(tmp_path: Path) -> None:
    outcome = await soak(Plan(sessions=3, seconds=16.0, kill_every=4.0, patience=1.5), tmp_path)
    assert outcome.problems == []
    assert set(outcome.kills) == set(VICTIMS)
    assert outcome.back
    assert (outcome.rest.zombies, outcome.rest.browsers, outcome.rest.directories) == (0, 1, 1)
