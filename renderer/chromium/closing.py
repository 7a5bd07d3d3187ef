"""Close a page for certain.

Chromium answers "closed" and keeps the page when it is told to in the middle of a navigation that changes the page's process (measured with
version 156: the target stays, and Playwright waits for ever). So it is asked again until the page is gone.
"""

from __future__ import annotations

import asyncio
import logging

from playwright.async_api import Error, Page

from renderer.cdp import Cdp

# ---------------------------------------------------------------- limits
ASK_SECONDS = 0.5  # between two requests: a process change takes some tens of milliseconds
ASK_TIMES = 20  # then the page is left to the end of its browser

log = logging.getLogger("renderer.chromium")


async def close_page(page: Page, cdp: Cdp) -> bool:
    """Close without asking the page (no ``beforeunload``). False: it would not go; its lease has to end."""
    closed = asyncio.Event()
    page.on("close", lambda _: closed.set())
    for _ in range(ASK_TIMES):
        if page.is_closed():
            return True
        try:
            async with asyncio.timeout(ASK_SECONDS):
                await cdp.send("Page.close")
                await closed.wait()
        except (Error, TimeoutError):
            continue
    log.error("page.stays")
    return page.is_closed()
