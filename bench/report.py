"""What every comparison does at its end: print tables, and write ``bench/results/NAME.json`` with the figures under ``figures``."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


class MissingError(Exception):
    """Something that is needed is not installed; the message says how to get it."""


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    made = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    for row in rows:
        made.add_row(*(shown(value) for value in row))
    console.print(made)


def shown(value: object) -> str:
    """Return a value as people read it: thousands apart, three digits that count."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def write(name: str, figures: Mapping[str, float | int | None], details: Mapping[str, object]) -> Path:
    """Write the figures and what led to them; return the file."""
    path = ROOT / "bench" / "results" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }
    path.write_text(json.dumps({"figures": figures, "machine": machine, **details}, indent=1) + "\n", encoding="utf-8")
    return path
