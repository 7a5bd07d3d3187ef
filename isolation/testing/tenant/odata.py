"""The little of OData that Graph callers use here: ``$filter`` comparisons joined by ``and`` / ``or``, ``$select``, paging."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

# ---- limits
MAX_TOKEN = 64  # characters in a $skiptoken of ours

Row = Mapping[str, Any]
_COMPARISON = re.compile(r"\s*(\w+)\s+(eq|ne|ge|gt|le|lt)\s+('(?:[^']|'')*'|[\w.:+-]+)\s*\Z")
_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda left, right: left == right,
    "ne": lambda left, right: left != right,
    "ge": lambda left, right: left >= right,
    "gt": lambda left, right: left > right,
    "le": lambda left, right: left <= right,
    "lt": lambda left, right: left < right,
}


class BadQueryError(ValueError):
    """A query option that Graph would refuse."""


def matcher(expression: str) -> Callable[[Row], bool]:
    """Return a predicate for a ``$filter``. ``and`` binds stronger than ``or``; no parentheses. Raises :class:`BadQueryError`."""
    alternatives = [[_comparison(term) for term in _split(part, "and")] for part in _split(expression, "or")]
    return lambda row: any(all(test(row) for test in tests) for tests in alternatives)


def _split(expression: str, word: str) -> list[str]:
    """Split at a word that stands outside quotes."""
    parts = re.split(rf"\s+{word}\s+(?=(?:[^']*'[^']*')*[^']*\Z)", expression)
    return [part for part in parts if part.strip()]


def _comparison(term: str) -> Callable[[Row], bool]:
    found = _COMPARISON.match(term)
    if found is None:
        raise BadQueryError(f"Invalid filter clause: {term.strip()!r}")
    name, operator, literal = found.groups()
    value: Any = literal
    if literal.startswith("'"):
        value = literal[1:-1].replace("''", "'")
    elif literal in {"true", "false"}:
        value = literal == "true"
    compare = _OPERATORS[operator]

    def test(row: Row) -> bool:
        if name not in row:
            raise BadQueryError(f"Could not find a property named '{name}'.")
        held = row[name]
        if operator not in {"eq", "ne"} and type(held) is not type(value):
            return False
        return compare(held, value)

    return test


def select(row: Row, names: str, defaults: Sequence[str]) -> dict[str, Any]:
    """Return the chosen properties; ``id`` and ``@odata.type`` always stay."""
    wanted = {name.strip() for name in names.split(",") if name.strip()} or set(defaults)
    if unknown := wanted - row.keys():
        raise BadQueryError(f"Could not find a property named '{min(unknown)}'.")
    return {name: value for name, value in row.items() if name in wanted or name in {"id", "@odata.type"}}


def page_size(query: Mapping[str, str], default: int, maximum: int) -> int:
    """Return ``$top``. Raises :class:`BadQueryError` beyond ``maximum``."""
    text = query.get("$top", str(default))
    if not text.isdecimal() or not 1 <= int(text) <= maximum:
        raise BadQueryError(f"Invalid page size specified: '{text}'. Must be between 1 and {maximum} inclusive.")
    return int(text)


def start_of(query: Mapping[str, str]) -> int:
    """Return the offset in ``$skiptoken``. Raises :class:`BadQueryError`."""
    token = query.get("$skiptoken", "")
    if not token:
        return 0
    try:
        if len(token) > MAX_TOKEN:
            raise ValueError(token)
        return int(base64.urlsafe_b64decode(token.encode()).decode())
    except (ValueError, binascii.Error) as error:
        raise BadQueryError("The specified skip token is invalid.") from error


def next_link(url: str, query: Mapping[str, str], offset: int) -> str:
    """Return ``@odata.nextLink``: the same options and a ``$skiptoken``."""
    token = base64.urlsafe_b64encode(str(offset).encode()).decode()
    kept = {name: value for name, value in query.items() if name != "$skiptoken"} | {"$skiptoken": token}
    return url + "?" + "&".join(f"{name}={quote(value, safe=',')}" for name, value in kept.items())
