"""Names and kinds of files that cross between a device and a page. Pure; both sides of the line judge by these rules.

A kind is told by content and confirmed by the name: a device opens a file by its name's ending, so a picture named ``.hta`` is no picture.
The set is closed and small on purpose. Libraries that name hundreds of types answer with guesses (two bytes make a "bitmap"), and a
guess is no ground for letting a file through; what none of these rules knows is let through only where every file is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from renderer.wire.controls import FileKind

# ---------------------------------------------------------------- limits
HEAD = 4096  # bytes that a kind is told by: signatures, a ZIP's first name, the beginning of a text
MAX_NAME = 180  # bytes of UTF-8: what file systems take (255), with room for " (1)" and for "partial" endings of browsers
MAX_ENDING = 20  # characters of an ending that is kept when a name is cut

_ENDINGS: Mapping[FileKind, frozenset[str]] = {
    FileKind.PDF: frozenset({"pdf"}),
    FileKind.PNG: frozenset({"png"}),
    FileKind.JPEG: frozenset({"jpg", "jpeg", "jpe", "jfif"}),
    FileKind.GIF: frozenset({"gif"}),
    FileKind.WEBP: frozenset({"webp"}),
    FileKind.ZIP: frozenset({"zip"}),
    # Without those whose very name says that they carry macros (docm, xlsm, pptm, …): a list of kinds does not let them through.
    FileKind.OFFICE: frozenset({"docx", "xlsx", "pptx", "odt", "ods", "odp", "doc", "xls", "ppt"}),
    FileKind.CSV: frozenset({"csv"}),
    # Texts that no device runs: no HTML, SVG, XML or script.
    FileKind.TEXT: frozenset({"txt", "text", "log", "md", "json", "tsv", "yaml", "yml", "toml", "ini"}),
}
_OLD_OFFICE = frozenset({"doc", "xls", "ppt"})
_OPEN_DOCUMENT = frozenset({"odt", "ods", "odp"})
_TEXTS = frozenset({FileKind.CSV, FileKind.TEXT})
_KIND_OF_ENDING = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings}
_USUAL = {FileKind.PDF: "pdf", FileKind.PNG: "png", FileKind.JPEG: "jpg", FileKind.GIF: "gif", FileKind.WEBP: "webp"}

_BLANKS = "\t\n\r\f"
_PLAIN = bytes(byte for byte in range(256) if byte >= 0x20 or chr(byte) in _BLANKS)
_COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"  # [MS-CFB] 2.2
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # APPNOTE 4.3.7 and 4.3.16, an archive of nothing
_OOXML_FIRST = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"word/", b"xl/", b"ppt/", b"customXml/")

# Names that Windows gives to devices, whatever ending follows: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)", re.IGNORECASE)
_FORBIDDEN = re.compile(r'[<>:"|?*]')


# ---------------------------------------------------------------- names


def file_name(name: str, otherwise: str = "file") -> str:
    """Return a hostile name as one that is safe to show and to give to a file. Idempotent. ``otherwise``: where nothing is left.

    No directory, control or bidirectional character, device or hidden file; at most :data:`MAX_NAME` bytes, its ending kept.
    """
    name = re.split(r"[/\\\0]", name)[-1]
    # Cc, Cf (bidirectional and zero-width characters among them), Cs, Co, Cn, Zl, Zp: nothing a person could see.
    name = "".join(c for c in name if unicodedata.category(c)[0] != "C" and unicodedata.category(c) not in {"Zl", "Zp"})
    name = _FORBIDDEN.sub("_", " ".join(name.split())).strip(". ")
    return _cut("_" + name if _DEVICE.match(name) else name) or otherwise


def _cut(name: str) -> str:
    if len(name.encode()) <= MAX_NAME:
        return name
    stem, dot, ending = name.rpartition(".")
    if not dot or len(ending) > MAX_ENDING:
        stem, dot, ending = name, "", ""
    room = MAX_NAME - len((dot + ending).encode())
    return (stem.encode()[:room].decode("utf-8", "ignore") + dot + ending).strip(". ")


def ending_of(name: str) -> str:
    """Return what follows a name's last dot, in lower case, or ""."""
    stem, dot, ending = name.rpartition(".")
    return ending.lower() if dot and stem else ""


# ---------------------------------------------------------------- kinds


def kind_of(name: str, head: bytes) -> FileKind | None:
    """Return the kind that a file's content and name agree on; None: neither is of the set, or they do not agree.

    ``head``: the first :data:`HEAD` bytes, or all where there are fewer. A file of zero bytes is a text of no words.
    """
    ending = ending_of(name)
    kind = _KIND_OF_ENDING.get(ending)
    return kind if kind is not None and _is(kind, ending, head[:HEAD]) else None


def lies(name: str, head: bytes) -> bool:
    """Say whether a name claims a kind that the content is not. Nothing is claimed by an ending that the set does not have, or of no content."""
    return bool(head) and ending_of(name) in _KIND_OF_ENDING and kind_of(name, head) is None


def permitted(name: str, head: bytes, kinds: frozenset[FileKind] | frozenset[str] | None) -> bool:
    """Say whether the controls let a file through. ``kinds`` None: every file whose name does not lie."""
    if kinds is None:
        return not lies(name, head)
    kind = kind_of(name, head)
    return kind is not None and kind in kinds


def named_truly(name: str, head: bytes) -> str:
    """Return the name, with the ending of what the content is where the name has none (a script's answer, a ``blob:``)."""
    if ending_of(name):
        return name
    for kind, ending in _USUAL.items():
        if _is(kind, ending, head[:HEAD]):
            return f"{name}.{ending}"
    return name


def _is(kind: FileKind, ending: str, head: bytes) -> bool:
    if kind in _TEXTS:
        return _is_text(head)
    match kind:
        case FileKind.PDF:
            return head.startswith(b"%PDF-")
        case FileKind.PNG:
            return head.startswith(b"\x89PNG\r\n\x1a\n")
        case FileKind.JPEG:
            return head.startswith(b"\xff\xd8\xff")
        case FileKind.GIF:
            return head.startswith((b"GIF87a", b"GIF89a"))
        case FileKind.WEBP:
            return head[:4] == b"RIFF" and head[8:12] == b"WEBP"
        case FileKind.ZIP:
            return head.startswith(_ZIP)
        case _:
            return _is_office(ending, head)


def _is_office(ending: str, head: bytes) -> bool:
    if ending in _OLD_OFFICE:
        return head.startswith(_COMPOUND)
    if not head.startswith(_ZIP[0]):
        return False
    # The first member's name, at offset 30 (APPNOTE 4.3.7), tells a document from any other archive.
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    if ending in _OPEN_DOCUMENT:
        return first == b"mimetype" and b"application/vnd.oasis.opendocument." in head[38:128]
    return first.startswith(_OOXML_FIRST)


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return all(c in _BLANKS or ord(c) >= 0x20 for c in head.decode("utf-16", "ignore"))
    # Any encoding that keeps ASCII, old ones of spreadsheets among them. What is binary has a control byte sooner rather than later.
    return not head.startswith(b"%PDF-") and not head.translate(None, _PLAIN)
