"""Memory that was freed, back to the machine.

glibc keeps what large arrays took as soon as one of them was freed (mallopt(3), M_MMAP_THRESHOLD: the threshold grows with it), and gives back
only what lies at the end of a heap. A session that scrolled for a while held 13 MB so (measured).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable


def _trimmer() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return None  # another C library than glibc
    return found


_trim = _trimmer()


def give_back() -> None:
    """Give back every whole page that nothing uses. Takes milliseconds; other threads run on meanwhile."""
    if _trim is not None:
        _trim(0)
