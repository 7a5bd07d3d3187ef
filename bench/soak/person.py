"""One person of the soak: a signed-in session, and a viewer that speaks the wire as the real one does and comes back as it does."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import dataclass, field
from html import unescape

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.typing import Origin, Subprotocol

from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer, encode

# ---------------------------------------------------------------- limits
BACK_SECONDS = 5.0  # after a fault, a session is at its address again within this time, or says why not
LOST_SECONDS = 90.0  # a session that is not back by then has failed
RETRY_SECONDS = 0.25  # between attempts to connect: the viewer's first

# States in which a viewer says why it is not back.
_REASONS = frozenset({m.CloseCode.NO_CAPACITY, m.CloseCode.LIMIT_REACHED, m.CloseCode.SESSION_ENDED, m.CloseCode.REFUSED})


@dataclass
class Seen:
    """What a person lived through. ``back``: seconds from each loss to the page's next picture; ``explained``: losses whose reason was said."""

    counts: Counter[str] = field(default_factory=Counter)
    back: list[float] = field(default_factory=list)
    explained: int = 0
    lost: list[str] = field(default_factory=list)


class Person:
    """A session at one app. ``run`` keeps its viewer open until cancelled."""

    def __init__(self, name: str, port: int, host: str, cookie: str) -> None:
        self.name = name
        self.seen = Seen()
        self.path = "/start"  # where the page is to be
        self.page = ""
        self.shown = asyncio.Event()  # a picture of the page at its address is there
        self.hung = asyncio.Event()
        self._port, self._cookie = port, cookie
        self._authority = f"{host}:{port}"
        self._instance, self._ticket = "", ""
        self._connection: ClientConnection | None = None
        self._since = time.monotonic()
        self._location = ""
        self._resumed = False
        self._reason = False
        self._fault = False
        self._drawn = False  # a page that looks like the one before it sends no picture

    # ------------------------------------------------------------ the line

    async def run(self) -> None:
        """Connect, and connect again, as the viewer does."""
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._port}",
            headers={"Host": self._authority, "Cookie": self._cookie},
            trust_env=False,
            timeout=10.0,
        ) as client:
            while True:
                try:
                    await self._live(client)
                except (
                    ConnectionClosed,
                    InvalidHandshake,
                    InvalidMessage,
                    OSError,
                    TimeoutError,
                    httpx.HTTPError,
                    ValueError,
                ) as problem:
                    self.seen.counts[f"line: {type(problem).__name__}"] += 1
                self._connection, self._drawn = None, False
                self._lose()
                await asyncio.sleep(RETRY_SECONDS)

    async def _live(self, client: httpx.AsyncClient) -> None:
        ticket = await self._take_ticket(client)
        origin = f"http://{self._authority}"
        async with connect(
            f"ws://{self._authority}/.isolation/stream",
            host="127.0.0.1",
            port=self._port,
            origin=Origin(origin),
            subprotocols=[Subprotocol("isolation-viewer.1"), Subprotocol(f"ticket.{ticket}")],
            additional_headers={"Cookie": self._cookie},
            compression=None,
            proxy=None,
            max_size=None,
            open_timeout=10,
            close_timeout=1,
        ) as connection:
            self._connection = connection
            await connection.send(encode(m.Hello(1, self.page, self.path, 800, 600, 100, False, False)))
            while True:
                async with asyncio.timeout(15):  # the router speaks every four seconds
                    data = await connection.recv(decode=False)
                if await self._take(connection, decode_from_renderer(data)):
                    return

    async def _take_ticket(self, client: httpx.AsyncClient) -> str:
        if self._ticket:
            ticket, self._ticket = self._ticket, ""
            return ticket
        if self._instance:
            fetched = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
            answer = await client.post(
                "/.isolation/ticket",
                json={"instance": self._instance},
                headers=fetched | {"Origin": f"http://{self._authority}"},
            )
            if answer.status_code == 200:
                return str(answer.json()["ticket"])
            self.seen.counts[f"ticket: {answer.status_code}"] += 1
        navigation = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}
        page = await client.get(self.path, headers=navigation)
        found = re.search(r'data-configuration="([^"]*)"', page.text)
        if found is None:
            raise ValueError(f"no viewer: {page.status_code}")
        document = json.loads(unescape(found[1]))
        self._instance = document["instance"]
        return str(document["ticket"])

    async def _take(self, connection: ClientConnection, message: m.FromRenderer) -> bool:
        """Act on a message. True: the stream is over."""
        match message:
            case m.Ready(page):
                self.page, self._resumed = page, message.resumed
                self.seen.counts["resumed" if message.resumed else "opened"] += 1
            case m.Location(_, path):
                self._location = path
                if self._resumed and path != self.path:
                    # What was said as the line broke is lost, by design; a person who finds the page where it was asks again.
                    self.seen.counts["asked again"] += 1
                    await connection.send(encode(m.Navigate(self.path)))
                self._resumed = False
                self._picture()
            case m.Frame(seq):
                await connection.send(encode(m.Ack(seq)))
                self._drawn = True
                self._picture()
            case m.Queued():
                self._reason = True
                self.seen.counts["queued"] += 1
            case m.Notice(code):
                self.seen.counts[f"notice: {code.value}"] += 1
                if code is m.NoticeCode.PAGE_HUNG:
                    self.hung.set()
                elif code is m.NoticeCode.PAGE_CRASHED:
                    self._lose()
            case m.Closed(code):
                self.seen.counts[f"closed: {code.value}"] += 1
                self._reason = self._reason or code in _REASONS
                return True
            case _:
                pass
        return False

    def _picture(self) -> None:
        if self._location != self.path or not self._drawn or self.shown.is_set():
            return
        if self._fault and self._reason:
            self.seen.explained += 1
        elif self._fault:
            self.seen.back.append(time.monotonic() - self._since)
        self._reason = self._fault = False
        self.shown.set()

    def _lose(self) -> None:
        """Note that the page was lost; what is lost already, while it was on its way, is not lost again."""
        if self.shown.is_set():
            self._since, self._fault = time.monotonic(), True
            self.shown.clear()
        self._location = ""

    # ------------------------------------------------------------ what the person does

    async def back(self, what: str) -> None:
        """Wait until the page is shown at its address."""
        try:
            async with asyncio.timeout(LOST_SECONDS):
                await self.shown.wait()
        except TimeoutError:
            self.seen.lost.append(f"{what}: not at {self.path}, but {self._location or 'nowhere'}")

    async def say(self, message: m.ToRenderer) -> bool:
        """Say something, if the line stands."""
        if self._connection is None:
            return False
        try:
            await self._connection.send(encode(message))
        except ConnectionClosed:
            return False
        return True

    async def go(self, path: str) -> None:
        """Open another page of the app, and wait for its picture."""
        self.path = path
        self.shown.clear()
        self._fault = False
        await self.say(m.Navigate(path))

    async def drop(self) -> None:
        """Lose the network for a moment."""
        if self._connection is not None:
            self._connection.transport.abort()
