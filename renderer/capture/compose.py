"""Frames for one viewer: what it has been shown, what it should see, and the step between the two.

Lossless, except where a region keeps changing: there pictures go lossy while they move (as film where the viewer can play it) and are sent
again, lossless, when they rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass

import imagecodecs
import numpy as np

from renderer.capture.damage import MAX_PAINTED, TILE, Plan, painted, plan, uncovered
from renderer.capture.film import Film
from renderer.capture.glyphs import Found, GlyphBook, Room
from renderer.capture.kept import Kept
from renderer.capture.surface import Cells, Rect, Surface, Words, components, covered, unpack
from renderer.wire.frames import MAX_COVER
from renderer.wire.glyphs import MAX_GLYPHS, MAX_STAMPS, Glyphs, pack_glyphs
from renderer.wire.messages import Copy, Encoding, Frame, Keep, Paint

# ---------------------------------------------------------------- limits
HEAT_SECONDS = 1.0  # a tile's count of repaints halves about this often
HOT = 7.0  # repaints within that time: faster than a blinking caret, a typed text or a clock
HOT_LARGE = 3.5  # for what changes together over a large area: each of its lossless pictures costs a tenth of a second
BEHIND_SECONDS = 0.2  # what counts as past between two steps with passed-over pictures between them
HOT_TILES = 24  # tiles (about 150 × 150 pixels): smaller pictures are cheap lossless
LARGE_TILES = 100  # tiles (about 320 × 320 pixels)
FILM_SHARE = 0.5  # of a rectangle's tiles that must move for it to go as film: what stands still among them is blurred with them
FILM_STAY = 0.4  # of a running film that must still move for it to stay in its place
FILM_SECONDS = 0.5  # between two places of the film: each costs a key frame
REST_SECONDS = 0.15  # a picture that has rested this long is sent again, lossless
LOSSY_QUALITY = 60.0  # WebP quality of moving pictures
LOSSLESS_METHOD = 1  # of 0 to 6: the same bytes as the default of 4 within half a percent, for a fifth of its time on a strip of text (7 ms, 32)
BANDS = 2  # pieces of a large picture, encoded side by side: one per encoder of the node; each costs a little more than its share of the bytes
BAND_AREA = 256 * 1024  # pixels from which bands are worth it


@dataclass(slots=True)
class _Job:
    """Pixels to be sent. ``words``: the rectangle's own, where they are not the surface's."""

    rect: Rect
    lossy: bool
    words: Words | None = None

    def paint(self, surface: Surface) -> Paint:
        """Encode: one colour as a fill, else WebP."""
        rect, words = self.rect, self.words
        if words is None:
            words = surface.words[rect.y : rect.bottom, rect.x : rect.right]
        if (words == words[0, 0]).all():
            return Paint(rect.x, rect.y, rect.width, rect.height, Encoding.FILL, unpack(words[:1, :1]).tobytes())
        if self.lossy:
            data = bytes(imagecodecs.webp_encode(unpack(words), level=LOSSY_QUALITY, lossless=False, method=0))
            return Paint(rect.x, rect.y, rect.width, rect.height, Encoding.WEBP_LOSSY, data)
        return Paint(rect.x, rect.y, rect.width, rect.height, Encoding.WEBP_LOSSLESS, lossless(words))

    def bands(self) -> list[_Job]:
        """Return the pieces in which it is encoded."""
        rect = self.rect
        if rect.area < BAND_AREA:
            return [self]
        rows = -(-rect.height // BANDS)
        return [
            _Job(
                Rect(rect.x, rect.y + y, rect.width, min(rows, rect.height - y)),
                self.lossy,
                None if self.words is None else self.words[y : y + rows],
            )
            for y in range(0, rect.height, rows)
        ]


@dataclass(slots=True)
class _Stamps:
    """Glyphs to be sent, over what was painted there."""

    found: Found

    def paint(self, surface: Surface) -> Paint:
        """Encode the sheet and pack the stamps."""
        del surface
        rect, found = self.found.rect, self.found
        sheet = b"" if found.sheet is None else lossless(found.sheet)
        data = pack_glyphs(Glyphs(found.forget, found.sizes, sheet, found.stamps))
        return Paint(rect.x, rect.y, rect.width, rect.height, Encoding.GLYPHS, data)


def lossless(words: Words) -> bytes:
    """Encode pixels as WebP."""
    return bytes(imagecodecs.webp_encode(unpack(words), lossless=True, method=LOSSLESS_METHOD))


class Composer:
    """Makes the frames of one viewer. Not for several threads at once.

    ``pool`` encodes large pictures in parallel; ``sent``: the last frame's number; ``video``: the viewer can play film.
    """

    def __init__(self, pool: Executor | None = None, sent: int = 0, *, video: bool = False) -> None:
        self._pool = pool
        self._video = video
        self._shown: Surface | None = None
        self._seq = sent
        self._heat = np.zeros((0, 0))
        self._heated_at = 0.0
        self._lossy: Cells = np.zeros((0, 0), np.bool_)
        self._painted_at = np.zeros((0, 0))
        self._kept = Kept(TILE)
        self._glyphs = GlyphBook()
        self._film: Film | None = None
        self._filmed_at = 0.0  # when it was put in its place

    @property
    def rests_at(self) -> float | None:
        """When lossy pixels that rest until then become lossless: :meth:`step` wants to be called again then. None: there are none."""
        return float(self._painted_at[self._lossy].min()) + REST_SECONDS if self._lossy.any() else None

    @property
    def moving(self) -> bool:
        """Whether a region is in motion mode now."""
        return bool(self._hot(np.ones_like(self._lossy)).any())

    def forget(self, *, video: bool) -> None:
        """Forget what was shown: the next frame is a whole one. ``video``: whether the viewer can (still) play film."""
        self._shown = None
        self._video = video

    def step(self, surface: Surface, now: float, *, behind: bool = False) -> Frame | None:
        """Return the frame that brings the viewer to ``surface`` (None: nothing to send). ``now``: monotonic seconds.

        ``behind``: pictures between the last step and this one were passed over.
        """
        shown = self._shown
        if shown is None or shown.size != surface.size or shown.scale != surface.scale:
            return self._whole(surface, now)
        found = plan(shown, surface)
        damage = found.damage if found is not None else np.zeros_like(self._lossy)
        copies = found.copies if found is not None else ()
        self._cool(now, behind=behind)
        # A copied region is as blurred as where it came from.
        self._carry_blur(copies, now)
        # What scrolling brings into view is new, however often the place it appears at is painted: it stays still where it now is.
        restless = damage & ~uncovered(copies, damage.shape)
        self._heat[restless] += 1.0
        self._painted_at[damage] = now
        hot = self._hot(restless)
        paints: list[Paint] = []
        filmed = self._filmed(hot, surface, now)
        if filmed is not None and self._film is not None:
            rect = self._film.rect
            paints.append(Paint(rect.x, rect.y, rect.width, rect.height, Encoding.VIDEO, self._film.encode(surface)))
            self._painted_at[filmed] = now
            damage = damage & ~filmed
            hot = hot & ~filmed
        rested = self._lossy & ~damage & (now - self._painted_at >= REST_SECONDS)
        cold = damage & ~hot
        keeps, recalls, recalled = self._remember(shown, surface, copies, cold, filmed, hot)
        self._heat[recalled & restless] -= 1.0  # what comes again and again is cheap as it is
        jobs = self._jobs(found, surface, cold & ~recalled, hot, rested)
        self._lossy &= ~rested
        # A cold tile is painted by its differing pixels alone; if it was blurred it is now painted whole, see _jobs.
        self._lossy &= ~cold
        self._lossy |= hot
        if filmed is not None:
            self._lossy |= filmed
        self._shown = surface
        paints += recalls
        if not jobs and not copies and not paints:
            return None
        if (
            sum(p.width * p.height for p in paints) + sum(job.rect.area for job in jobs)
            > MAX_COVER * surface.width * surface.height
        ):
            return self._whole(surface, now)
        return self._frame(surface, copies, jobs, keeps, paints)

    def _whole(self, surface: Surface, now: float) -> Frame:
        rows, columns = -(-surface.height // TILE), -(-surface.width // TILE)
        self._heat = np.zeros((rows, columns))
        self._lossy = np.zeros((rows, columns), np.bool_)
        self._painted_at = np.zeros((rows, columns))
        self._heated_at = now
        self._shown = surface
        self._film = None
        self._kept.reset()
        self._glyphs.reset()
        return self._frame(surface, (), [_Job(Rect(0, 0, surface.width, surface.height), lossy=False)], whole=True)

    def _cool(self, now: float, *, behind: bool) -> None:
        # Who cannot keep up with a film sees it change seldom; it moves all the same.
        past = min(now - self._heated_at, BEHIND_SECONDS) if behind else now - self._heated_at
        self._heat *= math.exp(-max(0.0, past) / HEAT_SECONDS)
        self._heated_at = now

    def _hot(self, among: Cells) -> Cells:
        """Return the tiles in motion mode: those that changed often, or fairly often as part of something large; too few are none."""
        hot: Cells = (self._heat > HOT_LARGE) & among
        if int(np.count_nonzero(hot)) < LARGE_TILES:
            hot = (self._heat > HOT) & among
        if int(np.count_nonzero(hot)) < HOT_TILES:
            return np.zeros_like(hot)
        return hot

    def _filmed(self, hot: Cells, surface: Surface, now: float) -> Cells | None:
        """Return the tiles that go as film in this frame, after (re)placing the film (None: none do). ``hot``: in motion mode and changed."""
        if not self._video:
            return None
        moving = self._hot(np.ones_like(hot))
        if not moving.any():
            self._film = None
            return None
        box = max(components(moving), key=lambda found: found.area)
        running = self._running()
        stays = running is not None and running.union(box) == running and box.area >= running.area * FILM_STAY
        if not stays and (running is None or now - self._filmed_at >= FILM_SECONDS):
            share = int(np.count_nonzero(moving[box.y : box.bottom, box.x : box.right]))
            if share < HOT_TILES or share < box.area * FILM_SHARE:
                self._film = None
                return None
            self._film, self._filmed_at = Film(box.scaled(TILE, TILE, surface.width, surface.height)), now
            running = box
        if running is None:
            return None
        block: Cells = np.zeros_like(hot)
        block[running.y : running.bottom, running.x : running.right] = True
        return block if (hot & block).any() else None

    def _running(self) -> Rect | None:
        """Return where the film is, in tiles."""
        if self._film is None:
            return None
        place = self._film.rect
        return Rect(place.x // TILE, place.y // TILE, -(-place.width // TILE), -(-place.height // TILE))

    def _remember(
        self, shown: Surface, surface: Surface, copies: tuple[Copy, ...], cold: Cells, filmed: Cells | None, hot: Cells
    ) -> tuple[list[Keep], list[Paint], Cells]:
        moving = hot if filmed is None else hot | filmed
        if moving.any():
            self._kept.unknown(moving)
        if copies:
            # What scrolls is where a reference would cost as much as the strip that comes into view; and tiles no longer fall on tiles.
            self._kept.moved()
            return [], [], np.zeros_like(cold)
        return self._kept.change(shown, surface, cold, ~self._lossy)

    def _carry_blur(self, copies: Iterable[Copy], now: float) -> None:
        if not self._lossy.any():
            return
        before = self._lossy.copy()
        for c in copies:
            source = before[c.sy // TILE : -(-(c.sy + c.height) // TILE), c.sx // TILE : -(-(c.sx + c.width) // TILE)]
            if source.any():
                target = np.s_[c.y // TILE : -(-(c.y + c.height) // TILE), c.x // TILE : -(-(c.x + c.width) // TILE)]
                self._lossy[target] = True
                self._painted_at[target] = now

    def _jobs(self, found: Plan | None, surface: Surface, cold: Cells, hot: Cells, rested: Cells) -> list[_Job]:
        jobs: list[_Job] = []
        whole_tiles = rested | (cold & self._lossy)
        if found is not None:
            sharp = cold & ~self._lossy
            jobs += [_Job(rect, lossy=False) for rect in painted(found.different, sharp)]
        jobs += [_Job(rect, lossy=False) for rect in self._tiles(whole_tiles, surface)]
        jobs += [_Job(rect, lossy=True) for rect in self._tiles(hot, surface)]
        return jobs

    @staticmethod
    def _tiles(tiles: Cells, surface: Surface) -> list[Rect]:
        return [rect.scaled(TILE, TILE, surface.width, surface.height) for rect in covered(tiles, MAX_PAINTED)]

    def _frame(
        self,
        surface: Surface,
        copies: tuple[Copy, ...],
        jobs: list[_Job],
        keeps: Iterable[Keep] = (),
        first: Iterable[Paint] = (),
        *,
        whole: bool = False,
    ) -> Frame:
        self._seq += 1
        room = Room(MAX_STAMPS, MAX_GLYPHS, MAX_COVER * surface.width * surface.height)
        pieces = [piece for job in jobs for piece in self._pieces(job, surface, room)]
        run: Callable[[_Job | _Stamps], Paint] = lambda piece: piece.paint(surface)  # noqa: E731
        parallel = self._pool is not None and len(pieces) > 1 and sum(job.rect.area for job in jobs) >= BAND_AREA
        paints = self._pool.map(run, pieces) if parallel and self._pool is not None else map(run, pieces)
        return Frame(
            self._seq,
            surface.width,
            surface.height,
            whole,
            copies,
            (*first, *paints),
            tuple(keeps),
            surface.scale,
        )

    def _pieces(self, job: _Job, surface: Surface, room: Room) -> list[_Job | _Stamps]:
        """Return what a job is encoded as, in the order in which it is laid over."""
        found = None if job.lossy else self._glyphs.find(surface.words, job.rect, room)
        if found is None:
            return [*job.bands()]
        return [*_Job(job.rect, lossy=False, words=found.rest).bands(), _Stamps(found)]
