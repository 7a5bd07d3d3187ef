"""Hands checked input to Chromium, in order, without letting a page that does not answer hold up what follows."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable
from typing import Any

from renderer.cdp import Cdp, Event, Tasks, is_gone
from renderer.input.keys import CTRL, key_event
from renderer.input.validate import InputQueue, is_motion
from renderer.wire.codec import MAX_FINGERS
from renderer.wire.messages import (
    Composition,
    CopyRequest,
    Key,
    MenuReply,
    Paste,
    Pointer,
    PointerKind,
    SelectReply,
    Text,
    ToRenderer,
    Touch,
    TouchKind,
    TouchPoint,
    Wheel,
)

# ---------------------------------------------------------------- limits
MOVE_PATIENCE = 0.1  # seconds to wait for the page to take a move or a wheel before sending the next: moves are merged meanwhile
WHEEL_PATIENCE = (
    0.1  # seconds that a wheel's picture is waited for: who scrolls faster than is drawn has wheels added up, not drawn
)
WHEELS_AHEAD = 2  # wheels on their way to a picture: Chromium draws one while it packs the picture of the one before (a quarter more a second, measured)
HELD_SECONDS = 1.0  # as long as nothing but moves and wheels follows: sending a slow page more than it takes only makes it lag behind the hand
TEXT_PATIENCE = 5.0  # seconds that text, and the end of a drag, wait for what was before them: as long as pages are busy
PINCH_SPEED = 1_000_000  # pixels a second of a touchpad's pinch: at once, the person's own fingers give it its speed
PINCH_PIXELS = 100.0  # of a wheel turned with Control that stand for a factor of e: what browsers make of a touchpad's pinch
MAX_UNANSWERED = 64  # clicks and keys a hanging page may leave unanswered before we wait for it

_BUTTONS = ("left", "middle", "right", "back", "forward")
_TOUCH = {TouchKind.START: "touchStart", TouchKind.MOVE: "touchMove", TouchKind.END: "touchEnd", TouchKind.CANCEL: "touchCancel"}
_MOUSE = {PointerKind.MOVE: "mouseMoved", PointerKind.DOWN: "mousePressed", PointerKind.UP: "mouseReleased"}


Step = Paste | CopyRequest | MenuReply | SelectReply
"""What is done in the page by several calls, or by its own script, and keeps its place among clicks and keys all the same."""


class Dispatcher:
    """Input of one page. ``step`` does what is no event of Chromium's; ``picture`` waits for the next picture of the page."""

    def __init__(
        self,
        cdp: Cdp,
        tasks: Tasks,
        step: Callable[[Step], Awaitable[None]],
        picture: Callable[[], Awaitable[None]],
    ) -> None:
        self._cdp = cdp
        self._tasks = tasks
        self._step = step
        self._picture = picture
        self._queue = InputQueue()
        self._wake = asyncio.Event()
        self._unanswered: set[asyncio.Task[Any]] = set()
        self._overdue: set[asyncio.Task[Any]] = set()  # of them, those that were waited for in vain: a frame may hang
        self._undrawn: list[asyncio.Task[None]] = []  # one for each wheel
        self._drag: dict[str, Any] | None = None
        self._composing = False
        self._pulled: Pointer | None = None  # where to, if the pointer moved last with its button held
        self._let_go: Pointer | None = None  # where, if the pointer's button went up last
        self._fingers: dict[int, TouchPoint] = {}
        self._by_finger = False
        self._resting: Pointer | None = None  # where the pointer is, with no button held
        self.mac = False

    async def start(self) -> None:
        """Begin. HTML drag and drop is run by us: Chromium's own drag loop waits for a screen that is not there."""
        self._cdp.on("Input.dragIntercepted", self._drag_began)
        await self._cdp.send("Input.setInterceptDrags", {"enabled": True})
        self._tasks.start(self._run())

    async def by_finger(self, wanted: bool) -> None:
        """Tell the page whether its person's main pointer is a finger."""
        if wanted is not self._by_finger:
            self._by_finger = wanted
            await self._cdp.send("Emulation.setTouchEmulationEnabled", {"enabled": wanted, "maxTouchPoints": MAX_FINGERS})

    def put(self, message: ToRenderer) -> bool:
        """Queue input. False: too much is waiting, and this was dropped."""
        taken = self._queue.put(message)
        self._wake.set()
        return taken

    def clear(self) -> None:
        """Forget what waits (another viewer took over)."""
        self._queue.clear()
        self._resting = self._pulled = self._let_go = None
        if self._fingers:
            self._queue.put(Touch(TouchKind.CANCEL, (), 0))  # nobody else will lift them
            self._wake.set()

    def arrived(self) -> None:
        """Say once more where the pointer is: another document has come under it, and on a screen would be told."""
        if self._resting is not None and not self._queue:  # what waits may be a press: this would let go of its button
            self.put(self._resting)

    def _drag_began(self, event: Event) -> None:
        data = event.get("data")
        if not isinstance(data, dict):
            self._drag = None
        elif self._let_go is not None:
            # Chromium tells of a drag beside its answers, and may do so after them.
            self._answered(self._tasks.start(self._drop(data, self._let_go)))
        else:
            self._drag = data
            if self._pulled is not None and not self._queue:
                # What was moved over before the page began the drag has heard of a pointer, not of what that carries.
                self.put(self._pulled)

    async def _run(self) -> None:
        while True:
            messages = self._queue.get()
            if not messages:
                self._wake.clear()
                await self._wake.wait()
                continue
            *path, message = messages
            if self._drag is None:
                for point in path:  # all at once: Chromium tells the page of them as of one move, and of the way it took
                    self._answered(self._tasks.start(self._send(point)))
            self._note(message)
            behind = self._ends_a_drag(message) or isinstance(message, Step | Text | Composition)
            if behind and (due := self._unanswered - self._overdue):
                # Text takes another way into the page than the click that put the caret there, and must not overtake it; and whether a
                # move began a drag is known when the page has answered it.
                _, overdue = await asyncio.wait(due, timeout=TEXT_PATIENCE)
                self._overdue |= overdue
            task = self._tasks.start(self._send(message))
            if task is None:
                return
            self._answered(task)
            if isinstance(message, Wheel):
                await self._taken(asyncio.gather(task, *self._undrawn_before(), return_exceptions=True))
            elif is_motion(message):
                await self._taken(task)
            elif isinstance(message, Step) or self._drag is not None:
                await asyncio.wait({task}, timeout=1.0)  # several steps whose order matters
            else:
                # Sent in order by the loop; a page in an alert answers when the alert is gone, and must not hold up the answer to it.
                await asyncio.sleep(0)
            if len(self._unanswered) >= MAX_UNANSWERED:
                await asyncio.wait(self._unanswered, return_when=asyncio.FIRST_COMPLETED)

    def _answered(self, task: asyncio.Task[Any] | None) -> None:
        """Count what the page has not answered."""
        if task is not None:
            self._unanswered.add(task)
            task.add_done_callback(self._unanswered.discard)
            task.add_done_callback(self._overdue.discard)

    def _note(self, message: ToRenderer) -> None:
        match message:
            case Touch():
                self._resting = self._let_go = None  # a finger's drag ends where the finger does
            case Pointer() | Wheel():
                held = isinstance(message, Pointer) and message.buttons != 0
                self._resting = None if held else Pointer(PointerKind.MOVE, message.x, message.y, 0, 0, 0, 0)

    def _ends_a_drag(self, message: ToRenderer) -> bool:
        if not isinstance(message, Pointer):
            return False
        pulled, moved = self._pulled, message.kind is PointerKind.MOVE
        self._pulled = message if moved and message.buttons & 1 else None
        return message.kind is PointerKind.UP and pulled is not None

    def _undrawn_before(self) -> list[asyncio.Task[None]]:
        """Note that a wheel is on its way to a picture; return what must come before the next may go."""
        self._undrawn = [waiting for waiting in self._undrawn if not waiting.done()]
        waiting = self._tasks.start(self._drawn())
        if waiting is not None:
            self._undrawn.append(waiting)
        return self._undrawn[:1] if len(self._undrawn) >= WHEELS_AHEAD else []

    async def _drawn(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WHEEL_PATIENCE):
                await self._picture()

    async def _taken(self, task: asyncio.Future[Any]) -> None:
        """Wait for the page to take a move or a wheel. More of them add up meanwhile; what must not wait ends the waiting."""
        loop = asyncio.get_running_loop()
        end = loop.time() + HELD_SECONDS
        await asyncio.wait({task}, timeout=MOVE_PATIENCE)
        while not task.done() and self._queue.only_motion and (left := end - loop.time()) > 0:
            self._wake.clear()
            more = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait({task, more}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                more.cancel()

    async def _send(self, message: ToRenderer) -> None:
        match message:
            case Pointer():
                await self._pointer(message)
            case Touch():
                await self._touch(message)
            case Wheel() if message.modifiers & CTRL:
                await self._pinch(message)
            case Wheel():
                await self._cdp.send(
                    "Input.dispatchMouseEvent",
                    {
                        "type": "mouseWheel",
                        "x": message.x,
                        "y": message.y,
                        "deltaX": message.dx,
                        "deltaY": message.dy,
                        "modifiers": message.modifiers,
                    },
                )
            case Key():
                await self._cdp.send("Input.dispatchKeyEvent", key_event(message, mac=self.mac))
            case Text(text):
                self._composing = False
                await self._cdp.send("Input.insertText", {"text": text})
            case Composition(text, start, end):
                if text or self._composing:
                    self._composing = bool(text)
                    await self._cdp.send("Input.imeSetComposition", {"text": text, "selectionStart": start, "selectionEnd": end})
            case Paste() | CopyRequest() | MenuReply() | SelectReply():
                await self._step(message)
            case _:
                raise AssertionError("not input")

    async def _touch(self, message: Touch) -> None:
        remaining = {point.id: point for point in message.points}
        lifted = [point for number, point in self._fingers.items() if number not in remaining]
        self._fingers = remaining
        # Chromium wants those that are there after a start or a move, those that left after an end, and none after a cancel.
        points = lifted if message.kind is TouchKind.END else message.points
        await self._cdp.send(
            "Input.dispatchTouchEvent",
            {
                "type": _TOUCH[message.kind],
                "touchPoints": [{"id": point.id, "x": point.x, "y": point.y} for point in points],
                "modifiers": message.modifiers,
            },
        )

    async def _pinch(self, message: Wheel) -> None:
        """Two fingers on a touchpad: the page hears of a wheel with Control; where it does not want that, Chromium magnifies."""
        gesture = {
            "x": message.x,
            "y": message.y,
            "scaleFactor": math.exp(-message.dy / PINCH_PIXELS),
            "relativeSpeed": PINCH_SPEED,
            "gestureSourceType": "mouse",
        }
        try:
            await self._cdp.send("Input.synthesizePinchGesture", gesture)
        except Exception as problem:
            if not is_gone(problem):
                raise
            # Chromium makes no pinch at the very edge of its window; there the page still hears of it.
            wheel = {"type": "mouseWheel", "x": message.x, "y": message.y, "deltaX": 0, "deltaY": message.dy, "modifiers": CTRL}
            await self._cdp.send("Input.dispatchMouseEvent", wheel)

    async def _pointer(self, message: Pointer) -> None:
        if self._drag is not None and await self._dragged(self._drag, message):
            return
        moved = message.kind is PointerKind.MOVE
        if not moved:
            self._let_go = message if message.kind is PointerKind.UP and message.button == 0 else None
        held = next((name for bit, name in ((1, "left"), (2, "right"), (4, "middle")) if message.buttons & bit), "none")
        await self._cdp.send(
            "Input.dispatchMouseEvent",
            {
                "type": _MOUSE[message.kind],
                "x": message.x,
                "y": message.y,
                "button": held if moved else _BUTTONS[message.button],
                "buttons": message.buttons,
                "clickCount": 0 if moved else message.clicks,
                "modifiers": message.modifiers,
            },
        )

    async def _dragged(self, data: dict[str, Any], message: Pointer) -> bool:
        """Let a pointer carry what the page dragged. False: the page is to hear of the pointer as well."""
        if message.kind is PointerKind.MOVE and message.buttons & 1:
            await self._carry(data, message, "dragEnter", "dragOver")
            return True
        self._drag = None
        if message.kind is PointerKind.UP and message.button == 0:
            await self._drop(data, message)
            # The page's own pointer state still holds the button; let it go as a screen would.
            return False
        await self._carry(data, message, "dragCancel")
        return False

    async def _drop(self, data: dict[str, Any], message: Pointer) -> None:
        await self._carry(data, message, "dragEnter", "dragOver", "drop")

    async def _carry(self, data: dict[str, Any], message: Pointer, *kinds: str) -> None:
        params = {"x": message.x, "y": message.y, "data": data, "modifiers": message.modifiers}
        for kind in kinds:
            await self._cdp.send("Input.dispatchDragEvent", {"type": kind, **params})
