"""The node's side of files and pictures, without a browser: what it sends, what it takes, and viewers that lie to it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest

from renderer.cdp import Tasks
from renderer.input.validate import Controls
from renderer.transfer import store as storing
from renderer.transfer.clipboard import HEARD_SECONDS, Changes
from renderer.transfer.incoming import Incoming
from renderer.transfer.outgoing import MAX_OFFERS, Outgoing
from renderer.transfer.pictures import picture
from renderer.transfer.store import Store
from renderer.wire import messages as m
from renderer.wire.blobs import FILE_WINDOW, MAX_CHUNK

MIB = 1024 * 1024
OPEN = Controls(upload=True, upload_bytes=4 * MIB, upload_types=None, download=True, download_bytes=4 * MIB)


class Desk:
    """Both directions of one page, and what its viewer was told."""

    def __init__(self, home: Path, controls: Controls = OPEN) -> None:
        self.told: list[Any] = []
        self.given: list[list[tuple[str, bytes]]] = []
        self.store = Store(home)
        self.numbers = iter(range(1, 1000))
        self.tasks = Tasks("test")
        self.outgoing = Outgoing(self.store, self.told.append, lambda: next(self.numbers), self.tasks)
        self.incoming = Incoming(self.store, lambda: controls, self.told.append, lambda: next(self.numbers), self.tasks)

    async def hand(self, paths: Sequence[str]) -> None:
        self.given.append([(Path(path).name, Path(path).read_bytes()) for path in paths])  # noqa: ASYNC240
        assert all(Path(path).stat().st_mode & 0o777 == 0o600 for path in paths)  # noqa: ASYNC240

    async def until(self, true: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    async def closed(self) -> m.TransferCode:
        await self.until(lambda: any(isinstance(x, m.FileClosed | m.DownloadClosed) for x in self.told))
        return next(x.code for x in self.told if isinstance(x, m.FileClosed | m.DownloadClosed))

    def offer(self, content: bytes) -> Path:
        path = self.store.downloads / f"guid-{len(self.told)}"
        path.write_bytes(content)
        self.store.hold(path, len(content))
        self.outgoing.offer(m.DownloadKind.FILE, "a.bin", path, len(content))
        return path

    def data(self) -> bytes:
        pieces = [x for x in self.told if isinstance(x, m.DownloadData)]
        assert [x.offset for x in pieces] == [sum(len(y.data) for y in pieces[:i]) for i in range(len(pieces))]
        return b"".join(x.data for x in pieces)

    def left(self) -> list[Path]:
        return [path for path in self.store.downloads.parent.rglob("*") if path.is_file()]


async def test_a_download_comes_in_a_window_and_is_removed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    content = bytes(range(256)) * 8192  # 2 MiB
    path = desk.offer(content)
    assert desk.told == [m.Download(1, m.DownloadKind.FILE, "a.bin", len(content))]
    desk.outgoing.reply(m.DownloadReply(1, True))
    taken = 0
    while taken < len(content):
        await desk.until(lambda seen=taken: len(desk.data()) > seen)
        sent = len(desk.data())
        assert sent - taken <= FILE_WINDOW
        assert all(len(x.data) <= MAX_CHUNK for x in desk.told if isinstance(x, m.DownloadData))
        taken = sent
        desk.outgoing.acknowledge(m.DownloadAck(1, taken))
    assert await desk.closed() is m.TransferCode.DONE
    assert desk.data() == content
    assert not path.exists()
    assert desk.store.free == storing.MAX_HELD


async def test_a_viewer_that_never_acknowledges_gets_a_window_and_no_more(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.offer(bytes(2 * MIB))
    desk.outgoing.reply(m.DownloadReply(1, True))
    desk.outgoing.reply(m.DownloadReply(1, True))  # once more: no second stream
    await desk.until(desk.data)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(desk.data()) <= FILE_WINDOW
    assert desk.outgoing.cancel(1)
    assert not desk.outgoing.cancel(1)
    assert await desk.closed() is m.TransferCode.CANCELLED
    assert desk.left() == []


async def test_what_nobody_wants_or_waits_for_too_long_is_removed(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.offer(b"x")
    desk.outgoing.reply(m.DownloadReply(1, False))
    assert desk.left() == []
    for _ in range(MAX_OFFERS + 1):
        desk.offer(b"x")
    assert isinstance(desk.told[-1], m.DownloadClosed)
    assert len(desk.left()) == MAX_OFFERS
    desk.outgoing.close()
    assert desk.left() == []


async def test_a_new_viewer_is_offered_what_the_last_one_did_not_get(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.offer(bytes(2 * MIB))
    desk.outgoing.reply(m.DownloadReply(1, True))
    await desk.until(desk.data)
    desk.outgoing.detach()
    desk.told.clear()
    desk.outgoing.attach()
    assert desk.told == [m.Download(1, m.DownloadKind.FILE, "a.bin", 2 * MIB)]
    desk.outgoing.reply(m.DownloadReply(1, True))
    await desk.until(desk.data)
    assert desk.data()[:10] == bytes(10)
    desk.outgoing.close()


async def test_a_file_that_is_no_file_any_more_fails(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    path = desk.offer(b"hello")
    path.unlink()
    path.symlink_to("/etc/passwd")  # what a browser that was taken over could leave there
    desk.outgoing.reply(m.DownloadReply(1, True))
    assert await desk.closed() is m.TransferCode.FAILED
    assert desk.data() == b""


async def asked(tmp_path: Path, *files: tuple[str, int], controls: Controls = OPEN) -> Desk:
    desk = Desk(tmp_path, controls)
    desk.incoming.ask(desk.hand, ".txt", multiple=True)
    assert desk.told.pop() == m.FileAsk(1, True, ".txt")
    desk.incoming.choose(m.FileChoice(1, tuple(m.FileInfo(name, size, "") for name, size in files)))
    return desk


async def test_files_are_handed_over_whole_and_kept_for_the_page(tmp_path: Path) -> None:
    desk = await asked(tmp_path, ("../same.txt", 5), ("same.txt", 0), ("b.txt", 3))
    desk.incoming.take(m.FileData(1, 0, 0, b"hello"))
    await desk.until(lambda: m.FileProgress(1, 5) in desk.told)
    assert desk.given == []
    desk.incoming.take(m.FileData(1, 2, 0, b"abc"))
    assert await desk.closed() is m.TransferCode.DONE
    assert desk.given == [[("same.txt", b"hello"), ("same.txt", b""), ("b.txt", b"abc")]]
    assert len(desk.left()) == 3
    desk.incoming.close()
    assert desk.left() == []
    assert desk.store.free == storing.MAX_HELD


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([m.FileData(1, 0, 1, b"hello")], m.TransferCode.FAILED),  # wrong offset
        ([m.FileData(1, 1, 0, b"hello")], m.TransferCode.FAILED),  # another file
        ([m.FileData(1, 0, 0, b"hello!")], m.TransferCode.FAILED),  # more than was announced
        ([m.FileData(1, 0, 0, b"h")], m.TransferCode.FAILED),  # too short to judge
        ([m.FileData(1, 0, 0, b"\x7fELF\0")], m.TransferCode.WRONG_TYPE),
        ([m.FileData(1, 0, 0, bytes(MAX_CHUNK))] * 9, m.TransferCode.FAILED),  # past the window
    ],
)
@pytest.mark.case(35, 44)
async def test_a_viewer_that_lies_gives_the_page_nothing(tmp_path: Path, pieces: list[m.FileData], code: m.TransferCode) -> None:
    desk = await asked(tmp_path, ("a.txt", 5))
    for piece in pieces:
        desk.incoming.take(piece)
    assert await desk.closed() is code
    assert desk.given == []
    await desk.until(lambda: not desk.left())


@pytest.mark.parametrize(
    ("controls", "size", "code"),
    [
        (Controls(), 5, m.TransferCode.FAILED),
        (OPEN, 5_000_000_000, m.TransferCode.TOO_LARGE),
        (
            Controls(upload=True, upload_bytes=2 * storing.MAX_HELD, upload_types=None),
            storing.MAX_HELD + 1,
            m.TransferCode.TOO_LARGE,
        ),
        (Controls(upload=True, upload_bytes=MIB, upload_types=frozenset({"pdf"})), 0, m.TransferCode.WRONG_TYPE),
    ],
)
async def test_controls_are_held_to_whatever_the_router_let_through(
    tmp_path: Path, controls: Controls, size: int, code: m.TransferCode
) -> None:
    desk = await asked(tmp_path, ("a.txt", size), controls=controls)
    assert await desk.closed() is code
    assert desk.given == []


async def test_pieces_nobody_asked_for_go_nowhere(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.incoming.take(m.FileData(7, 0, 0, b"x"))
    desk.incoming.choose(m.FileChoice(7, (m.FileInfo("a.txt", 1, ""),)))
    assert not desk.incoming.cancel(7)
    assert desk.told == []
    assert desk.left() == []


async def test_an_upload_ends_with_its_viewer(tmp_path: Path) -> None:
    desk = await asked(tmp_path, ("a.txt", 2 * MAX_CHUNK))
    desk.incoming.take(m.FileData(1, 0, 0, b"x" * MAX_CHUNK))
    await desk.until(lambda: m.FileProgress(1, MAX_CHUNK) in desk.told)
    desk.incoming.detach()
    await desk.until(lambda: not desk.left())
    assert desk.given == []


# ---------------------------------------------------------------- pictures


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3), (4, 5, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_picture_is_encoded_anew(shape: tuple[int, ...], dtype: Any) -> None:
    pixels = np.arange(np.prod(shape)).reshape(shape).astype(dtype) * (257 if dtype == np.uint16 else 1)
    again = picture(bytes(imagecodecs.png_encode(pixels)))
    assert again is not None
    decoded = imagecodecs.png_decode(again)
    assert decoded.dtype == np.uint8
    assert (decoded == np.arange(np.prod(shape)).reshape(shape)).all()


@pytest.mark.case(39)
def test_what_is_no_picture_or_too_large_a_one_is_none() -> None:
    good = bytes(imagecodecs.png_encode(np.zeros((4, 5, 3), np.uint8)))
    huge = good[:16] + struct.pack(">II", 8192, 8192) + good[24:]
    for data in (b"", b"GIF89a", good[:-1], good[:40] + b"\0" * 20 + good[-12:], huge):
        assert picture(data) is None


def test_a_change_of_the_clipboard_is_news_once_for_each_page_and_a_selection_never() -> None:
    changes = Changes()
    assert changes.news("1", 10.0)
    assert changes.news("1", 10.5)  # another page of the session hears of it
    assert not changes.news("1", 10.0 + HEARD_SECONDS)  # somebody selects text
    assert changes.news("2", 20.0)
    assert not changes.news("2", 30.0)
