"""The control line of one Chromium, with Playwright's driver at one end of it and sessions of the node's own beside.

Pictures and input are most of what is said on that line. Through the driver each picture (0.4 MB of base64) is parsed and written anew twice on
its way: 10 ms of processor time a frame (measured), and a key press waits behind it. So the node lays the line through itself. Chromium's two
descriptors (``--remote-debugging-pipe``: messages in JSON, each ended by a zero byte) lead to the node, the driver's are copied to it, and what
belongs to sessions the node opened by itself never goes to the driver. All else passes unread.

Named pipes in the browser's private directory connect the three, because a driver hands descriptors to nobody but the program it starts. Where an
end is lost, whoever it was, the line is shut as a whole: Chromium ends when its descriptors close, and so does its driver's connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.async_api import Error

from renderer.cdp import Event
from renderer.chromium.priority import BROWSER

# ---------------------------------------------------------------- limits
MAX_MESSAGE = 128 * 1024 * 1024  # bytes; the largest real one is a picture's file, 16 MB in base64
READ_BYTES = 1024 * 1024
# Of the pipe that pictures come through: most of one. The kernel counts an account's pipes (64 MiB by default, fs.pipe-user-pages-soft), and
# gives it narrow ones beyond that: so the others, whose messages are small, keep what they are made with.
PIPE_BYTES = 512 * 1024
MAX_BEHIND = 16 * 1024 * 1024  # bytes one end has not taken yet, beyond which the other is not read
ANSWER_SECONDS = 30.0  # for the first answer of a browser that has just started
# Number of our one command that goes the way of the driver's; those count up from 1, and Chromium takes 31 bits.
OWN_NUMBER = 0x7000_0000

_NAMES = ("to-browser", "from-browser", "to-driver", "from-driver")
# $1: private directory; then the command. The driver gives its program two descriptors: 3 is read from, 4 is written to. Its error output
# is the program's alone: the driver takes the program for alive until that is closed. Each pipe is first opened for both directions: a node that
# has died meanwhile opens none, and a shell that waited for it would wait for ever. Last it steps behind the node; the kernel takes such a word for a
# group ten times a second, from all accounts together.
_SCRIPT = f"""home=$1
shift
exec 5<>"$home/from-driver" 6<>"$home/to-driver" 7<>"$home/to-browser" 8<>"$home/from-browser"
cat <&3 >"$home/from-driver" 2>/dev/null 3<&- 4>&- 5>&- 6>&- 7>&- 8>&- &
cat <"$home/to-driver" >&4 2>/dev/null 3<&- 4>&- 5>&- 6>&- 7>&- 8>&- &
exec 3<"$home/to-browser" 4>"$home/from-browser" 5>&- 6>&- 7>&- 8>&-
for turn in 1 2 3 4 5; do
  [ -w /proc/self/autogroup ] || break
  {{ echo {BROWSER} >/proc/self/autogroup; }} 2>/dev/null && break
  sleep 0.1
done
exec nice -n {BROWSER} "$@"
"""
_ANSWERED = b'{"id":%d,' % OWN_NUMBER
_SESSION = b'"sessionId":"'
_DATA = b'"data":"'

log = logging.getLogger("renderer.chromium")


def starter(home: Path) -> list[str]:
    """Return the command that starts the command after it with its line laid through the pipes of a private directory."""
    return ["/bin/sh", "-c", _SCRIPT, "chromium", str(home)]


class Line:
    """The node's part of the line. Made before Chromium starts."""

    def __init__(self, home: Path) -> None:
        """Make the pipes in a private directory."""
        self._loop = asyncio.get_running_loop()
        self._paths = [home / name for name in _NAMES]
        for path in self._paths:
            os.mkfifo(path, 0o600)
        # What we write to is opened for both directions, so that nobody waits for anybody. A pipe that had no writer yet is not at its end
        # (pipe(7) has no word on it; Linux's pipe_poll counts writers): so the end is heard even of a Chromium that dies before it says anything.
        to_browser, to_driver = (os.open(path, os.O_RDWR | os.O_NONBLOCK) for path in self._paths[0::2])
        from_browser, from_driver = (os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in self._paths[1::2])
        with contextlib.suppress(OSError):
            fcntl.fcntl(from_browser, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._to_browser, self._to_driver = _Writer(self._loop, to_browser), _Writer(self._loop, to_driver)
        self._readers = [
            _Reader(self._loop, from_browser, self._said_by_browser, self.close, lambda: self._to_driver.behind),
            _Reader(self._loop, from_driver, self._said_by_driver, self.close, lambda: self._to_browser.behind),
        ]
        self._to_browser.caught_up = self._readers[1].resume
        self._to_driver.caught_up = self._readers[0].resume
        self._root = LineSession(self, "", OWN_NUMBER)
        self._own: dict[bytes, LineSession] = {}
        self._browser: LineSession | None = None
        self.closed = False

    async def start(self) -> None:
        """Open our own session with the browser, once it runs. Raises ``playwright.async_api.Error`` or TimeoutError."""
        async with asyncio.timeout(ANSWER_SECONDS):
            # The driver hears of it, too, and lets it be: it does so itself for whoever asks it for a session with the browser.
            answer = await self._root.send("Target.attachToBrowserTarget")
        self._browser = self._open(str(answer["sessionId"]))
        self._browser.on("Target.detachedFromTarget", self._detached)
        # Everybody who uses the pipes has them open now.
        for path in self._paths:
            path.unlink(missing_ok=True)

    async def session(self, target: str) -> LineSession:
        """Open a session with a target. Raises ``playwright.async_api.Error`` when it is gone."""
        if self._browser is None:
            raise Error("Target closed")
        answer = await self._browser.send("Target.attachToTarget", {"targetId": target, "flatten": True})
        return self._open(str(answer["sessionId"]))

    def _open(self, name: str) -> LineSession:
        session = LineSession(self, name, 1)
        self._own[name.encode()] = session
        return session

    def _detached(self, event: Event) -> None:
        session = self._own.pop(str(event.get("sessionId")).encode(), None)
        if session is not None:
            session.end()

    async def detach(self, session: LineSession) -> None:
        """Close a session. What is still asked is not answered any more."""
        if self._own.pop(session.name.encode(), None) is None or self._browser is None:
            return
        session.end()
        await self._browser.send("Target.detachFromTarget", {"sessionId": session.name})

    def write(self, message: bytes) -> None:
        """Send a message of our own to the browser."""
        if not self.closed:
            self._to_browser.write(message + b"\0")

    def close(self) -> None:
        """Shut the line at all ends."""
        if self.closed:
            return
        self.closed = True
        for reader in self._readers:
            reader.close()
        self._to_browser.close()
        self._to_driver.close()
        for session in (self._root, *self._own.values()):
            session.end()
        self._own.clear()

    # ------------------------------------------------------------ what passes

    def _said_by_driver(self, message: bytes) -> None:
        self._to_browser.write(message + b"\0")

    def _said_by_browser(self, message: bytes) -> None:
        # Chromium puts the session last. A page cannot make a message end so: quotes within a text are escaped.
        at = message.rfind(_SESSION, max(0, len(message) - 128))
        if at >= 0 and message.endswith(b'"}'):
            session = self._own.get(message[at + len(_SESSION) : -2])
        else:
            session = self._root if message.startswith(_ANSWERED) else None
        if session is None:
            self._to_driver.write(message + b"\0")
            return
        try:
            session.hear(message)
        except (ValueError, TypeError, AttributeError, RecursionError):
            log.error("line.nonsense")  # no browser says that
            self.close()


class LineSession:
    """A session of the node's own: see :class:`renderer.cdp.Cdp`."""

    def __init__(self, line: Line, name: str, first: int) -> None:
        self.name = name
        self._line = line
        self._number = first
        self._answers: dict[int, tuple[str, asyncio.Future[dict[str, Any]]]] = {}
        self._listeners: dict[str, list[Callable[[Event], None]]] = {}
        self._ended = False

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """See :meth:`renderer.cdp.Cdp.send`."""
        if self._ended or self._line.closed:
            raise Error("Target closed")
        number, self._number = self._number, self._number + 1
        command = {"id": number, "method": method, "params": params or {}} | ({"sessionId": self.name} if self.name else {})
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[number] = method, answer
        try:
            self._line.write(json.dumps(command, separators=(",", ":")).encode())
            return await answer
        finally:
            self._answers.pop(number, None)

    def on(self, event: str, f: Callable[[Event], None]) -> None:
        """See :meth:`renderer.cdp.Cdp.on`."""
        self._listeners.setdefault(event, []).append(f)

    async def detach(self) -> None:
        """See :meth:`renderer.cdp.Cdp.detach`."""
        await self._line.detach(self)

    def hear(self, message: bytes) -> None:
        """Take what the browser says to this session."""
        said = _parse(message)
        number = said.get("id")
        if number is not None:
            method, answer = self._answers.get(number, ("", None))
            if answer is None or answer.done():
                return
            if "error" in said:
                answer.set_exception(Error(f"Protocol error ({method}): {said['error'].get('message', '')}"))
            else:
                answer.set_result(said.get("result", {}))
            return
        for listener in self._listeners.get(str(said.get("method")), ()):
            try:
                listener(said.get("params", {}))
            except Exception:
                log.exception("event.failed", extra={"method": said.get("method")})

    def end(self) -> None:
        """Hear that nothing will come any more."""
        self._ended = True
        for _, answer in self._answers.values():
            if not answer.done():
                answer.set_exception(Error("Target closed"))


def _parse(message: bytes) -> dict[str, Any]:
    """Read a message. The picture in one is cut out before and put in after: a parser would look at each of its 400,000 characters."""
    picture = ""
    if message.startswith(b'{"method":"Page.screencastFrame"'):
        begin = message.find(_DATA, 0, 256) + len(_DATA)
        end = message.find(b'"', begin)
        if begin >= len(_DATA) and end >= 0:
            picture = message[begin:end].decode("ascii", "replace")
            message = message[:begin] + message[end:]
    said: dict[str, Any] = json.loads(message)
    if picture:
        said["params"]["data"] = picture
    return said


class _Reader:
    """Cuts what comes through a pipe into messages."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        descriptor: int,
        take: Callable[[bytes], None],
        lost: Callable[[], None],
        behind: Callable[[], int],
    ) -> None:
        self._loop, self._descriptor = loop, descriptor
        self._take, self._lost, self._behind = take, lost, behind
        self._parts: list[bytes] = []
        self._held = 0
        self._paused = False
        loop.add_reader(descriptor, self._ready)

    def _ready(self) -> None:
        try:
            data = os.read(self._descriptor, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._lost()
            return
        *whole, rest = data.split(b"\0")
        for message in whole:
            if self._parts:
                message = b"".join([*self._parts, message])  # noqa: PLW2901
                self._parts.clear()
                self._held = 0
            self._take(message)
        if rest:
            self._parts.append(rest)
            self._held += len(rest)
            if self._held > MAX_MESSAGE:
                log.error("line.flooded")
                self._lost()
                return
        if self._behind() > MAX_BEHIND and self._descriptor >= 0:
            self._paused = True
            self._loop.remove_reader(self._descriptor)

    def resume(self) -> None:
        """Read on: who is written to has caught up."""
        if self._paused and self._descriptor >= 0:
            self._paused = False
            self._loop.add_reader(self._descriptor, self._ready)

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


class _Writer:
    """Writes to a pipe as it takes it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        self._loop, self._descriptor = loop, descriptor
        self._waiting: deque[bytes] = deque()
        self.behind = 0  # bytes
        self.caught_up: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:
        if self._descriptor < 0:
            return
        if not self._waiting:
            data = data[self._some(data) :]
            if not data:
                return
            self._loop.add_writer(self._descriptor, self._ready)
        self._waiting.append(data)
        self.behind += len(data)

    def _some(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:
            return 0

    def _ready(self) -> None:
        while self._waiting:
            data = self._waiting[0]
            written = self._some(data)
            self.behind -= written
            if written < len(data):
                self._waiting[0] = data[written:]
                return
            self._waiting.popleft()
        self._loop.remove_writer(self._descriptor)
        self.caught_up()

    def close(self) -> None:
        if self._descriptor >= 0:
            self._loop.remove_writer(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
            self._waiting.clear()
