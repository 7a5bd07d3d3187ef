"""A server's question and the page it belongs to, in whichever order they are heard of."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from playwright.async_api import Error

from renderer.cdp import Tasks
from renderer.sign_in import SignIn
from renderer.wire import messages as m

URL = "http://app.test/archive"


class Cdp:
    """Refuses the first reload, as Chromium does while a page is being put in place; then loads, and is asked who it is."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.listeners: dict[str, Any] = {}
        self.loaded: Any = None

    def on(self, event: str, listener: Any) -> None:
        self.listeners[event] = listener

    async def detach(self) -> None:
        pass

    async def send(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        self.sent.append((method, params or {}))
        if method == "Page.reload":
            if self.times("Page.reload") == 1:
                raise Error("Protocol error (Page.reload): Inspected target navigated or closed")
            self.listeners["Fetch.requestPaused"]({"requestId": "1", "resourceType": "Document"})
            self.listeners["Fetch.authRequired"](
                {"requestId": "1", "authChallenge": {"source": "Server", "origin": "http://app.test"}}
            )
            self.loaded()
        return {}

    def times(self, method: str) -> int:
        return sum(name == method for name, _ in self.sent)


class World:
    def __init__(self) -> None:
        self.said: list[m.FromRenderer] = []
        self.heard: Any = None
        self.cdp = Cdp()
        page = SimpleNamespace(
            on=lambda _event, handler: setattr(self, "heard", handler), context=SimpleNamespace(new_cdp_session=self._session)
        )
        self.sign_in = SignIn(cast("Any", page), Tasks("test"), self.said.append, lambda: len(self.said) + 1, lambda: True)
        self.frame = SimpleNamespace(parent_frame=None)

    async def _session(self, _page: Any) -> Cdp:
        return self.cdp

    def answered(self, status: int, url: str = URL) -> None:
        headers = {"www-authenticate": 'Basic realm="x"'} if status == 401 else {}
        request = SimpleNamespace(is_navigation_request=lambda: True)
        self.heard(SimpleNamespace(request=request, headers=headers, status=status, url=url, frame=self.frame))


@pytest.mark.parametrize("page_first", [True, False])
def test_the_page_of_a_question_may_come_before_it_or_after(page_first: bool) -> None:
    """Playwright waits for more of an answer before it tells of it; the page may be there by then, and nobody waits for it again."""
    world = World()
    if page_first:
        world.sign_in.navigated(URL + "#top")
        world.answered(401)
    else:
        world.answered(401)
        assert not world.sign_in._arrived.is_set()
        world.sign_in.navigated(URL)
    assert world.sign_in._arrived.is_set()
    assert world.sign_in.question is not None
    world.sign_in.navigated("http://app.test/elsewhere")
    assert world.sign_in.question is None


def test_a_server_that_lets_in_asks_no_more() -> None:
    world = World()
    world.answered(401)
    world.sign_in.navigated(URL)
    world.answered(200)
    assert world.sign_in.question is None
    assert isinstance(world.said[-1], m.DialogClosed)


async def test_an_answer_is_given_though_the_first_reload_is_refused() -> None:
    world = World()
    world.cdp.loaded = lambda: world.answered(200)
    world.sign_in.navigated(URL)
    world.answered(401)
    question = world.sign_in.question
    assert question is not None
    await world.sign_in.answer(m.AuthReply(question.id, True, "bob", "hunter2"))
    await asyncio.sleep(0)  # the last words to Chromium are on their way
    assert world.cdp.times("Page.reload") == 2
    told = [params["authChallengeResponse"] for method, params in world.cdp.sent if method == "Fetch.continueWithAuth"]
    assert told == [{"response": "ProvideCredentials", "username": "bob", "password": "hunter2"}]
    assert world.cdp.times("Fetch.disable") == 1
