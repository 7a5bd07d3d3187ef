"""A server's question and the page it belongs to, in whichever order they are heard of."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from renderer.cdp import Tasks
from renderer.sign_in import SignIn
from renderer.wire import messages as m

URL = "http://app.test/archive"


class World:
    def __init__(self) -> None:
        self.said: list[m.FromRenderer] = []
        self.heard: Any = None
        page = SimpleNamespace(on=lambda _event, handler: setattr(self, "heard", handler))
        self.sign_in = SignIn(cast("Any", page), Tasks("test"), self.said.append, lambda: len(self.said) + 1, lambda: True)
        self.frame = SimpleNamespace(parent_frame=None)

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
