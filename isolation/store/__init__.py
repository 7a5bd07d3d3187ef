"""What is remembered: tables, migrations, repositories, and the event bus between processes.

``database`` owns the connections (one writer, a few readers) and turns every failure into a StoreError. Each repository is a small class of
async methods over it; code without an event loop (the command line) uses the same methods through ``Store.run_sync``. Whatever changes a
decision appends to ``events`` in the same transaction; ``watcher`` delivers that to every process.

Nothing here decides anything: readings go in as they were made, and ``isolation.signals.merge`` says what they mean.
"""
