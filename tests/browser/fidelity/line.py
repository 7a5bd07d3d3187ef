"""The line between a viewer and its router: a TCP proxy that delays, stalls, bunches and cuts, by the dice of a seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass
from typing import Self

# ---------------------------------------------------------------- limits
PIECE = 64 * 1024
LONGEST_WAIT = 0.35  # seconds: a lost packet of a line with a long way, sent again


@dataclass(frozen=True)
class Weather:
    """How bad a line is. Times in seconds; chances per piece of data."""

    name: str
    delay: float = 0.0  # at most so long, each way
    stall: float = 0.0  # chance of a stall of up to LONGEST_WAIT
    crumbs: float = 0.0  # chance that a piece arrives in two
    cut: float = 0.0  # chance that the connection is cut in the middle of it
    hold_acks: int = 0  # milliseconds an acknowledgement may be held in the viewer


CLEAR = Weather("clear")
WEATHERS = (
    CLEAR,
    Weather("slow acknowledgements", hold_acks=180),
    Weather("distant", delay=0.06, crumbs=0.2),
    Weather("bunched", delay=0.02, stall=0.12, crumbs=0.3, hold_acks=60),
    Weather("lossy", delay=0.03, stall=0.08, cut=0.012, hold_acks=60),
)


class Line:
    """The proxy in front of ``port``. Use as an async context manager; its own ``port`` is known afterwards."""

    def __init__(self, behind: int, dice: random.Random) -> None:
        self._behind = behind
        self._dice = dice
        self.weather = CLEAR
        self.port = 0
        self.cuts = 0
        self.waiting = 0  # pieces under way
        self.moved_at = time.monotonic()  # when a piece last arrived
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def quiet(self) -> float:
        """For how many seconds nothing has moved."""
        return 0.0 if self.waiting else time.monotonic() - self.moved_at

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = asyncio.current_task()
        assert own is not None
        self._tasks.add(own)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(own)
            return
        stream = asyncio.Event()  # set when the connection has become a stream: documents and scripts are not cut in two
        ways = [
            asyncio.ensure_future(self._carry(reader, far_writer, stream)),
            asyncio.ensure_future(self._carry(far_reader, writer, stream)),
        ]
        try:
            # Each end's end is the other's: nothing here is half open for long.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass  # the test is over; asyncio's streams report a cancelled handler as a failure
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, far_writer):
                end.transport.abort()
            self._tasks.discard(own)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: asyncio.Event) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(PIECE):
                weather, dice = self.weather, self._dice
                if b"\r\nsec-websocket-accept:" in piece.lower():
                    stream.set()
                self.waiting += 1
                try:
                    if weather.delay:
                        await asyncio.sleep(dice.uniform(0, weather.delay))
                    if dice.random() < weather.stall:
                        await asyncio.sleep(dice.uniform(0, LONGEST_WAIT))
                    cut = stream.is_set() and dice.random() < weather.cut
                    if cut or dice.random() < weather.crumbs:
                        at = dice.randrange(len(piece))
                        writer.write(piece[:at])
                        await writer.drain()
                        if cut:
                            self.cuts += 1
                            return
                        await asyncio.sleep(dice.uniform(0, 0.02))
                        piece = piece[at:]
                    writer.write(piece)
                    await writer.drain()
                finally:
                    self.waiting -= 1
                    self.moved_at = time.monotonic()
            # What was written is on its way before the connection ends.
            await asyncio.sleep(0.05)
