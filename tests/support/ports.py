"""Loopback ports for what tests start, so that tests which run at the same time never hand out the same one.

A process that asks keeps one port of a block of :data:`BLOCK` bound for as long as it lives: the block is its own, and is free again when it ends,
however it ends. Blocks lie below the ports that the kernel hands out by itself, so no connection of anybody takes a port between being
chosen and being listened on.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator

# --- limits
BLOCK = 64  # ports a block: no test process ever needs as many at the same time; they come round again
FIRST, END = 12_288, 32_768  # below Linux's ephemeral range, above what services of a machine use; 320 blocks

_guard: socket.socket | None = None
_offers: Iterator[int] = iter(())


def _bind(port: int) -> socket.socket | None:
    probe = socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        probe.close()
        return None
    return probe


def _block() -> int:
    """Take a block for this process; return its first port."""
    global _guard  # noqa: PLW0603 - held until the process ends
    blocks = (END - FIRST) // BLOCK
    for number in range(blocks):
        first = FIRST + (os.getpid() + number) % blocks * BLOCK
        _guard = _bind(first)
        if _guard is not None:
            return first
    raise AssertionError("every block of ports is taken")


def free_ports(count: int) -> list[int]:
    """Return that many consecutive loopback ports on which nothing listens, other than those returned before (until they come round again)."""
    global _offers  # noqa: PLW0603
    assert count < BLOCK
    if _guard is None:
        first = _block()
        _offers = _round(first)
    for _ in range(2 * BLOCK):
        ports = [next(_offers) for _ in range(count)]
        if ports[-1] - ports[0] != count - 1:
            continue  # the end of the block came between
        with contextlib.ExitStack() as stack:
            probes = [_bind(port) for port in ports]
            for probe in probes:
                if probe is not None:
                    stack.callback(probe.close)
            if None not in probes:
                return ports
    raise AssertionError("no free ports")


def _round(first: int) -> Iterator[int]:
    while True:
        yield from range(first + 1, first + BLOCK)
