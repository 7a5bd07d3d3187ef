"""A person at their own browser: signs in, looks at pixels, uses mouse and keyboard. Playwright's synchronous API."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Error, Locator, Page

Picture = NDArray[np.uint8]
T = TypeVar("T")

SIZE = {"width": 1280, "height": 800}
PATIENCE = 30.0
STILL_LOOKS = 5  # a tenth of a second apart, at which an element must be in the same place
LEVELS = 2
"""Of 255: how far a pixel may be from the expected one."""


@dataclass(frozen=True)
class Box:
    """A rectangle in CSS pixels, which here are device pixels."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, locator: Locator) -> Box:
        """Return the whole pixels that an element covers, once it stays where it is: what an app draws late moves the rest of its page."""
        page, box, still = locator.page, locator.bounding_box(), 0
        while still < STILL_LOOKS:
            page.wait_for_timeout(100)
            last, box = box, locator.bounding_box()
            still = still + 1 if box == last else 0
        assert box is not None, f"{locator} is not visible"
        left, top = int(np.ceil(box["x"])), int(np.ceil(box["y"]))
        return cls(left, top, int(box["x"] + box["width"]) - left, int(box["y"] + box["height"]) - top)

    @property
    def middle(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def cut(self, picture: Picture) -> Picture:
        return picture[self.y : self.y + self.height, self.x : self.x + self.width]


def until(page: Page, what: str, look: Callable[[], T | None], *, seconds: float = PATIENCE, step: float = 40) -> T:
    """Return the first truthy answer of ``look``; the browser's events are served in between."""
    end = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except Error as error:
            # The page moved to another document just now: the next look sees that one.
            if not re.search(r"context was destroyed|navigat", str(error)):
                raise
            found = None
        if found:
            return found
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s (at {page.url}, titled {page.title()!r})"
        page.wait_for_timeout(step)


def picture(page: Page) -> Picture:
    """Return what is on the screen, as RGB."""
    return np.ascontiguousarray(imagecodecs.png_decode(page.screenshot(animations="allow", caret="initial"))[:, :, :3])


def run_cell(page: Page, cell: Box, done: Callable[[], bool]) -> None:
    """Click into a notebook's cell and press Shift+Enter; do it again when nothing comes of it, as everybody does.

    JupyterLab drops what is pressed while it still builds a cell's editor, also without a router.
    """

    def press() -> bool:
        page.mouse.click(*cell.middle)
        page.keyboard.press("Shift+Enter")
        try:
            return until(page, "the output", done, seconds=6)
        except AssertionError:
            return False

    try:
        until(page, "the cell's output", press, seconds=60)
    except AssertionError as error:
        raise AssertionError(f"{error}; the page says: {page.locator('body').inner_text()[:2000]!r}") from None


class Person:
    """Somebody at one tab."""

    def __init__(self, page: Page, name: str, shots: Path) -> None:
        self.page = page
        self.name = name
        self._shots = shots

    # ------------------------------------------------------------ signing in

    def open(self, url: str) -> None:
        """Open an address; sign in when asked, by the button with the own name."""
        self.page.goto(url, wait_until="domcontentloaded")
        button = self.page.get_by_role("button", name=self.name)
        if button.count():
            button.click()
            self.page.wait_for_url(lambda at: "/authorize" not in at and "/.isolation/" not in at, wait_until="domcontentloaded")

    # ------------------------------------------------------------ seeing

    @property
    def isolated(self) -> bool:
        """Whether this tab shows the viewer."""
        return self.page.locator("canvas#surface").count() == 1

    def look(self) -> Picture:
        return picture(self.page)

    def shot(self, what: str) -> None:
        """Keep a screenshot for people to look at."""
        self.page.screenshot(path=self._shots.with_name(f"{self._shots.name}-{what}.png"), animations="allow", caret="initial")

    def tab(self, url: str) -> Person:
        """Open an address in another tab of the same browser, as from a bookmark."""
        other = Person(self.page.context.new_page(), self.name, self._shots)
        other.open(url)
        return other

    def shows(self, expected: Picture, box: Box | None = None) -> bool:
        """Whether the screen shows exactly these pixels in a rectangle (without one: everywhere but under the viewer's own mark)."""
        seen = self.look()
        return seen.shape == expected.shape and not unequal(seen, expected, box).any()

    def sees(self, what: str, expected: Picture, box: Box | None = None, *, seconds: float = PATIENCE) -> None:
        """Wait until the screen shows exactly these pixels."""
        try:
            until(self.page, f"the picture of {what}", lambda: self.shows(expected, box), seconds=seconds)
        except AssertionError as error:
            self.shot("unexpected")
            path = self._shots.with_name(f"{self._shots.name}-expected.png")
            path.write_bytes(imagecodecs.png_encode(expected))
            rows, columns = np.nonzero(unequal(self.look(), expected, box))
            where = f"x {columns.min()}-{columns.max()}, y {rows.min()}-{rows.max()}" if len(rows) else "none any more"
            raise AssertionError(f"{error}: {len(rows)} pixels differ ({where}); see {path.parent}") from error

    def covered(self) -> str:
        """Return the heading that lies over the page, or ""."""
        heading: str = self.page.evaluate("document.querySelector('#cover:not([hidden]) h1')?.textContent ?? ''")
        return heading

    def ready(self) -> None:
        """Wait until the viewer has drawn a page and nothing covers it."""

        def drawn() -> bool:
            return self.isolated and self.page.evaluate(
                "document.getElementById('cover').hidden && document.getElementById('surface').width > 0 && document.activeElement.id === 'keys'"
            )

        until(self.page, "the viewer", drawn)

    # ------------------------------------------------------------ doing

    def click(self, box: Box, **options: Any) -> None:
        self.page.mouse.click(*box.middle, **options)

    def press(self, keys: str) -> None:
        self.page.keyboard.press(keys)

    def type(self, text: str) -> None:
        self.page.keyboard.type(text, delay=8)


def unequal(seen: Picture, expected: Picture, box: Box | None = None) -> NDArray[np.bool_]:
    """Return which pixels of a rectangle differ; without one, of all but those under the viewer's own mark.

    Chromium itself paints the smoothed corner of a button with a level more or less, depending on what it painted before.
    """
    one, other = (seen, expected) if box is None else (box.cut(seen), box.cut(expected))
    result: NDArray[np.bool_] = (np.abs(one.astype(np.int16) - other).max(axis=2)) > LEVELS
    if box is None:
        height, width = result.shape
        result[height - 40 :, width // 2 - 80 : width // 2 + 80] = False
    return result
