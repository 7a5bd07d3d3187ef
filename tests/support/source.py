"""The tests' own sources, read."""

from __future__ import annotations

import ast

TIMES = 5


def parsed(source: str) -> ast.Module:
    """Return a source's tree.

    Before 3.11.8, CPython counts the depth of a tree in one place for the whole interpreter and can lose count (python/cpython issue 106905):
    ``ast.parse`` then raises SystemError, now and then, for a source that is in order.
    """
    for _ in range(TIMES - 1):
        try:
            return ast.parse(source)
        except SystemError:
            continue
    return ast.parse(source)
