"""What went wrong with the store, said so that an operator knows what to do."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import SQLAlchemyError

from isolation.errors import StoreError

_SENTENCES = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing was written, free some space and it goes on by itself",
    sqlite3.SQLITE_BUSY: "the store is locked by another process; nothing was written, look for a stuck 'isolation' command or a backup",
    sqlite3.SQLITE_LOCKED: "the store is locked; nothing was written",
    sqlite3.SQLITE_READONLY: "the store cannot be written: the file, its folder or the file system is read-only for this user",
    sqlite3.SQLITE_CANTOPEN: "the store cannot be opened: check that its folder exists and belongs to this user",
    sqlite3.SQLITE_CORRUPT: "the store's file is damaged; stop the router and restore the file from a backup",
    sqlite3.SQLITE_NOTADB: "the store's file is not a SQLite database; check the configured path, or restore the file from a backup",
    sqlite3.SQLITE_IOERR: "the disk reports an input/output error; nothing was written, look at the system's log",
    sqlite3.SQLITE_PERM: "the store's file may not be used by this user",
    sqlite3.SQLITE_NOMEM: "there is not enough memory for the store; nothing was written",
    sqlite3.SQLITE_CONSTRAINT: "the store refused contradictory data; nothing was written",
}

# After these a connection may hold a bad file handle or a stale view of the file: it is opened again.
_REOPEN = frozenset(
    {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR}
)


def result_code(error: BaseException) -> int | None:
    """Return SQLite's primary result code (https://www.sqlite.org/rescode.html) behind an error, or None."""
    original = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def needs_reopening(error: BaseException) -> bool:
    """Say whether the connection that met this error should not be used again."""
    return result_code(error) in _REOPEN


def is_locked(error: BaseException | None) -> bool:
    """Say whether another process held the store for longer than was waited."""
    return error is not None and result_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def store_error(error: Exception) -> StoreError:
    """Return the StoreError to raise ``from`` a database error or an operating system error."""
    code = result_code(error)
    if code in _SENTENCES:
        return StoreError(_SENTENCES[code])
    if isinstance(error, OSError):
        return StoreError(f"the store cannot be used: {error.strerror or type(error).__name__}")
    if isinstance(error, SQLAlchemyError | sqlite3.Error):
        return StoreError(f"the store failed ({type(error).__name__})")
    return StoreError("the store failed")
