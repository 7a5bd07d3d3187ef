"""What the gatekeeper lets through of files and pictures: honest ways through, and both sides lying."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.broker.gatekeeper import Close, Drop, Gatekeeper, Pass
from isolation.broker.transfers import MAX_OPEN, MAX_TRANSFERS, Ruling, Transfers, picture
from isolation.policy.controls import Clipboard, Controls, Transfer
from renderer.wire import messages as m
from renderer.wire.blobs import FILE_WINDOW, MAX_CHUNK
from renderer.wire.codec import encode
from renderer.wire.controls import ClipboardKind, FileKind
from renderer.wire.files import HEAD

MIB = 1024 * 1024
OPEN = Controls(
    clipboard=Clipboard.BOTH,
    clipboard_types=frozenset(ClipboardKind),
    download=Transfer.ALLOW,
    download_max_mb=4,
    upload=Transfer.ALLOW,
    upload_max_mb=4,
    print=True,
)
DROP = 2**31
PDF = b"%PDF-1.7\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int = 2, height: int = 2, *, depth: int = 8, colour: int = 2, extra: bytes = b"", data: bytes | None = None
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + 3 * 2) * 2) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def passes(ruling: Ruling) -> Any:
    assert ruling.message is not None, ruling
    return ruling.message


def broken(ruling: Ruling) -> None:
    assert ruling.broken, ruling
    assert ruling.message is None


def dropped(ruling: Ruling) -> None:
    assert not ruling.broken, ruling
    assert ruling.message is None


def offered(
    controls: Controls = OPEN, name: str = "a.txt", size: int = 5, kind: m.DownloadKind = m.DownloadKind.FILE
) -> Transfers:
    transfers = Transfers(controls)
    passes(transfers.from_renderer(m.Download(1, kind, name, size)))
    return transfers


def accepted(
    controls: Controls = OPEN, name: str = "a.txt", size: int = 5, kind: m.DownloadKind = m.DownloadKind.FILE
) -> Transfers:
    transfers = offered(controls, name, size, kind)
    passes(transfers.from_viewer(m.DownloadReply(1, True)))
    return transfers


def asked(controls: Controls = OPEN, *, multiple: bool = True) -> Transfers:
    transfers = Transfers(controls)
    passes(transfers.from_renderer(m.FileAsk(1, multiple, "")))
    return transfers


def chosen(*files: tuple[str, int], controls: Controls = OPEN) -> Transfers:
    transfers = asked(controls)
    passes(transfers.from_viewer(m.FileChoice(1, tuple(m.FileInfo(name, size, "") for name, size in files))))
    return transfers


# ---------------------------------------------------------------- downloads


def test_an_honest_download_passes_and_is_recorded_with_its_digest() -> None:
    content = b"x" * (MAX_CHUNK + 100)
    transfers = accepted(name="../up\u202e.txt", size=len(content))
    for offset in range(0, len(content), MAX_CHUNK):
        ruling = transfers.from_renderer(m.DownloadData(1, offset, content[offset : offset + MAX_CHUNK]))
        passes(ruling)
        assert ruling.records == ()
        passes(transfers.from_viewer(m.DownloadAck(1, min(len(content), offset + MAX_CHUNK))))
    ruling = transfers.from_renderer(m.DownloadClosed(1, m.TransferCode.DONE))
    passes(ruling)
    (record,) = ruling.records
    assert (record.direction, record.outcome, record.name, record.size) == ("download", "allowed", "up.txt", len(content))
    assert record.sha256 == hashlib.sha256(content).hexdigest()
    assert record.kind == "text"
    assert transfers.end() == ()


@pytest.mark.parametrize(
    "message",
    [
        m.DownloadData(1, 1, b"ab"),  # wrong offset
        m.DownloadData(1, 0, b"abcdef"),  # more than was announced
        m.DownloadData(2, 0, b"ab"),  # another number
        m.DownloadData(1, 0, b"a"),  # a first piece too short to judge
        m.DownloadClosed(1, m.TransferCode.DONE),  # done before its end
        m.DownloadClosed(2, m.TransferCode.DONE),
        m.Download(1, m.DownloadKind.FILE, "again.txt", 1),  # a number twice
        m.Download(DROP, m.DownloadKind.FILE, "viewer.txt", 1),  # a number of the viewer's
        m.FileProgress(1, 1),
        m.FileClosed(9, m.TransferCode.DONE),
    ],
)
def test_a_renderer_that_lies_about_a_download_ends_the_stream(message: Any) -> None:
    broken(accepted().from_renderer(message))


def test_bytes_before_the_person_wants_them_end_the_stream() -> None:
    broken(offered().from_renderer(m.DownloadData(1, 0, b"hello")))


def test_bytes_after_the_end_go_nowhere() -> None:
    transfers = accepted()
    passes(transfers.from_renderer(m.DownloadData(1, 0, b"hello")))
    passes(transfers.from_renderer(m.DownloadClosed(1, m.TransferCode.DONE)))
    dropped(transfers.from_renderer(m.DownloadData(1, 5, b"more")))
    dropped(transfers.from_renderer(m.DownloadClosed(1, m.TransferCode.DONE)))
    broken(transfers.from_renderer(m.Download(1, m.DownloadKind.FILE, "again.txt", 1)))


def test_a_renderer_that_sends_past_the_window_ends_the_stream() -> None:
    transfers = accepted(name="a.bin", size=2 * FILE_WINDOW)
    for offset in range(0, FILE_WINDOW, MAX_CHUNK):
        passes(transfers.from_renderer(m.DownloadData(1, offset, bytes(MAX_CHUNK))))
    broken(transfers.from_renderer(m.DownloadData(1, FILE_WINDOW, bytes(MAX_CHUNK))))


@pytest.mark.parametrize(
    ("controls", "name", "head", "kind"),
    [
        (OPEN, "a.pdf", b"MZ\x90\0 no pdf", m.DownloadKind.FILE),
        (replace(OPEN, download_types=frozenset({FileKind.PDF})), "a.txt", b"words", m.DownloadKind.FILE),
        (replace(OPEN, download_types=frozenset({FileKind.GIF})), "a.hta", b"GIF89a<script>", m.DownloadKind.FILE),
        (OPEN, "page.pdf", b"<html>", m.DownloadKind.PRINT),
        (OPEN, "page.html", PDF, m.DownloadKind.PRINT),
    ],
)
def test_a_renderer_that_lies_about_a_kind_ends_the_stream_and_is_recorded(
    controls: Controls, name: str, head: bytes, kind: m.DownloadKind
) -> None:
    ruling = accepted(controls, name, len(head), kind).from_renderer(m.DownloadData(1, 0, head))
    broken(ruling)
    assert [(r.outcome, r.why) for r in ruling.records] == [("refused", "wrong-type")]


def test_a_file_larger_than_the_controls_say_is_never_wanted() -> None:
    transfers = offered(size=5 * MIB)
    dropped(transfers.from_viewer(m.DownloadReply(1, True)))
    broken(transfers.from_renderer(m.DownloadData(1, 0, bytes(HEAD))))


def test_off_is_off_for_a_renderer_that_asks_all_the_same() -> None:
    transfers = Transfers(Controls())
    ruling = transfers.from_renderer(m.Download(1, m.DownloadKind.FILE, "a.txt", 5))
    dropped(ruling)
    assert [(r.direction, r.outcome, r.why, r.name) for r in ruling.records] == [("download", "refused", "off", "a.txt")]
    dropped(transfers.from_renderer(m.DownloadData(1, 0, b"hello")))
    dropped(transfers.from_renderer(m.DownloadClosed(1, m.TransferCode.DONE)))
    dropped(transfers.from_renderer(m.FileAsk(2, False, "")))
    dropped(transfers.from_renderer(m.Download(3, m.DownloadKind.PRINT, "a.pdf", 5)))


def test_what_the_node_itself_refused_is_recorded() -> None:
    transfers = offered(size=99 * MIB)
    (record,) = transfers.from_renderer(m.DownloadClosed(1, m.TransferCode.TOO_LARGE)).records
    assert (record.outcome, record.why, record.size) == ("refused", "too-large", 99 * MIB)
    (record,) = transfers.from_renderer(m.Notice(m.NoticeCode.DOWNLOAD_BLOCKED)).records
    assert (record.direction, record.outcome) == ("download", "refused")


@pytest.mark.parametrize("message", [m.DownloadAck(1, 6), m.DownloadAck(2, 0), m.FileData(7, 0, 0, b"x")])
def test_a_viewer_that_lies_about_a_download_ends_the_stream(message: Any) -> None:
    transfers = accepted()
    passes(transfers.from_renderer(m.DownloadData(1, 0, b"hello")))
    broken(transfers.from_viewer(message))


def test_a_viewer_answers_once_and_only_what_was_offered() -> None:
    transfers = accepted()
    dropped(transfers.from_viewer(m.DownloadReply(1, True)))
    dropped(transfers.from_viewer(m.DownloadReply(2, True)))
    dropped(transfers.from_viewer(m.FileCancel(9)))


def test_a_cancelled_download_goes_no_further_whatever_is_under_way() -> None:
    transfers = accepted()
    ruling = transfers.from_viewer(m.FileCancel(1))
    assert [r.outcome for r in ruling.records] == ["cancelled"]
    dropped(transfers.from_renderer(m.DownloadData(1, 0, b"hello")))
    dropped(transfers.from_renderer(m.DownloadClosed(1, m.TransferCode.CANCELLED)))


def test_transfers_are_bounded_in_number() -> None:
    transfers = Transfers(OPEN)
    for number in range(1, MAX_OPEN + 1):
        passes(transfers.from_renderer(m.Download(number, m.DownloadKind.FILE, "a", 1)))
    broken(transfers.from_renderer(m.Download(MAX_OPEN + 1, m.DownloadKind.FILE, "a", 1)))
    transfers = Transfers(OPEN)
    for number in range(1, MAX_TRANSFERS + 1):
        passes(transfers.from_renderer(m.Download(number, m.DownloadKind.FILE, "a", 1)))
        passes(transfers.from_renderer(m.DownloadClosed(number, m.TransferCode.FAILED)))
    broken(transfers.from_renderer(m.Download(MAX_TRANSFERS + 1, m.DownloadKind.FILE, "a", 1)))
    assert transfers.from_renderer(m.Notice(m.NoticeCode.DOWNLOAD_BLOCKED)).records == (), "nor can notices fill the audit log"


# ---------------------------------------------------------------- uploads


def test_an_honest_upload_passes_each_file_recorded_before_its_last_piece() -> None:
    transfers = chosen(("../a.txt", 3), ("empty.txt", 0), ("b.txt", 2))
    ruling = transfers.from_viewer(m.FileData(1, 0, 0, b"abc"))
    assert [(r.name, r.sha256) for r in ruling.records] == [("a.txt", hashlib.sha256(b"abc").hexdigest())]
    passes(transfers.from_renderer(m.FileProgress(1, 3)))
    ruling = transfers.from_viewer(m.FileData(1, 2, 0, b"de"))
    assert [(r.name, r.outcome) for r in ruling.records] == [("b.txt", "allowed")]
    passes(transfers.from_renderer(m.FileClosed(1, m.TransferCode.DONE)))
    assert transfers.end() == ()


def test_a_file_of_nothing_is_recorded_where_it_is_named() -> None:
    ruling = asked().from_viewer(m.FileChoice(1, (m.FileInfo("none.txt", 0, "text/plain"),)))
    assert passes(ruling).files == (m.FileInfo("none.txt", 0, ""),)
    assert [(r.name, r.outcome) for r in ruling.records] == [("none.txt", "allowed")]


@pytest.mark.parametrize(
    "message",
    [
        m.FileData(1, 0, 1, b"ab"),  # wrong offset
        m.FileData(1, 0, 0, b"abcd"),  # more than was announced
        m.FileData(1, 1, 0, b"de"),  # another file than is due
        m.FileData(1, 9, 0, b"de"),
        m.FileData(2, 0, 0, b"abc"),  # another number
        m.FileData(1, 0, 0, b"a"),  # a first piece too short to judge
        m.FileDrop(DROP, 0, 0, ()),  # a drop of nothing
    ],
)
def test_a_viewer_that_lies_about_an_upload_ends_the_stream(message: Any) -> None:
    broken(chosen(("a.txt", 3), ("b.txt", 2)).from_viewer(message))


def test_a_viewer_that_sends_past_the_window_ends_the_stream() -> None:
    transfers = chosen(("a.bin", 2 * FILE_WINDOW))
    for offset in range(0, FILE_WINDOW, MAX_CHUNK):
        passes(transfers.from_viewer(m.FileData(1, 0, offset, bytes(MAX_CHUNK))))
    broken(transfers.from_viewer(m.FileData(1, 0, FILE_WINDOW, bytes(MAX_CHUNK))))


@pytest.mark.case(35)
def test_off_is_off_for_a_viewer_that_sends_all_the_same() -> None:
    transfers = Transfers(Controls())
    ruling = transfers.from_viewer(m.FileDrop(DROP, 0, 0, (m.FileInfo("a.txt", 1, ""),)))
    dropped(ruling)
    assert [(r.outcome, r.why, r.name) for r in ruling.records] == [("refused", "off", "a.txt")]
    for message in (m.FileData(DROP, 0, 0, b"x"), m.FileChoice(1, ()), m.Print(), m.DownloadReply(1, True), m.DownloadAck(1, 1)):
        dropped(transfers.from_viewer(message))


@pytest.mark.case(44)
@pytest.mark.parametrize(
    ("files", "code"),
    [
        ((("large.bin", 5_000_000_000),), m.TransferCode.TOO_LARGE),
        ((("a.bin", 1), ("b.bin", 4 * MIB + 1)), m.TransferCode.TOO_LARGE),
    ],
)
def test_a_file_too_large_is_refused_before_a_byte_of_it(files: tuple[tuple[str, int], ...], code: m.TransferCode) -> None:
    infos = tuple(m.FileInfo(name, size, "") for name, size in files)
    transfers = asked()
    ruling = transfers.from_viewer(m.FileChoice(1, infos))
    dropped(ruling)
    assert ruling.back == m.FileClosed(1, code)
    assert ruling.onward == m.FileChoice(1, ()), "the page's question is answered with nothing"
    assert {r.outcome for r in ruling.records} == {"refused"}
    dropped(transfers.from_viewer(m.FileData(1, 0, 0, b"x")))
    ruling = transfers.from_viewer(m.FileDrop(DROP, 0, 0, infos))
    assert (ruling.back, ruling.onward) == (m.FileClosed(DROP, code), None)


def test_several_files_for_one_are_refused() -> None:
    ruling = asked(multiple=False).from_viewer(m.FileChoice(1, (m.FileInfo("a", 1, ""), m.FileInfo("b", 1, ""))))
    dropped(ruling)
    assert ruling.onward == m.FileChoice(1, ())


@pytest.mark.case(44)
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.png", b"<svg onload=alert(1)>"),
        ("a.svg", b"<svg onload=alert(1)>"),
        ("a.html", b"<script>"),
        ("a.docm", b"PK\x03\x04"),
        ("a.gif", b"%PDF-1.4 GIF89a"),
        ("a.exe", b"\x89PNG\r\n\x1a\n"),
        ("a", b"\x89PNG\r\n\x1a\n"),
    ],
)
def test_a_file_of_another_kind_is_refused_before_the_renderer_sees_a_byte(name: str, head: bytes) -> None:
    kinds = frozenset({FileKind.PNG, FileKind.GIF, FileKind.OFFICE, FileKind.TEXT})
    transfers = chosen((name, len(head)), controls=replace(OPEN, upload_types=kinds))
    ruling = transfers.from_viewer(m.FileData(1, 0, 0, head))
    dropped(ruling)
    assert ruling.back == m.FileClosed(1, m.TransferCode.WRONG_TYPE)
    assert ruling.onward == m.FileCancel(1)
    assert [(r.outcome, r.why) for r in ruling.records] == [("refused", "wrong-type")]
    dropped(transfers.from_viewer(m.FileData(1, 0, len(head), b"x")))
    dropped(transfers.from_renderer(m.FileClosed(1, m.TransferCode.CANCELLED)))


@pytest.mark.parametrize(
    "message", [m.FileProgress(1, 4), m.FileClosed(1, m.TransferCode.DONE), m.FileProgress(2, 0), m.FileAsk(1, False, "")]
)
def test_a_renderer_that_lies_about_an_upload_ends_the_stream(message: Any) -> None:
    transfers = chosen(("a.txt", 9))
    broken(transfers.from_renderer(message))


def test_what_was_under_way_when_the_stream_ended_is_recorded() -> None:
    transfers = chosen(("a.txt", 9))
    passes(transfers.from_renderer(m.Download(2, m.DownloadKind.FILE, "b.txt", 9)))
    assert sorted((r.direction, r.name, r.outcome, r.why) for r in transfers.end()) == [
        ("download", "b.txt", "cancelled", "stream-ended"),
        ("upload", "a.txt", "cancelled", "stream-ended"),
    ]


# ---------------------------------------------------------------- pictures


@pytest.mark.case(41)
def test_a_picture_keeps_nothing_but_its_pixels() -> None:
    plain = png()
    assert picture(plain) == plain
    assert picture(png(extra=chunk(b"tEXt", b"Comment\0a secret") + chunk(b"eXIf", b"x"))) == plain


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        png()[:-1],
        png() + b"<script>",
        png(depth=16),
        png(colour=3),
        png(width=9000),
        png(width=8192, height=8192),
        png(width=0),
        png(extra=chunk(b"ABCD", b"")),  # critical and unknown
        png().replace(chunk(b"IEND", b""), chunk(b"IEND", b"x")),
        png()[:20] + b"\x01" + png()[21:],  # a checksum that does not fit
        b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"") + png()[8:],
    ],
)
def test_what_is_no_plain_picture_is_refused(data: bytes) -> None:
    assert picture(data) is None


@pytest.mark.parametrize("direction", ["viewer", "renderer"])
def test_a_lying_picture_ends_the_stream_and_an_honest_one_is_recorded(direction: str) -> None:
    def gate(controls: Controls) -> Gatekeeper:
        keeper = Gatekeeper(controls)
        keeper.from_viewer(encode(m.Hello(1, "", "/", 800, 600, 100, False, False, False)))
        keeper.from_renderer(encode(m.Ready("p", 800, 600, 100, False)))
        return keeper

    def judge(keeper: Gatekeeper, data: bytes) -> Any:
        if direction == "viewer":
            return keeper.from_viewer(encode(m.PasteImage(data)))
        return keeper.from_renderer(encode(m.ClipboardImage(data)))

    verdict = judge(gate(OPEN), png(extra=chunk(b"tEXt", b"Comment\0a secret")))
    assert isinstance(verdict, Pass)
    assert b"secret" not in verdict.data
    assert [(r.outcome, r.kind, r.sha256) for r in verdict.records] == [("allowed", "png", hashlib.sha256(png()).hexdigest())]
    assert isinstance(judge(gate(OPEN), png(extra=chunk(b"ABCD", b""))), Close)
    for controls in (
        replace(OPEN, clipboard=Clipboard.NONE),
        replace(OPEN, clipboard_types=frozenset({ClipboardKind.TEXT})),
    ):
        verdict = judge(gate(controls), png())
        assert isinstance(verdict, Drop)
        assert [r.outcome for r in verdict.records] == ["refused"]


# ---------------------------------------------------------------- properties

NUMBERS = st.integers(1, 4) | st.integers(DROP, DROP + 2)
SIZES = st.integers(0, 12) | st.just(5 * MIB)
NAMES = st.sampled_from(["a.txt", "b.pdf", "../c", "d.png"])
DATA = st.sampled_from([b"hello", b"%PDF-", b"x", b"\x89PNG\r\n\x1a\n", b"abcdefghijkl"])
CODES = st.sampled_from(list(m.TransferCode))
INFOS = st.builds(m.FileInfo, NAMES, SIZES, st.just(""))
FROM_VIEWER = st.one_of(
    st.builds(m.FileChoice, NUMBERS, st.lists(INFOS, max_size=3).map(tuple)),
    st.builds(m.FileDrop, st.integers(DROP, DROP + 2), st.just(0), st.just(0), st.lists(INFOS, max_size=3).map(tuple)),
    st.builds(m.FileData, NUMBERS, st.integers(0, 2), st.integers(0, 12), DATA),
    st.builds(m.FileCancel, NUMBERS),
    st.builds(m.DownloadReply, NUMBERS, st.booleans()),
    st.builds(m.DownloadAck, NUMBERS, st.integers(0, 12)),
    st.just(m.Print()),
)
FROM_RENDERER = st.one_of(
    st.builds(m.FileAsk, NUMBERS, st.booleans(), st.just("")),
    st.builds(m.FileProgress, NUMBERS, st.integers(0, 12)),
    st.builds(m.FileClosed, NUMBERS, CODES),
    st.builds(m.Download, NUMBERS, st.sampled_from(list(m.DownloadKind)), NAMES, SIZES),
    st.builds(m.DownloadData, NUMBERS, st.integers(0, 12), DATA),
    st.builds(m.DownloadClosed, NUMBERS, CODES),
    st.builds(m.Notice, st.sampled_from(list(m.NoticeCode))),
)
CONTROLS = st.builds(
    replace,
    st.just(OPEN),
    download=st.sampled_from(list(Transfer)),
    upload=st.sampled_from(list(Transfer)),
    print=st.booleans(),
    download_types=st.sampled_from([None, frozenset({FileKind.PDF})]),
    upload_types=st.sampled_from([None, frozenset({FileKind.TEXT})]),
)


@given(CONTROLS, st.lists(st.tuples(st.booleans(), FROM_VIEWER, FROM_RENDERER), max_size=40))
def test_whatever_is_said_no_byte_passes_that_is_not_wanted_counted_and_written_down(
    controls: Controls, talk: list[tuple[bool, Any, Any]]
) -> None:
    transfers = Transfers(controls)
    wanted: dict[int, int] = {}  # download → bytes it may still bring
    received: dict[int, bytes] = {}
    uploading: dict[int, int] = {}
    finished: set[str] = set()
    for viewer, up, down in talk:
        ruling = transfers.from_viewer(up) if viewer else transfers.from_renderer(down)
        finished |= {record.sha256 for record in ruling.records if record.outcome == "allowed"}
        match ruling.message:
            case m.Download(number, _, name, size):
                assert "/" not in name
                received[number], wanted[number] = b"", size
            case m.DownloadData(number, _, data):
                assert controls.download is Transfer.ALLOW or controls.print
                wanted[number] -= len(data)
                assert wanted[number] >= 0
                received[number] += data
            case m.DownloadClosed(number, m.TransferCode.DONE):
                assert hashlib.sha256(received[number]).hexdigest() in finished
                assert wanted[number] == 0
            case m.FileChoice(number, files) | m.FileDrop(number, files=files):
                assert controls.upload is Transfer.ALLOW or not files
                assert all(info.size <= 4 * MIB and "/" not in info.name for info in files)
                uploading[number] = sum(info.size for info in files)
            case m.FileData(number, _, _, data):
                uploading[number] -= len(data)
                assert uploading[number] >= 0
            case m.FileClosed(number, m.TransferCode.DONE):
                assert uploading[number] == 0
            case _:
                pass
        if ruling.broken:
            break


@given(st.binary(max_size=200) | st.builds(lambda a, b: png()[:a] + b + png()[a:], st.integers(0, 80), st.binary(max_size=40)))
def test_any_bytes_are_a_plain_picture_or_none(data: bytes) -> None:
    plain = picture(data)
    assert plain is None or (picture(plain) == plain and len(plain) <= len(data))
