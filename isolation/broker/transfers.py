"""What the gatekeeper knows of files, prints and pictures on their way: which are open, how much of each has passed, and of what kind. Pure.

Both sides may lie. The renderer, when it sends bytes nobody asked for, more than it said, or something else than its name says; the viewer,
when it uploads what the controls do not let through. A side that breaks the contract ends the stream. A file that is merely not
permitted ends that transfer, and both sides are told. Every transfer, let through or not, leaves a :class:`Record` for the audit log.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from isolation.broker import cleaning
from isolation.policy.controls import Controls, Transfer
from renderer.wire import messages as m
from renderer.wire.blobs import FILE_WINDOW, MAX_IMAGE_SIDE
from renderer.wire.controls import FileKind
from renderer.wire.files import HEAD, file_name, kind_of, permitted

# ---------------------------------------------------------------- limits
MAX_OPEN = 32  # transfers of one stream at once: the node offers fewer, and nobody looks after more
MAX_TRANSFERS = 2000  # of one stream: beyond what a day brings; each is a line of the audit log
MAX_PRINT = 64 * 1024 * 1024  # bytes of a printed page: some hundred pages with pictures
MAX_UPLOAD = 1024**3  # bytes of the files of one upload together: what a node keeps for a session
MAX_PIXELS = 16 * 1024 * 1024  # of a clipboard picture: a 4K screen twice
MIB = 1024 * 1024
_VIEWERS_IDS = 2**31  # from here on ids are the viewer's

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = frozenset({0, 2, 4, 6})  # grey and RGB, each with or without alpha, 8 bits: what encoders of pixels write

ToRenderer = m.FileChoice | m.FileDrop | m.FileData | m.FileCancel | m.DownloadReply | m.DownloadAck | m.Print | m.PasteImage
FromRenderer = (
    m.FileAsk | m.FileProgress | m.FileClosed | m.Download | m.DownloadData | m.DownloadClosed | m.ClipboardImage | m.Notice
)


@dataclass(frozen=True, slots=True)
class Record:
    """One line for the audit log. ``direction``: download, upload, print, copy or paste (of pictures). ``outcome``: allowed, refused or cancelled.

    ``size``: bytes, as announced. ``kind``: of :class:`FileKind`, or "". ``sha256``: of what passed, where all of it did. ``why``: a
    code, where it did not.
    """

    direction: str
    outcome: str
    name: str = ""
    size: int = 0
    kind: str = ""
    sha256: str = ""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What happens to a message; ``records`` are written down before.

    ``message``: pass this. Else ``rule`` says why not, ``broken`` whether that ends the stream, ``back`` what its sender is answered,
    ``onward`` what the other side gets in its place.
    """

    message: ToRenderer | FromRenderer | None = None
    rule: str = ""
    broken: bool = False
    back: m.FileClosed | None = None
    onward: m.FileChoice | m.FileCancel | None = None
    records: tuple[Record, ...] = ()


@dataclass(slots=True)
class _Passing:
    """One file's bytes on their way."""

    name: str
    size: int
    kind: str = ""
    passed: int = 0
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, offset: int, data: bytes) -> str:
        """Count a piece; return what is wrong with it, or ""."""
        if offset != self.passed:
            return "a piece of a file out of order"
        if offset + len(data) > self.size:
            return "more of a file than was announced"
        if offset == 0:
            if len(data) < min(self.size, HEAD):
                return "a first piece too short to judge"
            self.kind = kind_of(self.name, data) or ""
        self._digest.update(data)
        self.passed += len(data)
        return ""

    @property
    def whole(self) -> bool:
        return self.passed == self.size

    def record(self, direction: str, outcome: str, why: str = "") -> Record:
        sha256 = self._digest.hexdigest() if self.whole and outcome == "allowed" else ""
        return Record(direction, outcome, self.name, self.size, self.kind, sha256, why)


@dataclass(slots=True)
class _Down:
    """A download. ``accepted`` None: the person has not answered."""

    direction: str
    file: _Passing
    accepted: bool | None = None
    acknowledged: int = 0


@dataclass(slots=True)
class _Up:
    """An upload: first a question (``files`` None), then files, one after the other."""

    multiple: bool
    files: list[_Passing] | None = None
    index: int = 0
    progress: int = 0

    @property
    def passed(self) -> int:
        return sum(file.passed for file in self.files or ())

    @property
    def whole(self) -> bool:
        return self.files is not None and all(file.whole for file in self.files)


class Transfers:
    """The transfers of one stream."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._may_download = controls.download is Transfer.ALLOW
        self._may_upload = controls.upload is Transfer.ALLOW
        self._down: dict[int, _Down] = {}
        self._up: dict[int, _Up] = {}
        self._ended: set[int] = set()  # their last pieces may still be under way
        self._seen = 0

    def end(self) -> tuple[Record, ...]:
        """Return the records of what was under way when the stream ended."""
        records = [down.file.record(down.direction, "cancelled", "stream-ended") for down in self._down.values()]
        for up in self._up.values():
            records += [f.record("upload", "cancelled", "stream-ended") for f in up.files or () if not f.whole]
        self._down.clear()
        self._up.clear()
        return tuple(records)

    # ------------------------------------------------------------ viewer → renderer

    def from_viewer(self, message: ToRenderer) -> Ruling:
        """Rule on a message of the viewer."""
        match message:
            case m.Print():
                if not self._controls.print:
                    return Ruling(rule="printing is off", records=(Record("print", "refused", why="off"),))
                return Ruling(message)
            case m.DownloadReply():
                return self._reply(message)
            case m.DownloadAck():
                return self._acknowledge(message)
            case m.FileCancel(number):
                return self._cancel(number)
            case m.FileChoice(number, files):
                up = self._up.get(number)
                if up is None or up.files is not None:
                    return Ruling(rule="no such question for files")
                return self._chosen(message, number, up, files)
            case m.FileDrop(number, _, _, files):
                if not self._may_upload:
                    return Ruling(rule="upload is off", records=self._refused(files, "off"))
                if number in self._up or number in self._ended or not files:
                    return _broken("viewer: a drop of nothing, or a second one of the same number")
                if self._many():
                    return _broken("viewer: too many transfers")
                up = self._up[number] = _Up(multiple=True)
                return self._chosen(message, number, up, files)
            case m.FileData():
                return self._uploaded(message)
            case m.PasteImage(png):
                return self._picture(message, png, "paste")

    def _reply(self, message: m.DownloadReply) -> Ruling:
        down = self._down.get(message.id)
        if down is None or down.accepted is not None:
            return Ruling(rule="no such download")
        if not message.accept:
            self._end(message.id)
            return Ruling(message, records=(down.file.record(down.direction, "cancelled", "declined"),))
        if down.file.size > self._most(down.direction):
            return Ruling(rule="too large to download")
        down.accepted = True
        return Ruling(message)

    def _acknowledge(self, message: m.DownloadAck) -> Ruling:
        down = self._down.get(message.id)
        if down is None:
            return self._unknown(message.id, "viewer", "download")
        if not down.acknowledged <= message.received <= down.file.passed:
            return _broken("viewer: acknowledged bytes it was never sent")
        down.acknowledged = message.received
        return Ruling(message)

    def _cancel(self, number: int) -> Ruling:
        down, up = self._down.get(number), self._up.get(number)
        if down is not None:
            self._end(number)
            return Ruling(m.FileCancel(number), records=(down.file.record(down.direction, "cancelled", "person"),))
        if up is not None and up.files is not None:
            self._end(number)
            records = tuple(f.record("upload", "cancelled", "person") for f in up.files if not f.whole)
            return Ruling(m.FileCancel(number), records=records)
        return Ruling(rule="no such transfer")

    def _chosen(self, message: m.FileChoice | m.FileDrop, number: int, up: _Up, files: Sequence[m.FileInfo]) -> Ruling:
        if not files:
            self._end(number)
            return Ruling(message)
        clean = tuple(replace(info, name=file_name(info.name), type="") for info in files)
        why = ""
        if len(files) > 1 and not up.multiple:
            why = "too-many"
        elif max(info.size for info in files) > self._controls.upload_max_mb * MIB or sum(i.size for i in files) > MAX_UPLOAD:
            why = m.TransferCode.TOO_LARGE
        elif not all(info.size or permitted(info.name, b"", self._controls.upload_types) for info in clean):
            why = m.TransferCode.WRONG_TYPE
        if why:
            self._end(number)
            code = m.TransferCode(why) if why != "too-many" else m.TransferCode.FAILED
            back = m.FileClosed(number, code)
            onward = m.FileChoice(number, ()) if number < _VIEWERS_IDS else None
            return Ruling(rule=f"upload: {why}", back=back, onward=onward, records=self._refused(clean, why))
        up.files = [_Passing(info.name, info.size) for info in clean]
        empty = tuple(file.record("upload", "allowed") for file in up.files if file.size == 0)
        return Ruling(replace(message, files=clean), records=empty)

    def _refused(self, files: Sequence[m.FileInfo], why: str) -> tuple[Record, ...]:
        return tuple(Record("upload", "refused", file_name(info.name), info.size, why=why) for info in files)

    def _uploaded(self, message: m.FileData) -> Ruling:
        up = self._up.get(message.id)
        if up is None or up.files is None:
            return self._unknown(message.id, "viewer", "upload")
        while up.index < len(up.files) and up.files[up.index].whole:
            up.index += 1
        if message.index != up.index or up.index >= len(up.files):
            return _broken("viewer: a piece of another file than is due")
        file = up.files[up.index]
        problem = file.take(message.offset, message.data)
        if problem:
            return _broken(f"viewer: {problem}")
        if up.passed - up.progress > FILE_WINDOW:
            return _broken("viewer: more of a file at once than was agreed")
        if message.offset == 0 and not permitted(file.name, message.data, self._controls.upload_types):
            self._end(message.id)
            return Ruling(
                rule="upload: wrong-type",
                back=m.FileClosed(message.id, m.TransferCode.WRONG_TYPE),
                onward=m.FileCancel(message.id),
                records=(file.record("upload", "refused", m.TransferCode.WRONG_TYPE),),
            )
        return Ruling(message, records=(file.record("upload", "allowed"),) if file.whole else ())

    # ------------------------------------------------------------ renderer → viewer

    def from_renderer(self, message: FromRenderer) -> Ruling:
        """Rule on a message of the renderer."""
        match message:
            case m.Notice(code):
                return Ruling(message, records=_blocked(code) if not self._many() else ())
            case m.ClipboardImage(png):
                return self._picture(message, png, "copy")
            case m.FileAsk(number):
                if not self._may_upload:
                    self._ended.add(number)
                    return Ruling(
                        rule="upload is off", records=(Record("upload", "refused", why="off"),) if not self._many() else ()
                    )
                if not self._fresh(number):
                    return _broken("renderer: a transfer's number twice, or too many")
                self._up[number] = _Up(multiple=message.multiple)
                return Ruling(replace(message, accept=cleaning.line(message.accept)))
            case m.FileProgress(number, received):
                up = self._up.get(number)
                if up is None:
                    return self._unknown(number, "renderer", "upload")
                if not up.progress <= received <= up.passed:
                    return _broken("renderer: received what was never sent")
                up.progress = received
                return Ruling(message)
            case m.FileClosed():
                return self._upload_closed(message)
            case m.Download():
                return self._offered(message)
            case m.DownloadData():
                return self._downloaded(message)
            case m.DownloadClosed():
                return self._download_closed(message)

    def _upload_closed(self, message: m.FileClosed) -> Ruling:
        up = self._up.get(message.id)
        if up is None:
            return self._unknown(message.id, "renderer", "upload")
        if message.code is m.TransferCode.DONE and not up.whole:
            return _broken("renderer: an upload done before its end")
        self._end(message.id)
        records = tuple(f.record("upload", *_outcome(message.code)) for f in up.files or () if not f.whole)
        return Ruling(message, records=records)

    def _offered(self, message: m.Download) -> Ruling:
        direction = "print" if message.kind is m.DownloadKind.PRINT else "download"
        file = _Passing(file_name(message.name), message.size)
        if not (self._controls.print if direction == "print" else self._may_download):
            self._ended.add(message.id)
            records = (file.record(direction, "refused", "off"),) if not self._many() else ()
            return Ruling(rule=f"{direction} is off", records=records)
        if not self._fresh(message.id):
            return _broken("renderer: a transfer's number twice, or too many")
        self._down[message.id] = _Down(direction, file)
        return Ruling(replace(message, name=file.name))

    def _downloaded(self, message: m.DownloadData) -> Ruling:
        down = self._down.get(message.id)
        if down is None:
            return self._unknown(message.id, "renderer", "download")
        if not down.accepted:
            return _broken("renderer: bytes before the person wanted them")
        problem = down.file.take(message.offset, message.data)
        if problem:
            return _broken(f"renderer: {problem}")
        if down.file.passed - down.acknowledged > FILE_WINDOW:
            return _broken("renderer: more of a file at once than was agreed")
        if message.offset == 0 and not self._lets(down, message.data):
            self._end(message.id)
            records = (down.file.record(down.direction, "refused", m.TransferCode.WRONG_TYPE),)
            return replace(_broken("renderer: a file of a kind that is not let through"), records=records)
        return Ruling(message)

    def _lets(self, down: _Down, head: bytes) -> bool:
        if down.direction == "print":
            return kind_of(down.file.name, head) is FileKind.PDF
        return permitted(down.file.name, head, self._controls.download_types)

    def _download_closed(self, message: m.DownloadClosed) -> Ruling:
        down = self._down.get(message.id)
        if down is None:
            return self._unknown(message.id, "renderer", "download")
        self._end(message.id)
        if message.code is not m.TransferCode.DONE:
            return Ruling(message, records=(down.file.record(down.direction, *_outcome(message.code)),))
        if not (down.accepted and down.file.whole):
            return _broken("renderer: a download done before its end")
        if down.file.size == 0 and not self._lets(down, b""):
            records = (down.file.record(down.direction, "refused", m.TransferCode.WRONG_TYPE),)
            return replace(_broken("renderer: a file of a kind that is not let through"), records=records)
        return Ruling(message, records=(down.file.record(down.direction, "allowed"),))

    # ------------------------------------------------------------ both

    def _most(self, direction: str) -> int:
        return MAX_PRINT if direction == "print" else self._controls.download_max_mb * MIB

    def _fresh(self, number: int) -> bool:
        known = number >= _VIEWERS_IDS or number in self._down or number in self._up or number in self._ended
        return not known and not self._many()

    def _many(self) -> bool:
        """Count one more transfer; say whether it is one too many."""
        self._seen += 1
        return self._seen > MAX_TRANSFERS or len(self._down) + len(self._up) >= MAX_OPEN

    def _unknown(self, number: int, speaker: str, direction: str) -> Ruling:
        """Rule on a message about a transfer that is not open: late, not permitted at all, or made up."""
        if number in self._ended:
            return Ruling(rule=f"{direction}: it has ended")
        if not (self._may_upload if direction == "upload" else self._may_download or self._controls.print):
            return Ruling(rule=f"{direction} is off")
        return _broken(f"{speaker}: no such {direction}")

    def _end(self, number: int) -> None:
        self._down.pop(number, None)
        self._up.pop(number, None)
        self._ended.add(number)

    def _picture(self, message: m.PasteImage | m.ClipboardImage, png: bytes, direction: str) -> Ruling:
        # Whether pictures may cross at all, how large and how often, is the gatekeeper's to say: as of text.
        if self._many():
            return _broken("too many transfers")
        plain = picture(png)
        if plain is None:
            record = Record(direction, "refused", size=len(png), why=m.TransferCode.WRONG_TYPE)
            return replace(_broken("a clipboard picture that is not a plain PNG"), records=(record,))
        sha256 = hashlib.sha256(plain).hexdigest()
        return Ruling(replace(message, png=plain), records=(Record(direction, "allowed", "", len(plain), FileKind.PNG, sha256),))


def _broken(rule: str) -> Ruling:
    return Ruling(rule=rule, broken=True)


def _outcome(code: m.TransferCode) -> tuple[str, str]:
    return "refused" if code in {m.TransferCode.TOO_LARGE, m.TransferCode.WRONG_TYPE} else "cancelled", code.value


def _blocked(code: m.NoticeCode) -> tuple[Record, ...]:
    """Return the record of what the renderer says it refused by itself, before there was a name or a size."""
    directions = {
        m.NoticeCode.DOWNLOAD_BLOCKED: "download",
        m.NoticeCode.UPLOAD_BLOCKED: "upload",
        m.NoticeCode.PRINT_BLOCKED: "print",
    }
    direction = directions.get(code)
    return () if direction is None else (Record(direction, "refused", why="off"),)


def picture(png: bytes) -> bytes | None:
    """Return a PNG of 8-bit pixels without anything but header, pixels and end, every length and checksum right; None: it is not one.

    The pixels stay packed: inflating sixteen million of them here would hold up everybody else. Whoever draws them reads no more than the
    header announces, and that is bounded.
    """
    if png[:8] != _SIGNATURE:
        return None
    at, kept, seen = 8, [_SIGNATURE], b""
    while at < len(png) and seen != b"IEND":
        if len(png) - at < 12:
            return None
        (length,) = struct.unpack_from(">I", png, at)
        if length > len(png) - at - 12:
            return None
        kind, body, whole = png[at + 4 : at + 8], png[at + 8 : at + 8 + length], png[at : at + 12 + length]
        if zlib.crc32(kind + body) != struct.unpack_from(">I", png, at + 8 + length)[0]:
            return None
        at += 12 + length
        if kind == b"IHDR":
            if seen or not _plain_head(body):
                return None
        elif kind == b"IDAT":
            if seen not in {b"IHDR", b"IDAT"}:
                return None
        elif kind == b"IEND":
            if seen != b"IDAT" or length:
                return None
        elif not kind[0] & 0x20 or not seen:
            return None  # critical and unknown, or before the header
        else:
            continue  # ancillary: left behind
        seen = kind
        kept.append(whole)
    return b"".join(kept) if seen == b"IEND" and at == len(png) else None


def _plain_head(body: bytes) -> bool:
    if len(body) != 13:
        return False
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", body)
    sides = 1 <= width <= MAX_IMAGE_SIDE and 1 <= height <= MAX_IMAGE_SIDE and width * height <= MAX_PIXELS
    return sides and depth == 8 and colour in _COLOURS and (compression, filtering, interlace) == (0, 0, 0)
