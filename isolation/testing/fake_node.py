"""A renderer node without a renderer: speaks the whole wire contract over real sockets, and shows what a script tells it to.

It is what broker, viewer and console are tested against; it can also misbehave on request, as a taken-over node would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Self

import imagecodecs
import numpy as np
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from isolation.tokens import new_secret
from renderer.wire import messages as m
from renderer.wire.codec import decode_to_renderer, encode
from renderer.wire.control import (
    SUBPROTOCOL,
    Drain,
    EndLease,
    FromNode,
    LeaseCode,
    LeaseReport,
    LeaseState,
    Mark,
    NodeState,
    NodeStatus,
    Prepare,
    StartLease,
)
from renderer.wire.control_codec import decode_to_node, encode_control, parse_page_target
from renderer.wire.fields import WireError

TILE = 128  # pixels a side of the tiles a picture is cut into

Script = Callable[["FakePage", m.ToRenderer], Awaitable[None]]


def whole(seq: int, picture: Any, scale: int = 100) -> m.Frame:
    """Return a whole frame of a picture (height × width × 3, uint8), cut into lossless tiles as a real node cuts it."""
    height, width, _ = picture.shape
    return m.Frame(seq, width, height, True, (), paints(picture, 0, 0, width, height), (), scale)


def paints(picture: Any, left: int, top: int, width: int, height: int) -> tuple[m.Paint, ...]:
    """Return the paints for one rectangle of a picture."""
    found = []
    for y in range(top, top + height, TILE):
        for x in range(left, left + width, TILE):
            tile = np.ascontiguousarray(picture[y : min(y + TILE, top + height), x : min(x + TILE, left + width)])
            h, w, _ = tile.shape
            if (tile == tile[0, 0]).all():
                found.append(m.Paint(x, y, w, h, m.Encoding.FILL, tile[0, 0].tobytes()))
            else:
                data = imagecodecs.webp_encode(tile, lossless=True, method=0)
                found.append(m.Paint(x, y, w, h, m.Encoding.WEBP_LOSSLESS, bytes(data)))
    return tuple(found)


class FakePage:
    """One page of a lease. ``received`` holds every message of its viewers, in order, beginning with each ``Hello``."""

    def __init__(self, lease: str, origin: str) -> None:
        self.id = "pg_" + new_secret(9)
        self.lease = lease
        self.origin = origin
        self.received: list[m.ToRenderer] = []
        self.viewer: ServerConnection | None = None
        self.seq = 0
        self._news = asyncio.Event()

    async def send(self, message: m.FromRenderer) -> None:
        """Send a message to the viewer; nothing happens when none is attached."""
        await self.send_raw(encode(message))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, as a taken-over node could."""
        if self.viewer is not None:
            try:
                await self.viewer.send(data)
            except ConnectionClosed:
                self.viewer = None

    async def show(self, picture: Any) -> None:
        """Send a picture as a whole frame."""
        self.seq += 1
        scale = next((it.scale for it in reversed(self.received) if isinstance(it, (m.Hello, m.Resize))), 100)
        await self.send(whole(self.seq, picture, scale))

    def of(self, kind: type) -> list[Any]:
        """Return the messages of one kind received so far."""
        return [message for message in self.received if isinstance(message, kind)]

    async def wait_for(self, wanted: Callable[[FakePage], bool], seconds: float = 10) -> None:
        """Wait until something holds of what was received. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not wanted(self):
                self._news.clear()
                await self._news.wait()

    def heard(self, message: m.ToRenderer) -> None:
        """Keep a message and wake who waits for it."""
        self.received.append(message)
        self._news.set()


async def quiet(page: FakePage, message: m.ToRenderer) -> None:
    """Show a plain surface of the viewer's size and say where the page is; do nothing else."""
    if isinstance(message, m.Hello):
        await page.send(m.Location(page.origin, message.path, 0, 1, False))
        scale = message.scale / 100
        shape = (round(message.height * scale), round(message.width * scale), 3)
        await page.show(np.full(shape, 255, np.uint8))


class FakeNode:
    """The node. Use as an async context manager; ``url`` is its address afterwards."""

    def __init__(self, script: Script = quiet, *, token: str = "", capacity: int = 4, port: int = 0) -> None:
        self.script = script
        self.token = token or new_secret()
        self.capacity = capacity
        self.port = port
        self.starts: list[StartLease] = []
        self.marks: list[Mark] = []
        self.ends: list[str] = []
        self.heads: list[str] = []  # of every connection: path and headers, as they came
        self.prepared: list[Prepare] = []
        self.state = NodeState.OPEN
        self.leases: dict[str, StartLease] = {}
        self.pages: dict[str, FakePage] = {}
        self.refuse_with: LeaseCode | None = None
        self.silent = False  # take orders and never answer
        self._controls: set[ServerConnection] = set()
        self._connections: set[ServerConnection] = set()
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Return the node's address."""
        return f"ws://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; on the same port as before when it was stopped in between."""
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            self.port,
            process_request=self._admit,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            ping_interval=None,
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        """Die as by kill -9: every socket is cut, every lease and page is gone."""
        if self._server is None:
            return
        for connection in list(self._connections):
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()
        self._server = None
        self.leases.clear()
        self.pages.clear()
        self._controls.clear()

    async def crash(self, lease: str) -> None:
        """Let a lease's Chromium die: its viewers and the router are told, as a real node does."""
        self.leases.pop(lease, None)
        for page in [page for page in self.pages.values() if page.lease == lease]:
            del self.pages[page.id]
            await page.send(m.Closed(m.CloseCode.BROWSER_CRASHED))
            if page.viewer is not None:
                await page.viewer.close()
        await self._tell(LeaseReport(lease, LeaseState.ENDED, LeaseCode.CRASHED))

    async def become(self, state: NodeState) -> None:
        """Take new leases, or none, from now on; the router is told."""
        self.state = state
        await self._tell(self._status())

    async def free(self, lease: str) -> None:
        """End a lease by itself, as when nobody came back to it."""
        self.leases.pop(lease, None)
        await self._tell(LeaseReport(lease, LeaseState.ENDED, LeaseCode.IDLE))
        await self._tell(self._status())

    def page(self) -> FakePage:
        """Return the newest page."""
        return list(self.pages.values())[-1]

    async def new_page(self, opener: FakePage) -> FakePage:
        """Make a page that waits for a viewer, as ``window.open`` does."""
        page = FakePage(opener.lease, opener.origin)
        self.pages[page.id] = page
        return page

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.heads.append(f"{request.path}\n{request.headers}")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "")
        if request.path == "/control":
            return None
        try:
            parse_page_target(request.path)
        except WireError:
            return connection.respond(HTTPStatus.NOT_FOUND, "")
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        try:
            path = connection.request.path if connection.request is not None else ""
            if path == "/control":
                await self._control(connection)
            else:
                await self._page(connection, path)
        except ConnectionClosed:
            pass
        finally:
            self._connections.discard(connection)
            self._controls.discard(connection)

    async def _control(self, connection: ServerConnection) -> None:
        self._controls.add(connection)
        await connection.send(encode_control(self._status()))
        async for text in connection:
            order = decode_to_node(text)
            if isinstance(order, EndLease):
                self.ends.append(order.lease)
                if self.leases.pop(order.lease, None) is not None:
                    await self._tell(LeaseReport(order.lease, LeaseState.ENDED, LeaseCode.TOLD))
                    await self._tell(self._status())
                continue
            if isinstance(order, Mark):
                self.marks.append(order)
                continue
            if isinstance(order, Prepare):
                self.prepared.append(order)
                continue
            if isinstance(order, Drain):
                await self.become(NodeState.DRAINING)
                continue
            self.starts.append(order)
            if self.silent:
                continue
            full = order.lease not in self.leases and (len(self.leases) >= self.capacity or self.state is not NodeState.OPEN)
            refusal = self.refuse_with or (LeaseCode.NO_CAPACITY if full else None)
            if refusal is not None:
                await connection.send(encode_control(LeaseReport(order.lease, LeaseState.FAILED, refusal)))
                continue
            self.leases[order.lease] = order
            await connection.send(encode_control(LeaseReport(order.lease, LeaseState.STARTED, LeaseCode.OK)))
            await self._tell(self._status())

    async def _page(self, connection: ServerConnection, path: str) -> None:
        address = parse_page_target(path)
        hello = decode_to_renderer(await connection.recv(decode=False))
        assert isinstance(hello, m.Hello)
        if address.lease not in self.leases:
            await connection.send(encode(m.Closed(m.CloseCode.RENDERER_LOST)))
            return
        page = self.pages.get(hello.page)
        resumed = page is not None and page.lease == address.lease
        if page is None or not resumed:
            page = FakePage(address.lease, address.origin)
            self.pages[page.id] = page
        page.viewer = connection
        page.heard(hello)
        await page.send(m.Ready(page.id, hello.width, hello.height, hello.scale, resumed))
        await self.script(page, hello)
        async for data in connection:
            message = decode_to_renderer(data if isinstance(data, bytes) else data.encode())
            page.heard(message)
            await self.script(page, message)

    async def _tell(self, message: FromNode) -> None:
        for connection in list(self._controls):
            try:
                await connection.send(encode_control(message))
            except ConnectionClosed:
                self._controls.discard(connection)

    def _status(self) -> NodeStatus:
        return NodeStatus(len(self.leases), 0, self.capacity, "156.0.0.0", self.state)
