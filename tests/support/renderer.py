"""What the renderer's browser tests share: a node as a child process, a gateway that wants credentials, a viewer that draws."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

import av
import imagecodecs
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer, encode
from renderer.wire.control import SUBPROTOCOL, Egress, EndLease, FromNode, LeaseReport, NodeStatus, StartLease
from renderer.wire.control_codec import PageAddress, decode_from_node, encode_control
from renderer.wire.controls import Value
from renderer.wire.frames import RECALL
from renderer.wire.glyphs import layout, unpack_glyphs
from renderer.wire.images import vp8_frame
from renderer.wire.memory import FrameMemory
from renderer.wire.session import StreamRules

TOKEN = "a-node-token-for-tests"
ORIGIN = "http://app.localhost:8080"
OTHER = "http://other.localhost:8080"
OPEN_CONTROLS: dict[str, Value] = {
    "clipboard": "both",
    "clipboard_types": ["text", "image"],
    "clipboard_max_kb": 256,
    "clipboard_per_minute": 600,
    "download": "none",
    "download_max_mb": 100,
    "download_types": None,
    "upload": "none",
    "upload_max_mb": 100,
    "upload_types": None,
    "print": False,
    "keyboard": True,
    "watermark": "",
    "tabs": 20,
    "bandwidth_kbps": None,
}
CHECKOUT = Path(__file__).parents[2]
PATIENCE = 20.0
T = TypeVar("T")


# ---------------------------------------------------------------- gateway

Page = tuple[int, dict[str, str], bytes]


class Gateway:
    """A proxy that wants each session's own credentials and serves every page itself. It never connects anywhere."""

    def __init__(self) -> None:
        self.credentials: dict[str, str] = {}
        self.pages: dict[str, Page] = {}
        self.seen: list[tuple[str, str]] = []  # (session, address)
        self.posted: list[tuple[str, bytes]] = []
        self.protected: dict[str, str] = {}  # address → the Authorization header it wants
        self.held: dict[str, asyncio.Event] = {}  # address → answered when this is set
        self.digests: dict[str, tuple[str, str]] = {}  # address → name and password, by Digest (RFC 7616)
        self.port = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def html(self, path: str, body: str, origin: str = ORIGIN) -> None:
        self.pages[origin + path] = (200, {"Content-Type": "text/html; charset=utf-8"}, body.encode())

    def egress(self, name: str) -> Egress:
        self.credentials[name] = f"secret of {name}"
        return Egress("127.0.0.1", self.port, name, self.credentials[name], "")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ")
                headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                status, extra, answer = self._answer(method, target, headers, body)
                if target in self.held:
                    await self.held[target].wait()
                if status == 200 and target.endswith("/slow"):
                    await asyncio.sleep(30)
                head_lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(answer)}", *(f"{k}: {v}" for k, v in extra.items())]
                writer.write("\r\n".join(head_lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else answer))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Page:
        name, _, password = base64.b64decode(headers.get("proxy-authorization", "Basic Og==")[6:]).decode().partition(":")
        if not name or self.credentials.get(name) != password:
            return 407, {"Proxy-Authenticate": 'Basic realm="gateway"'}, b"who are you?"
        if target == "http://warm-up.invalid/":
            return 200, {"Content-Type": "text/html"}, b""
        self.seen.append((name, target))
        if method == "CONNECT":
            return 403, {}, b""
        if method == "POST":
            self.posted.append((target, body))
        wanted = self.protected.get(target.partition("?")[0])
        if wanted is not None and headers.get("authorization") != wanted:
            return (
                401,
                {"WWW-Authenticate": 'Basic realm="The \\"Archive\\""', "Content-Type": "text/html"},
                b"<title>denied</title>no",
            )
        known = self.digests.get(target.partition("?")[0])
        if known is not None and not digested(headers.get("authorization", ""), method, *known):
            challenge = f'Digest realm="archive", qop="auth", algorithm=SHA-256, nonce="{NONCE}"'
            return 401, {"WWW-Authenticate": challenge, "Content-Type": "text/html"}, b"<title>denied</title>no"
        return self.pages.get(target.partition("?")[0], (404, {"Content-Type": "text/plain"}, b"nothing here"))


NONCE = "once-and-no-more"


def digested(header: str, method: str, username: str, password: str) -> bool:
    """Whether an Authorization header is the right answer to our challenge (RFC 7616 §3.4.1)."""
    given = {name: quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', header)}
    if not header.startswith("Digest ") or (given.get("username"), given.get("nonce")) != (username, NONCE):
        return False

    def digest(*parts: str) -> str:
        return hashlib.sha256(":".join(parts).encode()).hexdigest()

    try:
        middle = (given["nonce"], given["nc"], given["cnonce"], given["qop"])
        wanted = digest(digest(username, "archive", password), *middle, digest(method, given["uri"]))
        return given["response"] == wanted
    except KeyError:
        return False


# ---------------------------------------------------------------- node


@dataclass
class NodeProcess:
    """A running ``python -m renderer``."""

    process: asyncio.subprocess.Process
    port: int
    runtime_dir: Path
    chromium: str
    logs: list[dict[str, Any]] = field(default_factory=list)

    def control(self) -> Any:
        return self._connect("/control")

    def _connect(self, target: str) -> Any:
        return connect(
            f"ws://127.0.0.1:{self.port}{target}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {TOKEN}"},
            max_size=None,
            compression=None,
            proxy=None,
        )

    @contextlib.asynccontextmanager
    async def viewer(self, lease: str, path: str = "/", **greeting: Any) -> AsyncIterator[ViewerClient]:
        origin = greeting.pop("origin", ORIGIN)
        async with self._connect(PageAddress(lease, origin).target()) as connection:
            viewer = ViewerClient(connection, self.logs)
            await viewer.say(
                m.Hello(
                    **{
                        "version": 1,
                        "page": "",
                        "path": path,
                        "width": 800,
                        "height": 600,
                        "scale": 100,
                        "mac": False,
                        "video": True,
                        **greeting,
                    }
                )
            )
            reading = asyncio.ensure_future(viewer.read())
            try:
                yield viewer
            finally:
                reading.cancel()
                if reading.done() and not reading.cancelled() and reading.exception() is not None:
                    raise AssertionError("the stream broke its own rules") from reading.exception()

    def children(self) -> list[int]:
        return descendants(self.process.pid)

    def pages(self) -> list[int]:
        """Processes that run pages (Chromium's renderers)."""
        return [pid for pid in self.children() if b"--type=renderer" in proc(pid, "cmdline")]

    def profiles(self) -> list[str]:
        return sorted(p.name for p in self.runtime_dir.iterdir() if p.name not in {"lock", "gateway.json"})


def descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                parents.setdefault(int(stat[stat.rindex(")") + 2 :].split()[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        for child in parents.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def proc(pid: int, name: str) -> bytes:
    """What /proc says of a process, nothing when it has ended."""
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def owner(pid: int) -> int:
    """Whose process it is."""
    return Path(f"/proc/{pid}").stat().st_uid


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


@contextlib.asynccontextmanager
async def node_process(runtime_dir: Path, *arguments: str, module: str = "renderer") -> AsyncIterator[NodeProcess]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "--listen", "127.0.0.1:0", "--runtime-dir", str(runtime_dir), "--exit-with-parent", *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=CHECKOUT, limit=1 << 20,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    logs: list[dict[str, Any]] = []
    ready_logged = asyncio.Event()  # the log comes by a pipe of its own, a moment before or after the port

    async def read_logs(stream: asyncio.StreamReader) -> None:
        async for line in stream:
            try:
                logs.append(json.loads(line))
            except ValueError:
                logs.append({"event": "raw", "line": line.decode("utf-8", "replace")})
            if logs[-1]["event"] == "node.ready":
                ready_logged.set()

    logging_task = asyncio.ensure_future(read_logs(process.stderr))
    try:
        process.stdin.write(TOKEN.encode() + b"\n")
        ready = await asyncio.wait_for(process.stdout.readline(), 60)
        assert ready, logs
        said = json.loads(ready)
        await asyncio.wait_for(ready_logged.wait(), 60)
        yield NodeProcess(process, said["port"], runtime_dir, said["chromium"], logs)
    finally:
        with contextlib.suppress(ProcessLookupError, BrokenPipeError, ConnectionResetError):
            process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 20)
        except TimeoutError:
            process.kill()
            await process.wait()
        await logging_task


def new_runtime_dir() -> Path:
    """A place that an unprivileged account can reach (pytest's own directories are closed to it)."""
    return Path(tempfile.mkdtemp(prefix="isolation-node-")) / "node"


def open_to_all(runtime_dir: Path) -> Path:
    os.chmod(runtime_dir.parent, 0o755)
    return runtime_dir


# ---------------------------------------------------------------- control


async def start_lease(connection: ClientConnection, name: str, egress: Egress, **controls: Value) -> LeaseReport:
    await connection.send(encode_control(StartLease(name, egress, OPEN_CONTROLS | controls, 100)))
    return await report_of(connection, name)


async def end_lease(connection: ClientConnection, name: str) -> LeaseReport:
    await connection.send(encode_control(EndLease(name)))
    return await report_of(connection, name)


async def report_of(connection: ClientConnection, name: str) -> LeaseReport:
    while True:
        message = await next_control(connection)
        if isinstance(message, LeaseReport) and message.lease == name:
            return message


async def next_control(connection: ClientConnection) -> FromNode:
    return decode_from_node(await asyncio.wait_for(connection.recv(), PATIENCE))


async def status_of(connection: ClientConnection) -> NodeStatus:
    while True:
        message = await next_control(connection)
        if isinstance(message, NodeStatus):
            return message


# ---------------------------------------------------------------- viewer


class ViewerClient:
    """A viewer that draws what it is sent, with a decoder of its own, and checks every rule of the stream."""

    def __init__(self, connection: ClientConnection, logs: list[dict[str, Any]]) -> None:
        self.connection = connection
        self.logs = logs
        self.rules = StreamRules()
        self.surface: np.ndarray[Any, Any] = np.zeros((0, 0, 3), np.uint8)
        self._screen = Screen()
        self.messages: list[m.FromRenderer] = []
        self.frame_bytes = 0
        self.frames = 0
        self.acknowledge = True
        self._changed = asyncio.Condition()

    async def say(self, message: m.ToRenderer) -> None:
        self.rules.to_renderer(message)
        await self.connection.send(encode(message))

    async def read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for data in self.connection:
                assert isinstance(data, bytes)
                message = decode_from_renderer(data)
                self.rules.from_renderer(message)
                if isinstance(message, m.Frame):
                    self.frames += 1
                    self.frame_bytes += len(data)
                    self.surface = self._screen.draw(message)
                    if self.acknowledge:
                        with contextlib.suppress(ConnectionClosed):  # the last word may still wait to be read
                            await self.say(m.Ack(message.seq))
                async with self._changed:
                    self.messages.append(message)
                    self._changed.notify_all()

    async def until(self, found: Callable[[ViewerClient], T | None], patience: float = PATIENCE) -> T:
        """Wait until ``found`` returns something true."""
        try:
            async with asyncio.timeout(patience), self._changed:
                while True:
                    result = found(self)
                    if result:
                        return result
                    await self._changed.wait()
        except TimeoutError:
            told = [x for x in self.messages if not isinstance(x, m.Frame)]
            state = f"frames: {self.frames}, connection: {self.connection.state.name}, node: {self.logs[-5:]}"
            raise AssertionError(f"waited in vain; {state}; told so far: {told}") from None

    async def message(self, kind: type[T], accept: Callable[[T], bool] = lambda _: True, *, after: int = 0) -> T:
        """The first message of a kind (from index ``after`` on) that is accepted."""
        return await self.until(lambda v: next((x for x in v.messages[after:] if isinstance(x, kind) and accept(x)), None))

    def pixel(self, x: int, y: int) -> tuple[int, int, int] | None:
        if y >= self.surface.shape[0] or x >= self.surface.shape[1]:
            return None
        r, g, b = self.surface[y, x]
        return int(r), int(g), int(b)

    async def colour(self, x: int, y: int, rgb: tuple[int, int, int]) -> None:
        await self.until(lambda v: v.pixel(x, y) == rgb)

    async def title(self, text: str) -> None:
        await self.message(m.Title, lambda t: t.text == text)

    async def titled(self, pattern: str) -> re.Match[str]:
        """The latest title, as soon as it matches."""

        def look(viewer: ViewerClient) -> re.Match[str] | None:
            latest = next((x.text for x in reversed(viewer.messages) if isinstance(x, m.Title)), "")
            return re.fullmatch(pattern, latest, re.DOTALL)

        return await self.until(look)

    async def click(self, x: int, y: int, *, clicks: int = 1, button: int = 0, modifiers: int = 0) -> None:
        bit = (1, 4, 2)[button]
        await self.say(m.Pointer(m.PointerKind.MOVE, x, y, 0, 0, 0, modifiers))
        for click in range(1, clicks + 1):
            await self.say(m.Pointer(m.PointerKind.DOWN, x, y, button, bit, click, modifiers))
            await self.say(m.Pointer(m.PointerKind.UP, x, y, button, 0, click, modifiers))

    async def key(self, key: str, code: str = "", modifiers: int = 0) -> None:
        await self.say(m.Key(True, key, code, 0, modifiers, False))
        await self.say(m.Key(False, key, code, 0, modifiers, False))

    async def type(self, text: str) -> None:
        for character in text:
            await self.key(character, f"Key{character.upper()}" if character.isalpha() else "")


class Screen:
    """The reference decoder: keeps and copies read the old surface, then the paints are laid over."""

    def __init__(self) -> None:
        self.pixels: np.ndarray[Any, Any] = np.zeros((0, 0, 3), np.uint8)
        self._memory = FrameMemory()
        self._slots: dict[int, np.ndarray[Any, Any]] = {}
        self._film: Any = None
        self._glyphs: list[np.ndarray[Any, Any]] = []

    def draw(self, frame: m.Frame) -> np.ndarray[Any, Any]:
        """Go one frame on; returns the new surface."""
        self._memory.take(frame)
        before = self.pixels
        if frame.whole:
            self.pixels = np.zeros((frame.height, frame.width, 3), np.uint8)
            self._slots.clear()
            self._glyphs.clear()
        else:
            self.pixels = before.copy()
        for k in frame.keeps:
            self._slots[k.slot] = before[k.y : k.y + k.height, k.x : k.x + k.width].copy()
        for c in frame.copies:
            self.pixels[c.y : c.y + c.height, c.x : c.x + c.width] = before[c.sy : c.sy + c.height, c.sx : c.sx + c.width]
        for p in frame.paints:
            if p.encoding is m.Encoding.GLYPHS:
                self._stamp(p)
                continue
            self.pixels[p.y : p.y + p.height, p.x : p.x + p.width] = self._decode(p)[..., :3]
        return self.pixels

    def _stamp(self, p: m.Paint) -> None:
        glyphs = unpack_glyphs(p.data)
        if glyphs.forget:
            self._glyphs.clear()
        if glyphs.sizes:
            sheet = imagecodecs.webp_decode(glyphs.sheet)[..., :3]
            for (x, y), (width, height) in zip(layout(glyphs.sizes)[0], glyphs.sizes, strict=True):
                self._glyphs.append(sheet[y : y + height, x : x + width])
        for number, x, y in glyphs.stamps:
            height, width, _ = self._glyphs[number].shape
            self.pixels[y : y + height, x : x + width] = self._glyphs[number]

    def _decode(self, p: m.Paint) -> Any:
        match p.encoding:
            case m.Encoding.FILL:
                return np.frombuffer(p.data, np.uint8)
            case m.Encoding.RECALL:
                slot, x, y = RECALL.unpack(p.data)
                return self._slots[slot][y : y + p.height, x : x + p.width]
            case m.Encoding.VIDEO:
                head = vp8_frame(p.data)
                assert head is not None
                if head.key:
                    self._film = av.CodecContext.create("vp8", "r")
                (frame,) = self._film.decode(av.Packet(p.data))
                return frame.to_ndarray(format="rgb24")
            case _:
                return imagecodecs.webp_decode(p.data)
