"""A page as a PDF for its person. Headless Chromium prints nothing by itself; the page's wish to print is an event we hear."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import os
import secrets
import time
from collections.abc import Callable
from typing import Any

from renderer.cdp import Cdp
from renderer.transfer.outgoing import Outgoing
from renderer.transfer.store import Store, create, write_all
from renderer.wire import messages as m
from renderer.wire.files import file_name

# ---------------------------------------------------------------- limits
MAX_PRINT = 64 * 1024 * 1024  # bytes: some hundred pages with pictures; the router holds to the same
READ = 512 * 1024  # bytes of a PDF read from Chromium at once
PRINT_SECONDS = 60.0  # for a long document on a busy machine
AGAIN_SECONDS = 3.0  # between two prints that a page itself starts: the rest of a loop is not printed
INPUT_SECONDS = 10.0  # a page may print by itself shortly after its person did something

log = logging.getLogger("renderer.transfer")


class Printer:
    """Prints one page, one job at a time."""

    def __init__(self, store: Store, outgoing: Outgoing) -> None:
        self._store, self._outgoing = store, outgoing
        self._busy = False
        self._last = 0.0

    def wanted_by_page(self, since_input: float) -> bool:
        """Say whether a page that asks to be printed is. Our own printing makes the page say so too."""
        return not self._busy and since_input < INPUT_SECONDS and time.monotonic() - self._last > AGAIN_SECONDS

    async def print(self, cdp: Cdp, title: Callable[[], str]) -> None:
        """Make the PDF and offer it under the page's title."""
        if self._busy:
            return
        self._busy = True
        path = self._store.downloads / f"print-{secrets.token_hex(8)}"
        name = file_name(file_name(title(), "page") + ".pdf")
        code = m.TransferCode.FAILED
        size = 0
        try:
            async with asyncio.timeout(PRINT_SECONDS):
                size = await self._write(cdp, path)
            if size <= MAX_PRINT and self._store.hold(path, size):
                self._outgoing.offer(m.DownloadKind.PRINT, name, path, size)
                return
            code = m.TransferCode.TOO_LARGE
        except (OSError, TimeoutError, binascii.Error):
            log.warning("print.failed")
        finally:
            self._busy, self._last = False, time.monotonic()
        self._store.drop(path)
        self._outgoing.refuse(m.DownloadKind.PRINT, name, size, code)

    async def _write(self, cdp: Cdp, path: Any) -> int:
        """Write the PDF as Chromium hands it out; return its size, or more than the most."""
        answer = await cdp.send(
            "Page.printToPDF", {"transferMode": "ReturnAsStream", "printBackground": True, "preferCSSPageSize": True}
        )
        handle = str(answer["stream"])
        descriptor = create(path)
        size = 0
        try:
            while size <= MAX_PRINT:
                part = await cdp.send("IO.read", {"handle": handle, "size": READ})
                text = str(part.get("data", ""))
                data = base64.b64decode(text) if part.get("base64Encoded") else text.encode()
                size += len(data)
                if size <= MAX_PRINT:
                    await asyncio.to_thread(write_all, descriptor, data)
                if part.get("eof"):
                    break
        finally:
            os.close(descriptor)
            await cdp.send("IO.close", {"handle": handle})
        return size
