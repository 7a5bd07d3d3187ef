"""Files on their way to the person: offered, accepted, sent in pieces within a window, gone."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from renderer.cdp import Tasks
from renderer.transfer.store import Store, open_plain
from renderer.wire import messages as m
from renderer.wire.blobs import FILE_WINDOW, MAX_CHUNK

# ---------------------------------------------------------------- limits
MAX_OFFERS = 10  # files of one page that wait for their person or are under way
OFFER_SECONDS = 900.0  # how long a file waits: a telephone call
LEAST_PIECE = 16 * 1024  # bytes: at a megabit a second an eighth of a second, in which no picture can pass
QUICK_SECONDS = 0.1  # a piece acknowledged sooner leaves room for more
SLOW_SECONDS = 0.3  # a piece acknowledged later has held up pictures: less at once
ACK_SECONDS = 120.0  # a viewer that takes nothing for so long has given up

log = logging.getLogger("renderer.transfer")


@dataclass(eq=False)
class Offer:
    """One file that the person may have."""

    id: int
    kind: m.DownloadKind
    name: str
    path: Path
    size: int
    at: float
    accepted: bool = False
    acknowledged: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Outgoing:
    """The downloads of one page. ``send`` reaches its viewer, if there is one."""

    def __init__(self, store: Store, send: Callable[[m.FromRenderer], None], number: Callable[[], int], tasks: Tasks) -> None:
        self._store, self._send, self._number, self._tasks = store, send, number, tasks
        self._offers: dict[int, Offer] = {}

    def offer(self, kind: m.DownloadKind, name: str, path: Path, size: int) -> None:
        """Offer a whole file, which is removed when it was sent or nobody wants it."""
        self._expire()
        if len(self._offers) >= MAX_OFFERS:
            self._store.drop(path)
            self.refuse(kind, name, size, m.TransferCode.FAILED)
            return
        offer = Offer(self._number(), kind, name, path, size, time.monotonic())
        self._offers[offer.id] = offer
        self._send(m.Download(offer.id, kind, name, size))

    def refuse(self, kind: m.DownloadKind, name: str, size: int, code: m.TransferCode) -> None:
        """Tell the person (and the router's log) of a file that they do not get."""
        number = self._number()
        self._send(m.Download(number, kind, name, size))
        self._send(m.DownloadClosed(number, code))

    def _expire(self) -> None:
        now = time.monotonic()
        for offer in [o for o in self._offers.values() if not o.accepted and now - o.at > OFFER_SECONDS]:
            self._finish(offer, m.TransferCode.CANCELLED)

    # ------------------------------------------------------------ what the viewer says

    def reply(self, message: m.DownloadReply) -> None:
        """Send an offered file, or let it go."""
        offer = self._offers.get(message.id)
        if offer is None or offer.accepted:
            return
        if not message.accept:
            self._forget(offer)
            return
        offer.accepted = True
        offer.task = self._tasks.start(self._stream(offer))

    def acknowledge(self, message: m.DownloadAck) -> None:
        """Go on with a file."""
        offer = self._offers.get(message.id)
        if offer is not None:
            offer.acknowledged = max(offer.acknowledged, message.received)
            offer.news.set()

    def cancel(self, number: int) -> bool:
        """Stop a file. False: there is no such one."""
        offer = self._offers.get(number)
        if offer is None:
            return False
        self._finish(offer, m.TransferCode.CANCELLED)
        return True

    def attach(self) -> None:
        """Offer again what the last viewer did not get: a new one has come."""
        for offer in self._offers.values():
            self._send(m.Download(offer.id, offer.kind, offer.name, offer.size))

    def detach(self) -> None:
        """Stop sending: the viewer is gone. What it did not get is kept for the next."""
        for offer in self._offers.values():
            if offer.task is not None:
                offer.task.cancel()
            offer.task, offer.accepted, offer.acknowledged, offer.at = None, False, 0, time.monotonic()

    def close(self) -> None:
        """Remove everything: the page is gone."""
        for offer in list(self._offers.values()):
            self._forget(offer)

    # ------------------------------------------------------------ sending

    async def _stream(self, offer: Offer) -> None:
        try:
            descriptor, size = await asyncio.to_thread(open_plain, offer.path)
        except OSError:
            self._finish(offer, m.TransferCode.FAILED)
            return
        try:
            done = size == offer.size and await self._pieces(offer, descriptor)
        except OSError:
            done = False
        finally:
            os.close(descriptor)
        self._finish(offer, m.TransferCode.DONE if done else m.TransferCode.FAILED)

    async def _pieces(self, offer: Offer, descriptor: int) -> bool:
        """Send it piece by piece. As much is under way at once as comes back quickly: a slow line is left to pictures and input in between."""
        sent, pace = 0, LEAST_PIECE
        under_way: list[tuple[int, float]] = []
        while sent < offer.size:
            room = min(pace, FILE_WINDOW) - (sent - offer.acknowledged)
            if room <= 0:
                pace = await self._wait(offer, under_way, pace)
                if not pace:
                    return False
                continue
            data = await asyncio.to_thread(os.pread, descriptor, min(room, MAX_CHUNK, offer.size - sent), sent)
            if not data:
                return False
            self._send(m.DownloadData(offer.id, sent, data))
            sent += len(data)
            under_way.append((sent, time.monotonic()))
            await asyncio.sleep(0)
        return True

    async def _wait(self, offer: Offer, under_way: list[tuple[int, float]], pace: int) -> int:
        """Wait for an acknowledgement; return how many bytes may be under way from now on, 0 for none ever."""
        offer.news.clear()
        try:
            async with asyncio.timeout(ACK_SECONDS):
                await offer.news.wait()
        except TimeoutError:
            return 0
        taken = 0.0
        while under_way and under_way[0][0] <= offer.acknowledged:
            taken = time.monotonic() - under_way.pop(0)[1]
        if not taken:
            return pace
        if taken < QUICK_SECONDS:
            return min(pace * 2, FILE_WINDOW)
        return max(pace // 2, LEAST_PIECE) if taken > SLOW_SECONDS else pace

    def _finish(self, offer: Offer, code: m.TransferCode) -> None:
        if self._offers.get(offer.id) is offer:
            self._send(m.DownloadClosed(offer.id, code))
        self._forget(offer)

    def _forget(self, offer: Offer) -> None:
        self._offers.pop(offer.id, None)
        if offer.task is not None and offer.task is not asyncio.current_task():
            offer.task.cancel()
        self._store.drop(offer.path)
