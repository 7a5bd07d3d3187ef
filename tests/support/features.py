"""The table of docs/isolated-browsing.md: every feature and control of the isolated browser, by what a person works it with, and the test that proves it.

A test says ``@pytest.mark.feature("pinch zoom", by="touch")``. ``make features`` runs all such tests, both sides real, and writes the table when
every one of them has passed; a test holds the table to the marks at all times.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tests.support.source import parsed

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENT = CHECKOUT / "docs" / "isolated-browsing.md"
BEGIN, END = "<!-- features: written by make features -->", "<!-- features: end -->"
WAYS = ("mouse", "keyboard", "touch")


class Feature(NamedTuple):
    """One mark. ``test``: ``path::name``, without parameters."""

    name: str
    by: str
    test: str


def declared(root: Path = CHECKOUT) -> list[Feature]:
    """Read the marks of all tests from their sources."""
    found: list[Feature] = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        source = path.read_text("utf-8")
        if "mark.feature(" not in source:
            continue
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                where = f"{path.relative_to(root)}::{node.name}"
                found += [Feature(*mark, where) for decorator in node.decorator_list if (mark := _mark(decorator)) is not None]
    return found


def _mark(decorator: ast.expr) -> tuple[str, str] | None:
    if not (isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.feature"):
        return None
    (name,), (by,) = decorator.args, decorator.keywords
    mark = ast.literal_eval(name), ast.literal_eval(by.value)
    if mark[1] not in WAYS:
        raise ValueError(f"feature {mark[0]!r} is worked by {mark[1]!r}, which is none of {', '.join(WAYS)}")
    return mark


def table(features: Iterable[Feature]) -> str:
    """Return the table in Markdown: controls last, each cell the tests that prove it."""
    rows: dict[str, dict[str, list[str]]] = {}
    for feature in features:
        tests = rows.setdefault(feature.name, {}).setdefault(feature.by, [])
        if feature.test not in tests:
            tests.append(feature.test)
    lines = ["| feature | mouse | keyboard | touch |", "|---|---|---|---|"]
    for name in sorted(rows, key=lambda name: (name.startswith("control:"), name.lower())):
        cells = [" ".join(_link(test) for test in rows[name].get(way, [])) for way in WAYS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _link(test: str) -> str:
    path, _, name = test.partition("::")
    return f"[{name.removeprefix('test_')}](../{path})"


def with_table(document: str, features: Iterable[Feature]) -> str:
    """Return the document with its table written anew. Raises ValueError when it has no place for one."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no place between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{table(features)}\n{END}{after}"
