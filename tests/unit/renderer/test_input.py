from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderer.cdp import Event, Tasks
from renderer.input.dispatch import Dispatcher, Step
from renderer.input.keys import ALT, CTRL, META, SHIFT, key_event
from renderer.input.validate import (
    FIND_BURST,
    INPUT_BURST,
    INPUT_RATE,
    MAX_QUEUE,
    MAX_STROKE,
    MOTION_BURST,
    MOTION_RATE,
    NAVIGATION_BURST,
    Controls,
    InputGate,
    InputQueue,
    Verdict,
)
from renderer.wire import messages as m
from renderer.wire.codec import MAX_WHEEL
from renderer.wire.controls import Value
from tests.support.renderer import OPEN_CONTROLS

OPEN = Controls.of(OPEN_CONTROLS | {"print": True})
SHUT = Controls.of({})
KEY = m.Key(True, "a", "KeyA", 0, 0, False)


def move(x: int, buttons: int = 0) -> m.Pointer:
    return m.Pointer(m.PointerKind.MOVE, x, 0, 0, buttons, 0, 0)


DOWN = m.Pointer(m.PointerKind.DOWN, 1, 1, 0, 1, 1, 0)


# ---------------------------------------------------------------- controls


@pytest.mark.parametrize(
    ("clipboard", "paste", "copy"),
    [("none", False, False), ("to_app", True, False), ("from_app", False, True), ("both", True, True), ("all", False, False)],
)
def test_clipboard_directions(clipboard: str, paste: bool, copy: bool) -> None:
    controls = Controls.of(OPEN_CONTROLS | {"clipboard": clipboard})
    gate = InputGate()
    assert (gate.judge(m.Paste("x"), controls, 0) is Verdict.ACCEPT) is paste
    assert (gate.judge(m.CopyRequest(False), controls, 0) is Verdict.ACCEPT) is copy


@pytest.mark.parametrize(
    "message",
    [m.DialogReply(1, True, "a"), m.AuthReply(1, True, "a", "b"), KEY, m.Text("a"), m.Composition("a", 0, 1), m.Paste("a")],
)
def test_without_keyboard_nothing_is_typed_by_any_way(message: m.ToRenderer) -> None:
    controls = Controls.of(OPEN_CONTROLS | {"keyboard": False})
    assert InputGate().judge(message, controls, 0) is m.NoticeCode.KEYBOARD_BLOCKED


@pytest.mark.parametrize(
    ("change", "message", "verdict"),
    [
        ({}, m.Paste("é" * 512), Verdict.ACCEPT),
        ({"clipboard_max_kb": 1}, m.Paste("é" * 512), Verdict.ACCEPT),
        ({"clipboard_max_kb": 1}, m.Paste("é" * 513), m.NoticeCode.CLIPBOARD_LARGE),
        ({"clipboard_types": ["image"]}, m.Paste("x"), m.NoticeCode.CLIPBOARD_BLOCKED),
        ({"clipboard_types": ["text"]}, m.PasteImage(b"png"), m.NoticeCode.CLIPBOARD_BLOCKED),
        ({"clipboard_max_kb": 1}, m.PasteImage(b"x" * 1025), m.NoticeCode.CLIPBOARD_LARGE),
        ({"clipboard": "from_app"}, m.PasteImage(b"png"), m.NoticeCode.CLIPBOARD_BLOCKED),
        ({"keyboard": False}, m.PasteImage(b"png"), m.NoticeCode.KEYBOARD_BLOCKED),
    ],
)
def test_clipboard_kind_and_size(change: dict[str, Value], message: m.ToRenderer, verdict: Verdict | m.NoticeCode) -> None:
    assert InputGate().judge(message, Controls.of(OPEN_CONTROLS | change), 0) is verdict


def test_clipboard_so_often_a_minute_each_way() -> None:
    controls = Controls.of(OPEN_CONTROLS | {"clipboard_per_minute": 2})
    gate = InputGate()
    assert [gate.judge(m.Paste("x"), controls, now) for now in (0, 1, 2, 60)] == [
        Verdict.ACCEPT,
        Verdict.ACCEPT,
        m.NoticeCode.CLIPBOARD_FAST,
        Verdict.ACCEPT,
    ]
    copies = [gate.copied(m.Clipboard("x"), controls, now) for now in (0, 1, 2, 60)]
    assert copies == [None, None, m.NoticeCode.CLIPBOARD_FAST, None]


def test_what_is_copied_is_looked_at_too() -> None:
    gate = InputGate()
    for change, message, why in (
        ({"clipboard": "to_app"}, m.Clipboard("x"), m.NoticeCode.CLIPBOARD_BLOCKED),
        ({"clipboard_max_kb": 1}, m.Clipboard("x" * 1025), m.NoticeCode.CLIPBOARD_LARGE),
        ({"clipboard_types": ["text"]}, m.ClipboardImage(b"png"), m.NoticeCode.CLIPBOARD_BLOCKED),
    ):
        assert gate.copied(message, Controls.of(OPEN_CONTROLS | change), 0) is why


def test_what_is_missing_is_forbidden() -> None:
    assert Controls() == SHUT
    assert Controls.of({"keyboard": "yes", "clipboard": True, "tabs": True, "download": True, "download_types": "pdf"}) == SHUT


def test_without_keyboard_the_mouse_still_works() -> None:
    for message in (move(1), DOWN, m.Wheel(0, 0, 0, 1, 0), m.Navigate("/"), m.Ack(1), m.ClosePage()):
        assert InputGate().judge(message, SHUT, 0) is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("action", "control", "code"),
    [
        ("save-link", "download", m.NoticeCode.DOWNLOAD_BLOCKED),
        ("save-image", "download", m.NoticeCode.DOWNLOAD_BLOCKED),
        ("copy-image", "clipboard", m.NoticeCode.CLIPBOARD_BLOCKED),
    ],
)
def test_the_menu_offers_no_way_around_the_controls(action: str, control: str, code: m.NoticeCode) -> None:
    reply = m.MenuReply(1, m.MenuAction(action))
    assert InputGate().judge(reply, SHUT, 0) is code
    allowed = Controls.of({control: {"download": "allow", "clipboard": "from_app"}[control]})
    assert InputGate().judge(reply, allowed, 0) is Verdict.ACCEPT


def test_cutting_changes_the_page_as_typing_does() -> None:
    controls = Controls.of({"clipboard": "both", "keyboard": False})
    assert InputGate().judge(m.CopyRequest(True), controls, 0) is m.NoticeCode.KEYBOARD_BLOCKED
    assert InputGate().judge(m.CopyRequest(False), controls, 0) is Verdict.ACCEPT


# ---------------------------------------------------------------- fingers


def touch(kind: str, *ids: int) -> m.Touch:
    return m.Touch(m.TouchKind(kind), tuple(m.TouchPoint(number, 10 * number, 5) for number in ids), 0)


def test_fingers_come_move_and_go() -> None:
    gate = InputGate()
    for message in (
        touch("start", 0),
        touch("move", 0),
        touch("start", 0, 1),
        touch("move", 0, 1),
        touch("end", 1),
        touch("end"),
    ):
        assert gate.judge(message, SHUT, 0) is Verdict.ACCEPT
    assert gate.judge(touch("start", 3), SHUT, 0) is Verdict.ACCEPT
    assert gate.judge(touch("cancel"), SHUT, 0) is Verdict.ACCEPT


@pytest.mark.parametrize(
    "liar",
    [
        touch("move", 0),  # not what is down
        touch("move", 1, 2),
        touch("start", 1),  # nothing new
        touch("start", 2),  # the one that is down is missing
        touch("end", 1),  # nothing left
        touch("end", 1, 2),
        touch("cancel", 1),
    ],
)
def test_a_viewer_cannot_confuse_the_pages_fingers(liar: m.Touch) -> None:
    gate = InputGate()
    assert gate.judge(touch("start", 1), OPEN, 0) is Verdict.ACCEPT
    assert gate.judge(liar, OPEN, 0) is Verdict.DROP
    assert gate.judge(touch("move", 1), OPEN, 0) is Verdict.ACCEPT


@given(
    st.lists(
        st.builds(
            lambda kind, ids: touch(kind, *sorted(ids)),
            st.sampled_from([kind.value for kind in m.TouchKind]),
            st.sets(st.integers(0, 9)),
        )
    )
)
def test_what_is_let_through_is_a_story_of_fingers(story: list[m.Touch]) -> None:
    gate, down = InputGate(), set[int]()
    for message in story:
        if gate.judge(message, OPEN, 0) is not Verdict.ACCEPT:
            continue
        now = {point.id for point in message.points}
        assert message.kind is not m.TouchKind.START or (now > down)
        assert message.kind is not m.TouchKind.MOVE or (now and now == down)
        assert message.kind is not m.TouchKind.END or now < down
        assert message.kind is not m.TouchKind.CANCEL or (down and not now)
        down = now


def test_a_finger_is_lifted_however_fast_the_viewer_was() -> None:
    gate = InputGate()
    assert gate.judge(touch("start", 0), OPEN, 0) is Verdict.ACCEPT
    verdicts = [gate.judge(touch("move", 0), OPEN, 0) for _ in range(5000)]
    assert Verdict.DROP in verdicts
    assert gate.judge(touch("end"), OPEN, 0) is Verdict.ACCEPT


def test_moves_of_the_same_fingers_are_one() -> None:
    queue = InputQueue()
    for message in (
        touch("start", 0),
        touch("move", 0),
        touch("move", 0),
        touch("start", 0, 1),
        touch("move", 0, 1),
        touch("end"),
    ):
        assert queue.put(message)
    assert len(queue) == 5


def test_searches_have_a_rate_of_their_own() -> None:
    gate = InputGate()
    verdicts = [gate.judge(m.Find("x" * (n % 9 + 1), False, False), OPEN, 0) for n in range(200)]
    assert verdicts.count(Verdict.ACCEPT) == int(FIND_BURST)


# ---------------------------------------------------------------- rates


def test_a_flood_is_dropped_and_a_person_is_not() -> None:
    gate = InputGate()
    verdicts = [gate.judge(KEY, OPEN, 0.0) for _ in range(5000)]
    assert verdicts.count(Verdict.ACCEPT) == int(INPUT_BURST)
    assert gate.judge(KEY, OPEN, 1.0) is Verdict.ACCEPT
    gate = InputGate()
    assert all(gate.judge(KEY, OPEN, n / INPUT_RATE) is Verdict.ACCEPT for n in range(2000))
    assert all(gate.judge(move(n), OPEN, n / MOTION_RATE) is Verdict.ACCEPT for n in range(2000))


@pytest.mark.case(31)
def test_a_click_is_not_lost_behind_ten_thousand_moves() -> None:
    gate, queue = InputGate(), InputQueue()
    taken = [message for message in map(move, range(10_000)) if gate.judge(message, OPEN, 0.0) is Verdict.ACCEPT]
    assert len(taken) == int(MOTION_BURST)
    up = m.Pointer(m.PointerKind.UP, 1, 1, 0, 0, 1, 0)
    for message in (*taken, DOWN, up):
        assert gate.judge(message, OPEN, 0.0) is (Verdict.DROP if message in taken else Verdict.ACCEPT)
        assert queue.put(message)
    assert [queue.get() for _ in range(len(queue))] == [[taken[-1]], [DOWN], [up]]  # the moves are one


@pytest.mark.case(31, 32)
def test_an_acknowledgement_is_never_lost() -> None:
    gate = InputGate()
    for message in (move(1), KEY):
        for _ in range(5000):
            gate.judge(message, OPEN, 0.0)
    assert gate.judge(m.Ack(7), OPEN, 0.0) is Verdict.ACCEPT


def test_pasting_and_navigating_have_their_own_rates() -> None:
    gate = InputGate()
    big = m.Paste("x" * 200_000)
    assert [gate.judge(big, OPEN, 0) for _ in range(4)] == [Verdict.ACCEPT] * 2 + [Verdict.DROP] * 2
    verdicts = [gate.judge(m.Navigate("/"), OPEN, 0) for _ in range(100)]
    assert verdicts.count(Verdict.ACCEPT) == int(NAVIGATION_BURST)


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    gate = InputGate()
    for _ in range(5000):
        gate.judge(KEY, OPEN, 10.0)
    assert gate.judge(KEY, OPEN, 5.0) is Verdict.DROP


# ---------------------------------------------------------------- order


@given(
    st.lists(
        st.one_of(
            st.builds(move, st.integers(0, 9)),
            st.just(DOWN),
            st.just(KEY),
            st.builds(m.Wheel, st.just(0), st.just(0), st.integers(-9, 9), st.integers(-9, 9), st.just(0)),
        ),
        max_size=200,
    )
)
def test_the_queue_keeps_order_and_sums(messages: list[m.ToRenderer]) -> None:
    queue = InputQueue()
    for message in messages:
        assert queue.put(message) or len(queue) == MAX_QUEUE
    out: list[m.ToRenderer] = []
    while taken := queue.get():
        out += taken
    if len(messages) <= MAX_QUEUE:
        steady = (m.Key, m.Text)
        assert [x for x in out if isinstance(x, steady) or x == DOWN] == [
            x for x in messages if isinstance(x, steady) or x == DOWN
        ]
        assert sum(x.dy for x in out if isinstance(x, m.Wheel)) == sum(x.dy for x in messages if isinstance(x, m.Wheel))
        for one, two in itertools.pairwise(out):
            assert not (isinstance(one, m.Wheel) and isinstance(two, m.Wheel))
            assert not (isinstance(one, m.Pointer) and isinstance(two, m.Pointer) and one.kind is two.kind is m.PointerKind.MOVE)


def test_moves_merge_and_clicks_do_not_wait() -> None:
    queue = InputQueue()
    for x in range(10_000):
        assert queue.put(move(x % 30_000))
    assert queue.put(DOWN)
    assert len(queue) == 2
    assert queue.put(move(1, buttons=1))  # a drag is another movement than the one before the press
    assert [queue.get(), queue.get(), queue.get(), queue.get()] == [[move(9999)], [DOWN], [move(1, buttons=1)], []]


@given(st.lists(st.tuples(st.integers(-500, 500), st.integers(-500, 500)), min_size=1, max_size=20), st.integers(1, 100))
def test_a_stroke_keeps_its_shape_however_long_it_waits(corners: list[tuple[int, int]], steps: int) -> None:
    queue = InputQueue()
    drawn = [corners[0]]
    for (ax, ay), (bx, by) in itertools.pairwise(corners):  # straight from corner to corner, on whole numbers
        drawn += [(ax * steps + (bx - ax) * n, ay * steps + (by - ay) * n) for n in range(1, steps + 1)]
    drawn[0] = (corners[0][0] * steps, corners[0][1] * steps)
    moves = [m.Pointer(m.PointerKind.MOVE, x, y, 0, 1, 0, 0) for x, y in drawn]
    up = m.Pointer(m.PointerKind.UP, 0, 0, 0, 0, 1, 0)
    for message in (DOWN, *moves, up):
        assert queue.put(message)
    assert queue.get() == [DOWN]
    stroke = queue.get()
    assert [queue.get(), queue.get()] == [[up], []]
    assert len(stroke) <= MAX_STROKE
    assert (stroke[0], stroke[-1]) == (moves[0], moves[-1])
    rest = iter(moves)
    assert all(message in rest for message in stroke)  # in the order in which they were drawn
    assert {(x * steps, y * steps) for x, y in corners} <= {
        (move.x, move.y) for move in stroke if isinstance(move, m.Pointer)
    } | {
        (bx * steps, by * steps)
        for (ax, ay), (bx, by), (cx, cy) in zip(corners, corners[1:], corners[2:], strict=False)
        if (bx - ax) * (cy - by) == (cx - bx) * (by - ay)
        and (bx - ax) * (cx - bx) >= 0
        and (by - ay) * (cy - by) >= 0  # straight on
    }


def test_the_queue_is_bounded() -> None:
    queue = InputQueue()
    assert all(queue.put(KEY) for _ in range(MAX_QUEUE))
    assert not queue.put(KEY)
    queue.clear()
    assert queue.get() == []


def test_wheels_do_not_add_up_past_their_range() -> None:
    queue = InputQueue()
    for _ in range(5):
        queue.put(m.Wheel(0, 0, 0, MAX_WHEEL - 1, 0))
    assert len(queue) == 5


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("key", "code", "modifiers", "mac", "expected"),
    [
        ("a", "KeyA", 0, False, {"type": "keyDown", "text": "a", "windowsVirtualKeyCode": 65, "modifiers": 0}),
        ("A", "KeyA", SHIFT, False, {"type": "keyDown", "text": "A", "windowsVirtualKeyCode": 65, "modifiers": SHIFT}),
        ("a", "KeyA", CTRL, False, {"type": "rawKeyDown", "windowsVirtualKeyCode": 65, "modifiers": CTRL}),
        ("a", "KeyA", META, True, {"type": "rawKeyDown", "windowsVirtualKeyCode": 65, "modifiers": CTRL}),
        ("a", "KeyA", META, False, {"type": "rawKeyDown", "windowsVirtualKeyCode": 65, "modifiers": META}),
        ("с", "KeyC", CTRL, False, {"type": "rawKeyDown", "windowsVirtualKeyCode": 67}),
        ("@", "KeyQ", CTRL | ALT, False, {"type": "keyDown", "text": "@"}),
        ("€", "KeyE", CTRL | ALT, False, {"type": "keyDown", "text": "€"}),
        ("x", "KeyX", CTRL | ALT, False, {"type": "rawKeyDown"}),
        ("@", "KeyL", ALT, True, {"type": "keyDown", "text": "@"}),
        ("Enter", "Enter", 0, False, {"type": "keyDown", "text": "\r", "windowsVirtualKeyCode": 13}),
        ("Tab", "Tab", 0, False, {"type": "rawKeyDown", "windowsVirtualKeyCode": 9}),
        ("F5", "F5", 0, False, {"type": "rawKeyDown", "windowsVirtualKeyCode": 116}),
        ("5", "Numpad5", 0, False, {"type": "keyDown", "text": "5", "windowsVirtualKeyCode": 101}),
        ("ArrowLeft", "ArrowLeft", META | SHIFT, True, {"key": "Home", "code": "Home", "modifiers": SHIFT, "windowsVirtualKeyCode": 36}),
        ("ArrowDown", "ArrowDown", META, True, {"key": "End", "modifiers": CTRL}),
        ("ArrowRight", "ArrowRight", ALT, True, {"key": "ArrowRight", "modifiers": CTRL}),
        ("Backspace", "Backspace", META, True, {"commands": ["deleteToBeginningOfLine"]}),
        ("Meta", "MetaRight", META, True, {"key": "Control", "code": "ControlLeft"}),
        ("Dead", "BracketLeft", 0, False, {"type": "rawKeyDown"}),
        ("👍", "", 0, False, {"type": "keyDown", "text": "👍", "windowsVirtualKeyCode": 0}),
        ("ß", "Minus", 0, False, {"type": "keyDown", "text": "ß", "windowsVirtualKeyCode": 189}),
    ],
)  # fmt: skip
def test_keys(key: str, code: str, modifiers: int, mac: bool, expected: dict[str, object]) -> None:
    event = key_event(m.Key(True, key, code, 0, modifiers, False), mac=mac)
    assert {name: event.get(name) for name in expected} == expected
    up = key_event(m.Key(False, key, code, 0, modifiers, False), mac=mac)
    assert up["type"] == "keyUp"
    assert "text" not in up


@given(st.text(min_size=1, max_size=8), st.text(max_size=8), st.integers(0, 15), st.booleans(), st.booleans())
def test_any_key_gives_an_event(key: str, code: str, modifiers: int, mac: bool, down: bool) -> None:
    event = key_event(m.Key(down, key, code, 0, modifiers, False), mac=mac)
    assert isinstance(event["windowsVirtualKeyCode"], int)


# ---------------------------------------------------------------- dispatch


class FakePage:
    """A page that answers commands only when told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.listeners: dict[str, Any] = {}
        self.hanging = False

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self.sent.append((method, params or {}))
        if self.hanging:
            await asyncio.Event().wait()
        return {}

    def on(self, event: str, f: Any) -> None:
        self.listeners[event] = f

    async def detach(self) -> None:
        pass

    async def until(self, true: Callable[[], bool]) -> None:
        while True:
            if true():
                return
            await asyncio.sleep(0.01)

    def drag(self, event: Event) -> None:
        self.listeners["Input.dragIntercepted"](event)


async def nothing(_: object) -> None:
    return None


async def at_once() -> None:
    pass


async def dispatcher(
    page: FakePage, drawn: Callable[[], Awaitable[None]] = at_once, step: Callable[[Step], Awaitable[None]] = nothing
) -> tuple[Dispatcher, Tasks]:
    tasks = Tasks("test")
    made = Dispatcher(page, tasks, step, drawn)
    await made.start()
    page.sent.clear()
    return made, tasks


async def test_a_click_passes_a_page_that_does_not_answer_moves() -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    page.hanging = True
    for x in range(10_000):
        made.put(move(x % 30_000))
    made.put(DOWN)
    async with asyncio.timeout(5):
        await page.until(lambda: any(params.get("type") == "mousePressed" for _, params in page.sent))
    assert len(page.sent) <= 4
    tasks.close()


class SlowPage(FakePage):
    """A page that takes longer for a wheel than the next one is away."""

    def __init__(self) -> None:
        super().__init__()
        self.open = self.most = 0

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.3)
        self.open -= 1
        return await super().send(method, params)


async def test_a_slow_page_is_not_sent_more_wheels_than_it_takes() -> None:
    page = SlowPage()
    made, tasks = await dispatcher(page)
    page.most = 0
    for _ in range(80):
        made.put(m.Wheel(5, 5, 0, 120, 0))
        await asyncio.sleep(0.01)
    async with asyncio.timeout(5):
        await page.until(lambda: sum(params["deltaY"] for _, params in page.sent) == 80 * 120)
    assert page.most == 1
    tasks.close()


async def test_a_key_passes_a_page_that_does_not_answer_a_wheel() -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    page.hanging = True
    made.put(m.Wheel(5, 5, 0, 120, 0))
    await asyncio.sleep(0.2)  # the dispatcher now waits for the page, and for nothing but motion
    made.put(m.Wheel(5, 5, 0, 120, 0))
    made.put(KEY)
    async with asyncio.timeout(5):
        await page.until(lambda: any("key" in params for _, params in page.sent))
    assert [params["type"] for _, params in page.sent] == ["mouseWheel", "mouseWheel", "keyDown"]
    tasks.close()


async def test_wheels_add_up_while_pictures_of_those_before_are_awaited() -> None:
    """One is drawn while the picture of the one before is packed; more a page would draw, and Chromium encode, that nobody will be shown."""
    page, drawn = FakePage(), asyncio.Event()

    async def picture() -> None:
        await drawn.wait()

    made, tasks = await dispatcher(page, picture)
    made.put(m.Wheel(5, 5, 0, 10, 0))
    for _ in range(5):
        await asyncio.sleep(0.005)
        made.put(m.Wheel(5, 5, 0, 10, 0))
    assert [params["deltaY"] for _, params in page.sent] == [10, 10]
    drawn.set()
    async with asyncio.timeout(5):
        await page.until(lambda: len(page.sent) >= 3)
    assert [params["deltaY"] for _, params in page.sent] == [10, 10, 40]
    tasks.close()


async def test_a_document_that_comes_under_the_pointer_is_told_where_it_is() -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)

    async def after(*messages: m.ToRenderer) -> list[tuple[str, int]]:
        for message in messages:
            made.put(message)
        async with asyncio.timeout(5):
            await page.until(lambda: len(page.sent) == len(messages))
            page.sent.clear()
            made.arrived()
            made.put(KEY)  # in order: what comes before it has been sent when it is
            await page.until(lambda: any("key" in params for _, params in page.sent))
        told = [(params["type"], params["x"]) for _, params in page.sent if "x" in params]
        page.sent.clear()
        return told

    assert await after() == [], "nobody knows where it is"
    assert await after(move(5)) == [("mouseMoved", 5)]
    assert await after(m.Wheel(7, 5, 0, 120, 0)) == [("mouseMoved", 7)]
    made.put(DOWN)
    made.arrived()
    async with asyncio.timeout(5):
        await page.until(lambda: len(page.sent) == 1)
    page.sent.clear()
    assert await after() == [], "neither in the middle of a press nor after one that waits"
    assert await after(move(9)) == [("mouseMoved", 9)]
    made.clear()
    assert await after() == [], "it was somebody else's"
    tasks.close()


async def test_keys_go_in_order_while_the_page_hangs() -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    page.hanging = True
    for letter in "hello":
        made.put(m.Key(True, letter, "", 0, 0, False))
    async with asyncio.timeout(5):
        await page.until(lambda: len(page.sent) >= 5)
    assert [params["key"] for _, params in page.sent] == list("hello")
    tasks.close()


async def test_text_waits_once_for_what_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    page.hanging = True  # for the press alone
    async with asyncio.timeout(5):
        made.put(DOWN)
        await page.until(lambda: len(page.sent) == 1)
        page.hanging = False
        monkeypatch.setattr("renderer.input.dispatch.TEXT_PATIENCE", 0.1)
        made.put(m.Text("h"))
        await page.until(lambda: len(page.sent) == 2)
        monkeypatch.setattr("renderer.input.dispatch.TEXT_PATIENCE", 3600)
        for letter in "ello":
            made.put(m.Text(letter))
        await page.until(lambda: len(page.sent) == 6)
    tasks.close()


@pytest.mark.parametrize(
    "step", [m.MenuReply(1, m.MenuAction.SELECT_ALL), m.SelectReply(1, ("0",)), m.CopyRequest(cut=True), m.Paste("x")]
)
async def test_what_several_calls_do_keeps_its_place(step: Step) -> None:
    page = FakePage()
    done: list[object] = []

    async def slowly(what: Step) -> None:
        done.append(len(page.sent))
        await asyncio.sleep(0.2)
        done.append((what, len(page.sent)))

    made, tasks = await dispatcher(page, step=slowly)
    for message in (DOWN, step, KEY):
        made.put(message)
    async with asyncio.timeout(5):
        await page.until(lambda: len(page.sent) == 2)
    assert done == [1, (step, 1)], "after the press, and before the key"
    tasks.close()


async def test_a_drag_becomes_drag_events_and_ends_with_a_release() -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    made.put(DOWN)
    made.put(move(5, buttons=1))
    await asyncio.sleep(0.05)
    page.drag({"data": {"items": []}})
    made.put(move(9, buttons=1))
    await asyncio.sleep(0.05)
    made.put(m.Pointer(m.PointerKind.UP, 9, 0, 0, 0, 1, 0))
    await asyncio.sleep(0.05)
    kinds = [params["type"] for _, params in page.sent]
    carried = ["dragEnter", "dragOver"]
    assert kinds == ["mousePressed", "mouseMoved", *carried, *carried, "drop", "mouseReleased"]
    tasks.close()


async def test_a_drag_that_begins_late_is_told_where_the_pointer_is() -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    for message in (DOWN, move(5, buttons=1), move(6, buttons=1), move(7, buttons=1)):
        made.put(message)
    await asyncio.sleep(0.05)
    page.drag({"data": {"items": []}})
    await asyncio.sleep(0.05)
    sent = [(params["type"], params["x"]) for _, params in page.sent]
    # The whole stroke, and what it carries at its end.
    assert sent[1:] == [("mouseMoved", 5), ("mouseMoved", 6), ("mouseMoved", 7), ("dragEnter", 7), ("dragOver", 7)]
    tasks.close()


@pytest.mark.parametrize("between", ["finger", "press", "another person"])
async def test_a_drag_is_not_dropped_where_an_earlier_press_ended(between: str) -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    for message in (DOWN, move(5, buttons=1), m.Pointer(m.PointerKind.UP, 9, 0, 0, 0, 1, 0)):
        made.put(message)
        await asyncio.sleep(0.05)
    match between:
        case "finger":
            made.put(touch("start", 0))
        case "press":
            made.put(DOWN)
        case _:
            made.clear()
    await asyncio.sleep(0.05)
    page.drag({"data": {"items": []}})
    await asyncio.sleep(0.05)
    assert "drop" not in [params["type"] for _, params in page.sent]
    tasks.close()


async def test_a_drag_that_begins_late_is_not_told_where_another_persons_pointer_was() -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    for message in (DOWN, move(5, buttons=1)):
        made.put(message)
        await asyncio.sleep(0.05)
    made.clear()
    page.drag({"data": {"items": []}})
    await asyncio.sleep(0.05)
    assert [params["type"] for _, params in page.sent] == ["mousePressed", "mouseMoved"]
    tasks.close()


async def test_a_drag_that_chromium_tells_of_after_its_end_is_dropped_where_it_ended() -> None:
    page = FakePage()
    made, tasks = await dispatcher(page)
    up = m.Pointer(m.PointerKind.UP, 9, 0, 0, 0, 1, 0)
    for message in (DOWN, move(5, buttons=1), up):
        made.put(message)
        await asyncio.sleep(0.05)
    page.drag({"data": {"items": []}})
    await asyncio.sleep(0.05)
    kinds = [params["type"] for _, params in page.sent]
    assert kinds == ["mousePressed", "mouseMoved", "mouseReleased", "dragEnter", "dragOver", "drop"]
    assert page.sent[-1][1]["x"] == 9
    made.put(move(20))
    await asyncio.sleep(0.05)
    assert page.sent[-1][1]["type"] == "mouseMoved"  # it is over
    tasks.close()
