"""Teach a browser context its gateway credentials, once, before it has a page of the person.

Chromium keeps proxy credentials per context after one answered challenge and then sends them with every request by itself (measured: navigation,
fetch, workers, WebSocket, frames, pop-ups). So requests are intercepted for this one address only, and never again.
"""

from __future__ import annotations

import asyncio
from typing import Any

from playwright.async_api import BrowserContext, Error, Page

from renderer.cdp import Event, Tasks

WARM_UP_URL = "http://warm-up.invalid/"  # answered by the gateway itself: empty for a live session
WARM_UP_SECONDS = 10.0


class EgressError(Exception):
    """The gateway does not accept this session, or does not answer."""


async def present_credentials(context: BrowserContext, username: str, password: str) -> Page:
    """Answer the gateway's challenge on behalf of a context; return the page that did, empty again. Raises :class:`EgressError`."""
    tasks = Tasks("egress")
    page = await context.new_page()
    status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    loaded = asyncio.Event()
    asked = 0
    try:
        cdp = await context.new_cdp_session(page)

        def paused(event: Event) -> None:
            tasks.start(cdp.send("Fetch.continueRequest", {"requestId": event["requestId"]}))

        def challenged(event: Event) -> None:
            nonlocal asked
            asked += 1
            answer: dict[str, Any] = {"response": "CancelAuth"}
            # Only the proxy gets them, and only once: a second question means they are dead.
            if event.get("authChallenge", {}).get("source") == "Proxy" and asked == 1:
                answer = {"response": "ProvideCredentials", "username": username, "password": password}
            tasks.start(cdp.send("Fetch.continueWithAuth", {"requestId": event["requestId"], "authChallengeResponse": answer}))

        def answered(event: Event) -> None:
            response = event.get("response", {})
            if response.get("url") == WARM_UP_URL and not status.done():
                status.set_result(int(response.get("status", 0)))

        cdp.on("Fetch.requestPaused", paused)
        cdp.on("Fetch.authRequired", challenged)
        cdp.on("Network.responseReceived", answered)
        cdp.on("Page.loadEventFired", lambda _: loaded.set())
        await cdp.send("Page.enable")
        await cdp.send("Network.enable")
        await cdp.send("Fetch.enable", {"handleAuthRequests": True, "patterns": [{"urlPattern": WARM_UP_URL + "*"}]})
        async with asyncio.timeout(WARM_UP_SECONDS):
            problem = (await cdp.send("Page.navigate", {"url": WARM_UP_URL})).get("errorText")
            if problem:
                raise EgressError(f"the egress gateway cannot be reached: {problem}")
            if await status != 200:
                raise EgressError("the egress gateway refuses this session's credentials")
            await loaded.wait()
            # The page becomes the person's first one; nothing in its history leads back here.
            await cdp.send("Fetch.disable")
            loaded.clear()
            await cdp.send("Page.navigate", {"url": "about:blank"})
            await loaded.wait()
            await cdp.send("Page.resetNavigationHistory")
            await cdp.detach()
    except (Error, TimeoutError) as problem:
        raise EgressError("the egress gateway does not answer") from problem
    finally:
        tasks.close()
        status.cancel()
    return page
