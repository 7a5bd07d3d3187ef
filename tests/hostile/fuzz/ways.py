"""What is fuzzed, and what must hold for whatever comes in. Each way is a function of bytes that raises when something does not hold.

The invariants are those the rest of the product leans on: nothing but :class:`~renderer.wire.fields.WireError` comes out of a decoder, what
is passed on is the contract's own encoding of what was checked, no text deceives, no rectangle leaves its surface, no control is passed by.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace

import imagecodecs
import numpy as np

from isolation.broker import cleaning
from isolation.broker.gatekeeper import MAX_UNACKED_BYTES, MAX_UNACKED_FRAMES, Close, Drop, Gatekeeper, Pass, own_path
from isolation.policy.controls import Clipboard, Controls, Transfer
from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer, decode_to_renderer, encode
from renderer.wire.control_codec import decode_from_node, decode_to_node, encode_control, parse_page_target
from renderer.wire.fields import WireError
from renderer.wire.frames import MAX_COVER, MAX_FRAME_BYTES, MAX_SIDE
from renderer.wire.glyphs import MAX_GLYPHS, unpack_glyphs
from renderer.wire.images import png_size, vp8_frame, webp_size

HELLO = m.Hello(1, "", "/run", 800, 600, 100, False, True, True)
READY = m.Ready("p1", 800, 600, 100, resumed=False)
OPEN = Controls(clipboard=Clipboard.BOTH, download=Transfer.ALLOW, upload=Transfer.ALLOW, print=True)
CONTROLS = (
    OPEN,
    Controls(keyboard=False),
    replace(OPEN, clipboard=Clipboard.TO_APP, print=False),
    replace(OPEN, clipboard=Clipboard.FROM_APP, upload=Transfer.NONE),
    replace(OPEN, download=Transfer.NONE, print=False, keyboard=False),
)
MARK = b"\xff\xfe\xfd\xfc"  # between the messages of one input


def messages(data: bytes) -> tuple[Controls, list[bytes]]:
    """Cut an input into the controls of a session and the messages of one side."""
    first = data[0] if data else 0
    return CONTROLS[first % len(CONTROLS)], data[1:].split(MARK)


def texts(value: object) -> Iterator[str]:
    """Return every text inside a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from texts(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from texts(getattr(value, field.name))


def check_frame(frame: m.Frame) -> None:
    """Check that a frame that passed stays on its canvas."""
    assert 1 <= frame.width <= MAX_SIDE
    assert 1 <= frame.height <= MAX_SIDE
    covered = 0
    for part in (*frame.paints, *frame.copies, *frame.keeps):
        assert part.width > 0
        assert part.height > 0
        assert 0 <= part.x <= frame.width - part.width
        assert 0 <= part.y <= frame.height - part.height
        covered += part.width * part.height
    for copy in frame.copies:
        assert 0 <= copy.sx <= frame.width - copy.width
        assert 0 <= copy.sy <= frame.height - copy.height
    assert covered <= 3 * MAX_COVER * frame.width * frame.height
    assert sum(len(paint.data) for paint in frame.paints) <= MAX_FRAME_BYTES


class Stamps:
    """Checks that every glyph that is stamped was sent before, and stays in its rectangle."""

    def __init__(self) -> None:
        self._sizes: list[tuple[int, int]] = []

    def check(self, frame: m.Frame) -> None:
        """Go one frame on."""
        if frame.whole:
            self._sizes.clear()
        covered = 0
        for paint in frame.paints:
            if paint.encoding is not m.Encoding.GLYPHS:
                continue
            glyphs = unpack_glyphs(paint.data)
            if glyphs.forget:
                self._sizes.clear()
            self._sizes += glyphs.sizes
            assert len(self._sizes) <= MAX_GLYPHS
            for number, x, y in glyphs.stamps:
                width, height = self._sizes[number]
                assert paint.x <= x <= paint.x + paint.width - width
                assert paint.y <= y <= paint.y + paint.height - height
                covered += width * height
        assert covered <= MAX_COVER * frame.width * frame.height


DECEIVES = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), *range(0x20), 0x7F)} - set("\n\t")


def renderer(data: bytes) -> None:
    """What a renderer says: through the decoder and the gate, to a viewer."""
    controls, said = messages(data)
    gate = Gatekeeper(controls)
    assert isinstance(gate.from_viewer(encode(HELLO), 0.0), Pass)
    assert isinstance(gate.from_renderer(encode(READY), 0.0), Pass)
    frames = size = 0
    stamps = Stamps()
    for number, one in enumerate(said):
        verdict = gate.from_renderer(one, number / 10)
        if isinstance(verdict, Close):
            assert verdict.code is m.CloseCode.RENDERER_LOST
            return
        if isinstance(verdict, Drop):
            assert not verdict.back or decode_to_renderer(verdict.back)
            assert not verdict.onward or decode_from_renderer(verdict.onward)
            continue
        message = verdict.message
        assert decode_from_renderer(verdict.data) == message
        assert encode(message) == verdict.data
        if isinstance(message, m.Frame):
            check_frame(message)
            stamps.check(message)
            frames, size = frames + 1, size + len(one)
            assert gate.congested is (frames >= MAX_UNACKED_FRAMES or size >= MAX_UNACKED_BYTES)
            continue
        assert len(verdict.data) <= max(2 * len(one), 16_384)  # cleaning makes nothing grow
        assert not isinstance(message, m.Ready | m.Queued | m.Ending)
        if isinstance(message, m.Clipboard | m.ClipboardImage):
            assert controls.clipboard.from_app
        if isinstance(message, m.Download | m.DownloadData):
            assert controls.download is not Transfer.NONE or controls.print
        if isinstance(message, m.FileAsk | m.FileProgress):
            assert controls.upload is not Transfer.NONE
        if isinstance(message, m.Title | m.LinkHint | m.Menu | m.Auth | m.Dialog | m.Select):
            assert not any(DECEIVES & set(text) for text in texts(message)), type(message)
        if isinstance(message, m.Icon) and message.png:
            check_icon(message.png)


def viewer(data: bytes) -> None:
    """What a viewer says: through the gate to a renderer."""
    controls, said = messages(data)
    gate = Gatekeeper(controls)
    gate.from_viewer(encode(HELLO), 0.0)
    gate.from_renderer(encode(READY), 0.0)
    gate.from_renderer(encode(m.Dialog(7, m.DialogKind.PROMPT, "", "", "")), 0.0)
    options = (m.Option("a", "", disabled=False, selected=True), m.Option("b", "", disabled=True, selected=False))
    gate.from_renderer(encode(m.Select(7, m.SelectKind.OPTIONS, 0, 0, 9, 9, False, options, "", "", "")), 0.0)
    gate.from_renderer(encode(m.Frame(1, 64, 48, True, (), (m.Paint(0, 0, 64, 48, m.Encoding.FILL, b"abc"),))), 0.0)
    for number, one in enumerate(said):
        verdict = gate.from_viewer(one, number / 10)
        if isinstance(verdict, Close):
            assert verdict.code is m.CloseCode.PROTOCOL
            return
        if isinstance(verdict, Drop):
            assert not verdict.back or decode_from_renderer(verdict.back)
            assert not verdict.onward or decode_to_renderer(verdict.onward)
            continue
        message = verdict.message
        assert decode_to_renderer(verdict.data) == message
        assert encode(message) == verdict.data
        assert not isinstance(message, m.Hello)
        if isinstance(message, m.Key | m.Text | m.Composition):
            assert controls.keyboard
        if isinstance(message, m.Paste | m.PasteImage):
            assert controls.clipboard.to_app
        if isinstance(message, m.CopyRequest):
            assert controls.clipboard.from_app
        if isinstance(message, m.FileChoice | m.FileDrop | m.FileData):
            assert controls.upload is not Transfer.NONE
        if isinstance(message, m.Print):
            assert controls.print
        if isinstance(message, m.Navigate):
            assert message.path.startswith("/")
            assert message.path.isascii()
            assert message.path.isprintable()
            assert not own_path(message.path)
        if isinstance(message, m.Ack):
            assert message.seq == 1
        if isinstance(message, m.DialogReply):
            assert message.id == 7
        if isinstance(message, m.SelectReply):
            assert (message.id, message.values) in {(7, ()), (7, ("0",))}


def control(data: bytes) -> None:
    """What a node and a router say to each other beside the pages, and the addresses of pages."""
    for decode in (decode_to_node, decode_from_node):
        try:
            message = decode(data)
        except WireError:
            continue
        assert decode(encode_control(message)) == message
        assert "secret" not in repr(message) or b"secret" in data
    try:
        target = data.decode("latin-1")
        address = parse_page_target(target)
    except WireError:
        return
    assert parse_page_target(address.target()) == address
    assert "/" not in address.lease


def images(data: bytes) -> None:
    """Headers of pictures: what we say of one is what a decoder finds, or the decoder refuses it."""
    png_size(data)
    film = vp8_frame(data)
    assert film is None or not film.key or (0 < film.width < 1 << 14 and 0 < film.height < 1 << 14)
    size = webp_size(data)
    if size is None or size.width * size.height > 1 << 20:
        return
    try:
        pixels = imagecodecs.webp_decode(data)
    except (imagecodecs.WebpError, ValueError, RuntimeError):
        return
    assert pixels.shape[:2] == (size.height, size.width)


def check_icon(encoded: str) -> None:
    """Check that an icon is a small, plain PNG that everybody decodes alike."""
    data = base64.b64decode(encoded, validate=True)
    assert len(data) <= 8192
    pixels = imagecodecs.png_decode(data)
    assert pixels.shape in {(32, 32, 3), (32, 32, 4)}
    assert pixels.dtype == np.uint8
    assert cleaning.icon(encoded) == encoded


def icon(data: bytes) -> None:
    """Icons, made anew. An input is the PNG itself; its checksums are mended, so that mutations reach beyond them."""
    for candidate in (data, _mended(data)):
        again = cleaning.icon(base64.b64encode(candidate).decode())
        if again is not None:
            check_icon(again)


def _mended(data: bytes) -> bytes:
    from zlib import crc32

    out, at = bytearray(data[:8]), 8
    while len(data) - at >= 12:
        length = min(int.from_bytes(data[at : at + 4], "big") & 0xFFF, len(data) - at - 12)
        body = data[at + 4 : at + 8 + length]
        out += length.to_bytes(4, "big") + body + crc32(body).to_bytes(4, "big")
        at += 12 + length
    return bytes(out)


WAYS: Mapping[str, Callable[[bytes], None]] = {
    "renderer": renderer,
    "viewer": viewer,
    "control": control,
    "images": images,
    "icon": icon,
}
