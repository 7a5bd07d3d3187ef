"""Commands: serve, demo, check, decide, users, sessions, audit, sync, renderer."""
