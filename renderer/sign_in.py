"""Servers that ask who is there (HTTP authentication, Basic and Digest): the person is asked, and Chromium is told once.

Chromium shows the server's 401 page by itself, for it has nobody to ask. What the person then says is given to a new try of the same address:
requests are intercepted for that one try and that one origin, because interception turns the cache off. Afterwards Chromium remembers
the credentials for the session, as browsers do. They are written down nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from typing import Any

from playwright.async_api import Error, Frame, Page, Response

from renderer.cdp import Cdp, Event, Tasks
from renderer.location import split_address
from renderer.wire.codec import MAX_LABEL
from renderer.wire.messages import Auth, AuthReply, DialogClosed, FromRenderer
from renderer.world import clean

# ---------------------------------------------------------------- limits
ARRIVAL_SECONDS = 5.0  # from a server's refusal to its page being shown
RELOAD_SECONDS = 0.2  # from our reload to its request; doubled each time, for a slow machine is no reason to begin anew
TRY_SECONDS = 15.0  # how long requests are intercepted at most while an answer is awaited

_SCHEME = re.compile(r"(?:^|[\n,])\s*(?:basic|digest)\s", re.IGNORECASE)
_REALM = re.compile(r'\brealm\s*=\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE)

log = logging.getLogger("renderer.sign_in")


class SignIn:
    """The questions of one page's servers, one at a time. ``admit``: whether the person may be asked now; ``number``: the next dialog's."""

    def __init__(
        self, page: Page, tasks: Tasks, send: Callable[[FromRenderer], None], number: Callable[[], int], admit: Callable[[], bool]
    ) -> None:
        self._page, self._tasks, self._send, self._number, self._admit = page, tasks, send, number, admit
        self._open: tuple[Auth, Frame, str] | None = None
        self._arrived = asyncio.Event()  # the 401 page of the open question is shown
        self._arrived.set()
        self._shown = ""  # the page's address,
        self._asked = ""  # and that of the last question about the page itself
        self._tried: tuple[Frame, asyncio.Event] | None = None  # who is tried again, and whether it was answered
        page.on("response", self._answered)

    @property
    def question(self) -> Auth | None:
        """Return the open question."""
        return None if self._open is None else self._open[0]

    def navigated(self, url: str) -> None:
        """Hear what the page shows now: a question about what is gone is taken back."""
        self._shown = _bare(url)
        if self._shown == self._asked:
            self._arrived.set()
        elif self._arrived.is_set():
            self._close()

    async def answer(self, reply: AuthReply) -> None:
        """Give the person's answer to the server that asked. A late answer means nothing; a refusal leaves the 401 page."""
        if self._open is None or self._open[0].id != reply.id:
            return
        question, frame, url = self._open
        self._open = None
        if reply.accept:
            try:
                async with asyncio.timeout(ARRIVAL_SECONDS):
                    await self._arrived.wait()  # earlier, the page before it would be loaded again
            except TimeoutError:
                log.warning("sign_in.no_page")
                return
            await self._try(question.origin, frame, url, reply)

    # ------------------------------------------------------------ inside

    def _close(self) -> None:
        if self._open is not None:
            question, self._open = self._open[0], None
            self._send(DialogClosed(question.id))

    def _answered(self, response: Response) -> None:
        if not response.request.is_navigation_request():
            return
        frame = response.frame
        if self._tried is not None and self._tried[0] == frame:
            self._tried[1].set()
        challenge = response.headers.get("www-authenticate", "") if response.status == 401 else ""
        origin, _ = split_address(response.url)
        if not origin or not _SCHEME.search(challenge):
            if self._open is not None and self._open[1:] == (frame, response.url):
                self._close()  # it asks no more
            return
        if not self._admit():
            return
        self._close()
        realm = _REALM.search(challenge)
        told = re.sub(r"\\(.)", r"\1", realm[1]) if realm is not None else ""
        self._open = (Auth(self._number(), origin, clean(told, MAX_LABEL)), frame, response.url)
        self._asked = _bare(response.url) if frame.parent_frame is None else ""
        # Playwright may tell of the server's answer after the page has come.
        if self._asked not in {"", self._shown}:
            self._arrived.clear()
        else:
            self._arrived.set()
        self._send(self._open[0])

    async def _try(self, origin: str, frame: Frame, url: str, reply: AuthReply) -> None:
        cdp = await self._session(frame)
        told = False
        begun = asyncio.Event()  # a page's request is under way
        tried = asyncio.Event()
        self._tried = (frame, tried)

        def paused(event: Event) -> None:
            if event.get("resourceType") == "Document":
                begun.set()
            self._tasks.start(cdp.send("Fetch.continueRequest", {"requestId": event["requestId"]}))

        def challenged(event: Event) -> None:
            nonlocal told
            challenge = event.get("authChallenge", {})
            answer: dict[str, Any] = {"response": "CancelAuth"}
            # Only who asked is told, and once: a second question means that it was wrong, and the person is asked again.
            if not told and challenge.get("source") == "Server" and split_address(str(challenge.get("origin")))[0] == origin:
                told = True
                answer = {"response": "ProvideCredentials", "username": reply.username, "password": reply.password}
            self._tasks.start(
                cdp.send("Fetch.continueWithAuth", {"requestId": event["requestId"], "authChallengeResponse": answer})
            )

        cdp.on("Fetch.requestPaused", paused)
        cdp.on("Fetch.authRequired", challenged)
        try:
            await cdp.send("Fetch.enable", {"handleAuthRequests": True, "patterns": [{"urlPattern": origin + "/*"}]})
            async with asyncio.timeout(TRY_SECONDS):
                if frame.parent_frame is None:
                    await self._reload(cdp, begun)
                else:
                    self._tasks.start(frame.goto(url, wait_until="commit"))
                await tried.wait()
        except TimeoutError:
            log.info("sign_in.unanswered")
        finally:
            if self._tried == (frame, tried):
                self._tried = None
            try:
                await cdp.send("Fetch.disable")
                await cdp.detach()
            except Error:
                log.debug("sign_in.gone")

    @staticmethod
    async def _reload(cdp: Cdp, begun: asyncio.Event) -> None:
        """Load the page again. Chromium refuses a reload that comes while the answer before it is being made the page."""
        patience = RELOAD_SECONDS
        while True:
            with contextlib.suppress(Error):
                await cdp.send("Page.reload", {})
            try:
                async with asyncio.timeout(patience):
                    await begun.wait()
                return
            except TimeoutError:
                log.debug("sign_in.reload_refused")
                patience *= 2

    async def _session(self, frame: Frame) -> Cdp:
        """Return a session of its own with the process that shows a frame."""
        if frame.parent_frame is not None:
            try:
                return await self._page.context.new_cdp_session(frame)
            except Error:
                log.debug("sign_in.same_process")
        return await self._page.context.new_cdp_session(self._page)


def _bare(url: str) -> str:
    return url.partition("#")[0]
