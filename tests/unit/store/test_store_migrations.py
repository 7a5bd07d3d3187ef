"""The migrations make exactly the tables of ``tables``, once, whoever starts first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from isolation.store.database import Store
from isolation.store.migrate import HEAD, SCRIPTS
from isolation.store.tables import metadata


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", str(SCRIPTS))
    return made


def test_the_newest_script_is_the_one_the_code_asks_for() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


async def test_a_migrated_store_has_the_tables_of_the_code(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert await store.read(differences) == []


async def test_every_script_can_be_undone(store: Store) -> None:
    def down(connection: Connection) -> list[str]:
        made = config()
        made.attributes["connection"] = connection
        command.downgrade(made, "base")
        return inspect(connection).get_table_names()

    assert set(await store.write(down)) <= {"alembic_version", "sqlite_sequence"}


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    source = "import sys; from isolation.store.database import Store; Store.open('sqlite:///' + sys.argv[1]).close()"
    path = tmp_path / "store.db"
    started = [subprocess.Popen([sys.executable, "-c", source, str(path)], stderr=subprocess.PIPE) for _ in range(4)]

    assert [(process.communicate(timeout=60)[1], process.returncode) for process in started] == [(b"", 0)] * 4
