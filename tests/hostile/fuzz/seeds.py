"""Where fuzzing begins: the golden vectors of the wire, small pictures, and the words of the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path

import imagecodecs
import numpy as np

from renderer.wire import control as c
from renderer.wire import messages as m
from renderer.wire.codec import encode
from renderer.wire.control_codec import encode_control
from renderer.wire.glyphs import Glyphs, Stamp, pack_glyphs
from tests.hostile.fuzz.ways import CONTROLS, MARK

VECTORS = Path(__file__).parents[2] / "vectors" / "wire"


def _vectors(direction: str) -> list[bytes]:
    names = (f"{direction}_renderer", f"refused_{direction}_renderer")
    return [bytes.fromhex(row["hex"]) for name in names for row in json.loads((VECTORS / f"{name}.json").read_text())]


KEYWORDS = [
    thing for thing in vars(m).values() if isinstance(thing, type) and issubclass(thing, StrEnum) and thing is not StrEnum
]


def _with_every_keyword(vectors: list[bytes]) -> Iterator[bytes]:
    """A message with a word of a closed set, once with each word of the set."""
    for vector in vectors:
        try:
            document = json.loads(vector[1:])
        except ValueError:
            continue
        for name, value in document.items() if isinstance(document, dict) else ():
            for words_of in KEYWORDS:
                if isinstance(value, str) and value in {word.value for word in words_of}:
                    for word in words_of:
                        yield vector[:1] + json.dumps(document | {name: word.value}, separators=(",", ":")).encode()


def _streams(direction: str) -> Iterator[bytes]:
    vectors = [vector for vector in _vectors(direction) if len(vector) < 20_000]
    for vector in sorted(set(_with_every_keyword(vectors))):
        yield b"\0" + vector
    for number in range(len(CONTROLS)):
        for vector in vectors:
            yield bytes([number]) + vector
        yield bytes([number]) + MARK.join(vectors[:8])
    if direction == "from":
        yield b"\0" + _frames()


def _frames() -> bytes:
    """A stream of frames that lean on those before: a whole one, glyphs that are learnt, stamped, forgotten; a recall, and film."""
    sheet = bytes(imagecodecs.webp_encode(np.full((8, 12, 3), 7, np.uint8), lossless=True))
    learnt = Glyphs(False, ((8, 8), (4, 5)), sheet, (Stamp(0, 0, 0), Stamp(1, 50, 40)))
    again = Glyphs(True, ((8, 8), (4, 5)), sheet, (Stamp(1, 3, 3), Stamp(0, 40, 30), Stamp(1, 60, 43)))
    steps = (
        (m.Paint(0, 0, 64, 48, m.Encoding.FILL, b"abc"),),
        (m.Paint(0, 0, 64, 48, m.Encoding.GLYPHS, pack_glyphs(learnt)),),
        (m.Paint(0, 0, 64, 48, m.Encoding.GLYPHS, pack_glyphs(again)),),
        (m.Paint(0, 0, 8, 8, m.Encoding.RECALL, b"\0\3\0\0\0\0"),),
    )
    return MARK.join(
        encode(m.Frame(n, 64, 48, n == 1, (), paints, (m.Keep(3, 0, 0, 9, 9),) if n > 1 else ()))
        for n, paints in enumerate(steps, 1)
    )


def _pictures() -> Iterator[bytes]:
    for side in (1, 5, 32):
        for channels in (3, 4):
            pixels = (np.arange(side * side * channels) * 7919 % 256).astype(np.uint8).reshape(side, side, channels)
            yield bytes(imagecodecs.png_encode(pixels))
            for lossless in (True, False):
                yield bytes(imagecodecs.webp_encode(pixels, lossless=lossless))


def _control() -> Iterator[bytes]:
    egress = c.Egress("127.0.0.1", 8080, "lease", "password", "a" * 44)
    for controls in CONTROLS:
        yield encode_control(c.StartLease("lease", egress, controls.for_node(), 100)).encode()
    yield encode_control(c.EndLease("lease")).encode()
    yield encode_control(c.LeaseReport("lease", c.LeaseState.STARTED, c.LeaseCode.OK)).encode()
    yield encode_control(c.NodeStatus(1, 2, 3, "156.0.0.0")).encode()
    yield b"/leases/lease/page?origin=https%3A%2F%2Fpayroll.corp.example"


def seeds(way: str) -> list[bytes]:
    """Return the first inputs of a way."""
    match way:
        case "renderer":
            return list(_streams("from"))
        case "viewer":
            return list(_streams("to"))
        case "control":
            return list(_control())
        case _:
            return list(_pictures())


def words() -> list[str]:
    """Return the names and keywords of the contract: a fuzzer that has to guess them gets nowhere."""
    found = {
        "origin=",
        "/.isolation/",
        "%2e%2e",
        "\\\\",
        "https://a.example",
        "true",
        "false",
        "null",
        "1e9",
        "-1",
        "4294967296",
        "\\xff\\xfe\\xfd\\xfc",
    }
    for module in (m, c):
        for thing in vars(module).values():
            if isinstance(thing, type) and issubclass(thing, StrEnum):
                found |= {f'\\"{word.value}\\"' for word in thing}
            elif isinstance(thing, type) and is_dataclass(thing):
                found |= {f'\\"{field.name}\\":' for field in fields(thing)}
    return sorted(found)
