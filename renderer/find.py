"""Find in page: one search over every frame, in the order the frames came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from playwright.async_api import Error

from renderer.wire.messages import Find, Found
from renderer.world import Place, WorldHost, whole

# ---------------------------------------------------------------- limits
MAX_FOUND = 65_535  # matches counted over all frames; the wire's numbers end there
FRAME_SECONDS = 2.0  # how long one frame may take: one that stands still (a dialog, an endless loop) has no matches


@dataclass(frozen=True, slots=True)
class _Frame:
    place: Place
    count: int
    first: int  # the first match that is not above what is seen


class Finder:
    """The search of one page. The text lives in the frames' isolated worlds; here is only which match is shown."""

    def __init__(self, world: WorldHost) -> None:
        self._world = world
        self._text = ""
        self._frames: tuple[_Frame, ...] = ()
        self._at = -1  # the match shown, counted over all frames

    async def find(self, wanted: Find) -> Found:
        """Find, go on, or stop (no text). Raises nothing for frames that went away meanwhile: they have no matches."""
        if not wanted.text:
            await self._stop()
            return Found(0, 0)
        going_on = wanted.again and wanted.text == self._text
        self._frames = tuple([await self._ask(place, wanted.text) for place in self._world.places()])
        self._text = wanted.text
        count = min(sum(frame.count for frame in self._frames), MAX_FOUND)
        if count == 0:
            self._at = -1
            return Found(0, 0)
        if going_on and self._at >= 0:
            self._at = (self._at + (-1 if wanted.backward else 1)) % count
        else:
            self._at = self._nearest()
        await self._show()
        return Found(self._at + 1, count)

    def _nearest(self) -> int:
        """Return the first match at or below what is seen in the first frame that has any."""
        before = 0
        for frame in self._frames:
            if frame.count:
                return before + min(frame.first, frame.count - 1)
            before += frame.count
        return 0

    async def _ask(self, place: Place, text: str) -> _Frame:
        said = await self._call(place, "find", text)
        said = said if isinstance(said, dict) else {}
        return _Frame(place, whole(said.get("count"), 0, MAX_FOUND), whole(said.get("first"), 0, MAX_FOUND))

    async def _show(self) -> None:
        before = 0
        for frame in self._frames:
            index = self._at - before
            await self._call(frame.place, "findShow", index if 0 <= index < frame.count else -1)
            before += frame.count

    async def _stop(self) -> None:
        self._text, self._at = "", -1
        frames, self._frames = self._frames, ()
        for frame in frames:
            await self._call(frame.place, "findStop")

    async def _call(self, place: Place, function: str, *arguments: object) -> object:
        try:
            async with asyncio.timeout(FRAME_SECONDS):
                return await self._world.call(place, function, *arguments)
        except (Error, TimeoutError):
            return None  # the frame went away, or does not answer
