"""Brings a store to this version's tables. Alembic is loaded only when there is something to do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, inspect, text

from isolation.errors import StoreError

HEAD: Final = "0002"
"""The newest migration. A test compares it with the scripts."""

SCRIPTS: Final = Path(__file__).parent / "migrations"


def is_current(connection: Connection) -> bool:
    """Say whether there is nothing to do, in the open transaction."""
    return _revision(connection) == HEAD


def migrate(connection: Connection) -> None:
    """Run the missing migrations in one transaction: several processes may start at once, and a failure leaves the old tables.

    ``connection`` begins its transactions with the write lock. Raises StoreError where the store was written by a newer version.
    """
    with connection.begin():
        found = _revision(connection)
        if found == HEAD:
            return
        known = sorted(path.name.split("_")[0] for path in SCRIPTS.glob("versions/[0-9]*.py"))
        if found is not None and found not in known:
            raise StoreError(
                f"the store was written by a newer version (revision {found}, this one knows {HEAD}); install that version again"
            )
        _upgrade(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    return None if row is None else str(row[0])


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
