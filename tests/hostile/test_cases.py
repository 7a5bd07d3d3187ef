"""The table of hostile cases says what is so."""

from __future__ import annotations

import pytest

from tests.hostile.cases import CASES, LACKING, PARTLY, TABLE, proofs, table


def test_every_case_has_a_test_or_a_reason() -> None:
    proven = proofs()
    assert sorted(CASES) == list(range(1, 71))
    assert set(proven) <= set(CASES)
    assert set(CASES) - set(proven) <= set(LACKING) <= set(CASES)
    assert set(PARTLY) <= set(proven)


def test_the_table_is_the_one_of_these_sources() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(), "run: python -m tests.hostile.cases"


def test_the_numbers_stand_in_the_ids(request: pytest.FixtureRequest) -> None:
    """Of all tests that this run has collected."""
    ids: dict[tuple[str, str], list[str]] = {}
    for item in request.session.items:
        path, _, rest = item.nodeid.partition("::")
        ids.setdefault((path, rest.partition("[")[0]), []).append(rest)
    for number, tests in proofs().items():
        for test in tests:
            for item_id in ids.get(test, []):
                assert f"case-{number:02}" in item_id
