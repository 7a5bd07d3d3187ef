"""The configuration reference as Markdown, written from the schema and the selector registry so that it cannot fall behind them.

``python -m isolation.settings.reference`` rewrites the generated part of docs/configuration.md; a test compares the two.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from isolation.policy.controls import BOUNDS, Controls
from isolation.policy.registry import SELECTORS
from isolation.settings.schema import Configuration
from renderer.wire.codec import MAX_CLIPBOARD
from renderer.wire.controls import FileKind

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
    lines += ["", "### Controls", "", "| control | values | meaning | default |", "|---|---|---|---|"]
    for control in fields(Controls):
        values, meaning = CONTROLS[control.name]
        lines.append(f"| `{control.name}` | {values} | {meaning} | {_control_default(control.name)} |")
    return "\n".join([*lines, "", END])


def _between(name: str) -> str:
    least, most = BOUNDS[name]
    return f"{least} to {most}"


_FILE_KINDS = "a list of " + ", ".join(f"`{kind}`" for kind in FileKind)

CONTROLS: dict[str, tuple[str, str]] = {
    "clipboard": (
        "`none`, `to_app`, `from_app`, `both`",
        "Directions in which the clipboard crosses: pasting into the app, copying out of it.",
    ),
    "clipboard_types": ("a list of `text`, `image`", "What it may carry."),
    "clipboard_max_kb": (
        _between("clipboard_max_kb"),
        f"KiB of one copy or paste. Text is bound by {MAX_CLIPBOARD // 1024} KiB in any case.",
    ),
    "clipboard_per_minute": (_between("clipboard_per_minute"), "Copies a minute, and as many pastes."),
    "download": ("`none`, `allow`", "Whether files leave the app for the person's device."),
    "download_max_mb": (_between("download_max_mb"), "MiB of one file."),
    "download_types": (
        _FILE_KINDS,
        "Kinds of files, told by their content, never by their name. Left out: every file.",
    ),
    "upload": ("`none`, `allow`", "Whether files of the person's device reach the app."),
    "upload_max_mb": (_between("upload_max_mb"), "MiB of one file."),
    "upload_types": (_FILE_KINDS, "As `download_types`."),
    "print": ("`true`, `false`", "Whether the page may be printed: it becomes a PDF on the person's device."),
    "keyboard": ("`true`, `false`", "`false`: read-only; nothing is typed or pasted."),
    "watermark": (
        "`true`, `false`",
        "Person, time (UTC, to the minute) and a reference of the session over every picture, drawn by the renderer and by the viewer.",
    ),
    "idle_minutes": (
        _between("idle_minutes"),
        "The isolated browser ends after this long without input; the person is warned a minute before. Left out: it ends two minutes after its last viewer.",
    ),
    "total_minutes": (
        _between("total_minutes"),
        "The isolated browser ends this long after its start; the person is warned a minute before.",
    ),
    "tabs": (_between("tabs"), "Pages of one isolated browser at a time."),
    "bandwidth_kbps": (_between("bandwidth_kbps"), "Kilobits a second from the isolated browser to one viewer."),
    "domains": (
        "a list of `host`, `*.parent`",
        "Public hosts the isolated page may reach, of those the app's `egress` permits. `[]`: configured apps only.",
    ),
    "notice": ("text", "A line shown in the viewer. The notices of all rules that apply are shown."),
}


def _control_default(name: str) -> str:
    value = Controls().as_json()[name]
    if value is None or value == []:
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`[{', '.join(value)}]`" if isinstance(value, list) else f"`{value}`"


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
    if any(isinstance(part, BeforeValidator) for part in field.metadata) and isinstance(value, int | float):
        return f"`{_duration(int(value))}`"
    if isinstance(value, float):
        return f"`{value:g}`"
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
