"""Hands checked input to Chromium, in order, without letting a page that does not answer hold up what follows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from renderer.cdp import Cdp, Event, Tasks
from renderer.input.keys import key_event
from renderer.input.validate import InputQueue
from renderer.wire.messages import Composition, CopyRequest, Key, Paste, Pointer, PointerKind, Text, ToRenderer, Wheel

# ---------------------------------------------------------------- limits
MOVE_PATIENCE = 0.1  # seconds to wait for the page to take a move or a wheel before sending the next: moves are merged meanwhile
HELD_SECONDS = 1.0  # as long as nothing but moves and wheels follows: sending a slow page more than it takes only makes it lag behind the hand
TEXT_PATIENCE = 0.5  # seconds text waits for the clicks and keys before it
MAX_UNANSWERED = 64  # clicks and keys a hanging page may leave unanswered before we wait for it

_BUTTONS = ("left", "middle", "right", "back", "forward")
_MOUSE = {PointerKind.MOVE: "mouseMoved", PointerKind.DOWN: "mousePressed", PointerKind.UP: "mouseReleased"}


class Dispatcher:
    """Input of one page. ``paste`` puts text where the caret is, by whatever way the page understands; ``copy`` copies (true: cuts) the selection."""

    def __init__(
        self,
        cdp: Cdp,
        tasks: Tasks,
        paste: Callable[[str], Awaitable[None]],
        copy: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._cdp = cdp
        self._tasks = tasks
        self._paste = paste
        self._copy = copy
        self._queue = InputQueue()
        self._wake = asyncio.Event()
        self._unanswered: set[asyncio.Task[Any]] = set()
        self._drag: dict[str, Any] | None = None
        self._composing = False
        self.mac = False
        self.pointer = (0, 0)  # where the pointer was last, CSS pixels

    async def start(self) -> None:
        """Begin. HTML drag and drop is run by us: Chromium's own drag loop waits for a screen that is not there."""
        self._cdp.on("Input.dragIntercepted", self._drag_began)
        await self._cdp.send("Input.setInterceptDrags", {"enabled": True})
        self._tasks.start(self._run())

    def put(self, message: ToRenderer) -> bool:
        """Queue input. False: too much is waiting, and this was dropped."""
        taken = self._queue.put(message)
        self._wake.set()
        return taken

    def clear(self) -> None:
        """Forget what waits (another viewer took over)."""
        self._queue.clear()

    def _drag_began(self, event: Event) -> None:
        data = event.get("data")
        self._drag = data if isinstance(data, dict) else None

    async def _run(self) -> None:
        while True:
            message = self._queue.get()
            if message is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            if self._unanswered and isinstance(message, Paste | CopyRequest | Text | Composition):
                # Text takes another way into the page than the click that put the caret there, and must not overtake it.
                await asyncio.wait(self._unanswered, timeout=TEXT_PATIENCE)
            task = self._tasks.start(self._send(message))
            if task is None:
                return
            self._unanswered.add(task)
            task.add_done_callback(self._unanswered.discard)
            if isinstance(message, Wheel) or (isinstance(message, Pointer) and message.kind is PointerKind.MOVE):
                await self._taken(task)
            elif isinstance(message, Paste | CopyRequest) or self._drag is not None:
                await asyncio.wait({task}, timeout=1.0)  # several steps whose order matters
            else:
                # Sent in order by the loop; a page in an alert answers when the alert is gone, and must not hold up the answer to it.
                await asyncio.sleep(0)
            if len(self._unanswered) >= MAX_UNANSWERED:
                await asyncio.wait(self._unanswered, return_when=asyncio.FIRST_COMPLETED)

    async def _taken(self, task: asyncio.Task[Any]) -> None:
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
            case Wheel():
                self.pointer = (message.x, message.y)
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
            case Paste(text):
                await self._paste(text)
            case CopyRequest(cut):
                await self._copy(cut)
            case _:
                raise AssertionError("not input")

    async def _pointer(self, message: Pointer) -> None:
        self.pointer = (message.x, message.y)
        if self._drag is not None and await self._dragged(message):
            return
        moved = message.kind is PointerKind.MOVE
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

    async def _dragged(self, message: Pointer) -> bool:
        data = self._drag
        params = {"x": message.x, "y": message.y, "data": data, "modifiers": message.modifiers}
        if message.kind is PointerKind.MOVE and message.buttons & 1:
            await self._cdp.send("Input.dispatchDragEvent", {"type": "dragEnter", **params})
            await self._cdp.send("Input.dispatchDragEvent", {"type": "dragOver", **params})
            return True
        self._drag = None
        if message.kind is PointerKind.UP and message.button == 0:
            await self._cdp.send("Input.dispatchDragEvent", {"type": "dragOver", **params})
            await self._cdp.send("Input.dispatchDragEvent", {"type": "drop", **params})
            # The page's own pointer state still holds the button; let it go as a screen would.
            return False
        await self._cdp.send("Input.dispatchDragEvent", {"type": "dragCancel", **params})
        return False
