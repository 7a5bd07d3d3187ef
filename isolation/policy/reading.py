"""Reading raw documents (mappings out of YAML or JSON) strictly, collecting every problem instead of stopping at the first.

Shared by the grammar and the selectors. Nothing here raises for a wrong document: problems are reported by path, in words that
say what is wrong and what to write instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Severity: TypeAlias = Literal["error", "warning"]

# Names end up in pages, logs and audit rows; a longer one is a pasted document.
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with a document. ``path`` leads to it (keys and list positions); a ``warning`` does not stop anything."""

    path: Path
    message: str
    severity: Severity = "error"


@dataclass(slots=True)
class Problems:
    """A growing list of problems, and what the document may refer to.

    ``providers``: names of the configured identity providers, or None where they are not known (then references go unchecked).
    """

    found: list[Problem] = field(default_factory=list)
    providers: Collection[str] | None = None

    def error(self, path: Path, message: str) -> None:
        """Report something that makes the document unusable."""
        self.found.append(Problem(path, message))

    def warn(self, path: Path, message: str) -> None:
        """Report something that works, and is probably not meant."""
        self.found.append(Problem(path, message, "warning"))

    @property
    def fatal(self) -> bool:
        """Say whether any error was reported."""
        return any(problem.severity == "error" for problem in self.found)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean "…"?`` for the most similar known word, or ``""``. Total for any text."""
    by_fold = {candidate.casefold(): candidate for candidate in known}
    close = get_close_matches(word.casefold(), by_fold, n=1, cutoff=0.6)
    return f'; did you mean "{by_fold[close[0]]}"?' if close else ""


def shown(value: object) -> str:
    """Return a value as it may appear in a message: short, on one line, quoted."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def key_text(key: object) -> str:
    """Return a key of a document as it may appear in a message or a path: plain where it is a plain word, quoted otherwise."""
    return key if isinstance(key, str) and key.isprintable() and len(key) <= 80 else shown(key)


class Section:
    """One mapping of a document: reads values by key with their type checked, and knows which keys it was asked for."""

    __slots__ = ("path", "problems", "raw")

    def __init__(self, raw: Mapping[object, object], path: Path, problems: Problems) -> None:
        self.raw = raw
        self.path = path
        self.problems = problems

    @classmethod
    def of(cls, raw: object, path: Path, problems: Problems, *, what: str) -> Section | None:
        """Return the section, or None (reported) where ``raw`` is not a mapping. ``what`` names the thing in messages."""
        if isinstance(raw, Mapping):
            return cls(raw, path, problems)
        problems.error(path, f"{what} must be a mapping of keys and values, not {shown(raw)}")
        return None

    def error(self, key: str, message: str) -> None:
        """Report an error at a key of this section."""
        self.problems.error((*self.path, key), message)

    def only(self, allowed: Collection[str], *, what: str) -> None:
        """Report every key that is not allowed here."""
        for key in self.raw:
            if key not in allowed:
                word = key_text(key)
                names = ", ".join(allowed) if allowed else "none"
                self.problems.error(
                    (*self.path, word), f'unknown key "{word}" in {what}{nearest(word, allowed)} (known keys: {names})'
                )

    def text(self, key: str, *, example: str, required: bool = True) -> str | None:
        """Return the non-blank text at ``key``, or None (reported, unless it is absent and not required)."""
        if key not in self.raw:
            if required:
                self.problems.error(self.path, f'"{key}" is missing; write for example {key}: {example}')
            return None
        value = self.raw[key]
        if not isinstance(value, str):
            hint = " (put numbers, dates, on, off, yes and no in quotes)" if value is not None else ""
            self.error(key, f'"{key}" must be text, not {shown(value)}; write for example {key}: {example}{hint}')
            return None
        if not value.strip():
            self.error(key, f'"{key}" is empty; write for example {key}: {example}')
            return None
        if not value.isprintable():
            self.error(key, f'"{key}" contains control characters: {shown(value)}')
            return None
        if value != value.strip():
            self.error(key, f'"{key}" has spaces around it: {shown(value)}; remove them')
            return None
        return value

    def texts(self, key: str, *, example: str) -> tuple[str, ...] | None:
        """Return the non-empty list of texts at ``key``, or None (reported)."""
        value = self.raw.get(key)
        if not isinstance(value, list | tuple):
            self.error(key, f'"{key}" must be a list, not {shown(value)}; write for example {key}: {example}')
            return None
        if not value:
            self.error(key, f'"{key}" is an empty list, which can never match; write for example {key}: {example}')
            return None
        texts = []
        for index, item in enumerate(value):
            if isinstance(item, str):
                texts.append(item)
            else:
                self.problems.error(
                    (*self.path, key, index), f"must be text, not {shown(item)}; write for example {key}: {example}"
                )
        return tuple(texts) if len(texts) == len(value) else None

    def name(self) -> str | None:
        """Return the section's ``name``, or None (reported)."""
        name = self.text("name", example="Staff")
        if name is not None and len(name) > MAX_NAME_CHARACTERS:
            self.error("name", f"the name has {len(name)} characters; at most {MAX_NAME_CHARACTERS} fit pages and logs")
            return None
        return name
