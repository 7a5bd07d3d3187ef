"""An app behind the router that keeps the exact bytes of every request, and misbehaves by the path that is asked for.

It runs in a thread of its own on plain asyncio streams, so that nothing between the socket and the test reads, folds or repairs anything.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

BOUND = 15.0  # no single wait takes longer
MARK = "MADE-BY-THE-UPSTREAM"
"""Stands in everything the app serves: what carries it came from the app."""

HTML = f"<!doctype html><title>{MARK}</title><script>const app = '{MARK}'</script><h1>{MARK}</h1>".encode()
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
CONTENT = bytes(range(256)) * 4096  # 1 MiB for ranges and downloads

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


@dataclass
class Seen:
    """One request as it arrived."""

    raw: bytes
    body: bytes = b""
    line: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        lines = self.raw[:-4].split(b"\r\n")
        self.line = lines[0]
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]

    @property
    def method(self) -> str:
        return self.line.split(b" ")[0].decode()

    @property
    def target(self) -> str:
        return self.line.split(b" ")[1].decode()

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    def values(self, name: str) -> list[str]:
        """Return every value of a header, with ``_`` and ``-`` and either case taken for the same, as CGI does."""
        wanted = name.lower().replace("_", "-").encode()
        return [value.decode("latin-1") for key, value in self.headers if key.lower().strip().replace(b"_", b"-") == wanted]

    @property
    def names(self) -> list[str]:
        return [key.decode("latin-1") for key, _ in self.headers]


class Upstream:
    """The app. ``with Upstream() as app: …``; :meth:`stop` and :meth:`start` take it down and bring it back on the same port."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: list[Seen] = []
        self.lost = 0  # connections that ended
        self._server: asyncio.Server | None = None
        self._open: set[Writer] = set()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)
        self._thread.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(BOUND)
        self._loop.close()

    def start(self) -> None:
        """Listen, on the port of the first time."""
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20))
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self) -> None:
        """Listen no more and cut everything that is open."""

        async def work() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._open):
                writer.transport.abort()
            await asyncio.sleep(0.01)

        self._run(work())

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Begin a new list of requests."""
        self.seen = []

    def of(self, path: str) -> list[Seen]:
        """Return the requests for one path."""
        return [seen for seen in self.seen if seen.path == path]

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(BOUND)

    # ------------------------------------------------------------------ serving

    async def _serve(self, reader: Reader, writer: Writer) -> None:
        self._open.add(writer)
        try:
            while True:
                seen = Seen(await reader.readuntil(b"\r\n\r\n"))
                self.seen.append(seen)
                seen.body = await _body(seen, reader)
                handler = _BY_PATH.get(seen.path, _page)
                if not await handler(seen, reader, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.lost += 1
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _body(seen: Seen, reader: Reader) -> bytes:
    if length := seen.values("content-length"):
        return await reader.readexactly(int(length[0]))
    body = b""
    if seen.values("transfer-encoding"):
        while True:
            size = int(await reader.readline(), 16)
            body += await reader.readexactly(size)
            await reader.readexactly(2)
            if not size:
                break
    return body


def _head(status: str, kind: str, length: int | None, *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"X-App: {MARK}", *more]
    lines.append("Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


async def _send(seen: Seen, writer: Writer, status: str, kind: str, body: bytes, *more: str) -> bool:
    writer.write(_head(status, kind, len(body), *more) + (b"" if seen.method == "HEAD" else body))
    await writer.drain()
    return True


async def _page(seen: Seen, reader: Reader, writer: Writer) -> bool:
    return await _send(seen, writer, "200 OK", "text/html", HTML, "Set-Cookie: appcookie=app-value; Path=/")


async def _image(seen: Seen, reader: Reader, writer: Writer) -> bool:
    return await _send(seen, writer, "200 OK", "image/png", PNG)


async def _json(seen: Seen, reader: Reader, writer: Writer) -> bool:
    return await _send(seen, writer, "200 OK", "application/json", b'{"app": "%b"}' % MARK.encode())


async def _echo(seen: Seen, reader: Reader, writer: Writer) -> bool:
    return await _send(seen, writer, "200 OK", "text/plain", hashlib.sha256(seen.body).hexdigest().encode())


async def _content(seen: Seen, reader: Reader, writer: Writer) -> bool:
    wanted = seen.values("range")
    if not wanted:
        return await _send(seen, writer, "200 OK", "application/octet-stream", CONTENT, "Accept-Ranges: bytes")
    first, last = (int(part) for part in wanted[0].removeprefix("bytes=").split("-"))
    part = CONTENT[first : last + 1]
    more = f"Content-Range: bytes {first}-{last}/{len(CONTENT)}"
    return await _send(seen, writer, "206 Partial Content", "application/octet-stream", part, more)


async def _big(seen: Seen, reader: Reader, writer: Writer) -> bool:
    size = int(parse_qs(urlsplit(seen.target).query)["size"][0])
    writer.write(_head("200 OK", "application/octet-stream", size))
    for _ in range(size // len(CONTENT)):
        writer.write(CONTENT)
        await writer.drain()
    return True


async def _events(seen: Seen, reader: Reader, writer: Writer) -> bool:
    writer.write(_head("200 OK", "text/event-stream", None, "Cache-Control: no-cache"))
    for number in range(100_000):
        piece = f"data: {MARK} {number}\n\n".encode()
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
        await asyncio.sleep(0.02)
    return False


async def _slow(seen: Seen, reader: Reader, writer: Writer) -> bool:
    await reader.read(1)  # until the other side has had enough
    return False


async def _reset(seen: Seen, reader: Reader, writer: Writer) -> bool:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: a reset in place of an orderly end
    writer.transport.abort()
    return False


def _says(data: bytes) -> Callable[[Seen, Reader, Writer], Coroutine[Any, Any, bool]]:
    async def say(seen: Seen, reader: Reader, writer: Writer) -> bool:
        writer.write(data)
        await writer.drain()
        return False

    return say


async def _websocket(seen: Seen, reader: Reader, writer: Writer) -> bool:
    """Echo every message, upper-cased; greet first."""
    key = seen.values("sec-websocket-key")
    if not key:
        return await _send(seen, writer, "426 Upgrade Required", "text/plain", MARK.encode())
    accept = base64.b64encode(hashlib.sha1(key[0].encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"]
    writer.write("\r\n".join([*lines, "", ""]).encode() + _frame(1, MARK.encode()))
    while True:
        first, second = await reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await reader.readexactly(8))
        mask = await reader.readexactly(4)
        data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(await reader.readexactly(length)))
        opcode = first & 0x0F
        if opcode == 8:
            writer.write(_frame(8, data[:2]))
            return False
        if opcode in {1, 2}:
            writer.write(_frame(opcode, data.upper()))
            await writer.drain()


def _frame(opcode: int, data: bytes) -> bytes:
    size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack("!H", len(data))
    return bytes([0x80 | opcode]) + size + data


_BY_PATH: dict[str, Callable[[Seen, Reader, Writer], Coroutine[Any, Any, bool]]] = {
    "/image.png": _image,
    "/data.json": _json,
    "/echo": _echo,
    "/content": _content,
    "/big": _big,
    "/events": _events,
    "/socket": _websocket,
    "/slow": _slow,
    "/reset": _reset,
    "/nonsense": _says(b"I am not speaking HTTP at all\r\n\r\n" + MARK.encode()),
    "/two-lengths": _says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + MARK.encode()),
    "/early": _says(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-App: " + MARK.encode()),
    "/half": _says(_head("200 OK", "text/html", 5_000_000) + HTML),
    "/half-chunked": _says(_head("200 OK", "text/html", None) + b"%x\r\n%b\r\n" % (len(HTML), HTML)),
}
