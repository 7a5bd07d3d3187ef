"""The node's ears and hands inside a page: ``world.js`` in an isolated world of every frame, and what it says.

What it says comes from a process that may have been taken over. Every field is checked and cut to size here, before it becomes a message.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from playwright.async_api import Error

from renderer.cdp import Cdp, Event, Tasks

# ---------------------------------------------------------------- limits
MAX_SAID = 2 * 1024 * 1024  # characters: a drop-down of MAX_OPTIONS lines at their longest
MAX_CONTEXTS = 1000  # frames of one page we keep apart
MAX_DEPTH = 16  # frames within frames whose places we add up

WORLD = "isolation"
BINDING = "isolationSay"
SCRIPT = "\n".join(files("renderer").joinpath(name).read_text("utf-8") for name in ("world.js", "find.js"))
ASKS = files("renderer").joinpath("asks.js").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Place:
    """One frame's isolated world."""

    cdp: Cdp
    context: int


class WorldHost:
    """The isolated worlds of one page, over the page's own session and those of frames in other processes."""

    def __init__(self, tasks: Tasks, said: Callable[[Place, str, dict[str, Any]], None]) -> None:
        self._tasks = tasks
        self._said = said
        self._places: dict[tuple[int, int], tuple[Place, str]] = {}
        self._sessions: dict[int, tuple[Cdp, str]] = {}

    async def install(self, cdp: Cdp, root: str) -> None:
        """Put the script into every present and future frame of a session. ``root``: its outermost frame, "" where that is the page's own."""
        self._sessions[id(cdp)] = (cdp, root)
        cdp.on("Runtime.executionContextCreated", lambda event: self._created(cdp, event))
        cdp.on("Runtime.executionContextDestroyed", lambda event: self._destroyed(cdp, event))
        cdp.on("Runtime.executionContextsCleared", lambda _: self._cleared(cdp))
        cdp.on("Runtime.bindingCalled", lambda event: self._called(cdp, event))
        await cdp.send("Runtime.enable")
        await cdp.send("Runtime.addBinding", {"name": BINDING, "executionContextName": WORLD})
        await cdp.send("Page.addScriptToEvaluateOnNewDocument", {"source": SCRIPT, "worldName": WORLD, "runImmediately": True})
        await cdp.send("Page.addScriptToEvaluateOnNewDocument", {"source": ASKS, "runImmediately": True})

    def forget(self, cdp: Cdp) -> None:
        """Forget a session that has ended."""
        self._sessions.pop(id(cdp), None)
        self._cleared(cdp)

    def of_frame(self, frame: str) -> Place | None:
        """Return the world of a frame."""
        return next((place for place, name in self._places.values() if name == frame), None)

    def frame_of(self, place: Place) -> str:
        """Return the frame of a world, "" where it went away."""
        return self._places.get((id(place.cdp), place.context), (place, ""))[1]

    def places(self) -> list[Place]:
        """Return every frame's world, in the order they came."""
        return [place for place, _ in self._places.values()]

    async def origin(self, place: Place) -> tuple[int, int]:
        """Return where a frame's upper left corner is in the page's viewport, CSS pixels. Raises ``playwright.async_api.Error`` when it went away."""
        frame = self._places[id(place.cdp), place.context][1] if (id(place.cdp), place.context) in self._places else ""
        x = y = 0.0
        for _ in range(MAX_DEPTH):
            found = await self._owner(frame) if frame else None
            if found is None:
                break
            quad, frame = found
            x, y = x + quad[0], y + quad[1]
        return round(x), round(y)

    async def _owner(self, frame: str) -> tuple[tuple[float, float], str] | None:
        """Find the element that holds a frame: where it begins, and the outermost frame of the session that answered. None: it is the page itself."""
        for cdp, root in list(self._sessions.values()):
            if frame == root:
                continue
            try:
                owner = await cdp.send("DOM.getFrameOwner", {"frameId": frame})
                box = await cdp.send("DOM.getBoxModel", {"backendNodeId": owner["backendNodeId"]})
            except Error:
                continue
            content = box["model"]["content"]
            return (float(content[0]), float(content[1])), root
        return None

    async def call(self, place: Place, function: str, *arguments: object) -> object:
        """Call one of the script's functions with plain values and return its plain answer."""
        answer = await place.cdp.send(
            "Runtime.callFunctionOn",
            {
                "functionDeclaration": f"(...given) => globalThis.isolationWorld.{function}(...given)",
                "executionContextId": place.context,
                "arguments": [{"value": value} for value in arguments],
                "returnByValue": True,
                "awaitPromise": True,
            },
        )
        if "exceptionDetails" in answer:
            return None
        result = answer.get("result")
        return result.get("value") if isinstance(result, dict) else None

    def _created(self, cdp: Cdp, event: Event) -> None:
        context = event.get("context", {})
        frame = context.get("auxData", {}).get("frameId")
        if context.get("name") == WORLD and isinstance(frame, str) and len(self._places) < MAX_CONTEXTS:
            number = int(context["id"])
            self._places[id(cdp), number] = (Place(cdp, number), frame)

    def _destroyed(self, cdp: Cdp, event: Event) -> None:
        self._places.pop((id(cdp), int(event.get("executionContextId", -1))), None)

    def _cleared(self, cdp: Cdp) -> None:
        for key in [key for key in self._places if key[0] == id(cdp)]:
            del self._places[key]

    def _called(self, cdp: Cdp, event: Event) -> None:
        payload = event.get("payload")
        if event.get("name") != BINDING or not isinstance(payload, str) or len(payload) > MAX_SAID:
            return
        try:
            document = json.loads(payload)
        except (ValueError, RecursionError):
            return
        if isinstance(document, dict) and isinstance(document.get("kind"), str):
            self._said(Place(cdp, int(event.get("executionContextId", -1))), document["kind"], document)


def clean(value: object, most: int) -> str:
    """Return hostile text as Unicode of at most ``most`` bytes of UTF-8, cut between characters; anything else as ""."""
    if not isinstance(value, str):
        return ""
    data = value[:most].encode("utf-8", "replace")[:most]
    return data.decode("utf-8", "ignore")


def whole(value: object, low: int, high: int) -> int:
    """Return a hostile number as a whole one within bounds; anything else as ``low`` or 0, whichever lies within."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124
        return max(low, 0)
    return int(min(max(value, low), high))
