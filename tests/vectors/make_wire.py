"""Write tests/vectors/wire/*.json anew. Run after a wanted change of the contract; the tests hold both sides to the files, not to this script."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from renderer.wire import messages as m
from renderer.wire.codec import encode
from renderer.wire.glyphs import Glyphs, Stamp, pack_glyphs

HERE = Path(__file__).parent / "wire"


def noise(width: int, height: int) -> Any:
    return ((np.arange(width * height * 3) * 7919) % 256).astype(np.uint8).reshape(height, width, 3)


def icon() -> str:
    y, x = np.mgrid[0:32, 0:32].astype(np.uint8)
    return base64.b64encode(imagecodecs.png_encode(np.dstack([x * 8, y * 8, x ^ y, np.full_like(x, 255)]))).decode()


LOSSLESS = imagecodecs.webp_encode(noise(8, 4), lossless=True)
LOSSY = imagecodecs.webp_encode(noise(16, 16), level=50, lossless=False)
FILM = bytes(LOSSY[20 : 20 + int.from_bytes(LOSSY[16:20], "little")])  # a lossy WebP holds one VP8 key frame
INTER = (1 | 1 << 4 | 4 << 5).to_bytes(3, "little") + bytes(4)  # the head of a frame that is not a key frame
PNG = bytes(imagecodecs.png_encode(noise(5, 7)))
SHEET = bytes(imagecodecs.webp_encode(noise(10, 11), lossless=True))


def stamps(x: int, y: int, glyphs: Glyphs) -> m.Paint:
    return m.Paint(x, y, 60, 46, m.Encoding.GLYPHS, pack_glyphs(glyphs))


TO_RENDERER = [
    m.Hello(1, "", "/run?month=5#totals", 1280, 800, 100, False, False),
    m.Hello(1, "pg_aZ09-x", "/", 390, 844, 200, True, True, True),
    m.Resize(1024, 768, 125),
    m.Pointer(m.PointerKind.MOVE, -5, 20, 0, 0, 0, 0),
    m.Pointer(m.PointerKind.DOWN, 10, 20, 2, 2, 1, 15),
    m.Pointer(m.PointerKind.UP, 10, 20, 0, 0, 3, 8),
    m.Wheel(100, 200, 0, -120, 2),
    m.Key(True, "a", "KeyA", 0, 0, False),
    m.Key(False, "Enter", "NumpadEnter", 3, 0, False),
    m.Key(True, "é", "", 0, 8, True),
    m.Text('Grüße 👩‍💻 "quoted" \\ \n\t\u0001\u007f\u2028'),
    m.Composition("にほ", 1, 2),
    m.Composition("", 0, 0),
    m.Navigate("//not-a-host/../x"),
    m.History(-1),
    m.Reload(True),
    m.Stop(),
    m.DialogReply(7, True, "answer"),
    m.SelectReply(3, ("0", "12")),
    m.SelectReply(4, ()),
    m.SelectReply(5, ("2026-11-22T10:15",)),
    m.Ack(1),
    m.Ack(4294967295),
    m.Focus(True, True),
    m.Paste("line one\nline two"),
    m.CopyRequest(False),
    m.ClosePage(),
    m.Refresh(True),
    m.Touch(m.TouchKind.START, (m.TouchPoint(0, 10, 20), m.TouchPoint(1, 30, -40)), 0),
    m.Touch(m.TouchKind.END, (), 8),
    m.Find("Größe", True, False),
    m.Find("", False, True),
    *(m.MenuReply(9, action) for action in m.MenuAction),
    m.Print(),
    m.AuthReply(4, True, "ada", 'pass "word"'),
    m.ExitFullscreen(),
    m.FileChoice(3, (m.FileInfo("Bericht – 1.pdf", 1024, "application/pdf"), m.FileInfo("x", 0, ""))),
    m.FileChoice(3, ()),
    m.FileDrop(2**31, 5, 6, (m.FileInfo("a.txt", 2**40, "text/plain"),)),
    m.FileData(2**31, 99, 2**33, b"\x00piece\xff"),
    m.FileCancel(3),
    m.DownloadReply(5, True),
    m.DownloadAck(5, 2**33),
    m.PasteImage(PNG),
]
FROM_RENDERER = [
    m.Ready("pg_aZ09-x", 1280, 800, 100, False),
    m.Frame(1, 64, 48, True, (), (m.Paint(0, 0, 64, 48, m.Encoding.FILL, b"\xff\xfe\x00"),)),
    m.Frame(
        2,
        64,
        48,
        False,
        (m.Copy(0, 8, 0, 0, 64, 40), m.Copy(1, 2, 3, 4, 5, 6)),
        (
            m.Paint(0, 40, 8, 4, m.Encoding.WEBP_LOSSLESS, LOSSLESS),
            m.Paint(48, 32, 16, 16, m.Encoding.WEBP_LOSSY, LOSSY),
            m.Paint(63, 47, 1, 1, m.Encoding.FILL, b"\x00\x00\x00"),
        ),
    ),
    m.Frame(3, 64, 48, False, (), ()),
    m.Frame(
        4,
        64,
        48,
        False,
        (),
        (m.Paint(0, 0, 16, 16, m.Encoding.RECALL, b"\x00\x03\x00\x10\x00\x20"), m.Paint(48, 0, 16, 16, m.Encoding.VIDEO, FILM)),
        (m.Keep(3, 0, 0, 64, 48), m.Keep(255, 1, 2, 3, 4)),
        150,
    ),
    m.Frame(5, 64, 48, False, (), (m.Paint(48, 0, 16, 16, m.Encoding.VIDEO, INTER),), (), 150),
    m.Frame(
        6,
        64,
        48,
        False,
        (),
        (
            stamps(4, 2, Glyphs(True, ((7, 11), (3, 2)), SHEET, (Stamp(0, 4, 2), Stamp(1, 40, 30), Stamp(300, 4, 30)))),
            stamps(0, 0, Glyphs(False, (), b"", ())),
        ),
    ),
    m.Location("https://payroll.corp.example", "/run?month=5#totals", 0, 1, False),
    m.Location("http://data.localhost:8080", "/", 2, 5, True),
    m.Location("", "", 0, 1, False),
    m.Title("Payroll – <b>not bold</b>"),
    m.Title(""),
    m.Icon(icon()),
    m.Icon(""),
    m.Loading(True),
    m.Cursor("ew-resize"),
    m.Dialog(1, m.DialogKind.PROMPT, "https://payroll.corp.example", "Name?\n<img src=x onerror=alert(1)>", "you"),
    m.Dialog(2, m.DialogKind.BEFORE_UNLOAD, "", "", ""),
    m.DialogClosed(1),
    m.Select(
        1,
        m.SelectKind.OPTIONS,
        -3,
        40,
        120,
        24,
        True,
        (m.Option("January", "Q1", False, True), m.Option("</option>", "", True, False)),
        "",
        "",
        "",
    ),
    m.Select(2, m.SelectKind.DATE, 10, 40, 120, 24, False, (), "2026-11-22", "2026-01-01", "2026-12-31"),
    m.Select(3, m.SelectKind.COLOR, 10, 40, 40, 24, False, (), "#ff0080", "", ""),
    m.SelectClosed(1),
    m.Opened("pg_2", "https://payroll.corp.example", "/help"),
    m.Opened("pg_3", "", ""),
    m.Clipboard("copied"),
    *(m.Notice(code) for code in m.NoticeCode),
    *(m.Closed(code) for code in m.CloseCode),
    m.LinkHint("https://payroll.corp.example/next?x=1"),
    m.LinkHint(""),
    m.Found(2, 7),
    m.Found(0, 0),
    m.Menu(6, 100, -2, "https://payroll.corp.example/a", True, False, True),
    m.Fullscreen(True),
    m.Auth(7, "https://payroll.corp.example", "Staff <only>"),
    m.External("mailto:ada@corp.example?subject=Hi"),
    m.External("tel:+49-30-1234"),
    m.FileAsk(3, True, "image/*,.pdf"),
    m.FileProgress(3, 2**33),
    *(m.FileClosed(3, code) for code in m.TransferCode),
    m.Download(5, m.DownloadKind.FILE, "Lohn – März.csv", 2**33),
    m.Download(6, m.DownloadKind.PRINT, "page.pdf", 0),
    m.DownloadData(5, 2**33, b"\x00piece\xff"),
    m.DownloadClosed(5, m.TransferCode.DONE),
    m.ClipboardImage(PNG),
    *(m.Permission(kind) for kind in m.PermissionKind),
    m.Queued(3, 40),
    m.Ending(m.EndingReason.IDLE, 60),
    m.Ending(m.EndingReason.TIME, 0),
    *(m.Editing(mode, 10, -20, 1, 18) for mode in m.EditingMode),
]

FRAME = encode(FROM_RENDERER[2])
KEEPING = encode(FROM_RENDERER[4])
PLAYING = encode(FROM_RENDERER[5])
TWO_FILMS = PLAYING[:16] + b"\x00\x02" + PLAYING[18:] + PLAYING[18:]
REFUSED_TO_RENDERER = {
    "empty": b"",
    "unknown type": b"\x3f{}",
    "type zero": b"\x00{}",
    "a message of the other direction": encode(m.Title("x")),
    "no body": b"\x0b",
    "not JSON": b"\x0b{",
    "not an object": b"\x0b[]",
    "bytes after the object": b"\x0b{}x",
    "invalid UTF-8": b'\x06{"text":"\xff"}',
    "overlong UTF-8": b'\x06{"text":"\xc0\xaf"}',
    "lone surrogate": b'\x06{"text":"\\ud800"}',
    "a field too many": b'\x0b{"x":1}',
    "a field missing": b'\x02{"width":100}',
    "a field twice": b'\x02{"width":100,"width":100,"height":100,"scale":100}',
    "wrong type: text for a number": b'\x02{"width":"100","height":100,"scale":100}',
    "wrong type: boolean for a number": b'\x0e{"seq":true}',
    "wrong type: number for a boolean": b'\x0a{"hard":1}',
    "wrong type: null": b'\x06{"text":null}',
    "a fraction": b'\x02{"width":100.5,"height":100,"scale":100}',
    "not a number": b'\x02{"width":NaN,"height":100,"scale":100}',
    "zero width": b'\x02{"width":0,"height":100,"scale":100}',
    "too wide": b'\x02{"width":8193,"height":100,"scale":100}',
    "scaled down too far": b'\x02{"width":100,"height":100,"scale":24}',
    "resized past the frame": b'\x02{"width":4000,"height":100,"scale":400}',
    "negative sequence": b'\x0e{"seq":-1}',
    "sequence zero": b'\x0e{"seq":0}',
    "sequence past u32": b'\x0e{"seq":4294967296}',
    "a thousand digits": b'\x0e{"seq":' + b"9" * 1000 + b"}",
    "wrong version": b'\x01{"version":2,"page":"","path":"/","width":100,"height":100,"scale":100,"mac":false,"video":false,"touch":false}',
    "a page id with a slash": b'\x01{"version":1,"page":"../x","path":"/","width":100,"height":100,"scale":100,"mac":false,"video":false,"touch":false}',
    "a surface past the frame": b'\x01{"version":1,"page":"","path":"/","width":4000,"height":100,"scale":400,"mac":false,"video":false,"touch":false}',
    "an absolute URL": b'\x08{"path":"https://evil.example/"}',
    "a path with a blank": b'\x08{"path":"/a b"}',
    "a path with a line break": b'\x08{"path":"/a\\nb"}',
    "a scheme": b'\x08{"path":"javascript:alert(1)"}',
    "unknown word": b'\x03{"kind":"hover","x":1,"y":1,"button":0,"buttons":0,"clicks":1,"modifiers":0}',
    "coordinate out of range": b'\x03{"kind":"move","x":40000,"y":1,"button":0,"buttons":0,"clicks":0,"modifiers":0}',
    "wheel out of range": b'\x04{"x":1,"y":1,"dx":0,"dy":1000000000,"modifiers":0}',
    "selection outside the composition": b'\x07{"text":"ab","start":1,"end":3}',
    "selection backwards": b'\x07{"text":"ab","start":2,"end":1}',
    "a list of numbers": b'\x0d{"id":1,"values":[1]}',
    "empty text": b'\x06{"text":""}',
    "one finger at two places": b'\x14{"kind":"start","points":[{"id":0,"x":1,"y":1},{"id":0,"x":2,"y":2}],"modifiers":0}',
    "a touch without a finger": b'\x14{"kind":"start","points":[],"modifiers":0}',
    "an eleventh finger": b'\x14{"kind":"start","points":[{"id":10,"x":1,"y":1}],"modifiers":0}',
    "an unknown menu action": b'\x17{"id":1,"action":"run"}',
    "a drop with an id of the renderer's": b'\x1b{"id":5,"x":1,"y":1,"files":[]}',
    "a file without a name": b'\x1a{"id":5,"files":[{"name":"","size":1,"type":""}]}',
    "a file of negative size": b'\x1a{"id":5,"files":[{"name":"x","size":-1,"type":""}]}',
    "a piece without bytes": b"\x1c" + struct.pack(">IHQ", 1, 0, 0),
    "a piece cut in its head": b"\x1c\x00\x00\x00\x01",
    "a piece of file 100": b"\x1c" + struct.pack(">IHQ", 1, 100, 0) + b"x",
    "a piece past the longest file": b"\x1c" + struct.pack(">IHQ", 1, 0, 2**40) + b"x",
    "a pasted picture that is none": b"\x20<svg onload=alert(1)>" + b" " * 40,
    "a pasted picture of 9000 pixels": b"\x20" + PNG[:16] + struct.pack(">I", 9000) + PNG[20:],
}


def stamping(*parts: bytes) -> bytes:
    """A frame with paints that stamp, whatever their data."""
    head = bytes([m.Type.FRAME]) + struct.pack(">IHHHBHHH", 6, 64, 48, 100, 0, 0, 0, len(parts))
    return head + b"".join(struct.pack(">4HBI", 0, 0, 64, 48, m.Encoding.GLYPHS, len(data)) + data for data in parts)


def glyphs(sizes: bytes, sheet: bytes, stamps: bytes, *, flags: int = 0, count: int = 1) -> bytes:
    return struct.pack(">BHHI", flags, len(sizes) // 2, count, len(sheet)) + sheet + sizes + stamps


ONE = b"\x08\x04"  # the size of the one glyph of LOSSLESS
MANY = glyphs(b"", b"", bytes(3 * 8192), count=8192)
LEARNT = glyphs(b"\x01\x01" * 2049, imagecodecs.webp_encode(noise(256, 9), lossless=True), b"", count=0)
REFUSED_FROM_RENDERER = {
    "glyphs: nothing": stamping(b""),
    "glyphs: cut in the head": stamping(glyphs(b"", b"", b"", count=0)[:-1]),
    "glyphs: unknown flag": stamping(glyphs(ONE, LOSSLESS, bytes(3), flags=2)),
    "glyphs: a sheet past the end": stamping(glyphs(ONE, LOSSLESS, bytes(3))[:20]),
    "glyphs: sizes past the end": stamping(glyphs(ONE, LOSSLESS, b"", count=0)[:-1]),
    "glyphs: a glyph without a height": stamping(glyphs(b"\x08\x00", LOSSLESS, bytes(3))),
    "glyphs: a sheet of no glyphs": stamping(glyphs(b"", LOSSLESS, bytes(3))),
    "glyphs: no sheet for its glyphs": stamping(glyphs(ONE, b"", bytes(3))),
    "glyphs: a sheet of another size": stamping(glyphs(b"\x08\x05", LOSSLESS, bytes(3))),
    "glyphs: a sheet with room for more": stamping(glyphs(b"\x07\x04", LOSSLESS, bytes(3))),
    "glyphs: a lossy sheet": stamping(glyphs(b"\x10\x10", bytes(LOSSY), bytes(3))),
    "glyphs: a sheet that is a JPEG": stamping(glyphs(ONE, b"\xff\xd8\xff\xe0" + bytes(LOSSLESS[4:]), bytes(3))),
    "glyphs: a stamp too few": stamping(glyphs(ONE, LOSSLESS, bytes(3), count=2)),
    "glyphs: a stamp too many": stamping(glyphs(ONE, LOSSLESS, bytes(6))),
    "glyphs: a stamp cut off": stamping(glyphs(ONE, LOSSLESS, b"\x00\x00\x80")),
    "glyphs: a number longer than needed": stamping(glyphs(ONE, LOSSLESS, b"\x80\x00\x00\x00")),
    "glyphs: a number of four bytes": stamping(glyphs(ONE, LOSSLESS, b"\x80\x80\x80\x01\x00\x00")),
    "glyphs: a number that none may have": stamping(glyphs(ONE, LOSSLESS, b"\x80\x20\x00\x00")),
    "glyphs: more stamps than a frame may have": stamping(MANY, glyphs(b"", b"", bytes(3))),
    "glyphs: more glyphs than a frame may bring": stamping(LEARNT, LEARNT),
    "empty": b"",
    "a message of the other direction": encode(m.Stop()),
    "unknown type": b"\x7f{}",
    "type 255": b"\xff{}",
    "not an icon": b'\x44{"png":"PHN2Zz4="}',
    "not base64": b'\x44{"png":"!!!"}',
    "an icon of another size": b'\x44{"png":"' + base64.b64encode(imagecodecs.png_encode(noise(16, 16))) + b'"}',
    "a cursor with an address": b'\x46{"name":"url(https://evil.example/c.png), auto"}',
    "an origin with a path": b'\x42{"origin":"https://a.example/","path":"/","index":0,"length":1,"replace":false}',
    "an origin of another scheme": b'\x42{"origin":"file://","path":"/","index":0,"length":1,"replace":false}',
    "an origin with credentials": b'\x42{"origin":"https://u@a.example","path":"/","index":0,"length":1,"replace":false}',
    "an origin without a path": b'\x42{"origin":"https://a.example","path":"","index":0,"length":1,"replace":false}',
    "a script path": b'\x42{"origin":"https://a.example","path":"javascript:1","index":0,"length":1,"replace":false}',
    "outside the history": b'\x42{"origin":"https://a.example","path":"/","index":1,"length":1,"replace":false}',
    "title too long": b'\x43{"text":"' + b"x" * 1025 + b'"}',
    "unknown notice": b'\x4d{"code":"hello"}',
    "unknown close": b'\x4e{"code":"<b>"}',
    "another program by script": b'\x54{"url":"javascript:alert(1)"}',
    "another program by file": b'\x54{"url":"file:///etc/passwd"}',
    "another program with a line break": b'\x54{"url":"mailto:a\\nb"}',
    "a match outside the matches": b'\x50{"index":3,"count":2}',
    "a download without a name": b'\x58{"id":1,"kind":"file","name":"","size":1}',
    "a download of unknown kind": b'\x58{"id":1,"kind":"script","name":"x","size":1}',
    "downloaded bytes cut off": b"\x59\x00\x00\x00\x01\x00",
    "downloaded bytes, none": b"\x59" + struct.pack(">IQ", 1, 0),
    "a copied picture that is a JPEG": b"\x5b\xff\xd8\xff\xe0" + PNG[4:],
    "a place in the queue before the first": b'\x5d{"position":0,"waited":1}',
    "frame: cut in the head": FRAME[:10],
    "frame: cut in a paint": FRAME[:-1],
    "frame: a byte too many": FRAME + b"\x00",
    "frame: unknown flag": FRAME[:11] + b"\x02" + FRAME[12:],
    "frame: seq zero": FRAME[:1] + b"\x00\x00\x00\x00" + FRAME[5:],
    "frame: width zero": FRAME[:5] + b"\x00\x00" + FRAME[7:],
    "frame: wider than may be": FRAME[:5] + b"\x20\x01" + FRAME[7:],
    "frame: surface too small for its rectangles": FRAME[:5] + b"\x00\x20" + FRAME[7:],
    "frame: more paints announced": FRAME[:16] + b"\x00\x04" + FRAME[18:],
    "frame: whole with copies": FRAME[:11] + b"\x01" + FRAME[12:],
    "frame: scale zero": FRAME[:9] + b"\x00\x00" + FRAME[11:],
    "frame: more keeps announced": FRAME[:12] + b"\x00\x01" + FRAME[14:],
    "frame: whole with keeps": KEEPING[:11] + b"\x01" + KEEPING[12:],
    "frame: keeps what lies outside": KEEPING.replace(b"\x00\x40\x00\x30\x00\xff", b"\x00\x41\x00\x30\x00\xff"),
    "frame: keeps in a slot that is not": KEEPING.replace(b"\x00\xff\x00\x01\x00\x02", b"\x01\x00\x00\x01\x00\x02"),
    "frame: keeps in one slot twice": KEEPING.replace(b"\x00\xff\x00\x01\x00\x02", b"\x00\x03\x00\x01\x00\x02"),
    "frame: recalls nothing": KEEPING.replace(b"\x04\x00\x00\x00\x06", b"\x04\x00\x00\x00\x05"),
    "frame: film of another size": KEEPING.replace(b"\x9d\x01\x2a\x10\x00", b"\x9d\x01\x2a\x11\x00"),
    "frame: film that is not shown": PLAYING[:-7] + bytes([PLAYING[-7] & ~16]) + PLAYING[-6:],
    "frame: film past its end": PLAYING[:-6] + b"\x10" + PLAYING[-5:],
    "frame: film of no length": PLAYING[:-11] + bytes(4),
    "frame: two films": TWO_FILMS,
    "frame: picture of another size": FRAME.replace(b"\x00\x08\x00\x04\x01", b"\x00\x07\x00\x04\x01"),
    "frame: lossless announced as lossy": FRAME.replace(b"\x00\x08\x00\x04\x01", b"\x00\x08\x00\x04\x02"),
    "frame: unknown encoding": FRAME.replace(b"\x00\x08\x00\x04\x01", b"\x00\x08\x00\x04\x09"),
    "frame: a JPEG": FRAME.replace(LOSSLESS, b"\xff\xd8\xff\xe0" + LOSSLESS[4:]),
    "frame: a WebP with an extended header": FRAME.replace(b"VP8L", b"VP8X"),
    "frame: a fill of two bytes": FRAME[:-7] + b"\x00\x00\x00\x02" + b"\x00\x00",
    "frame: empty rectangle": FRAME.replace(b"\x00\x01\x00\x01\x03", b"\x00\x00\x00\x01\x03"),
}


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(item) for name, item in asdict(value).items()}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def write(name: str, rows: list[dict[str, Any]]) -> None:
    (HERE / name).write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for name, messages in (("to_renderer.json", TO_RENDERER), ("from_renderer.json", FROM_RENDERER)):
        write(
            name,
            [{"type": type(x).__name__, "hex": encode(x).hex(), "message": plain(x)} for x in messages],
        )
    for name, refused in (
        ("refused_to_renderer.json", REFUSED_TO_RENDERER),
        ("refused_from_renderer.json", REFUSED_FROM_RENDERER),
    ):
        write(name, [{"why": why, "hex": data.hex()} for why, data in refused.items()])


if __name__ == "__main__":
    main()
