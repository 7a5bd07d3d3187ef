"""The node's WebSocket server: routers' control connections and viewers' pages. Nobody without the node's token gets past the upgrade."""

from __future__ import annotations

import asyncio
import hmac
import http
import logging
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from renderer.cdp import Tasks
from renderer.node import Node
from renderer.page import Tab
from renderer.viewer import Viewer
from renderer.wire.blobs import MAX_BLOB_BYTES
from renderer.wire.codec import decode_to_renderer, encode
from renderer.wire.control import SUBPROTOCOL, Drain, EndLease, FromNode, Mark, Prepare, StartLease
from renderer.wire.control_codec import MAX_CONTROL_BYTES, decode_to_node, encode_control, parse_page_target
from renderer.wire.fields import WireError
from renderer.wire.messages import CloseCode, Closed, FromRenderer, Hello, ToRenderer
from renderer.wire.session import Phase, StreamRules

# ---------------------------------------------------------------- limits
HELLO_SECONDS = 10.0  # a viewer that does not say what it wants is let go
LAST_WORD_SECONDS = 1.0  # what the other side gets to read the last message in
MAX_WAITING = 2000  # messages to a viewer that does not read: then it is gone (frames never queue, see capture.pump)
MAX_WAITING_CONTROL = 1000
PING_SECONDS = 20.0  # both ways: a dead router is noticed within twice this
MAX_STARTS = 64  # starts one router may have under way

log = logging.getLogger("renderer.server")


class NodeServer:
    """Listens on one address. ``token``: what every router must show."""

    def __init__(self, node: Node, token: str) -> None:
        self._node = node
        self._token = token
        self._server: Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port (chosen by the system for 0)."""
        self._server = await serve(
            self._handle,
            host,
            port,
            process_request=self._admit,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,  # pictures do not compress twice, and a peer's compressed bomb never unpacks here
            max_size=MAX_BLOB_BYTES,
            ping_interval=PING_SECONDS,
            ping_timeout=PING_SECONDS,
            open_timeout=HELLO_SECONDS,
            server_header=None,
        )
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def stop(self) -> None:
        """Close every connection."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        presented = request.headers.get_all("Authorization")
        wanted = f"Bearer {self._token}"
        if len(presented) != 1 or not hmac.compare_digest(presented[0].encode(), wanted.encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "")
        path = urlsplit(request.path).path
        if path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, encode_control(self._node.status()) + "\n")
        if SUBPROTOCOL not in ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).replace(" ", "").split(","):
            return connection.respond(http.HTTPStatus.BAD_REQUEST, "")
        if path == "/control":
            return None
        try:
            parse_page_target(request.path)
        except WireError:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        request = connection.request
        if request is None:
            return
        if urlsplit(request.path).path == "/control":
            await _Control(self._node, connection).run()
        else:
            await _Page(self._node, connection, request.path).run()


class _Control:
    """One router's control connection."""

    def __init__(self, node: Node, connection: ServerConnection) -> None:
        self._node = node
        self._connection = connection
        self._out: asyncio.Queue[str] = asyncio.Queue(MAX_WAITING_CONTROL)
        self._tasks = Tasks("control")

    async def run(self) -> None:
        self._node.listen(self._tell)
        writer = self._tasks.start(self._write())
        try:
            async for data in self._connection:
                if len(data) > MAX_CONTROL_BYTES or not isinstance(data, str):
                    raise WireError("not a control message")
                message = decode_to_node(data)
                if isinstance(message, EndLease):
                    self._node.stop_lease(message.lease)
                elif isinstance(message, Mark):
                    self._node.mark(message)
                elif isinstance(message, Prepare):
                    self._node.prepare(message)
                elif isinstance(message, Drain):
                    self._node.drain()
                elif len(self._tasks) <= MAX_STARTS:
                    self._tasks.start(self._begin(message))
                else:
                    raise WireError("too many starts at once")
        except WireError as problem:
            log.warning("control.refused", extra={"why": str(problem)})
            await self._connection.close(1008)
        except ConnectionClosed:
            pass
        finally:
            self._node.unlisten(self._tell)
            if writer is not None:
                writer.cancel()
            self._tasks.close()

    async def _begin(self, order: StartLease) -> None:
        self._tell(await self._node.begin(order))

    def _tell(self, message: FromNode) -> None:
        try:
            self._out.put_nowait(encode_control(message))
        except asyncio.QueueFull:
            self._tasks.start(self._connection.close(1013))

    async def _write(self) -> None:
        try:
            while True:
                await self._connection.send(await self._out.get())
        except ConnectionClosed:
            return


class _Page:
    """One viewer's connection."""

    def __init__(self, node: Node, connection: ServerConnection, target: str) -> None:
        self._node = node
        self._connection = connection
        self._address = parse_page_target(target)
        self._out: asyncio.Queue[FromRenderer] = asyncio.Queue(MAX_WAITING)
        self._rules = StreamRules()
        self._viewer = Viewer(self._address.origin, self._rules, self._emit)
        self._tab: Tab | None = None

    async def run(self) -> None:
        writer = asyncio.ensure_future(self._write())
        try:
            await self._read()
        except WireError as problem:
            log.warning("viewer.refused", extra={"lease": self._address.lease[:8], "why": str(problem)})
            self._viewer.close(CloseCode.PROTOCOL)
        except (ConnectionClosed, TimeoutError):
            self._viewer.close(CloseCode.PROTOCOL)
        finally:
            if self._tab is not None:
                self._tab.detach(self._viewer)
            await self._finish(writer)

    async def _finish(self, writer: asyncio.Future[None]) -> None:
        # The last word (Closed) goes out if the other side still reads.
        try:
            async with asyncio.timeout(2.0):
                await asyncio.shield(writer)
        except (TimeoutError, ConnectionClosed):
            writer.cancel()
        await self._connection.close()

    async def _read(self) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            hello = self._decode(await self._connection.recv())
        if not isinstance(hello, Hello):
            raise WireError("a message before hello")
        lease = self._node.lease(self._address.lease)
        if lease is None:
            self._viewer.close(CloseCode.RENDERER_LOST)
            return
        self._tab = await lease.attach(self._viewer, hello)
        if self._tab is None:
            return
        async for data in self._connection:
            message = self._decode(data)
            if self._rules.phase is Phase.CLOSED:
                return
            self._tab.handle(self._viewer, message)

    def _decode(self, data: str | bytes) -> ToRenderer:
        if isinstance(data, str):
            raise WireError("not a binary message")
        message = decode_to_renderer(data)
        if self._rules.phase is not Phase.CLOSED:
            self._rules.to_renderer(message)
        return message

    async def _let_it_read(self) -> None:
        """Let the other side close: an acknowledgement it is about to send would fail on a closed connection, and hide the last word from it."""
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await self._connection.wait_closed()
        except TimeoutError:
            await self._connection.close()

    def _emit(self, message: FromRenderer) -> None:
        try:
            self._out.put_nowait(message)
        except asyncio.QueueFull:
            # It does not read; a connection that is cut off needs no last word.
            self._connection.transport.abort()

    async def _write(self) -> None:
        try:
            while True:
                message = await self._out.get()
                await self._connection.send(encode(message))
                if isinstance(message, Closed):
                    await self._let_it_read()
                    return
        except WireError as problem:
            # Our own codec refuses what we made: a bug of ours. The viewer starts anew rather than wait for ever.
            log.exception("viewer.unsendable", extra={"why": str(problem)})
            self._connection.transport.abort()
