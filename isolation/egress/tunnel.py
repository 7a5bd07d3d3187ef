"""Waits for bytes without taking them, and carries bytes blindly between two sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass

# limits
CHUNK_BYTES = 65_536
"""Read at a time: what a loopback socket delivers at once, and all that a slow receiver makes us hold per direction."""


@dataclass(slots=True)
class Counted:
    """Bytes carried: ``sent`` out of the isolated browser, ``received`` by it."""

    sent: int = 0
    received: int = 0


async def readable(connection: socket.socket, at_least: int = 1) -> None:
    """Return when ``at_least`` bytes (or the end) can be read from a non-blocking socket; takes none."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[None] = loop.create_future()

    def ready() -> None:
        if not arrived.done():
            arrived.set_result(None)

    # Without the low-water mark the part that is already there would wake us for ever (poll is level-triggered).
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, at_least)
    loop.add_reader(connection, ready)
    try:
        await arrived
    finally:
        loop.remove_reader(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def peek(connection: socket.socket, size: int, known: int = 0) -> bytes:
    """Return up to ``size`` bytes from the head of the queue, more than ``known``, and leave them there.

    Returns at most ``known`` bytes only at the end of the stream.
    """
    await readable(connection, known + 1)
    return connection.recv(size, socket.MSG_PEEK)


async def carry(inner: socket.socket, outer: socket.socket, *, idle: float, counted: Counted) -> None:
    """Carry bytes both ways until both sides have ended, one breaks, or nothing moved for ``idle`` seconds.

    An end of stream is passed on as such (half-close); a broken side ends the whole.
    """
    loop = asyncio.get_running_loop()

    async def pump(source: socket.socket, sink: socket.socket, *, outwards: bool) -> None:
        while data := await loop.sock_recv(source, CHUNK_BYTES):
            await loop.sock_sendall(sink, data)
            deadline.reschedule(loop.time() + idle)
            if outwards:
                counted.sent += len(data)
            else:
                counted.received += len(data)
        sink.shutdown(socket.SHUT_WR)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(idle) as deadline:
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(pump(inner, outer, outwards=True))
                    both.create_task(pump(outer, inner, outwards=False))
            except* OSError:
                pass  # reset by one side: the group has stopped the other direction
