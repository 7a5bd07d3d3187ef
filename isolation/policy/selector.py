"""What a selector is to the grammar and to the documentation: its key, its arguments, its meaning, an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from isolation.policy.model import Condition
from isolation.policy.reading import Section

Parser: TypeAlias = Callable[[Section], Condition | None]


@dataclass(frozen=True, slots=True)
class Argument:
    """One key inside a selector. ``meaning`` is one line for the documentation."""

    name: str
    meaning: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector of the policy language.

    ``example``: the arguments of a working example. ``identity``: whether it needs to know who is there. ``parse`` reads the
    arguments out of a section whose unknown keys were reported already; it returns None after reporting what is wrong.
    """

    key: str
    meaning: str
    arguments: tuple[Argument, ...]
    example: Mapping[str, object]
    identity: bool
    parse: Parser

    @property
    def argument_names(self) -> tuple[str, ...]:
        """Return the keys that may stand inside the selector."""
        return tuple(argument.name for argument in self.arguments)
