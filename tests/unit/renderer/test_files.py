"""Names and kinds of files: hostile names, and contents that are not what they say."""

from __future__ import annotations

import io
import unicodedata
import zipfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from renderer.wire.controls import FileKind
from renderer.wire.files import HEAD, MAX_NAME, ending_of, file_name, kind_of, lies, named_truly, permitted


def archive(*names: str, first: bytes = b"x") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as written:
        for name in names:
            written.writestr(name, first)
    return data.getvalue()


@pytest.mark.case(37, 38)
@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../etc/passwd", "passwd"),
        (r"C:\Windows\x.dll", "x.dll"),
        ("a\0b.txt", "b.txt"),
        ("con", "_con"),
        ("COM1.txt", "_COM1.txt"),
        ("console.txt", "console.txt"),
        (".htaccess", "htaccess"),
        ("invoice\u202efdp.exe", "invoicefdp.exe"),
        ("a\r\nb.txt", "ab.txt"),
        ("trailing. . ", "trailing"),
        ("ends.exe.", "ends.exe"),
        ('<a "b">|c?*:d.txt', "_a _b___c___d.txt"),
        ("Bericht März 50 %.pdf", "Bericht März 50 %.pdf"),
        ("日本語.txt", "日本語.txt"),
        ("", "file"),
        ("...", "file"),
        ("/", "file"),
    ],
)
def test_names(name: str, clean: str) -> None:
    assert file_name(name) == clean


def test_a_long_name_keeps_its_ending() -> None:
    assert file_name("ä" * 300 + ".pdf") == "ä" * 88 + ".pdf"
    assert len(file_name("x" * 999)) == MAX_NAME


@given(st.text(max_size=400))
@example("con" + " " * 300 + ".txt")
@example("con." + "x" * 300)
def test_a_clean_name_is_safe_and_stays_as_it_is(name: str) -> None:
    clean = file_name(name)
    assert 1 <= len(clean.encode()) <= MAX_NAME
    assert not set(clean) & set('/\\\0<>:"|?*')
    assert not any(unicodedata.category(c)[0] == "C" for c in clean)
    assert not clean.startswith(".")
    assert not clean.endswith((".", " "))
    assert clean.split(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert file_name(clean) == clean


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("a.pdf", b"%PDF-1.7", FileKind.PDF),
        ("a.PNG", b"\x89PNG\r\n\x1a\n", FileKind.PNG),
        ("a.jpeg", b"\xff\xd8\xff\xe0", FileKind.JPEG),
        ("a.gif", b"GIF89a", FileKind.GIF),
        ("a.webp", b"RIFF\0\0\0\0WEBPVP8L", FileKind.WEBP),
        ("a.zip", archive("x"), FileKind.ZIP),
        ("a.docx", archive("[Content_Types].xml", "word/document.xml"), FileKind.OFFICE),
        ("a.ods", archive("mimetype", first=b"application/vnd.oasis.opendocument.spreadsheet"), FileKind.OFFICE),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", FileKind.OFFICE),
        ("a.csv", "a;ü\r\n".encode("cp1252"), FileKind.CSV),
        ("a.txt", "Grüße".encode(), FileKind.TEXT),
        ("a.txt", "Grüße".encode("utf-16"), FileKind.TEXT),
        ("a.txt", b"", FileKind.TEXT),
    ],
)
def test_kinds_by_content_and_name(name: str, head: bytes, kind: FileKind) -> None:
    assert kind_of(name, head) is kind
    assert permitted(name, head, frozenset({kind}))
    assert permitted(name, head, None)
    assert not permitted(name, head, frozenset(FileKind) - {kind})


@pytest.mark.case(44)
@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("a.pdf", b"MZ\x90\0"),
        ("a.png", b"<svg onload=alert(1)>"),
        ("a.txt", b"%PDF-1.7"),
        ("a.txt", b"\x7fELF\x02"),
        ("a.csv", b"\x00\x01"),
        ("a.docx", archive("evil.exe")),
        ("a.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
        ("a.odt", archive("mimetype", first=b"application/java-archive")),
        ("a.gif", b"\xff\xd8\xff"),
    ],
)
def test_a_name_that_lies_is_never_let_through(name: str, head: bytes) -> None:
    assert lies(name, head)
    assert not permitted(name, head, None)
    assert not permitted(name, head, frozenset(FileKind))


@pytest.mark.parametrize("name", ["a.exe", "a.html", "a.svg", "a.docm", "a.js", "a.bat", "a.hta", "a.lnk", "a", "pdf", ".pdf"])
def test_what_no_rule_knows_passes_only_where_everything_does(name: str) -> None:
    for head in (b"words", b"GIF89a<script>", b"%PDF-1.7"):
        assert not permitted(name, head, frozenset(FileKind))
        assert permitted(name, head, None)


def test_a_name_without_an_ending_gets_that_of_its_content() -> None:
    assert named_truly("paper", b"%PDF-1.7") == "paper.pdf"
    assert named_truly("paper", b"words") == "paper"
    assert named_truly("paper.exe", b"%PDF-1.7") == "paper.exe"


def test_text_may_be_cut_anywhere() -> None:
    text = ("ü" * HEAD).encode()
    assert kind_of("a.txt", text[:HEAD]) is FileKind.TEXT
    assert kind_of("a.txt", text[: HEAD - 1]) is FileKind.TEXT


@given(st.text(max_size=30), st.binary(max_size=100), st.none() | st.frozensets(st.sampled_from(FileKind)))
def test_every_file_has_one_verdict(name: str, head: bytes, kinds: frozenset[FileKind] | None) -> None:
    kind = kind_of(name, head)
    assert kind is None or not lies(name, head)
    assert permitted(name, head, kinds) is ((not lies(name, head)) if kinds is None else (kind in kinds))
    assert ending_of(named_truly(name, head)) or not ending_of(name)
