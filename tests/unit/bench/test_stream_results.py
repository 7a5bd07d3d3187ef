"""The arithmetic of the stream's comparison: what runs gave becomes figures, and figures meet marks or not."""

from __future__ import annotations

import itertools

import pytest

from bench.stream.feel import LETTERS, Feel, place, rate
from bench.stream.marks import SMALL, Mark, marks, verdicts
from bench.stream.pages import further, pages
from bench.stream.results import Idle, Results, figures, quantile
from bench.stream.scenarios import PROSE, SCENARIOS, TEXT, scenarios, text_read
from bench.stream.script import JPEG, NOTCH, OURS, PNG, SYSTEMS, VNC, XPRA, Part, Seen, Taken


def part(sent: int, *, server: float = 1.0, client: float | None = 0.5, fps: float | None = None) -> Part:
    return Part(Taken(sent, 1), {"all": server, "chromium": server / 2}, client, fps)


def results() -> Results:
    found = Results()
    sizes = {OURS: (100, 30), JPEG: (8_000, 4_000), PNG: (9_000, 4_500), VNC: (2_000, 600), XPRA: (1_000, 300)}
    for system, (text, grid) in sizes.items():
        # Three rounds: the median counts, not the mean.
        found.runs[system, "text"] = [
            {"load": part(text // 2), "type": part(size - text // 2)} for size in (text, text * 9, text)
        ]
        found.runs[system, "grid"] = [{"load": part(grid)}]
    return found


def test_ratios_are_of_whole_scripts_and_medians_over_rounds() -> None:
    found = results()
    assert found.sent(OURS, "text") == 100
    assert found.sent(OURS, "text", "load") == 50
    assert found.phases("text") == ["load", "type"]
    assert found.ratio(JPEG, ["text"]) == pytest.approx(100 / 8_000)
    assert found.ratio(VNC, ["grid"]) == pytest.approx(0.05)


def test_the_first_versions_script_is_text_and_grid_together() -> None:
    made = figures(results())
    assert made["stream.bytes_vs_screencast"] == pytest.approx(130 / 12_000, abs=1e-5)
    assert made["stream.bytes_vs_novnc"] == pytest.approx(0.05)
    assert made["stream.grid.bytes_vs_xpra"] == pytest.approx(0.1)


def test_what_was_not_measured_is_left_out() -> None:
    found = results()
    for system, scenario in list(found.runs):
        if system in {VNC, XPRA} or scenario == "grid":
            del found.runs[system, scenario]
    made = figures(found)
    assert "stream.text.bytes_vs_screencast" in made
    assert None not in made.values()
    assert not [name for name in made if "novnc" in name or "xpra" in name or "grid" in name]
    assert "stream.bytes_vs_screencast" not in made  # half a script is not the script
    assert "stream.key_to_paint_p50_ms" not in made


def test_a_viewer_that_is_no_browser_has_no_processor_time() -> None:
    found = results()
    found.runs[JPEG, "text"] = [{"load": part(1, client=None)}]
    assert found.seconds(JPEG, "text", "client") is None
    assert found.seconds(OURS, "text", "client") == 1.0
    assert found.seconds(OURS, "text", "all") == 2.0
    assert found.kinds(OURS) == ["chromium"]


def test_reactions_of_one_and_of_several() -> None:
    found = Results()
    found.feels[OURS] = [Feel(Seen([30.0, 50.0, 40.0]), Seen([60.0]), 41.0)]
    found.feels[JPEG] = [Feel(Seen([30.0, 31.0, 32.0]), Seen([25.0]), 55.0)]
    found.together = [Feel(Seen([10.0] * 9), fps=20.0), Feel(Seen([10.0] * 9 + [200.0, 300.0]), fps=11.0)]
    made = figures(found)
    assert made["stream.key_to_paint_p50_ms"] == 40.0
    assert made["stream.key_to_paint_p50_ms_over_screencast"] == 9.0
    assert made["stream.key_to_paint_p95_ms_4_sessions"] == 300.0
    assert made["stream.scroll_fps"] == 41.0
    assert made["stream.scroll_fps_4_sessions"] == 11.0  # the smallest
    assert made["screencast.key_to_paint_p50_ms"] == 31.0


def test_an_idle_session_takes_its_browser_what_it_adds_and_its_share() -> None:
    assert Idle(before=300.0, after=340.0, browsers=(100.0, 90.0, 80.0, 90.0)).session() == 90 + 10 + 5
    assert Idle(before=300.0, after=290.0, browsers=(100.0,)).session() == 105  # never less for having been measured


def test_quantiles() -> None:
    assert quantile([], 0.5) is None
    assert quantile([float(n) for n in range(100)], 0.95) == 95.0
    assert quantile([7.0], 0.95) == 7.0


def test_only_pictures_between_the_wheels_turns_count() -> None:
    seen = Seen(changes=[0.0, 100.0, 300.0, 500.0, 2_600.0], first=100.0, last=2_100.0)
    assert rate(seen) == 1.5
    assert rate(Seen(changes=[1.0])) is None


def test_every_mark_of_the_issue_is_there_once() -> None:
    wanted = marks(SCENARIOS)
    names = [mark.figure for mark in wanted]
    assert len(names) == len(set(names)) == 2 * len(SCENARIOS) + 6
    bounds = {mark.figure: mark.bound for mark in wanted}
    assert set(SMALL) <= set(SCENARIOS)
    assert bounds["stream.typing.bytes_vs_novnc"] == 1 / 40
    assert bounds["stream.video.bytes_vs_screencast"] == 1 / 4


def test_verdicts() -> None:
    wanted = [Mark("a", 10), Mark("b", 30, least=True), Mark("stream.x.bytes_vs_novnc", 1 / 40), Mark("d", 1)]
    found = {"a": 10.0, "b": 29.9, "stream.x.bytes_vs_novnc": 0.02}
    assert verdicts(found, wanted) == [
        ("a", 10.0, "≤ 10", "met"),
        ("b", 29.9, "≥ 30", "not met"),
        ("stream.x.bytes_vs_novnc", 0.02, "≤ 1/40", "met"),
        ("d", None, "≤ 1", "not measured"),
    ]


def test_letters_have_places_of_their_own() -> None:
    cells = place({"x": 274.0, "y": 160.0, "width": 700.0, "height": 44.0}, 15.63).cells
    assert len(cells) == len(LETTERS)
    assert all(left.x + left.width < right.x for left, right in itertools.pairwise(cells))
    assert all(cell.width > 0 and cell.height > 0 and cell.x + cell.width < 974 for cell in cells)


def test_scenarios_have_pages_and_can_be_done() -> None:
    paths = pages()
    for scenario in scenarios():
        if scenario.subject.app == "site":
            assert scenario.subject.address("r").partition("?")[0] in paths
        assert scenario.runs_on(OURS)
        assert scenario.runs_on(JPEG)
    assert all(scenario.runs_on(VNC) for scenario in scenarios())
    assert len(SYSTEMS) == 5
    assert len(PROSE) > 50


def test_the_furthest_state_of_a_page_counts() -> None:
    state = further({}, {"typed": "ab", "scroll": 10})
    state = further(state, {"typed": "a", "scroll": 700})  # an older report that was late
    assert state == {"typed": "ab", "scroll": 700}
    assert not text_read(state)
    assert text_read({"typed": TEXT, "clicks": 1, "scroll": 40 * NOTCH})
