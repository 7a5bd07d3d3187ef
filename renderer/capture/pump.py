"""A page's screencast → frames for its viewer, at the viewer's pace.

Chromium's frames are acknowledged as they come and only the newest is kept. The step to it is computed when the viewer has room, from what the
viewer was last shown: a slow viewer skips pictures, it never queues them, and the last one always arrives.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor

from renderer.capture.compose import REST_SECONDS, BadFrameError, Composer, decode_png
from renderer.capture.surface import Surface
from renderer.cdp import Cdp, Event, Tasks
from renderer.wire.frames import MAX_SIDE
from renderer.wire.messages import Frame

# ---------------------------------------------------------------- limits
MAX_UNACKED = 2  # frames under way to a viewer: one on the wire while one is drawn
MIN_INTERVAL = (
    1 / 30
)  # seconds between acknowledgements to Chromium: 30 pictures a second; encoding PNGs faster burns a core for nothing
MAX_FRAMES_IN_FLIGHT = 2
EXPECT_SECONDS = 0.15  # how long a picture that must come may take: several frames of a slow page. Then twice as long, and so on:
EXPECT_TIMES = 6  # a busy machine takes longer, and starting anew throws away what is under way. After 9 s the page has hung

log = logging.getLogger("renderer.capture")


class FramePump:
    """Frames of one page for at most one viewer at a time. ``workers`` decode and compare; ``encoders`` encode large pictures."""

    def __init__(self, cdp: Cdp, tasks: Tasks, workers: Executor, encoders: Executor, scale: int) -> None:
        """``scale``: device pixels per CSS pixel in hundredths."""
        self._cdp = cdp
        self._scale = scale
        self._tasks = tasks
        self._workers, self._encoders = workers, encoders
        self._wake = asyncio.Event()
        self._sink: Callable[[Frame], None] | None = None
        self._room: Callable[[], bool] = lambda: False
        self._composer = Composer(encoders)
        self._newest: str | None = None
        self._surface: Surface | None = None
        self._repeat = False
        self._stepping = False
        self._casting = False
        self._acked_at = 0.0
        self._came = 0  # frames so far, but squeezed ones
        self._cast_size: tuple[int, int] | None = None  # of the newest frame, CSS pixels
        self._wanted: tuple[int, int] | None = None
        self._expecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; pictures come from :meth:`attach` on."""
        self._cdp.on("Page.screencastFrame", self._frame_came)
        self._tasks.start(self._run())

    async def attach(self, sink: Callable[[Frame], None], room: Callable[[], bool], sent: int) -> None:
        """Send frames to ``sink`` while ``room()``, counting on from ``sent``. The first is a whole one."""
        self._composer = Composer(self._encoders, sent)
        self._sink, self._room = sink, room
        self._surface = self._newest = None
        await self.show()

    async def show(self) -> None:
        """Start the screencast (again): the viewer is looking."""
        if self._sink is None:
            return
        await self._stop_cast()
        self._casting = True
        await self._cdp.send(
            "Page.startScreencast", {"format": "png", "maxFramesInFlight": MAX_FRAMES_IN_FLIGHT, "sendLastFrame": True}
        )

    def expect(self, size: tuple[int, int] | None = None) -> None:
        """Expect a picture soon: the page was resized to ``size`` (CSS pixels), or has loaded. When none comes the screencast is started anew, which always brings one.

        Measured with Chromium 156: after one resize in thirty no frame of the new size ever came.
        """
        self._wanted = size or self._wanted
        if self._expecting is None or self._expecting.done():
            self._expecting = self._tasks.start(self._insist())

    async def _insist(self) -> None:
        seen = self._came
        for attempt in range(EXPECT_TIMES):
            await asyncio.sleep(EXPECT_SECONDS * 2**attempt)
            if not self._casting or (self._came != seen and self._wanted in {None, self._cast_size}):
                return
            await self.show()

    async def hide(self) -> None:
        """Stop the screencast: nobody is looking, Chromium need not draw for us."""
        await self._stop_cast()

    async def detach(self) -> None:
        """Forget the viewer, who has gone."""
        self._sink = None
        self._surface = self._newest = None
        await self._stop_cast()

    async def _stop_cast(self) -> None:
        if self._casting:
            self._casting = False
            await self._cdp.send("Page.stopScreencast")

    @property
    def idle(self) -> bool:
        """Whether nothing is under way: the newest picture has been sent, and is lossless."""
        return not (self._stepping or self._newest is not None or self._repeat or self._composer.unsettled)

    def wake(self) -> None:
        """Look again: the viewer has room."""
        self._wake.set()

    def refresh(self) -> None:
        """Send the whole picture again."""
        self._composer.forget()
        self._repeat = True
        self._wake.set()

    def _frame_came(self, event: Event) -> None:
        metadata = event.get("metadata", {})
        size = (int(metadata.get("deviceWidth", 0)), int(metadata.get("deviceHeight", 0)))
        data, session = event.get("data"), event.get("sessionId")
        self._tasks.start(self._acknowledge(session))
        if not isinstance(data, str) or squeezed(data, size, self._scale):
            return
        self._came += 1
        self._cast_size = size
        if self._sink is not None:
            self._newest = data
            self._wake.set()

    async def _acknowledge(self, session: object) -> None:
        now = time.monotonic()
        wait = self._acked_at + MIN_INTERVAL - now
        self._acked_at = max(now, self._acked_at + MIN_INTERVAL)
        if wait > 0:
            await asyncio.sleep(wait)
        if self._casting:
            await self._cdp.send("Page.screencastFrameAck", {"sessionId": session})

    async def _run(self) -> None:
        while True:
            # What went lossy while it moved wants another look when it has rested.
            timeout = REST_SECONDS / 2 if self._composer.unsettled and self._sink is not None else None
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            if self._sink is not None and self._room():
                self._stepping = True
                try:
                    await self._step()
                finally:
                    self._stepping = False

    async def _step(self) -> None:
        composer, sink, data = self._composer, self._sink, self._newest
        if data is None and not self._repeat and not composer.unsettled:
            return
        loop = asyncio.get_running_loop()
        self._newest, self._repeat = None, False
        try:
            if data is not None:
                self._surface = await loop.run_in_executor(self._workers, _decode, data)
            if self._surface is None:
                return
            frame = await loop.run_in_executor(self._workers, composer.step, self._surface, time.monotonic())
        except BadFrameError as problem:
            log.warning("frame.refused", extra={"why": str(problem)})
            return
        # Meanwhile another viewer may have come; its composer knows nothing of this step.
        if frame is not None and sink is not None and self._sink is sink and self._composer is composer:
            sink(frame)
        if self._newest is not None or self._repeat:
            self._wake.set()


def squeezed(data: str, size: tuple[int, int], scale: int) -> bool:
    """Whether a frame of a page of ``size`` CSS pixels has other measures than the page: the picture of the old size, squeezed into the new one.

    Measured with Chromium 156: after a resize such a frame often comes first, and sometimes is the last.
    """
    try:
        head = base64.b64decode(data[:32], validate=True)
    except binascii.Error:
        return False  # no picture at all; who decodes it says so
    sides = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    # A fraction of a pixel may be rounded either way.
    return any(abs(side * 100 - css * scale) > 100 for side, css in zip(sides, size, strict=True))


def _decode(data: str) -> Surface:
    try:
        return decode_png(base64.b64decode(data, validate=True), MAX_SIDE)
    except binascii.Error as problem:
        raise BadFrameError("not base64") from problem
