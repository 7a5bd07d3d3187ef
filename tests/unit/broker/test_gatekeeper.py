"""The gatekeeper, from the side of a renderer that has been taken over and of a viewer that is no viewer."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.broker import cleaning, transfers
from isolation.broker.gatekeeper import (
    MAX_UNACKED_BYTES,
    MAX_UNACKED_FRAMES,
    WINDOWS_PER_MINUTE,
    Close,
    Drop,
    Gatekeeper,
    Pass,
    own_path,
)
from isolation.policy.controls import Clipboard, Controls, Transfer
from renderer.wire import messages as m
from renderer.wire.codec import decode_from_renderer, encode
from renderer.wire.controls import ClipboardKind
from renderer.wire.glyphs import Glyphs, Stamp, pack_glyphs

ALL = Controls(
    clipboard=Clipboard.BOTH,
    clipboard_types=frozenset(ClipboardKind),
    clipboard_max_kb=4096,
    clipboard_per_minute=600,
    print=True,
)
HELLO = m.Hello(1, "", "/run", 2048, 2048, 100, False, False)
ORIGIN = "https://payroll.corp.example"
VECTORS = Path(__file__).parents[2] / "vectors" / "wire"


def gate(controls: Controls = ALL, *, ready: bool = True) -> Gatekeeper:
    keeper = Gatekeeper(controls)
    assert isinstance(keeper.from_viewer(encode(HELLO)), Pass)
    if ready:
        assert isinstance(keeper.from_renderer(encode(m.Ready("p1", 800, 600, 100, False))), Pass)
    return keeper


def frame(seq: int, *, whole: bool = False, width: int = 64, height: int = 48, fill: bytes = b"\x01\x02\x03") -> bytes:
    return encode(m.Frame(seq, width, height, whole, (), (m.Paint(0, 0, width, height, m.Encoding.FILL, fill),)))


def icon(side: int = 32, channels: int = 4) -> str:
    return base64.b64encode(imagecodecs.png_encode(np.full((side, side, channels), 120, np.uint8))).decode()


def passed(verdict: Any) -> Any:
    assert isinstance(verdict, Pass), verdict
    return verdict.message


# ---------------------------------------------------------------- order and state


def test_a_viewer_says_hello_first_and_once() -> None:
    assert isinstance(Gatekeeper(ALL).from_viewer(encode(m.Stop())), Close)
    assert isinstance(gate().from_viewer(encode(HELLO)), Close)


def test_a_renderer_is_ready_first_and_once() -> None:
    assert isinstance(gate(ready=False).from_renderer(encode(m.Title("x"))), Close)
    assert isinstance(gate().from_renderer(encode(m.Ready("p1", 800, 600, 100, False))), Close)
    assert passed(gate(ready=False).from_renderer(encode(m.Closed(m.CloseCode.NO_CAPACITY)))) == m.Closed(m.CloseCode.NO_CAPACITY)


@pytest.mark.case(39)
@pytest.mark.parametrize("name", ["refused_from_renderer", "from_renderer"])
def test_golden_vectors(name: str) -> None:
    for row in json.loads((VECTORS / f"{name}.json").read_text()):
        data = bytes.fromhex(row["hex"])
        verdict = gate().from_renderer(data)
        if name.startswith("refused"):
            assert isinstance(verdict, Close), row["why"]
            assert verdict.code is m.CloseCode.RENDERER_LOST
        elif row["type"] in {"Queued", "Ending"}:
            assert isinstance(verdict, Close), "the router's own words"
        elif isinstance(decode_from_renderer(data), transfers.FromRenderer) and row["type"] not in {"Notice", "ClipboardImage"}:
            assert not isinstance(verdict, Pass) or row["type"] == "Download", "a transfer begins with a question or an offer"
        elif row["type"] not in {"Ready", "Frame", "Closed"}:
            assert isinstance(verdict, Pass), row
            # whatever passes is the contract's own encoding
            assert encode(decode_from_renderer(verdict.data)) == verdict.data


@pytest.mark.case(39)
def test_frames_count_up_from_a_whole_one() -> None:
    keeper = gate()
    assert isinstance(keeper.from_renderer(frame(1)), Close)
    keeper = gate()
    assert isinstance(keeper.from_renderer(frame(7, whole=True)), Pass)
    assert isinstance(keeper.from_renderer(frame(8)), Pass)
    assert isinstance(keeper.from_renderer(frame(8)), Close)
    for data in (frame(10), frame(9, width=65), frame(8, whole=True)):
        keeper = gate()
        passed(keeper.from_renderer(frame(7, whole=True)))
        passed(keeper.from_renderer(frame(8)))
        assert isinstance(keeper.from_renderer(data), Close)


@pytest.mark.parametrize(
    "lie",
    [
        m.Paint(0, 0, 8, 8, m.Encoding.RECALL, bytes(6)),  # nothing was kept in slot 0
        m.Paint(0, 0, 8, 8, m.Encoding.RECALL, b"\x00\x03\x00\x19\x00\x00"),  # past what was
        m.Paint(0, 0, 16, 16, m.Encoding.VIDEO, b"\x91\x00\x00\x00\x00\x00\x00"),  # film without a key frame
        m.Paint(0, 0, 16, 16, m.Encoding.VIDEO, b"\x90\x00\x00\x9d\x01\x2a\x10\x00\x10\x00" + bytes(8)),  # this viewer plays none
        m.Paint(
            0, 0, 16, 16, m.Encoding.GLYPHS, pack_glyphs(Glyphs(False, (), b"", (Stamp(0, 0, 0),)))
        ),  # a glyph that was never sent
    ],
)
def test_a_frame_that_supposes_what_the_viewer_does_not_hold_ends_the_stream(lie: m.Paint) -> None:
    keeper = gate()
    keep = m.Keep(3, 0, 0, 32, 32)
    assert isinstance(keeper.from_renderer(frame(1, whole=True)), Pass)
    assert isinstance(keeper.from_renderer(encode(m.Frame(2, 64, 48, False, (), (), (keep,)))), Pass)
    verdict = keeper.from_renderer(encode(m.Frame(3, 64, 48, False, (), (lie,))))
    assert isinstance(verdict, Close)
    assert verdict.code is m.CloseCode.RENDERER_LOST


def test_no_surface_is_larger_than_the_viewer_ever_asked_for() -> None:
    keeper = gate()
    assert isinstance(keeper.from_renderer(frame(1, whole=True, width=2052)), Pass)
    assert isinstance(keeper.from_viewer(encode(m.Resize(300, 200, 200))), Pass)
    assert isinstance(keeper.from_renderer(frame(2, whole=True, width=4096, height=4096)), Pass)  # the new scale, the old size
    verdict = keeper.from_renderer(frame(3, whole=True, width=4101, height=10))
    assert isinstance(verdict, Close)
    assert "larger" in verdict.rule


def test_the_scale_changes_with_a_whole_frame_alone() -> None:
    keeper = gate()
    assert isinstance(keeper.from_renderer(frame(1, whole=True)), Pass)
    assert isinstance(keeper.from_renderer(encode(m.Frame(2, 64, 48, False, (), (), (), 150))), Close)


def test_frames_pass_byte_for_byte() -> None:
    data = frame(1, whole=True)
    verdict = gate().from_renderer(data)
    assert isinstance(verdict, Pass)
    assert verdict.data == data


@pytest.mark.case(32)
def test_reading_stops_while_frames_wait_to_be_drawn() -> None:
    keeper = gate()
    for seq in range(1, MAX_UNACKED_FRAMES + 1):
        assert not keeper.congested
        passed(keeper.from_renderer(frame(seq, whole=seq == 1)))
    assert keeper.congested
    passed(keeper.from_viewer(encode(m.Ack(2))))
    assert not keeper.congested


@pytest.mark.case(32)
def test_reading_stops_while_many_bytes_wait_to_be_drawn() -> None:
    keeper = gate()
    noise = np.random.default_rng(1).integers(0, 255, (2048, 2048, 3), dtype=np.uint8)
    data = imagecodecs.webp_encode(noise, lossless=True)
    seq = 0
    while not keeper.congested:
        seq += 1
        passed(
            keeper.from_renderer(
                encode(m.Frame(seq, 2048, 2048, True, (), (m.Paint(0, 0, 2048, 2048, m.Encoding.WEBP_LOSSLESS, data),)))
            )
        )
    assert seq <= MAX_UNACKED_BYTES // len(data) + 1 < MAX_UNACKED_FRAMES
    passed(keeper.from_viewer(encode(m.Ack(seq))))
    assert not keeper.congested


def test_an_acknowledgement_cannot_run_ahead() -> None:
    keeper = gate()
    assert isinstance(keeper.from_viewer(encode(m.Ack(1))), Close)
    keeper = gate()
    passed(keeper.from_renderer(frame(1, whole=True)))
    passed(keeper.from_viewer(encode(m.Ack(1))))
    assert isinstance(keeper.from_viewer(encode(m.Ack(1))), Drop)


@pytest.mark.parametrize("code", ["released", "redecided", "session-ended", "refused", "renderer-lost"])
def test_a_renderer_cannot_speak_in_the_routers_name(code: str) -> None:
    verdict = gate().from_renderer(encode(m.Closed(m.CloseCode(code))))
    assert verdict == Close(m.CloseCode.RENDERER_LOST, "renderer: spoke in the router's name")


# ---------------------------------------------------------------- controls


@pytest.mark.case(35)
@pytest.mark.parametrize("message", [m.Key(True, "a", "KeyA", 0, 0, False), m.Text("a"), m.Composition("a", 1, 1)])
def test_keyboard_off(message: Any) -> None:
    assert isinstance(gate(Controls(keyboard=False)).from_viewer(encode(message)), Drop)
    assert isinstance(gate(Controls(keyboard=True)).from_viewer(encode(message)), Pass)


@pytest.mark.case(35)
@pytest.mark.parametrize(
    ("clipboard", "paste", "copy"),
    [
        (Clipboard.NONE, False, False),
        (Clipboard.TO_APP, True, False),
        (Clipboard.FROM_APP, False, True),
        (Clipboard.BOTH, True, True),
    ],
)
def test_clipboard_directions(clipboard: Clipboard, paste: bool, copy: bool) -> None:
    keeper = gate(Controls(clipboard=clipboard))
    assert isinstance(keeper.from_viewer(encode(m.Paste("x"))), Pass if paste else Drop)
    assert isinstance(keeper.from_viewer(encode(m.CopyRequest(False))), Pass if copy else Drop)
    assert isinstance(keeper.from_renderer(encode(m.Clipboard("x"))), Pass if copy else Drop)


def pictures(side: int) -> bytes:
    return bytes(imagecodecs.png_encode(np.random.default_rng(1).integers(0, 255, (side, side, 3), np.uint8)))


def notice(data: bytes) -> m.NoticeCode:
    told = decode_from_renderer(data)
    assert isinstance(told, m.Notice)
    return told.code


@pytest.mark.parametrize(
    ("text", "image"),
    [(m.Paste("é" * 1024), m.PasteImage(pictures(64))), (m.Clipboard("é" * 1024), m.ClipboardImage(pictures(64)))],
)
def test_clipboard_kind_and_size_both_ways(text: Any, image: Any) -> None:
    def judge(message: Any, **controls: Any) -> Any:
        keeper = gate(Controls(clipboard=Clipboard.BOTH, **controls))
        return (
            keeper.from_viewer(encode(message))
            if isinstance(message, m.Paste | m.PasteImage)
            else keeper.from_renderer(encode(message))
        )

    def told(verdict: Any) -> m.NoticeCode:
        assert isinstance(verdict, Drop)
        return notice(verdict.back if isinstance(text, m.Paste) else verdict.onward)

    both = frozenset(ClipboardKind)
    assert isinstance(judge(text, clipboard_max_kb=2), Pass)
    assert told(judge(text, clipboard_max_kb=1)) is m.NoticeCode.CLIPBOARD_LARGE
    assert told(judge(text, clipboard_types=frozenset({ClipboardKind.IMAGE}))) is m.NoticeCode.CLIPBOARD_BLOCKED
    assert told(judge(image)) is m.NoticeCode.CLIPBOARD_BLOCKED
    assert told(judge(image, clipboard_types=both, clipboard_max_kb=4)) is m.NoticeCode.CLIPBOARD_LARGE
    assert isinstance(judge(image, clipboard_types=both, clipboard_max_kb=64), Pass)


@pytest.mark.parametrize("viewer", [True, False])
def test_clipboard_so_often_a_minute_each_way(viewer: bool) -> None:
    keeper = gate(Controls(clipboard=Clipboard.BOTH, clipboard_per_minute=3))

    def cross(now: float) -> Any:
        return keeper.from_viewer(encode(m.Paste("x")), now) if viewer else keeper.from_renderer(encode(m.Clipboard("x")), now)

    assert [isinstance(cross(now), Pass) for now in (0, 1, 2, 3, 59, 60, 60.5, 61)] == [True] * 3 + [
        False,
        False,
        True,
        False,
        True,
    ]
    # The other direction has its own count.
    other = keeper.from_renderer(encode(m.Clipboard("x")), 61) if viewer else keeper.from_viewer(encode(m.Paste("x")), 61)
    assert isinstance(other, Pass)
    refused = cross(61.5)
    assert notice(refused.back if viewer else refused.onward) is m.NoticeCode.CLIPBOARD_FAST


@pytest.mark.case(48)
def test_windows_so_often_a_minute() -> None:
    """A renderer that lies has no tabs that it could run out of; each window it names makes the person's browser open one, or ask."""
    keeper = gate()
    said: list[Any] = [keeper.from_renderer(encode(m.Opened(f"{number:032x}", "", "")), number / 10) for number in range(100)]
    assert [isinstance(verdict, Pass) for verdict in said] == [True] * WINDOWS_PER_MINUTE + [False] * (100 - WINDOWS_PER_MINUTE)
    assert notice(said[-1].onward) is m.NoticeCode.POPUP_BLOCKED, "the person is told"
    assert isinstance(keeper.from_renderer(encode(m.Opened("f" * 32, "", "")), 70.0), Pass)


# ---------------------------------------------------------------- answers fit their questions


@pytest.mark.parametrize("action", ["save-link", "save-image", "copy-image"])
def test_a_menu_is_no_way_around_the_controls(action: str) -> None:
    for controls, goes in ((Controls(), False), (Controls(clipboard=Clipboard.BOTH, download=Transfer.ALLOW), True)):
        keeper = gate(controls)
        passed(keeper.from_renderer(encode(m.Menu(7, 1, 2, f"{ORIGIN}/a", True, False, True))))
        assert isinstance(keeper.from_viewer(encode(m.MenuReply(7, m.MenuAction(action)))), Pass) is goes


def test_a_menu_is_answered_once_and_only_where_there_is_one() -> None:
    keeper = gate()
    reply = encode(m.MenuReply(7, m.MenuAction.OPEN_LINK))
    assert isinstance(keeper.from_viewer(reply), Drop)
    passed(keeper.from_renderer(encode(m.Menu(7, 1, 2, "", False, False, False))))
    assert isinstance(keeper.from_viewer(encode(m.MenuReply(8, m.MenuAction.OPEN_LINK))), Drop)
    assert isinstance(keeper.from_viewer(reply), Pass)
    assert isinstance(keeper.from_viewer(reply), Drop)


def test_cutting_changes_the_page_as_typing_does() -> None:
    keeper = gate(Controls(clipboard=Clipboard.BOTH, keyboard=False))
    assert isinstance(keeper.from_viewer(encode(m.CopyRequest(True))), Drop)
    assert isinstance(keeper.from_viewer(encode(m.CopyRequest(False))), Pass)


def test_a_dialog_is_answered_once() -> None:
    keeper = gate()
    assert isinstance(keeper.from_viewer(encode(m.DialogReply(1, True, ""))), Drop)
    passed(keeper.from_renderer(encode(m.Dialog(1, m.DialogKind.ALERT, ORIGIN, "hi", ""))))
    assert isinstance(keeper.from_viewer(encode(m.DialogReply(2, True, ""))), Drop)
    passed(keeper.from_viewer(encode(m.DialogReply(1, True, ""))))
    assert isinstance(keeper.from_viewer(encode(m.DialogReply(1, True, ""))), Drop)
    passed(keeper.from_renderer(encode(m.Dialog(2, m.DialogKind.ALERT, ORIGIN, "hi", ""))))
    passed(keeper.from_renderer(encode(m.DialogClosed(2))))
    assert isinstance(keeper.from_viewer(encode(m.DialogReply(2, True, ""))), Drop)


def test_without_keyboard_no_dialog_is_a_way_to_type() -> None:
    keeper = gate(Controls(keyboard=False))
    passed(keeper.from_renderer(encode(m.Dialog(1, m.DialogKind.PROMPT, ORIGIN, "who?", ""))))
    passed(keeper.from_renderer(encode(m.Auth(2, ORIGIN, ""))))
    assert isinstance(keeper.from_viewer(encode(m.DialogReply(1, True, "typed"))), Drop)
    assert isinstance(keeper.from_viewer(encode(m.AuthReply(2, True, "bob", "x"))), Drop)
    passed(keeper.from_viewer(encode(m.DialogReply(1, True, ""))))
    passed(keeper.from_viewer(encode(m.AuthReply(2, False, "", ""))))


@pytest.mark.parametrize(("value", "good"), [("0", True), ("1", False), ("2", True), ("3", False), ("x", False), ("-1", False)])
def test_suggestions_are_chosen_by_their_place(value: str, good: bool) -> None:
    keeper = gate()
    options = (m.Option("Vi\u202eenna", "", False, True), m.Option("b", "", True, False), m.Option("c", "", False, False))
    told = passed(keeper.from_renderer(encode(m.Select(3, m.SelectKind.DATALIST, 0, 0, 90, 20, True, options, "v", "l", "h"))))
    assert (told.options[0].label, told.multiple, told.value, told.low, told.high) == ("Vienna", False, "", "", "")
    assert isinstance(keeper.from_viewer(encode(m.SelectReply(3, (value,)))), Pass if good else Drop)


def test_credentials_go_only_to_who_asked_and_once() -> None:
    """The client lies: an answer to no question. The renderer lies: a question that was closed gets no answer."""
    keeper = gate()
    answer = encode(m.AuthReply(4, True, "bob", "hunter2"))
    assert isinstance(keeper.from_viewer(answer), Drop)
    passed(keeper.from_renderer(encode(m.Dialog(4, m.DialogKind.ALERT, ORIGIN, "hi", ""))))
    assert isinstance(keeper.from_viewer(answer), Drop)
    assert passed(keeper.from_renderer(encode(m.Auth(5, ORIGIN, "Pay\u202eroll\n")))) == m.Auth(5, ORIGIN, "Payroll ")
    assert isinstance(keeper.from_viewer(answer), Drop)
    passed(keeper.from_viewer(encode(m.AuthReply(5, True, "bob", "hunter2"))))
    assert isinstance(keeper.from_viewer(encode(m.AuthReply(5, True, "bob", "hunter2"))), Drop)
    passed(keeper.from_renderer(encode(m.Auth(6, ORIGIN, ""))))
    passed(keeper.from_renderer(encode(m.DialogClosed(6))))
    verdict = keeper.from_viewer(encode(m.AuthReply(6, True, "bob", "hunter2")))
    assert isinstance(verdict, Drop)
    assert "hunter2" not in repr(verdict)


def select(kind: m.SelectKind = m.SelectKind.OPTIONS, **more: Any) -> m.Select:
    options = (
        (m.Option("a", "", False, True), m.Option("b", "", True, False), m.Option("c", "", False, False))
        if kind is m.SelectKind.OPTIONS
        else ()
    )
    values = {"multiple": False, "options": options, "value": "", "low": "", "high": ""} | more
    return m.Select(3, kind, 10, 10, 50, 20, **values)


@pytest.mark.parametrize(
    ("values", "multiple", "good"),
    [
        (("0",), False, True),
        ((), False, True),
        (("1",), False, False),  # disabled
        (("3",), False, False),
        (("-1",), False, False),
        (("00",), False, False),
        (("٣",), False, False),
        (("0", "2"), False, False),
        (("0", "2"), True, True),
        (("x",), False, False),
    ],
)
def test_a_drop_down_takes_only_its_own_options(values: tuple[str, ...], multiple: bool, good: bool) -> None:
    keeper = gate()
    passed(keeper.from_renderer(encode(select(multiple=multiple))))
    assert isinstance(keeper.from_viewer(encode(m.SelectReply(3, values))), Pass if good else Drop)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("date", "2026-05-31", "2026-13-01"),
        ("time", "23:59", "24:00"),
        ("datetime-local", "2026-05-31T08:15", "2026-05-31 08:15"),
        ("month", "2026-05", "2026-00"),
        ("week", "2026-W07", "2026-W54"),
        ("color", "#00ff7f", "red"),
    ],
)
def test_values_of_inputs_are_what_html_says(kind: str, good: str, bad: str) -> None:
    keeper = gate()
    shown = passed(keeper.from_renderer(encode(select(m.SelectKind(kind), value=good, low=bad, high="<b>"))))
    assert (shown.value, shown.low, shown.high) == (good, "", "")
    assert isinstance(keeper.from_viewer(encode(m.SelectReply(3, (bad,)))), Drop)
    assert isinstance(keeper.from_viewer(encode(m.SelectReply(3, (good,)))), Pass)
    assert isinstance(keeper.from_viewer(encode(m.SelectReply(3, (good,)))), Drop)


# ---------------------------------------------------------------- hostile texts

RTL = "\u202emoc.elpmaxe\u202c\x00\x1b[31m\u2066x\u2069"


@pytest.mark.case(37)
def test_texts_lose_what_deceives() -> None:
    keeper = gate()
    assert passed(keeper.from_renderer(encode(m.Title(f"a\nb{RTL}")))).text == "a bmoc.elpmaxe[31mx"
    dialog = passed(keeper.from_renderer(encode(m.Dialog(1, m.DialogKind.PROMPT, ORIGIN, f"one\r\ntwo{RTL}", "x\ny"))))
    assert (dialog.message, dialog.default) == ("one\ntwomoc.elpmaxe[31mx", "x y")
    shown = passed(keeper.from_renderer(encode(select(options=(m.Option(f"<b>{RTL}", f"g{RTL}", False, False),)))))
    assert (shown.options[0].label, shown.options[0].group) == ("<b>moc.elpmaxe[31mx", "gmoc.elpmaxe[31mx")
    assert passed(keeper.from_renderer(encode(m.Clipboard("a\tb\n\x1b[201~rm")))).text == "a\tb\n[201~rm"


def test_a_link_that_deceives_is_shown_as_what_it_is() -> None:
    keeper = gate()
    spoofed = "https://corp.example/\u202e\u0000gpj.exe\n<b>x"
    for said in (
        passed(keeper.from_renderer(encode(m.LinkHint(spoofed)))).text,
        passed(keeper.from_renderer(encode(m.Menu(3, 0, 0, spoofed, False, False, False)))).link,
    ):
        assert said.startswith("https://corp.example/")
        assert not set(said) & set("\u202e\u0000\n")


def test_honest_right_to_left_text_stays() -> None:
    assert cleaning.line("שלום \u200fעולם – مرحبا") == "שלום \u200fעולם – مرحبا"
    assert cleaning.line("👩\u200d💻 e\u0301") == "👩\u200d💻 e\u0301"


@given(st.text())
def test_cleaning_is_total_and_settled(text: str) -> None:
    for clean in (cleaning.line, cleaning.lines, cleaning.clipboard):
        once = clean(text)
        assert clean(once) == once
        assert not set(once) & {chr(c) for c in range(32)} - set("\n\t\r")
    assert "\n" not in cleaning.line(text)
    assert len(cleaning.line(text)) <= len(text)


# ---------------------------------------------------------------- icons


@pytest.mark.case(37, 39)
def test_an_icon_is_written_anew() -> None:
    for channels in (3, 4):
        png = passed(gate().from_renderer(encode(m.Icon(icon(channels=channels))))).png
        assert (imagecodecs.png_decode(base64.b64decode(png)) == 120).all()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes) -> str:
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


HEAD = chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 6, 0, 0, 0))
ROWS = bytes(129 * 32)
END = chunk(b"IEND", b"")


def test_what_travels_beside_the_pixels_is_left_behind() -> None:
    given_icon = png(HEAD, chunk(b"tEXt", b"Comment\0<script>"), chunk(b"IDAT", zlib.compress(ROWS)), END)
    assert b"script" not in base64.b64decode(cleaning.icon(given_icon) or "")
    assert cleaning.icon(given_icon) == cleaning.icon(png(HEAD, chunk(b"IDAT", zlib.compress(ROWS)), END))


@pytest.mark.parametrize(
    "chunks",
    [
        (HEAD, chunk(b"IDAT", zlib.compress(bytes(10**7))), END),  # a bomb
        (HEAD, chunk(b"IDAT", zlib.compress(ROWS[:-1])), END),
        (HEAD, chunk(b"IDAT", zlib.compress(ROWS) + b"more"), END),
        (HEAD, chunk(b"IDAT", zlib.compress(ROWS)[:-1]), END),
        (HEAD, chunk(b"IDAT", zlib.compress(b"\x05" + ROWS[1:])), END),  # a filter that does not exist
        (HEAD, chunk(b"ABCD", b""), chunk(b"IDAT", zlib.compress(ROWS)), END),
        (HEAD, chunk(b"IDAT", zlib.compress(ROWS))[:-1] + b"x", END),  # wrong CRC
        (chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 16, 6, 0, 0, 0)), chunk(b"IDAT", zlib.compress(ROWS * 2)), END),
        (chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 6, 0, 0, 1)), chunk(b"IDAT", zlib.compress(ROWS)), END),  # interlaced
        (chunk(b"IDAT", zlib.compress(ROWS)), HEAD, END),
        (HEAD, chunk(b"IDAT", zlib.compress(ROWS))),
        (HEAD, END),
    ],
)
def test_no_icon(chunks: tuple[bytes, ...]) -> None:
    assert cleaning.icon(png(*chunks)) is None


@pytest.mark.case(39)
@given(st.binary(max_size=400))
def test_icons_of_noise(noise: bytes) -> None:
    cleaning.icon(base64.b64encode(noise).decode())
    cleaning.icon(base64.b64encode(b"\x89PNG\r\n\x1a\n" + noise).decode())
    cleaning.icon(noise.decode("latin-1"))


# ---------------------------------------------------------------- paths, noise


@pytest.mark.case(20)
@pytest.mark.parametrize(
    "path",
    [
        "/.isolation/sign-out",
        "/.ISOLATION",
        "/%2e%69solation/x",
        "/a/../.isolation/x",
        "//.isolation/",
        "/%252e%2569solation",
        "/./.isolation?x",
    ],
)
def test_a_viewer_cannot_send_its_page_to_the_routers_own_urls(path: str) -> None:
    assert own_path(path)
    assert isinstance(gate().from_viewer(encode(m.Navigate(path))), Drop)
    assert isinstance(Gatekeeper(ALL).from_viewer(encode(m.Hello(1, "", path, 800, 600, 100, False, False))), Close)


@pytest.mark.case(20)
@pytest.mark.parametrize("path", ["/", "/isolation", "/x/.isolation/", "/.isolations", "/?a=/.isolation/", "/#/.isolation/"])
def test_other_paths_are_the_apps(path: str) -> None:
    assert not own_path(path)


@pytest.mark.case(30, 39)
@given(st.binary(max_size=200), st.integers(0, 255))
def test_noise_from_either_side_ends_the_stream_and_nothing_else(noise: bytes, first: int) -> None:
    for data in (noise, bytes([first]) + noise):
        assert isinstance(gate().from_viewer(data), (Pass, Drop, Close))
        verdict = gate().from_renderer(data)
        assert isinstance(verdict, (Pass, Drop, Close))
        if isinstance(verdict, Close):
            assert verdict.code is m.CloseCode.RENDERER_LOST
