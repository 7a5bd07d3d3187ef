"""One isolated session under test: a viewer in a real browser, a bad line, the router's relay, a real node; and the comparison at rest."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from playwright.async_api import Browser, BrowserContext, Error, Page
from typing_extensions import override

from isolation.broker.model import EgressAddress, NodeAddress
from isolation.policy.controls import Clipboard, Controls
from isolation.testing.viewer_site import ViewerSite
from tests.browser.fidelity.bursts import SIZES, Hand
from tests.browser.fidelity.line import CLEAR, WEATHERS, Line
from tests.browser.fidelity.node import MAX_LINE
from tests.browser.fidelity.pages import FRAMED, IMAGES, PAGES
from tests.support.renderer import TOKEN, Gateway, NodeProcess
from tests.support.renderer import Page as Answer

# ---------------------------------------------------------------- limits
QUIET_SECONDS = 0.25  # nothing has crossed the line for so long: three slow frames
LONG_QUIET_SECONDS = 1.5  # the same where the first comparison counts; on a busy machine it is:
SLOWNESS = 12  # times what Chromium's last screenshot took
MOST_QUIET_SECONDS = 3.0  # the router says a word after four seconds of silence
REST_SECONDS = 45.0  # after that a page counts as restless: no page here moves for longer than two seconds
READINGS = 6  # comparisons until a picture that differs counts as wrong
CATCH_UP_SECONDS = 0.8  # within which the viewer must show what Chromium showed, where something still moved at the first look
STRICT = 0.15  # of the bursts: the line rests for long, and then the first comparison counts

# Before the viewer's own scripts: acknowledgements (type 14) may be held for a while, in their order; and whether a line is open is known.
_WATCH = """(() => {
  const state = globalThis.fidelity = { hold: 0, open: 0, frames: 0, drawn: 0 };
  let last = Promise.resolve();
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    const first = new Uint8Array(data.buffer ?? data, data.byteOffset ?? 0, 1)[0];
    if (first !== 14) { send.call(this, data); return; }
    last = last.then(() => state.hold && new Promise((done) => setTimeout(done, Math.random() * state.hold)))
      .then(() => { if (this.readyState === 1) { state.drawn += 1; send.call(this, data); } });
  };
  globalThis.WebSocket = new Proxy(WebSocket, { construct(target, given) {
    const socket = new target(...given);
    state.frames = state.drawn = 0;
    socket.addEventListener('open', () => {
      state.open += 1;
      socket.addEventListener('close', () => { state.open -= 1; }); // one that never opened is closed, too
    });
    socket.addEventListener('message', ({ data }) => { if (new Uint8Array(data, 0, 1)[0] === 65) state.frames += 1; });
    return socket;
  } });
})();"""
# How many frames were drawn, 0 where more is to come.
_SETTLED = """() => fidelity.open > 0 && fidelity.drawn === fidelity.frames && !document.body.classList.contains('covered')
  && parseFloat(document.getElementById('surface').style.width) > 0 ? fidelity.frames : 0"""
_HASH = """async () => {
  const canvas = document.getElementById('surface'), stage = document.getElementById('stage');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', data));
  return [canvas.width, canvas.height, digest.toHex(), stage.clientWidth, stage.clientHeight];
}"""
_NAME = "history.state?.isolation?.page ?? ''"
# What the viewer lays over the picture.
_UNCOVER = """() => { for (const one of document.querySelectorAll('#indicator, #toasts, #progress, .soft, .popup, .shade, .offer, .hint')) one.style.display = 'none' }"""
_PIXELS = "document.getElementById('surface').toDataURL()"


class OpenGateway(Gateway):
    """Serves the pages on every origin it is told of, to whoever comes: who checks credentials is tested elsewhere."""

    @override
    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        name, _, password = base64.b64decode(headers.get("proxy-authorization", "Basic Og==")[6:]).decode().partition(":")
        if name:
            self.credentials[name] = password
        return super()._answer(method, target, headers, body)

    def serve(self, origin: str) -> None:
        for name, body in PAGES.items():
            self.html(f"/{name}", body, origin)
        for path, data in IMAGES.items():
            self.pages[origin + path] = (200, {"Content-Type": "image/png", "Cache-Control": "max-age=600"}, data)
        self.html("/framed", FRAMED, origin)
        self.html("/framed", FRAMED, "http://elsewhere.test")


class NodeEye:
    """Asks the node of the test for Chromium's own pictures."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, do: str, page: str) -> dict[str, Any]:
        """Ask. Raises LookupError where the node could not answer: the page is on its way somewhere."""
        async with self._lock:
            if self._reader is None or self._writer is None:
                self._reader, self._writer = await asyncio.open_unix_connection(str(self._path), limit=64 * MAX_LINE)
            self._writer.write(json.dumps({"do": do, "page": page}).encode() + b"\n")
            line = await self._reader.readline()
        said: dict[str, Any] = json.loads(line)
        if "problem" in said:
            raise LookupError(said["problem"])
        return said

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True)
class Chunk:
    """Some bursts on one page. The same chunk does the same things again."""

    page: str
    scale: int  # hundredths
    seed: int
    bursts: int

    def __str__(self) -> str:
        return f"{self.page}:{self.scale}:{self.seed}:{self.bursts}"

    @classmethod
    def parse(cls, text: str) -> Chunk:
        page, scale, seed, bursts = text.split(":")
        return cls(page, int(scale), int(seed), int(bursts))


@dataclass
class Tally:
    """What came of it all."""

    bursts: int = 0
    strict: int = 0
    windows: int = 0  # the viewer's own window was looked at, too
    exact_at_once: int = 0
    exact_later: dict[str, int] = field(default_factory=dict)  # by page: the first comparison came while something still moved
    cuts: int = 0
    resizes: int = 0
    strayed: int = 0  # the page was found at another address than the pages here lead to
    wrong: list[str] = field(default_factory=list)

    def words(self) -> str:
        later = (
            ", ".join(f"{page} {count}" for page, count in sorted(self.exact_later.items(), key=lambda item: -item[1])) or "none"
        )
        return (
            f"fidelity: {self.bursts} bursts, {self.bursts - len(self.wrong)} exact ({self.exact_at_once} at the first look; at a later one: {later}), "
            f"{self.strict} held to the first look, {self.windows} windows looked at, {self.cuts} lines cut, {self.resizes} resizes, {self.strayed} strayed, {len(self.wrong)} wrong"
        )


class Session:
    """A session of one scale. ``run`` works through chunks, one after another, each in a tab of its own."""

    def __init__(self, browser: Browser, node: NodeProcess, gateway: OpenGateway, scale: int, tally: Tally, folder: Path) -> None:
        self._browser, self._node, self._gateway = browser, node, gateway
        self._scale = scale
        self._tally = tally
        self._folder = folder
        self._patience = LONG_QUIET_SECONDS

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Session]:
        site = ViewerSite(
            controls=Controls(clipboard=Clipboard.BOTH),
            address=NodeAddress("real", f"ws://127.0.0.1:{self._node.port}", TOKEN),
            egress=EgressAddress("127.0.0.1", self._gateway.port, ""),
        )
        async with site, Line(int(site.origin.rpartition(":")[2]), random.Random(self._scale)) as line:
            self._line = line
            # People come to the line, not to what is behind it.
            self.origin = f"http://{site.host}:{line.port}"
            assert site.grant is not None
            site.grant = replace(site.grant, origin=self.origin)
            self._gateway.serve(self.origin)
            self._eye = NodeEye(self._node.runtime_dir / "eye")
            try:
                yield self
            finally:
                self._eye.close()
                self._tally.cuts += line.cuts
                await site.leases.end(site.grant.session_digest, "test")

    async def run(self, chunk: Chunk) -> None:
        """Do a chunk's bursts and compare after each."""
        dice = random.Random(f"{chunk.page} {chunk.scale} {chunk.seed}")
        self._line._dice = random.Random(chunk.seed)
        self._line.weather = CLEAR
        context = await self._browser.new_context(no_viewport=True)
        context.set_default_timeout(30_000)
        try:
            await self._bursts(context, chunk, dice)
        except (AssertionError, Error, LookupError, TimeoutError) as problem:
            # The others go on; the bursts that are missing are missed at the end.
            self._tally.wrong.append(f"FIDELITY_CHUNKS={chunk} stopped: {problem}")
            sys.stdout.write(f"\n{self._tally.wrong[-1]}\n")
        finally:
            await context.close()

    async def _bursts(self, context: BrowserContext, chunk: Chunk, dice: random.Random) -> None:
        page = await context.new_page()
        await page.add_init_script(_WATCH)
        hand = Hand(page, await context.new_cdp_session(page), dice)
        await hand.open_at(SIZES[0])
        await page.goto(f"{self.origin}/{chunk.page}")
        try:
            for number in range(chunk.bursts):
                weather = dice.choice(WEATHERS)
                strict = dice.random() < STRICT
                self._line.weather = weather
                await evaluated(page, f"fidelity.hold = {weather.hold_acks}")
                did = await hand.burst()
                if not page.url.startswith(self.origin):
                    await self._open_again(page, chunk, number, did, page.url)
                if strict:
                    # What a scroll brought under the mouse knows of it only when it moves, or when a screenshot makes the page look.
                    await self._rest(page, QUIET_SECONDS)
                    await hand.nudge()
                await self._compare(page, chunk, number, [weather.name, *did], strict=strict)
                if number == chunk.bursts - 1:
                    await self._look(hand, chunk, number, did)
                self._tally.bursts += 1
                self._tally.strict += strict
                self._tally.resizes += sum(act.startswith("resize") for act in did)
                await self._fetch_back(page, chunk, number, did)
        finally:
            with contextlib.suppress(Error, LookupError):  # on its way somewhere: then its node forgets it when its time has come
                await self._eye.ask("close", await evaluated(page, _NAME))

    async def _fetch_back(self, page: Page, chunk: Chunk, number: int, did: list[str]) -> None:
        """Begin anew where the page is no longer the one to be looked at: an empty page is no test."""
        with contextlib.suppress(LookupError):
            url = str((await self._eye.ask("where", await evaluated(page, _NAME)))["url"])
            if not url.startswith(f"{self.origin}/{chunk.page}"):
                await self._open_again(page, chunk, number, did, url)

    async def _open_again(self, page: Page, chunk: Chunk, number: int, did: list[str], url: str) -> None:
        self._tally.strayed += 1
        sys.stdout.write(f"\nstrayed to {url}: FIDELITY_CHUNKS={chunk} burst {number} did: {', '.join(did)}\n")
        self._line.weather = CLEAR
        await page.goto(f"{self.origin}/{chunk.page}")

    async def _compare(self, page: Page, chunk: Chunk, number: int, did: list[str], *, strict: bool) -> None:
        differs, picture = "", None
        for reading in range(READINGS):
            pending = await self._rest(page, self._patience if strict and reading == 0 else QUIET_SECONDS)
            width, height, digest, stage_width, stage_height = await evaluated(page, _HASH)
            try:
                asked = time.monotonic()
                picture = decoded((await self._eye.ask("picture", await evaluated(page, _NAME)))["png"])
                self._patience = max(LONG_QUIET_SECONDS, min(MOST_QUIET_SECONDS, SLOWNESS * (time.monotonic() - asked)))
            except LookupError:
                continue  # it went somewhere this very moment
            real = (picture.shape[1], picture.shape[0])
            wanted = hashlib.sha256(picture.tobytes()).hexdigest()
            expected = tuple(side * self._scale / 100 for side in (stage_width, stage_height))
            if any(abs(a - b) > 1 for a, b in zip(real, expected, strict=True)):
                differs = f"the picture is {real}, the window {expected}"
                continue
            if digest == wanted:
                if reading == 0:
                    self._tally.exact_at_once += 1
                else:
                    self._late(chunk)
                return
            differs = f"the viewer shows {(width, height)}, Chromium {real}"
            if strict and reading == 0 and pending == "":
                await self._note(page, chunk, number, did, f"after a long rest {differs}", picture)
                return
            end = time.monotonic() + CATCH_UP_SECONDS
            while time.monotonic() < end:
                if (await evaluated(page, _HASH))[2] == wanted:
                    self._late(chunk)
                    return
                await asyncio.sleep(0.05)
        await self._note(page, chunk, number, did, differs, picture)

    async def _look(self, hand: Hand, chunk: Chunk, number: int, did: list[str]) -> None:
        """Compare the viewer's window itself: what a person sees is not blurred, not shifted and not scaled."""
        page = hand.page
        await evaluated(page, _UNCOVER)
        shown, picture = None, None
        for _ in range(READINGS):
            await self._rest(page, QUIET_SECONDS)
            try:
                picture = decoded((await self._eye.ask("picture", await evaluated(page, _NAME)))["png"])
            except LookupError:
                continue
            shown = decoded((await hand.cdp.send("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": True}))["data"])
            # Half a pixel at the edge is cut in its own way by either.
            width, height = (side * self._scale // 100 for side in hand.size)
            if np.array_equal(shown[:height, :width], picture[:height, :width]):
                self._tally.windows += 1
                return
        await self._note(page, chunk, number, did, "the viewer's window shows another picture than Chromium", picture, shown)

    def _late(self, chunk: Chunk) -> None:
        self._tally.exact_later[chunk.page] = self._tally.exact_later.get(chunk.page, 0) + 1

    async def _rest(self, page: Page, seconds: float) -> str:
        """Wait until nothing moves: not on the line, not in the viewer, not in the page. Returns what may still: "" or "caret"."""
        end = time.monotonic() + REST_SECONDS
        why = ""
        while time.monotonic() < end:
            await asyncio.sleep(max(0.02, min(QUIET_SECONDS, seconds - self._line.quiet)))
            try:
                quiet = self._line.quiet
                if quiet < min(seconds, QUIET_SECONDS):
                    why = "the line is busy"
                    continue
                frames = await evaluated(page, _SETTLED)
                if frames == 0:
                    why = "the viewer is not connected"
                    await asyncio.sleep(0.05)
                    continue
                why = str((await self._eye.ask("pending", await evaluated(page, _NAME)))["pending"])
                if quiet < seconds and why != "caret":  # one that blinks is never at rest for longer
                    why = "the line is busy"
                    continue
                # The router's heartbeat may have moved the line meanwhile; a frame must not.
                if why in {"", "caret"} and await evaluated(page, _SETTLED) == frames:
                    return why
                await asyncio.sleep(0.05)
            except (Error, LookupError) as problem:
                why = str(problem)
                await asyncio.sleep(0.05)
        said = await evaluated(page, "JSON.stringify(fidelity) + document.getElementById('cover').textContent")
        raise AssertionError(f"{page.url} never rested: {why}; {said}")

    async def _note(
        self, page: Page, chunk: Chunk, number: int, did: list[str], why: str, picture: Any, shown: Any = None
    ) -> None:
        if picture is None:
            self._tally.wrong.append(f"FIDELITY_CHUNKS={chunk} burst {number}: Chromium gave no picture; did: {', '.join(did)}")
            sys.stdout.write(f"\n{self._tally.wrong[-1]}\n")
            return
        if shown is None:
            shown = decoded((await evaluated(page, _PIXELS)).partition(",")[2])
        name = f"{chunk.page}-{chunk.scale}-{chunk.seed}-{number}"
        self._folder.mkdir(parents=True, exist_ok=True)
        for kind, pixels in (("viewer", shown), ("chromium", picture)):
            (self._folder / f"{name}-{kind}.png").write_bytes(bytes(imagecodecs.png_encode(pixels)))
        where = ""
        if shown.shape == picture.shape:
            rows, columns = np.nonzero((shown != picture).any(axis=2))
            where = (
                f"; {len(rows)} pixels differ, in {columns.min()},{rows.min()}–{columns.max()},{rows.max()}"
                if len(rows)
                else "; equal by now"
            )
        self._tally.wrong.append(
            f"FIDELITY_CHUNKS={chunk} burst {number}: {why}{where}; did: {', '.join(did)}; pictures: {self._folder / name}-*.png"
        )
        sys.stdout.write(f"\n{self._tally.wrong[-1]}\n")


async def evaluated(page: Page, script: str) -> Any:
    """Evaluate in the viewer's page; once more where it was being loaded."""
    for _ in range(READINGS):
        try:
            return await page.evaluate(script)
        except Error as problem:
            if "navigation" not in str(problem):
                raise
            await page.wait_for_load_state()
    return await page.evaluate(script)


def decoded(png: str) -> Any:
    """Return a PNG's pixels with four layers, as a canvas gives them."""
    pixels = imagecodecs.png_decode(base64.b64decode(png))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.shape[2] == 3:
        pixels = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    return np.ascontiguousarray(pixels)


def output_folder() -> Path:
    """Where pictures of what differs go."""
    return Path(os.environ.get("FIDELITY_FOLDER", "bench/results/fidelity"))
