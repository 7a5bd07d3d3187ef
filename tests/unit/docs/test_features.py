"""The table of what works in an isolated page is the marks of the tests, no more and no less."""

from __future__ import annotations

import pytest

from tests.support.features import BEGIN, DOCUMENT, END, Feature, declared, table, with_table


def test_the_document_shows_every_marked_test_and_nothing_else() -> None:
    document = DOCUMENT.read_text("utf-8")
    assert document == with_table(document, declared()), "run: make features"


def test_a_feature_s_tests_stand_in_one_row_by_what_it_is_worked_with() -> None:
    features = [
        Feature("control: print", "keyboard", "tests/a.py::test_print_off"),
        Feature("pinch zoom", "touch", "tests/b.py::test_pinch"),
        Feature("click", "touch", "tests/b.py::test_tap"),
        Feature("click", "mouse", "tests/b.py::test_click"),
        Feature("click", "mouse", "tests/b.py::test_click"),
    ]
    assert table(features).splitlines()[2:] == [
        "| click | [click](../tests/b.py) |  | [tap](../tests/b.py) |",
        "| pinch zoom |  |  | [pinch](../tests/b.py) |",
        "| control: print |  | [print_off](../tests/a.py) |  |",
    ]
    assert with_table(f"x {BEGIN} old {END} y", [])[:2] == "x "
    with pytest.raises(ValueError, match="no place"):
        with_table("nothing", [])
