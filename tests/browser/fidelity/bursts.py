"""What a person does in one burst: a few actions, by the dice of a seed, through the viewer's own page."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from playwright.async_api import CDPSession, Error, Page

# ---------------------------------------------------------------- limits
SIZES = (
    (560, 420),
    (600, 440),
    (701, 501),
    (433, 267),
    (511, 389),
    (760, 340),
    (320, 520),
    (607, 331),
)  # CSS pixels, odd ones among them
KEYS = (
    "Tab",
    "Enter",
    "Escape",
    "ArrowDown",
    "ArrowUp",
    "PageDown",
    "PageUp",
    "Home",
    "End",
    "Backspace",
    "Space",
    "Delete",
    "p",
)
WORDS = ("hello", "Grüße", "3.14", "a b c", "(tables)", "漢字", "e")


@dataclass
class Hand:
    """One person's mouse, keyboard and window. ``said``: what was done, in words, for whoever looks at a picture that differs."""

    page: Page
    cdp: CDPSession
    dice: random.Random
    size: tuple[int, int] = SIZES[0]
    said: list[str] = field(default_factory=list)

    def _spot(self) -> tuple[int, int]:
        width, height = self.size
        return self.dice.randrange(4, width - 4), self.dice.randrange(4, height - 4)

    async def burst(self) -> list[str]:
        """Do a few things, quickly. Returns them."""
        self.said = []
        acts: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            (30, self._wheel), (14, self._move), (16, self._click), (8, self._drag), (12, self._type), (14, self._press), (5, self._resize),
            (2, self._storm), (2, self._reload), (1, self._again), (2, self._back),
        )  # fmt: skip
        for _ in range(self.dice.randint(2, 7)):
            [act] = self.dice.choices([act for _, act in acts], [weight for weight, _ in acts])
            await act()
            if self.dice.random() < 0.4:
                await asyncio.sleep(self.dice.uniform(0, 0.12))
        return self.said

    async def _wheel(self) -> None:
        x, y = self._spot()
        await self.page.mouse.move(x, y)
        down, across = self.dice.choice((120, 120, 120, -120, -240, 37, 3, -1, 600)), self.dice.choice((0, 0, 0, 0, 60, -120))
        times = self.dice.randint(1, 6)
        self.said.append(f"wheel {down},{across} × {times} at {x},{y}")
        for _ in range(times):
            await self.page.mouse.wheel(across, down)

    async def _move(self) -> None:
        x, y = self._spot()
        self.said.append(f"move to {x},{y}")
        await self.page.mouse.move(x, y, steps=self.dice.randint(1, 5))

    async def _click(self) -> None:
        x, y = self._spot()
        clicks = self.dice.choice((1, 1, 1, 2, 3))
        self.said.append(f"click {x},{y} × {clicks}")
        await self.page.mouse.click(x, y, click_count=clicks)

    async def _drag(self) -> None:
        (x, y), (to_x, to_y) = self._spot(), self._spot()
        self.said.append(f"drag {x},{y} → {to_x},{to_y}")
        await self.page.mouse.move(x, y)
        await self.page.mouse.down()
        await self.page.mouse.move(to_x, to_y, steps=4)
        await self.page.mouse.up()

    async def _type(self) -> None:
        text = self.dice.choice(WORDS)
        self.said.append(f"type {text}")
        await self.page.keyboard.type(text)

    async def _press(self) -> None:
        key = self.dice.choice(KEYS)
        self.said.append(f"press {key}")
        await self.page.keyboard.press(key)

    async def nudge(self) -> None:
        """Move the mouse somewhere."""
        x, y = self._spot()
        await self.page.mouse.move(x, y, steps=2)

    async def open_at(self, size: tuple[int, int]) -> None:
        """Make the window's inside so large. The screen's own scale stays."""
        self.size = size
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 0, "mobile": False}
        await self.cdp.send("Emulation.setDeviceMetricsOverride", metrics)

    async def _resize(self) -> None:
        size = self.dice.choice(SIZES)
        self.said.append(f"resize to {size}")
        await self.open_at(size)

    async def _storm(self) -> None:
        for _ in range(self.dice.randint(4, 9)):
            await self._resize()

    async def _reload(self) -> None:
        self.said.append("press Control+r")
        await self.page.keyboard.press("Control+r")

    async def _again(self) -> None:
        self.said.append("load the viewer again")
        await self.page.reload()

    async def _back(self) -> None:
        self.said.append("go to an anchor and back")
        with contextlib.suppress(Error):  # it is being loaded
            await self.page.evaluate("location.hash = location.hash === '#s3' ? '#s5' : '#s3'")
            await self.page.evaluate("history.back()")
