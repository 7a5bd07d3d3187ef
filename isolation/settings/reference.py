"""The configuration reference as Markdown, written from the schema and the selector registry so that it cannot fall behind them.

``python -m isolation.settings.reference`` rewrites the generated part of docs/configuration.md; a test compares the two.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from isolation.policy.registry import SELECTORS
from isolation.settings.schema import Configuration

BEGIN = "<!-- generated from the schema: begin -->"
END = "<!-- generated from the schema: end -->"


def render() -> str:
    """Return the generated part of docs/configuration.md, with its markers."""
    lines = [BEGIN, "", "### Settings", "", "| key | default | meaning |", "|---|---|---|"]
    lines += [f"| `{key}` | {default} | {meaning} |" for key, default, meaning in _rows(Configuration, "")]
    lines += ["", "### Selectors", "", "| selector | arguments | meaning | example |", "|---|---|---|---|"]
    for selector in SELECTORS:
        arguments = "; ".join(
            f"`{argument.name}`: {argument.meaning}{'' if argument.required else ' (optional)'}"
            for argument in selector.arguments
        )
        example = json.dumps({selector.key: selector.example})
        lines.append(f"| `{selector.key}` | {arguments or 'none'} | {selector.meaning} | `{example}` |")
    return "\n".join([*lines, "", END])


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        many = _is_list(field.annotation)
        key = f"{prefix}{name}{'[]' if many and section else ''}"
        yield key, _default(field), (field.description or "").replace("|", "\\|")
        if section is not None:
            yield from _rows(section, f"{key}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for found in map(_section, get_args(annotation)) if found is not None), None)


def _is_list(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(_is_list(part) for part in get_args(annotation))
    return origin is list


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    if field.default_factory is not None or field.default is PydanticUndefined or field.default is None:
        return "–"
    value = field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if field.annotation is float or (isinstance(value, int) and value >= 3600):
        return f"`{_duration(int(value))}`"
    return f"`{value}`" if value != "" else "–"


def _duration(seconds: int) -> str:
    if seconds % 60:
        return f"{seconds}s"
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds // 60}m"


def rewrite(path: Path) -> bool:
    """Put the generated part into the file at ``path``; say whether anything changed."""
    text = path.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN, 1)
    new = head + render() + rest.split(END, 1)[1]
    path.write_text(new, encoding="utf-8")
    return new != text


if __name__ == "__main__":
    rewrite(Path(__file__).parents[2] / "docs" / "configuration.md")
