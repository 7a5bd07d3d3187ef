"""The wire contract: golden vectors, round trips, and that nothing but WireError ever escapes."""

from __future__ import annotations

import json
import string
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from renderer.wire import messages as m
from renderer.wire.blobs import BLOBS, MAX_CHUNK, MAX_IMAGE
from renderer.wire.codec import (
    MAX_CLIPBOARD,
    MAX_OPTIONS,
    decode_from_renderer,
    decode_to_renderer,
    encode,
)
from renderer.wire.fields import CURSORS, WireError
from renderer.wire.frames import MAX_COVER, check_frame
from renderer.wire.glyphs import MAX_GLYPHS, Glyphs, Stamp, layout, pack_glyphs, unpack_glyphs
from renderer.wire.images import png_size, webp_size

VECTORS = Path(__file__).parents[2] / "vectors" / "wire"


def load(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((VECTORS / name).read_text())
    assert rows
    return rows


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("row", load("to_renderer.json"), ids=lambda row: row["type"])
def test_vectors_to_renderer(row: dict[str, Any]) -> None:
    message = decode_to_renderer(bytes.fromhex(row["hex"]))
    assert type(message).__name__ == row["type"]
    assert plain(message) == row["message"]
    assert encode(message).hex() == row["hex"]


@pytest.mark.parametrize("row", load("from_renderer.json"), ids=lambda row: row["type"])
def test_vectors_from_renderer(row: dict[str, Any]) -> None:
    message = decode_from_renderer(bytes.fromhex(row["hex"]))
    assert type(message).__name__ == row["type"]
    assert plain(message) == row["message"]
    assert encode(message).hex() == row["hex"]


@pytest.mark.parametrize("row", load("refused_to_renderer.json"), ids=lambda row: row["why"])
def test_refused_to_renderer(row: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode_to_renderer(bytes.fromhex(row["hex"]))


@pytest.mark.parametrize("row", load("refused_from_renderer.json"), ids=lambda row: row["why"])
def test_refused_from_renderer(row: dict[str, Any]) -> None:
    with pytest.raises(WireError):
        decode_from_renderer(bytes.fromhex(row["hex"]))


def test_every_type_has_a_vector() -> None:
    seen = {bytes.fromhex(row["hex"])[0] for name in ("to_renderer.json", "from_renderer.json") for row in load(name)}
    assert seen == set(m.Type)


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200)
paths = st.text(alphabet=string.ascii_letters + string.digits + "/?#%&=.\\\"'<>", max_size=60).map("/".__add__)
pages = st.text(alphabet=string.ascii_letters + string.digits + "-_", min_size=1, max_size=64)
ids = st.integers(1, 2**32 - 1)
coordinates = st.integers(-32767, 32767)
modifiers = st.integers(0, 15)
origins = st.sampled_from(["", "https://a.example", "http://x.localhost:8080", "https://[::1]:8443"])

file_infos = st.builds(m.FileInfo, texts.filter(bool), st.integers(0, 2**40), st.just("text/plain"))
to_renderer = st.one_of(
    st.builds(
        m.Hello,
        st.just(1),
        st.one_of(st.just(""), pages),
        paths,
        st.integers(16, 2048),
        st.integers(16, 2048),
        st.integers(25, 400),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(m.Resize, st.integers(16, 8192), st.integers(16, 8192), st.integers(25, 100)),
    st.builds(
        m.Pointer,
        st.sampled_from(m.PointerKind),
        coordinates,
        coordinates,
        st.integers(0, 4),
        st.integers(0, 31),
        st.integers(0, 3),
        modifiers,
    ),
    st.builds(m.Wheel, coordinates, coordinates, st.integers(-10000, 10000), st.integers(-10000, 10000), modifiers),
    st.builds(
        m.Key,
        st.booleans(),
        st.sampled_from(["a", "ß", "Enter", "👍"]),
        st.sampled_from(["", "KeyA"]),
        st.integers(0, 3),
        modifiers,
        st.booleans(),
    ),
    st.builds(m.Text, texts.filter(bool)),
    st.builds(m.Composition, texts.filter(lambda t: len(t) > 3), st.just(1), st.integers(1, 3)),
    st.builds(m.Navigate, paths),
    st.builds(m.History, st.integers(-100, 100)),
    st.builds(m.Reload, st.booleans()),
    st.builds(m.DialogReply, ids, st.booleans(), texts),
    st.builds(m.SelectReply, ids, st.lists(st.text("0123456789", max_size=8), max_size=9).map(tuple)),
    st.builds(m.Ack, ids),
    st.builds(m.Focus, st.booleans(), st.booleans()),
    st.builds(m.Paste, texts.filter(bool)),
    st.builds(m.CopyRequest, st.booleans()),
    st.builds(
        lambda kind, points, bits: m.Touch(kind, tuple(m.TouchPoint(i, x, y) for i, (x, y) in enumerate(points)), bits),
        st.sampled_from(m.TouchKind),
        st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=10),
        modifiers,
    ),
    st.builds(m.Find, texts, st.booleans(), st.booleans()),
    st.builds(m.MenuReply, ids, st.sampled_from(m.MenuAction)),
    st.builds(m.AuthReply, ids, st.booleans(), texts, texts),
    st.builds(m.FileChoice, ids, st.lists(file_infos, max_size=3).map(tuple)),
    st.builds(m.FileData, ids, st.integers(0, 99), st.integers(0, 2**39), st.binary(min_size=1, max_size=99)),
    st.builds(m.DownloadAck, ids, st.integers(0, 2**40)),
    st.sampled_from([m.Stop(), m.ClosePage(), m.Refresh(True), m.Refresh(False), m.Print(), m.ExitFullscreen()]),
)


def film(pixels: np.ndarray[Any, Any]) -> bytes:
    """A VP8 key frame: what a lossy WebP holds."""
    webp = bytes(imagecodecs.webp_encode(pixels, level=40, lossless=False))
    return webp[20 : 20 + int.from_bytes(webp[16:20], "little")]


def sheet(sizes: tuple[tuple[int, int], ...]) -> bytes:
    _, width, height = layout(sizes)
    return bytes(imagecodecs.webp_encode(np.zeros((height, width, 3), np.uint8), lossless=True)) if sizes else b""


glyphs = st.builds(
    lambda forget, sizes, stamps: Glyphs(forget, sizes, sheet(sizes), stamps),
    st.booleans(),
    st.lists(st.tuples(st.integers(1, 255), st.integers(1, 255)), max_size=3).map(tuple),
    st.lists(st.builds(Stamp, st.integers(0, MAX_GLYPHS - 1), st.integers(0, 9000), st.integers(0, 9000)), max_size=4).map(tuple),
)


@given(glyphs)
def test_glyphs_round_trip(value: Glyphs) -> None:
    assert unpack_glyphs(pack_glyphs(value)) == value


@given(glyphs.map(pack_glyphs), st.data())
def test_changed_glyphs_are_refused_or_packed_as_they_came(data: bytes, draw: st.DataObject) -> None:
    cut = bytearray(data[: draw.draw(st.integers(0, len(data)))]) + draw.draw(st.binary(max_size=3))
    if cut:
        cut[draw.draw(st.integers(0, len(cut) - 1))] = draw.draw(st.integers(0, 255))
    try:
        value = unpack_glyphs(bytes(cut))
    except WireError:
        return
    assert pack_glyphs(value) == bytes(cut)  # one meaning has one packing


@pytest.mark.case(39)
def test_a_tail_is_not_read_before_its_length_is_known_to_be_right() -> None:
    packed = pack_glyphs(Glyphs(False, (), b"", (Stamp(0, 0, 0),)))
    with pytest.raises(WireError, match="after their end"):
        unpack_glyphs(packed + bytes(32 * 1024 * 1024))


@st.composite
def frames(draw: st.DrawFn) -> m.Frame:
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))

    def rectangle() -> tuple[int, int, int, int]:
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        return x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y))

    paints, copies = [], []
    room = MAX_COVER * width * height
    for _ in range(draw(st.integers(0, 3))):
        x, y, w, h = rectangle()
        room -= w * h
        if room < 0:
            break
        encoding = draw(st.sampled_from(m.Encoding))
        pixels = np.full((h, w, 3), draw(st.integers(0, 255)), np.uint8)
        data = {
            m.Encoding.FILL: b"abc",
            m.Encoding.WEBP_LOSSLESS: imagecodecs.webp_encode(pixels, lossless=True),
            m.Encoding.WEBP_LOSSY: imagecodecs.webp_encode(pixels, level=40, lossless=False),
            m.Encoding.RECALL: bytes([0, draw(st.integers(0, 255)), 0, draw(st.integers(0, 9)), 0, 7]),
            m.Encoding.VIDEO: film(pixels),
            m.Encoding.GLYPHS: pack_glyphs(draw(glyphs)),
        }[encoding]
        if encoding is m.Encoding.VIDEO and any(paint.encoding is encoding for paint in paints):
            continue
        paints.append(m.Paint(x, y, w, h, encoding, data))
    whole = draw(st.booleans())
    keeps = []
    if not whole and draw(st.booleans()):
        x, y, w, h = rectangle()
        copies.append(m.Copy(draw(st.integers(0, width - w)), draw(st.integers(0, height - h)), x, y, w, h))
    if not whole:
        keeps = [m.Keep(slot, *rectangle()) for slot in draw(st.sets(st.integers(0, 255), max_size=2))]
    return m.Frame(draw(ids), width, height, whole, tuple(copies), tuple(paints), tuple(keeps), draw(st.integers(25, 500)))


options = st.builds(m.Option, texts, texts, st.booleans(), st.booleans())
from_renderer = st.one_of(
    frames(),
    st.builds(m.Ready, pages, st.integers(16, 2048), st.integers(16, 2048), st.integers(100, 400), st.booleans()),
    st.builds(lambda o, p, r: m.Location(o, p if o else "", 2, 3, r), origins, paths, st.booleans()),
    st.builds(m.Title, texts),
    st.builds(m.Loading, st.booleans()),
    st.builds(m.Cursor, st.sampled_from(sorted(CURSORS))),
    st.builds(m.Dialog, ids, st.sampled_from(m.DialogKind), origins, texts, texts),
    st.builds(m.Select, ids, st.sampled_from(m.SelectKind), coordinates, coordinates, st.integers(0, 999), st.integers(0, 999), st.booleans(),
              st.lists(options, max_size=4).map(tuple), st.just(""), st.just(""), st.just("")),
    st.builds(lambda g, o, p: m.Opened(g, o, p if o else ""), pages, origins, paths),
    st.builds(m.Clipboard, texts),
    st.builds(m.Notice, st.sampled_from(m.NoticeCode)),
    st.builds(m.Closed, st.sampled_from(m.CloseCode)),
    st.builds(m.LinkHint, texts),
    st.builds(m.Menu, ids, coordinates, coordinates, texts, st.booleans(), st.booleans(), st.booleans()),
    st.builds(m.Auth, ids, origins, texts),
    st.builds(m.FileAsk, ids, st.booleans(), texts),
    st.builds(m.FileClosed, ids, st.sampled_from(m.TransferCode)),
    st.builds(m.Download, ids, st.sampled_from(m.DownloadKind), texts.filter(bool), st.integers(0, 2**40)),
    st.builds(m.DownloadData, ids, st.integers(0, 2**39), st.binary(min_size=1, max_size=99)),
    st.builds(m.Queued, st.integers(1, 999), st.integers(0, 999)),
    st.builds(m.Ending, st.sampled_from(m.EndingReason), st.integers(0, 999)),
)  # fmt: skip


@given(to_renderer)
def test_round_trip_to_renderer(message: m.ToRenderer) -> None:
    assert decode_to_renderer(encode(message)) == message
    with pytest.raises(WireError):
        decode_from_renderer(encode(message))


@given(from_renderer)
def test_round_trip_from_renderer(message: m.FromRenderer) -> None:
    assert decode_from_renderer(encode(message)) == message
    with pytest.raises(WireError):
        decode_to_renderer(encode(message))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
SAMPLES = [bytes.fromhex(row["hex"]) for name in ("to_renderer.json", "from_renderer.json") for row in load(name)]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                del data[at : at + draw(st.integers(1, 8))]
            case 2:
                data[at:at] = draw(st.binary(max_size=8))
            case _:
                data = data[: at + 1]
        if not data:
            break
    return bytes(data)


@st.composite
def retyped(draw: st.DrawFn) -> bytes:
    """A well-formed message one of whose fields holds any JSON value at all."""
    data = draw(st.sampled_from([s for s in SAMPLES if s[0] != m.Type.FRAME and s[0] not in BLOBS and len(s) > 3]))
    document = json.loads(data[1:])
    document[draw(st.sampled_from(sorted(document)))] = draw(json_values)
    return data[:1] + json.dumps(document).encode("utf-8", "surrogatepass")


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(damaged(), retyped(), st.binary(max_size=80)))
def test_only_wire_error_escapes(data: bytes) -> None:
    for decode in (decode_to_renderer, decode_from_renderer):
        try:
            message = decode(data)
        except WireError:
            continue
        # What was accepted is fully checked: it packs again, and to a message that reads the same.
        assert decode(encode(message)) == message


def test_deep_nesting_and_long_messages() -> None:
    for data in (b"\x06" + b"[" * 200_000, b"\x06" + b'{"text":' * 100_000, b"\x06" + b" " * 2_000_000):
        with pytest.raises(WireError):
            decode_to_renderer(data)


def test_caps_of_packed_messages() -> None:
    assert decode_to_renderer(encode(m.FileData(1, 0, 0, b"x" * MAX_CHUNK)))
    png = bytes(imagecodecs.png_encode(np.zeros((2, 2, 3), np.uint8)))
    for message in (
        m.FileData(1, 0, 0, b"x" * (MAX_CHUNK + 1)),
        m.FileData(1, 0, 0, b""),
        m.FileData(0, 0, 0, b"x"),
        m.DownloadData(1, -1, b"x"),
        m.PasteImage(png[:-12] + b"\x00" * MAX_IMAGE + png[-12:]),
        m.ClipboardImage(b""),
    ):
        with pytest.raises(WireError):
            encode(message)


def test_caps() -> None:
    assert decode_to_renderer(encode(m.Paste("x" * MAX_CLIPBOARD)))
    for message in (
        m.Paste("x" * (MAX_CLIPBOARD + 1)),
        m.Paste("é" * (MAX_CLIPBOARD // 2 + 1)),
        m.Text("x" * 65_537),
        m.Title("é" * 513),
        m.Title("\ud800"),
        m.Resize(8193, 100, 100),
        m.Resize(3000, 100, 300),
        m.Resize(100, 100, 24),
        m.Resize(100, 100, 501),
        m.Hello(1, "", "/", 3000, 100, 300, False, False),
        m.SelectReply(1, ("x" * 65,)),
        m.Select(1, m.SelectKind.OPTIONS, 0, 0, 1, 1, False, (m.Option("", "", False, False),) * (MAX_OPTIONS + 1), "", "", ""),
    ):
        with pytest.raises(WireError):
            encode(message)


def test_a_frame_cannot_cover_its_surface_over_and_over() -> None:
    fill = m.Paint(0, 0, 100, 100, m.Encoding.FILL, b"rgb")
    check_frame(m.Frame(1, 100, 100, True, (), (fill,) * MAX_COVER))
    with pytest.raises(WireError):
        check_frame(m.Frame(1, 100, 100, True, (), (fill,) * (MAX_COVER + 1)))
    copy = m.Copy(0, 0, 0, 0, 100, 100)
    with pytest.raises(WireError):
        check_frame(m.Frame(1, 100, 100, False, (copy,) * (MAX_COVER + 1), ()))


@given(st.integers(1, 64), st.integers(1, 64), st.booleans())
def test_webp_size_reads_what_the_encoder_wrote(width: int, height: int, lossless: bool) -> None:
    pixels = ((np.arange(width * height * 3) * 31) % 256).astype(np.uint8).reshape(height, width, 3)
    data = (
        imagecodecs.webp_encode(pixels, lossless=True) if lossless else imagecodecs.webp_encode(pixels, level=30, lossless=False)
    )
    size = webp_size(data)
    assert size is not None
    assert (size.width, size.height, size.lossless) == (width, height, lossless)
    assert webp_size(data + b"\0") is None
    assert webp_size(data[:-1]) is None


@given(st.binary(max_size=64))
def test_headers_are_total(data: bytes) -> None:
    webp_size(data)
    webp_size(b"RIFF" + data)
    png_size(data)
