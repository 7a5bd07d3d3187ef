"""A page's screencast → frames for its viewer, at the viewer's pace.

Chromium has one frame under way at a time. It is acknowledged when it is taken, and Chromium sends the newest then: so none is encoded that
nobody takes (with two under way a page that scrolled had every second one encoded for nothing). The step to it is computed when the viewer
has room, from what the viewer was last shown: a slow viewer skips pictures, it never queues them, and the last one always arrives.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from concurrent.futures import Executor
from typing import NamedTuple, Protocol

from renderer.capture.compose import Composer
from renderer.capture.heap import give_back
from renderer.capture.picture import BadFrameError, Decoder
from renderer.capture.share import Share
from renderer.capture.surface import Surface
from renderer.capture.watermark import Watermark
from renderer.cdp import Cdp, Event, Tasks
from renderer.wire.frames import MAX_SIDE
from renderer.wire.messages import Frame

# ---------------------------------------------------------------- limits
MIN_INTERVAL = (
    1 / 30
)  # seconds between acknowledgements to Chromium, on average: encoding more PNGs a second burns a core for nothing
MIN_INTERVAL_TOUCHED = 1 / 60  # while the person scrolls, drags or types: what they move should follow the hand
MAX_UNTAKEN = (
    0.1  # seconds, after which a frame is acknowledged that is not taken: the viewer has no room, and should get a newer one then
)
UNTAKEN_TIMES = 2  # that twice as long is waited after the next such frame: a busy machine must not draw what nobody takes
EXPECT_SECONDS = 0.15  # how long a picture that must come may take: several frames of a slow page. Then twice as long, and so on:
EXPECT_TIMES = 6  # a busy machine takes longer, and starting anew throws away what is under way. After 9 s the page has hung
STILL_SECONDS = (
    5.0  # without a picture, after which what is held for speed alone is given back: 20 MB here and 9 in Chromium, measured
)
PROMPT_SECONDS = 0.3  # after input, a picture is likely its answer

log = logging.getLogger("renderer.capture")


class Audience(Protocol):
    """Who looks: :class:`renderer.viewer.Viewer`."""

    def send(self, message: Frame) -> None:
        """Send a frame."""

    def wait(self, now: float) -> float | None:
        """Return the seconds until another frame may be sent (0: now); None: not before :meth:`FramePump.wake`."""
        ...


class FramePump:
    """Frames of one page for at most one viewer at a time. ``workers`` decode and compare; ``encoders`` encode large pictures."""

    def __init__(self, cdp: Cdp, tasks: Tasks, workers: Executor, encoders: Executor, share: Share) -> None:
        self._cdp = cdp
        self._tasks = tasks
        self._workers, self._encoders = workers, encoders
        self._share = share
        self._wake = asyncio.Event()
        self._audience: Audience | None = None
        self._composer = Composer(encoders)
        self._decoder = Decoder(MAX_SIDE)
        self._watermark: Watermark | None = None
        self._newest: _Picture | None = None
        self._last: _Picture | None = None  # that was taken
        self._unacknowledged: object = None
        self._untaken = 0  # frames in a row
        self._taking: asyncio.Event = asyncio.Event()
        self._surface: Surface | None = None
        self._repeat = False
        self._anew = False
        self._video = False
        self._casting = False
        self._acked_at = 0.0
        self._touched_at = 0.0
        self._stepping = False
        self._came = 0  # frames so far, but squeezed ones
        self._still = True  # what was held is given back
        self._taken_at = 0.0
        self._taken = 0  # of them, up to the last that was composed
        self._cast_size: tuple[int, int] | None = None  # of the newest frame, CSS pixels
        self._wanted: tuple[int, int] | None = None
        self._scales = (100, 100)  # device pixels per CSS pixel in hundredths: now, and before that
        self._expecting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen; pictures come from :meth:`attach` on."""
        self._cdp.on("Page.screencastFrame", self._frame_came)
        self._tasks.start(self._run())

    async def attach(self, audience: Audience, sent: int, *, video: bool, watermark: str = "") -> None:
        """Send frames to ``audience`` when it has room, counting on from ``sent``. The first is a whole one.

        ``video``: it can play film. ``watermark``: what is burnt into every picture.
        """
        self._composer = Composer(self._encoders, sent, video=video)
        self._decoder = Decoder(MAX_SIDE)
        self._watermark = Watermark(watermark) if watermark else None
        self._audience = audience
        self._surface = self._newest = None
        self._repeat = False
        await self.show()

    async def show(self) -> None:
        """Start the screencast (again): the viewer is looking."""
        if self._audience is None:
            return
        await self._stop_cast()
        self._casting = True
        await self._start_cast()

    async def _start_cast(self) -> None:
        await self._cdp.send("Page.startScreencast", {"format": "png", "maxFramesInFlight": 1, "sendLastFrame": True})
        if not self._casting:  # who stopped it meanwhile may have been heard before
            await self._cdp.send("Page.stopScreencast")

    def expect(self, size: tuple[int, int] | None = None, scale: int = 100) -> None:
        """Expect a picture soon: the page was resized to ``size`` (CSS pixels), or has loaded.

        When none comes the screencast is started anew, which always brings one.
        """
        if size is not None:
            self._wanted = size
            if scale != self._scales[0]:
                self._scales = (scale, self._scales[0])
        if self._expecting is None or self._expecting.done():
            self._expecting = self._tasks.start(self._insist())

    async def _insist(self) -> None:
        seen = self._came
        for attempt in range(EXPECT_TIMES):
            await asyncio.sleep(EXPECT_SECONDS * 2**attempt)
            if not self._casting or (self._came != seen and self._arrived()):
                return
            await self.show()

    def _arrived(self) -> bool:
        """Whether the newest picture is of the wanted size. Chromium rounds it up to whole device pixels."""
        if self._wanted is None or self._cast_size is None:
            return self._wanted is None
        room = 1 + 100 / self._scales[0]
        return all(0 <= came - wanted + 0.01 < room for came, wanted in zip(self._cast_size, self._wanted, strict=True))

    async def hide(self) -> None:
        """Stop the screencast: nobody is looking, Chromium need not draw for us."""
        await self._stop_cast()

    async def detach(self) -> None:
        """Forget the viewer, who has gone."""
        self._audience = None
        self._surface = self._newest = None
        self._decoder = Decoder(MAX_SIDE)
        self._composer = Composer(self._encoders)
        await self._stop_cast()

    async def _stop_cast(self) -> None:
        if self._casting:
            self._casting = False
            await self._cdp.send("Page.stopScreencast")

    @property
    def idle(self) -> bool:
        """Whether nothing is under way: the newest picture has been sent, and is lossless."""
        return not (self._stepping or self._newest is not None or self._repeat or self._composer.rests_at is not None)

    def wake(self) -> None:
        """Look again: the viewer has room."""
        self._wake.set()

    def touched(self) -> None:
        """Hear that the person did something: its picture is not to wait."""
        self._touched_at = time.monotonic()

    async def picture(self) -> None:
        """Wait for the next picture to be taken."""
        self._taking.clear()
        await self._taking.wait()

    def refresh(self, *, video: bool) -> None:
        """Send the whole picture again. ``video``: whether the viewer (still) plays film."""
        self._repeat = True
        self._video = video
        self._wake.set()

    def mark(self, text: str) -> None:
        """Burn another text into what is shown, and show it again."""
        self._watermark = Watermark(text) if text else None
        self._anew = True
        self._wake.set()

    def _frame_came(self, event: Event) -> None:
        metadata, data = event.get("metadata", {}), event.get("data")
        size = (metadata.get("deviceWidth", 0), metadata.get("deviceHeight", 0))
        self._acknowledge()
        self._unacknowledged = event.get("sessionId")
        if not isinstance(data, str):
            self._acknowledge()
            return
        # Until the first picture of a new scale, those of the old one still come.
        scale = next((scale for scale in self._scales if not squeezed(data, size, scale)), None)
        if scale is None:
            self._acknowledge()
            return
        self._came += 1
        self._cast_size = size
        picture = _Picture(data, scale)
        if self._audience is None or (self._newest is None and self._surface is not None and picture == self._last):
            # Chromium sends some pictures twice.
            self._acknowledge()
            return
        self._newest = picture
        self._wake.set()
        patience = MAX_UNTAKEN * 2 ** min(self._untaken, UNTAKEN_TIMES)
        asyncio.get_running_loop().call_later(patience, self._leave, self._unacknowledged)

    def _leave(self, session: object) -> None:
        """Let Chromium send a newer frame in place of one that nobody took."""
        if self._unacknowledged == session and session is not None:
            self._untaken += 1
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Let Chromium send another frame."""
        waiting = self._unacknowledged
        if waiting is not None:
            self._unacknowledged = None
            self._tasks.start(self._send_acknowledgement(waiting))

    async def _send_acknowledgement(self, session: object) -> None:
        now = time.monotonic()
        interval = MIN_INTERVAL_TOUCHED if now - self._touched_at < PROMPT_SECONDS else MIN_INTERVAL
        wait = self._acked_at + interval - now
        self._acked_at = max(now, self._acked_at + interval)
        if wait > 0:
            await asyncio.sleep(wait)
        if self._casting:
            await self._cdp.send("Page.screencastFrameAck", {"sessionId": session})

    async def _run(self) -> None:
        timeout: float | None = None
        while True:
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            timeout = await self._turn()

    async def _turn(self) -> float | None:
        """Send a frame, if there is one to send and room for it. Returns the seconds after which to look again by itself."""
        now = time.monotonic()
        audience, rests_at = self._audience, self._composer.rests_at
        if audience is None:
            return None
        if self._newest is None and not self._repeat and not self._anew:
            if rests_at is None:
                return self._keep_still(now)
            if rests_at > now:
                return rests_at - now
        room = audience.wait(now)
        if room is None:
            return None
        wait = max(room, self._share.wait(now, prompt=now - self._touched_at < PROMPT_SECONDS))
        if wait > 0:
            return wait
        self._stepping = True
        try:
            await self._step(audience)
        finally:
            self._stepping = False
        return 0.0

    def _keep_still(self, now: float) -> float | None:
        """Give back what is held for speed alone, once no picture has come for a while. Returns the seconds after which that will be."""
        if self._still:
            return None
        left = self._taken_at + STILL_SECONDS - now
        if left > 0:
            return left
        self._still = True
        self._decoder.rest()
        self._tasks.start(self._give_back())  # beside us: what Chromium makes of it must not end, nor hold up, the pictures
        return None

    async def _give_back(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._workers, give_back)
        if self._casting:
            # Chromium keeps every buffer that it ever had under way at once. Both at once, so that nobody else can stop the cast between them.
            await asyncio.gather(self._cdp.send("Page.stopScreencast"), self._start_cast())

    async def _step(self, audience: Audience) -> None:
        composer, picture = self._composer, self._newest
        behind, self._taken = self._came - self._taken > 1, self._came
        if self._repeat:
            composer.forget(video=self._video)
        self._newest, self._repeat, self._anew = None, False, False
        if picture is not None:
            self._still, self._taken_at = False, time.monotonic()
            self._last = picture
            self._untaken = 0
            self._acknowledge()
            self._taking.set()
        try:
            done = await asyncio.get_running_loop().run_in_executor(
                self._workers, _work, picture, self._decoder, self._watermark, self._surface, composer, behind
            )
        except BadFrameError as problem:
            log.warning("frame.refused", extra={"why": str(problem)})
            return
        if done is None:
            return
        surface, frame, used = done
        self._share.pay(used, time.monotonic())
        # Meanwhile another viewer may have come; its composer knows nothing of this step.
        if self._audience is not audience or self._composer is not composer:
            return
        self._surface = surface
        if frame is not None:
            audience.send(frame)


class _Picture(NamedTuple):
    data: str
    scale: int


def squeezed(data: str, size: tuple[float, float], scale: int) -> bool:
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


def _work(
    picture: _Picture | None,
    decoder: Decoder,
    watermark: Watermark | None,
    last: Surface | None,
    composer: Composer,
    behind: bool,
) -> tuple[Surface, Frame | None, float] | None:
    """Decode a picture (None: ``last`` is shown again, at rest), mark it and compose the step to it. Returns the processor time it took, too."""
    began = time.thread_time()
    surface = last
    if picture is not None:
        surface = decoder.decode(*picture)
    if surface is None:
        return None
    shown = watermark.mark(surface) if watermark is not None else surface
    frame = composer.step(shown, time.monotonic(), behind=behind)
    return surface, frame, time.thread_time() - began
