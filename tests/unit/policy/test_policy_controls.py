"""Controls: a lattice, its JSON, and who is told what."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.policy.controls import BOUNDS, CONTROL_KEYS, Clipboard, Controls, Transfer, covers, meet, narrowest, read_controls
from isolation.policy.isolation import no_looser, strictest
from isolation.testing.strategies import controls
from renderer.wire.control import Egress, StartLease
from renderer.wire.control_codec import decode_to_node, encode_control
from renderer.wire.controls import RULES, ClipboardKind, FileKind

HOSTS = ("example.com", "cdn.example.com", "a.cdn.example.com", "b.example.com", "maps.test.net", "evil.net", "xexample.com")
LEVELS = {name: (low, low + 1, (low + high) // 2, high) for name, (low, high) in BOUNDS.items()}


def permitted(given: Controls) -> set[tuple[str, object]]:
    """Everything that is let through, one by one, counted without the code under test."""
    crossing: dict[str, set[str]] = {"none": set(), "to_app": {"in"}, "from_app": {"out"}, "both": {"in", "out"}}
    found: set[tuple[str, object]] = {("clipboard", way) for way in crossing[given.clipboard.value]}
    found |= {("clipboard type", kind) for kind in given.clipboard_types}
    for way, transfer, kinds in (
        ("download", given.download, given.download_types),
        ("upload", given.upload, given.upload_types),
    ):
        found |= {(way, True)} if transfer.value == "allow" else set()
        found |= {(way + " type", kind) for kind in (FileKind if kinds is None else kinds)}
        found |= {(way + " type", "any other")} if kinds is None else set()
    for name, levels in LEVELS.items():
        value = getattr(given, name)
        found |= {(name, level) for level in levels if value is None or level <= value} | (
            {(name, "for ever")} if value is None else set()
        )
    for host in HOSTS:
        patterns = {"*."} if given.domains is None else given.domains
        if (
            any(
                host == pattern or (pattern.startswith("*.") and ("." + host).endswith(pattern[1:]) and host != pattern[2:])
                for pattern in patterns
            )
            or given.domains is None
        ):
            found.add(("domain", host))
    found |= {("print", True)} if given.print else set()
    found |= {("keyboard", True)} if given.keyboard else set()
    found |= set() if given.watermark else {("unmarked", True)}
    found |= {("without notice", text) for text in ("Mind the data.", "Work here is recorded.") if text not in given.notice}
    return found


@given(controls, controls, controls)
def test_controls_meet_in_what_both_permit(one: Controls, two: Controls, three: Controls) -> None:
    assert permitted(meet(one, two)) == permitted(one) & permitted(two)
    assert meet(one, two) == meet(two, one)
    assert meet(one, meet(two, three)) == meet(meet(one, two), three)
    assert meet(one, one) == one
    assert no_looser(meet(one, two), one)
    assert no_looser(meet(one, two), two)
    assert strictest([one, two, three]) == strictest([three, one, two]) == meet(one, meet(two, three))


@given(controls, controls)
def test_being_no_looser_is_permitting_nothing_more(one: Controls, two: Controls) -> None:
    if no_looser(one, two):
        assert permitted(one) <= permitted(two)


def test_no_controls_at_all_permit_nothing_that_must_be_asked_for() -> None:
    assert strictest([]) == Controls()
    shut = Controls()
    assert (shut.clipboard, shut.download, shut.upload, shut.print) == (Clipboard.NONE, Transfer.NONE, Transfer.NONE, False)


def test_every_control_meets() -> None:
    """A control that is added and forgotten in the meet would loosen when two rules apply."""
    strict = read_controls({})
    for name in CONTROL_KEYS:
        if name == "notice":
            continue
        wide = {"domains": None, "watermark": False}.get(name, getattr(WIDE, name))
        assert getattr(strict, name) != wide, name
        assert getattr(meet(WIDE, strict), name) == getattr(strict, name), name


WIDE = Controls(
    clipboard=Clipboard.BOTH,
    clipboard_types=frozenset(ClipboardKind),
    download=Transfer.ALLOW,
    upload=Transfer.ALLOW,
    print=True,
)


@pytest.mark.parametrize(
    ("wider", "narrower", "is_covered"),
    [
        ("cdn.example", "cdn.example", True),
        ("*.cdn.example", "a.cdn.example", True),
        ("*.cdn.example", "a.b.cdn.example", True),
        ("*.cdn.example", "*.b.cdn.example", True),
        ("*.cdn.example", "*.cdn.example", True),
        ("*.cdn.example", "cdn.example", False),
        ("*.cdn.example", "xcdn.example", False),
        ("*.b.cdn.example", "*.cdn.example", False),
        ("cdn.example", "*.cdn.example", False),
        ("cdn.example", "a.cdn.example", False),
    ],
)
def test_patterns_cover_each_other_at_label_boundaries(wider: str, narrower: str, is_covered: bool) -> None:
    assert covers(wider, narrower) is is_covered


def test_one_set_of_patterns_for_one_meaning() -> None:
    assert narrowest(["*.a.example", "x.a.example", "*.y.a.example", "a.example"]) == {"*.a.example", "a.example"}


# ---------------------------------------------------------------- JSON


@given(controls)
def test_what_is_written_down_is_read_again(given_controls: Controls) -> None:
    assert read_controls(json.loads(json.dumps(given_controls.as_json()))) == given_controls


SCRAPS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=5)
    | st.lists(st.text(max_size=5) | st.integers(), max_size=2)
)


@given(st.dictionaries(st.sampled_from(CONTROL_KEYS), SCRAPS), controls)
def test_what_cannot_be_read_is_never_looser_than_what_was_written(scraps: dict[str, object], written: Controls) -> None:
    document: dict[str, object] = {name: value for name, value in written.as_json().items() if name not in scraps}
    assert no_looser(read_controls(document), written) or any(written.notice)


def test_nothing_readable_is_the_strictest_there_is() -> None:
    read = read_controls({"clipboard": "everything", "print": "yes", "tabs": True, "idle_minutes": -1, "domains": "any"})
    assert read == read_controls({})
    assert (read.keyboard, read.watermark, read.tabs, read.idle_minutes, read.domains) == (False, True, 1, 1, frozenset())


# ---------------------------------------------------------------- who is told what


@given(controls, st.text(max_size=40))
def test_a_node_is_told_what_it_enforces_and_nothing_else(given_controls: Controls, text: str) -> None:
    told = given_controls.for_node(text)
    assert told.keys() == RULES.keys()
    assert told["watermark"] == (text if given_controls.watermark else "")
    order = StartLease("lease", Egress("127.0.0.1", 1, "u", "p", "k"), told, 100)
    assert decode_to_node(encode_control(order)) == order


@given(controls)
def test_a_viewer_is_not_told_hosts_or_times(given_controls: Controls) -> None:
    told = given_controls.for_viewer()
    assert not told.keys() & {"domains", "idle_minutes", "total_minutes", "bandwidth_kbps", "watermark"}
    assert told.keys() >= {"clipboard", "download", "upload", "print", "keyboard", "notice", "tabs"}
