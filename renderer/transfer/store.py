"""Where a session's files lie while they cross: below its browser's private directory, under names of ours, and gone with it at the latest."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

# ---------------------------------------------------------------- limits
MAX_HELD = 1024**3  # bytes of one session's files at once: half of what a session's directory may hold


class Store:
    """The directories of one session, and how many bytes its files may still take. Used from the event loop; the methods that say so do I/O."""

    def __init__(self, home: Path) -> None:
        self.downloads = home / "downloads"
        self._uploads = home / "uploads"
        self._held: dict[Path, int] = {}
        self._number = 0
        for directory in (self.downloads, self._uploads):
            directory.mkdir(mode=0o700, exist_ok=True)

    @property
    def free(self) -> int:
        """Return how many bytes may still be held."""
        return MAX_HELD - sum(self._held.values())

    def hold(self, path: Path, size: int) -> bool:
        """Count a file's bytes (anew, where it is counted already). False: there is no room for them."""
        if size > self.free + self._held.get(path, 0):
            return False
        self._held[path] = size
        return True

    def place(self, name: str) -> Path:
        """Make a directory for one file that a page is to see under ``name`` (cleaned), and return the file's path."""
        self._number += 1
        directory = self._uploads / str(self._number)
        directory.mkdir(mode=0o700)
        return directory / name

    def drop(self, path: Path) -> None:
        """Remove a file, and the directory that was made for it."""
        self._held.pop(path, None)
        if path.parent.parent == self._uploads:
            shutil.rmtree(path.parent, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def create(path: Path) -> int:
    """Create a file, 0600, that did not exist; return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def open_plain(path: Path) -> tuple[int, int]:
    """Open a file that a browser wrote; return descriptor and size. Raises OSError for anything but a plain file: the browser may be a taken-over one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise OSError("not a plain file")
    return descriptor, found.st_size


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
