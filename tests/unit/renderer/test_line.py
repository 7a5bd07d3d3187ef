"""The control line that the node lays through itself: nothing is lost, nothing goes astray, and no end outlives another."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from playwright.async_api import Error

from renderer.chromium import line as line_module
from renderer.chromium.line import OWN_NUMBER, Line, LineSession, starter

PATIENCE = 10.0
OURS, THEIRS, ROOT = "A" * 32, "B" * 32, "C" * 32


class End:
    """One end of the line: what a browser or a driver reads and writes."""

    def __init__(self, reads: Path, writes: Path) -> None:
        self._reads, self._writes = os.open(reads, os.O_RDONLY | os.O_NONBLOCK), os.open(writes, os.O_WRONLY | os.O_NONBLOCK)
        self._read = b""

    async def says(self, *messages: bytes, piece: int = 1 << 20) -> None:
        data = b"".join(message + b"\0" for message in messages)
        async with asyncio.timeout(PATIENCE):
            while data:
                with suppress(BlockingIOError):
                    data = data[os.write(self._writes, data[:piece]) :]
                await asyncio.sleep(0)

    async def hears(self) -> bytes:
        """Return the next message. b"": the line is shut."""
        async with asyncio.timeout(PATIENCE):
            while b"\0" not in self._read:
                try:
                    data = os.read(self._reads, 1 << 20)
                except BlockingIOError:
                    await asyncio.sleep(0.001)
                    continue
                if not data:
                    return b""
                self._read += data
        message, _, self._read = self._read.partition(b"\0")
        return message

    async def asked(self) -> dict[str, Any]:
        """Return the next message, read."""
        asked: dict[str, Any] = json.loads(await self.hears())
        return asked

    def leave(self) -> None:
        if self._reads >= 0:
            os.close(self._reads)
            os.close(self._writes)
            self._reads = -1


class Laid:
    """A line with both its ends."""

    def __init__(self, home: Path) -> None:
        self.line = Line(home)
        self.browser = End(home / "to-browser", home / "from-browser")
        self.driver = End(home / "to-driver", home / "from-driver")

    async def open(self) -> LineSession:
        """Start it and open a session of the node's own."""
        await self.driver.says(b'{"id":1,"method":"Browser.getVersion"}')
        assert (await self.browser.asked())["method"] == "Browser.getVersion"
        starting = asyncio.ensure_future(self.line.start())
        asked = await self.browser.asked()
        assert asked == {"id": OWN_NUMBER, "method": "Target.attachToBrowserTarget", "params": {}}
        await self.browser.says(answer(OWN_NUMBER, {"sessionId": ROOT}))
        await starting
        opening = asyncio.ensure_future(self.line.session("T"))
        asked = await self.browser.asked()
        assert (asked["method"], asked["params"]["targetId"], asked["sessionId"]) == ("Target.attachToTarget", "T", ROOT)
        await self.browser.says(answer(asked["id"], {"sessionId": OURS}, ROOT))
        return await opening


def answer(number: int, result: dict[str, Any], session: str = "") -> bytes:
    said = {"id": number, "result": result} | ({"sessionId": session} if session else {})
    return json.dumps(said, separators=(",", ":")).encode()


def event(method: str, params: dict[str, Any], session: str = "") -> bytes:
    said = {"method": method, "params": params} | ({"sessionId": session} if session else {})
    return json.dumps(said, separators=(",", ":")).encode()


@asynccontextmanager
async def laid(home: Path | None = None) -> AsyncIterator[Laid]:
    with TemporaryDirectory() as made:
        one = Laid(home or Path(made))
        try:
            yield one
        finally:
            one.line.close()
            one.browser.leave()
            one.driver.leave()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


MESSAGES = st.lists(
    st.one_of(
        st.binary(max_size=40).map(lambda data: data.replace(b"\0", b" ")),
        st.builds(
            event, st.just("Page.x"), st.dictionaries(st.text(max_size=5), st.text(max_size=60), max_size=2), st.just(THEIRS)
        ),
        st.builds(answer, st.integers(1, 10**6), st.just({})),
        # What a page can write into a message: our session's name, as text.
        st.builds(lambda text: event("Console.x", {"text": text, "t": f'"sessionId":"{OURS}"}}'}), st.text(max_size=30)),
        st.just(event("Page.x", {"sessionId": OURS})),
    ),
    max_size=12,
).map(lambda messages: [message for message in messages if message])


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.integers(1, 300))
def test_what_is_not_ours_passes_whole_in_order_and_unread(messages: list[bytes], piece: int) -> None:
    async def passes() -> None:
        async with laid() as one:
            session = await one.open()
            heard: list[Any] = []
            session.on("Page.x", heard.append)
            await one.browser.says(*messages, piece=piece)
            assert [await one.driver.hears() for _ in messages] == messages
            await one.driver.says(*messages, piece=piece)
            assert [await one.browser.hears() for _ in messages] == messages
            assert heard == []

    asyncio.run(passes())


async def test_what_is_ours_never_reaches_the_driver() -> None:
    async with laid() as one:
        session = await one.open()
        heard: list[Any] = []
        session.on("Page.x", heard.append)
        asking = asyncio.ensure_future(session.send("Page.y", {"a": 1}))
        asked = await one.browser.asked()
        assert (asked["method"], asked["params"], asked["sessionId"]) == ("Page.y", {"a": 1}, OURS)
        await one.browser.says(
            event("Page.x", {"n": 1}, OURS), answer(asked["id"], {"b": 2}, OURS), event("Page.x", {"n": 2}, OURS)
        )
        assert await asking == {"b": 2}
        await until(lambda: heard == [{"n": 1}, {"n": 2}])
        await one.browser.says(event("Page.x", {"n": 3}, THEIRS))
        assert json.loads(await one.driver.hears())["params"] == {"n": 3}
        assert len(heard) == 2


@pytest.mark.parametrize("size", [0, 1, 900_000])
async def test_a_picture_is_whole(size: int) -> None:
    async with laid() as one:
        session = await one.open()
        heard: list[Any] = []
        session.on("Page.screencastFrame", heard.append)
        params = {"data": "iVBOR+/=" * (size // 8) or "x" * size, "metadata": {"deviceWidth": 5}, "sessionId": 7}
        await one.browser.says(event("Page.screencastFrame", params, OURS))
        await until(lambda: heard)
        assert heard == [params]


async def test_a_refusal_says_what_chromium_said() -> None:
    async with laid() as one:
        session = await one.open()
        asking = asyncio.ensure_future(session.send("Page.y"))
        number = (await one.browser.asked())["id"]
        refused = {"id": number, "error": {"code": -32000, "message": "Not attached to an active page"}, "sessionId": OURS}
        await one.browser.says(json.dumps(refused, separators=(",", ":")).encode())
        with pytest.raises(Error, match="Not attached to an active page"):
            await asking


@pytest.mark.parametrize("how", ["browser", "driver", "nonsense", "list", "flood", "target"])
async def test_who_waits_is_told_when_nothing_will_come(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "MAX_MESSAGE", 300_000)
    async with laid() as one:
        session = await one.open()
        asking = asyncio.ensure_future(session.send("Page.y"))
        await one.browser.asked()
        match how:
            case "browser":
                one.browser.leave()
            case "driver":
                one.driver.leave()
            case "nonsense":
                await one.browser.says(b'{"id":' + b"[" * 5000 + b'"sessionId":"' + OURS.encode() + b'"}')
            case "list":
                await one.browser.says(b'["sessionId":"' + OURS.encode() + b'"}')
            case "flood":
                os.write(one.browser._writes, b"x" * 200_000)
                await asyncio.sleep(0.05)
                os.write(one.browser._writes, b"x" * 200_000)
            case "target":
                await one.browser.says(event("Target.detachedFromTarget", {"sessionId": OURS}, ROOT))
        with pytest.raises(Error, match="Target closed"):
            await asyncio.wait_for(asking, PATIENCE)
        with pytest.raises(Error, match="Target closed"):
            await session.send("Page.z")
        if how != "target":
            # Both others learn of it: Chromium ends, and the driver says that it did.
            for end in (one.browser, one.driver):
                if end._reads >= 0:
                    assert await end.hears() == b""


async def test_a_driver_that_does_not_read_holds_up_the_browser_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "MAX_BEHIND", 100_000)
    monkeypatch.setattr(line_module, "READ_BYTES", 50_000)
    async with laid() as one:
        await one.open()
        messages = [b"%d" % number * 1000 for number in range(2000)]
        saying = asyncio.ensure_future(one.browser.says(*messages))
        await asyncio.sleep(0.3)
        assert not saying.done()
        assert one.line._to_driver.behind < 300_000
        assert [await one.driver.hears() for _ in messages] == messages
        await saying


async def test_a_session_that_was_let_go_is_nobodys() -> None:
    async with laid() as one:
        session = await one.open()
        leaving = asyncio.ensure_future(session.detach())
        asked = await one.browser.asked()
        assert (asked["method"], asked["params"]) == ("Target.detachFromTarget", {"sessionId": OURS})
        await one.browser.says(answer(asked["id"], {}, ROOT))
        await leaving
        await session.detach()
        with pytest.raises(Error):
            await session.send("Page.x")


async def test_the_pipes_are_in_no_directory_once_all_have_them(tmp_path: Path) -> None:
    async with laid(tmp_path) as one:
        assert len(os.listdir(tmp_path)) == 4
        await one.open()
        assert os.listdir(tmp_path) == []


BROWSER = """
import os
data = b""
while part := os.read(3, 1000):
    data += part
    *whole, data = data.split(b"\\0")
    for message in whole:
        os.write(4, message.upper() + b"\\0")
"""


DRIVER = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 20) for end in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.closerange(5, 10_000)
os.execv(sys.argv[3], sys.argv[3:])
"""


async def test_a_program_started_by_it_speaks_through_it_and_nothing_of_it_stays(tmp_path: Path) -> None:
    """The driver's part: a program with two descriptors. What stands between ends when the program does, or when the driver lets go."""
    for end in ("program", "driver"):
        home = tmp_path / end
        home.mkdir()
        line = Line(home)
        its_in, our_out = os.pipe()
        our_in, its_out = os.pipe()
        command = [*starter(home), sys.executable, "-c", BROWSER]
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-c", DRIVER, str(its_in), str(its_out), *command],
            pass_fds=(its_in, its_out),
            start_new_session=True,
        )
        os.close(its_in)
        os.close(its_out)
        os.write(our_out, b"hello\0")
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda r=reader: asyncio.StreamReaderProtocol(r), os.fdopen(our_in, "rb")
        )
        async with asyncio.timeout(PATIENCE):
            assert await reader.readuntil(b"\0") == b"HELLO\0"
            if end == "program":
                process.kill()
            else:
                os.close(our_out)
            await process.wait()
            assert await reader.read() == b""  # the last of what stood between has gone
        assert line.closed
        if end == "program":
            os.close(our_out)


async def test_a_program_whose_node_died_while_it_started_waits_for_nobody(tmp_path: Path) -> None:
    """The pipes are there, and nobody will ever open their other ends. Its driver lives on: it waits for the program's end."""
    Line(tmp_path).close()
    its_in, our_out = os.pipe()
    our_in, its_out = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-c", DRIVER, str(its_in), str(its_out), *starter(tmp_path), sys.executable, "-c", BROWSER],
        pass_fds=(its_in, its_out),
        start_new_session=True,
    )
    os.close(its_in)
    os.close(its_out)
    try:
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0  # it heard the end
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        os.close(our_out)
        os.close(our_in)


@pytest.mark.parametrize("name", ["from-browser", "from-driver"])
async def test_an_end_that_is_lost_before_it_said_anything_is_heard_of(name: str, tmp_path: Path) -> None:
    line = Line(tmp_path)
    try:
        await asyncio.sleep(0.05)
        assert not line.closed  # nobody has come yet: that is no end
        os.close(os.open(tmp_path / name, os.O_WRONLY | os.O_NONBLOCK))
        async with asyncio.timeout(PATIENCE):
            while not line.closed:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
    finally:
        line.close()
