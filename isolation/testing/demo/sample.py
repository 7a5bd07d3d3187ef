"""Sample content: a database of supplier payments and a notebook. Made by a fixed formula, so that every machine shows the same."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

_SUPPLIERS = (
    ("Aldgate Paper", "United Kingdom", "Office supplies"),
    ("Brenner Logistik", "Germany", "Freight"),
    ("Cordoba Textil", "Spain", "Workwear"),
    ("Dunmore Energy", "Ireland", "Utilities"),
    ("Eastwind Hosting", "Netherlands", "Cloud services"),
    ("Ferro Meccanica", "Italy", "Machine parts"),
    ("Gdansk Cabling", "Poland", "Network equipment"),
    ("Hokkaido Optics", "Japan", "Sensors"),
    ("Ilha Catering", "Portugal", "Canteen"),
    ("Jutland Wind", "Denmark", "Utilities"),
    ("Kestrel Security", "United Kingdom", "Site security"),
    ("Lyon Chimie", "France", "Chemicals"),
)
_STATES = ("paid", "paid", "paid", "approved", "queried")
PAYMENTS = 2_400


def write_database(path: Path) -> None:
    """Write the sample database: table ``suppliers`` (12 rows) and table ``payments`` (2,400 rows)."""
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.executescript(
            "create table suppliers (id integer primary key, name text, country text, category text);"
            "create table payments (id integer primary key, supplier_id integer references suppliers(id),"
            " due text, amount_eur real, state text, reference text);"
            "create index payments_supplier on payments (supplier_id);"
        )
        connection.executemany("insert into suppliers (name, country, category) values (?, ?, ?)", _SUPPLIERS)
        connection.executemany(
            "insert into payments (supplier_id, due, amount_eur, state, reference) values (?, ?, ?, ?, ?)",
            (
                (
                    number * 7 % len(_SUPPLIERS) + 1,
                    f"2026-{number * 5 % 12 + 1:02d}-{number * 11 % 28 + 1:02d}",
                    round(120 + number * 7919 % 48_000 + number % 100 / 100, 2),
                    _STATES[number * 3 % len(_STATES)],
                    f"PO-{240_000 + number * 13}",
                )
                for number in range(PAYMENTS)
            ),
        )
    connection.close()


def write_notebook(path: Path) -> None:
    """Write a short notebook with one calculation to run."""
    cells = [
        {
            "cell_type": "markdown",
            "id": "intro",
            "metadata": {},
            "source": "# Month-end check\n\nRun the cell below with Shift+Enter.",
        },
        {
            "cell_type": "code",
            "id": "sum",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": "amounts = [120.5 * n for n in range(1, 13)]\nprint('total', sum(amounts))",
        },
    ]
    document = {
        "cells": cells,
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
