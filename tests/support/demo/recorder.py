"""TCP proxies that write down every byte, and the arithmetic that finds one party's bytes in another's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Self

import httptools
import numpy as np
from numpy.typing import NDArray

WINDOW = 24
"""Bytes in a row that two parties must have in common before it counts: shorter runs are everybody's."""
LEAST_VARIETY = 6
"""Different bytes in a window that counts: runs of zeros, spaces or dashes are everybody's too."""


# ---------------------------------------------------------------- recording


@dataclass
class Connection:
    """What went through one connection. ``up``: from the client; ``down``: from the server."""

    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    upgraded: bool = False
    """The record begins in the middle of a WebSocket: what is in it has no requests."""


class Background:
    """An event loop in a thread of its own: the test's thread belongs to Playwright's synchronous API."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._drain(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    async def _drain(self) -> None:
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:  # a connection may come in meanwhile
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def listen(
        self, handler: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object], sock: socket.socket | None = None
    ) -> tuple[asyncio.Server, int]:
        """Serve TCP on a free loopback port, or on a socket that is bound already; return the server and its port."""

        async def start() -> tuple[asyncio.Server, int]:
            server = await asyncio.start_server(handler, sock=sock or socket.create_server(("127.0.0.1", 0)))
            return server, int(server.sockets[0].getsockname()[1])

        return asyncio.run_coroutine_threadsafe(start(), self.loop).result(10)

    def close(self, server: asyncio.Server) -> None:
        async def close() -> None:
            server.close()

        asyncio.run_coroutine_threadsafe(close(), self.loop).result(10)


class Recorder:
    """Listens on a loopback port, passes everything on to another, and keeps it."""

    def __init__(self, background: Background, target: int) -> None:
        self.connections: list[Connection] = []
        self._target = target
        self._background = background
        self._server, self.port = background.listen(self._serve)

    def close(self) -> None:
        self._background.close(self._server)

    def forget(self) -> None:
        """Drop what was kept; connections that are open go on into new records."""
        for connection in self.connections:
            connection.upgraded = connection.upgraded or any(
                response.status == 101 for response in parse_responses(bytes(connection.down))
            )
            connection.up.clear()
            connection.down.clear()

    @property
    def bytes_up(self) -> int:
        """Return how much clients have sent."""
        return sum(len(connection.up) for connection in self.connections)

    def requests(self) -> list[Request]:
        """Return every request, in the order of connections."""
        whole = [connection for connection in self.connections if not connection.upgraded]
        return [request for connection in whole for request in parse_requests(bytes(connection.up))]

    def responses(self) -> list[Response]:
        """Return every response; what came through an open WebSocket as the body of one without a status."""
        found = []
        for connection in list(self.connections):
            data = bytes(connection.down)
            found += [Response(body=data)] if connection.upgraded else parse_responses(data)
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection()
        self.connections.append(connection)
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(
                _copy(reader, server_writer, connection.up),
                _copy(server_reader, writer, connection.down),
            )
        finally:
            server_writer.close()
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            kept += data
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        if writer.can_write_eof():
            writer.write_eof()


# ---------------------------------------------------------------- reading records


@dataclass
class Request:
    """One request of a record."""

    method: str = ""
    target: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)

    def header(self, name: str) -> str:
        return ", ".join(value for found, value in self.headers if found == name)


@dataclass
class Response:
    """One response of a record. ``body``: as the page gets it, without transfer and content codings. After 101, everything that followed."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        return ", ".join(value for found, value in self.headers if found == name)


class _Requests:
    def __init__(self) -> None:
        self.found: list[Request] = []
        self._parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self.found.append(Request())

    def on_url(self, url: bytes) -> None:
        self.found[-1].target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found[-1].headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.found[-1].method = self._parser.get_method().decode()

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)


class _Responses:
    def __init__(self) -> None:
        self.found: list[Response] = []
        self._parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.found.append(Response())

    def on_header(self, name: bytes, value: bytes) -> None:
        self.found[-1].headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.found[-1].status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.found[-1].body += body

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)


def parse_requests(data: bytes) -> list[Request]:
    parser = _Requests()
    with contextlib.suppress(httptools.HttpParserUpgrade):
        parser.feed(data)
    return parser.found


def parse_responses(data: bytes) -> list[Response]:
    parser = _Responses()
    try:
        parser.feed(data)
    except httptools.HttpParserUpgrade as upgrade:
        parser.found[-1].body = data[upgrade.args[0] :]
    for response in parser.found:
        match response.header("content-encoding"):
            case "":
                pass
            case "gzip":
                response.body = zlib.decompressobj(wbits=31).decompress(response.body)
            case other:
                raise AssertionError(f"a content coding this test cannot read: {other}")
    return parser.found


# ---------------------------------------------------------------- comparing

_PIECE = 1 << 16  # offsets at a time: what the processor's cache holds
_FACTORS = [
    np.uint64(odd) for odd in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F)
]


def _hashes(data: bytes) -> NDArray[np.uint64]:
    """Return a hash of the window at every offset: of 1, 2, 4, 8 and 16 bytes in turn, and of 24 from the last two."""
    pieces = []
    for start in range(0, len(data) - WINDOW + 1, _PIECE):
        one = np.frombuffer(data, np.uint8, min(_PIECE + WINDOW - 1, len(data) - start), start).astype(np.uint64)
        two = one[:-1] * _FACTORS[0] + one[1:]
        four = two[:-2] * _FACTORS[1] + two[2:]
        eight = four[:-4] * _FACTORS[2] + four[4:]
        sixteen = eight[:-8] * _FACTORS[3] + eight[8:]
        both = sixteen[:-8] * _FACTORS[4] + eight[16:]
        pieces.append((both ^ (both >> np.uint64(31))) * _FACTORS[0])
    return np.concatenate(pieces) if pieces else np.empty(0, np.uint64)


class Windows:
    """Every window of some parties' bytes."""

    _BITS = 26

    def __init__(self, parts: Iterable[bytes]) -> None:
        hashes = [_hashes(part) for part in parts]
        self._sorted = np.sort(np.concatenate(hashes)) if hashes else np.empty(0, np.uint64)
        self._table = np.zeros(1 << self._BITS, np.bool_)
        self._table[self._slot(self._sorted)] = True

    def _slot(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return hashes >> np.uint64(64 - self._BITS)

    def __len__(self) -> int:
        return len(self._sorted)

    def _holds(self, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Return the indexes of those that are among ours: first by a table of bits, then for certain."""
        perhaps = np.flatnonzero(self._table[self._slot(hashes)])
        wanted = hashes[perhaps]
        places = np.searchsorted(self._sorted, wanted)
        places[places == len(self._sorted)] = 0
        return perhaps[self._sorted[places] == wanted] if len(self._sorted) else perhaps[:0]

    def found_in(self, data: bytes, ours: Windows) -> list[bytes]:
        """Return the runs of ``data`` whose windows are among these, telling, and not ``ours``."""
        hashes = _hashes(data)
        hits = self._holds(hashes)
        if len(hits) == 0:
            return []
        hits = np.setdiff1d(hits, hits[ours._holds(hashes[hits])])
        runs: list[bytes] = []
        for group in np.split(hits, np.flatnonzero(np.diff(hits) != 1) + 1):
            if len(group):
                run = data[int(group[0]) : int(group[-1]) + WINDOW]
                if len(set(run)) >= LEAST_VARIETY:
                    runs.append(run)
        return runs


def shared(received: Sequence[bytes], served: Sequence[bytes], ours: Sequence[bytes]) -> list[bytes]:
    """Return what was ``served`` by the app and ``received`` by the person, but does not stand in the product's own files."""
    windows, own = Windows(received), Windows(ours)
    return [run for body in served for run in windows.found_in(body, own)]
