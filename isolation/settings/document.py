"""YAML with positions: every value knows the line it stands on, and a key given twice is an error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 4 * 1024 * 1024
"""A configuration larger than this is a mistake (a log or a database given by name), and would be read whole into memory."""

MAX_VALUES = 200_000
"""Aliases let a short file name billions of values; a real configuration of a thousand apps has about 50,000."""

_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")

Location = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing wrong with a configuration. ``line`` counts from 1; 0 where the file as a whole is meant."""

    line: int
    path: str
    message: str
    severity: str = "error"

    def render(self, file: str) -> str:
        """Return ``file:line: path: message``, as editors and CI understand it."""
        place = f"{file}:{self.line}" if self.line else file
        label = "" if self.severity == "error" else "warning: "
        return f"{place}: {label}{self.path + ': ' if self.path else ''}{self.message}"


@dataclass(slots=True)
class Document:
    """A configuration file as plain values, with the line of every path in it. ``text``: what they were read from."""

    file: str
    data: Any
    text: str = ""
    lines: dict[Location, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Sequence[str | int]) -> int:
        """Return the line of the nearest ancestor of ``path`` that stands in the file."""
        place = tuple(path)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 0)

    def problem(self, path: Sequence[str | int], message: str, severity: str = "error") -> None:
        """Note a problem at ``path``."""
        self.problems.append(Problem(self.line(path), dotted(path), message, severity))


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as people write it: ``apps[0].policies[1].include``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(path: Path) -> Document:
    """Read a YAML file. Whatever is wrong with it ends up in ``problems``; nothing is raised."""
    document = Document(file=str(path), data={})
    try:
        if path.stat().st_size > MAX_BYTES:
            document.problem((), f"is larger than {MAX_BYTES // 1024 // 1024} MiB: is this the configuration?")
            return document
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        document.problem((), f"cannot be read: {error.strerror or error}")
        return document
    except UnicodeDecodeError as error:
        document.problem((), f"is not UTF-8 text (byte {error.start})")
        return document
    return parse(text, str(path))


def parse(text: str, file: str = "<text>") -> Document:
    """Parse YAML text. Whatever is wrong with it ends up in ``problems``; nothing is raised."""
    document = Document(file=file, data={}, text=text)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(Problem(mark.line + 1 if mark else 0, "", f"is not valid YAML: {said}"))
        return document
    except yaml.YAMLError as error:
        document.problems.append(Problem(0, "", f"is not valid YAML: {error}"))
        return document
    if node is None:
        document.problem((), "is empty")
        return document
    try:
        document.data = _value(node, (), document, depth=0)
    except RecursionError:
        document.problem((), f"is nested more than 40 deep, or holds more than {MAX_VALUES:,} values (aliases counted each time)")
    if not isinstance(document.data, dict):
        document.problem((), "must be a mapping of settings at the top level")
        document.data = {}
    return document


def _value(node: yaml.Node, path: Location, document: Document, depth: int) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if depth > 40 or len(document.lines) > MAX_VALUES:
        raise RecursionError
    if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
        document.problem(path, f"has the tag {node.tag}; only plain values are read")
        return None
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is None or key_node.tag == "tag:yaml.org,2002:merge":
                document.problems.append(
                    Problem(key_node.start_mark.line + 1, dotted(path), "keys must be plain words (no merge keys)")
                )
                continue
            place = (*path, key)
            if key in result:
                document.problems.append(
                    Problem(key_node.start_mark.line + 1, dotted(place), "is given twice; keep one of the two")
                )
                continue
            document.lines[place] = key_node.start_mark.line + 1
            result[key] = _value(value_node, place, document, depth + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), document, depth + 1) for index, item in enumerate(node.value)]
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError) as error:
        document.problem(path, f"cannot be read as a value: {error}")
        return None
    finally:
        loader.dispose()
