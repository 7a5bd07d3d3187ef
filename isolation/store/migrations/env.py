"""Run by Alembic, with the connection and the open transaction of ``isolation.store.migrate``."""

from alembic import context

from isolation.store.tables import metadata

# SQLite's DDL is transactional; Alembic assumes otherwise because sqlite3 used to commit before it.
context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
