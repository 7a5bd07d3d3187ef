"""Alembic's scripts. A new one: copy the last file of ``versions/``, number it next, change ``migrate.HEAD`` and ``tables`` with it.

Scripts spell their tables out and never import ``tables``: they describe the past, which does not change.
"""
