"""What somebody gets instead of the app, as far as no running product is needed to see it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.responses import Response

from isolation.policy.controls import Controls
from isolation.policy.model import Mode
from isolation.routing.model import Because, Isolate
from isolation.web.endpoints.viewer import ViewerView
from isolation.web.replies import Replies

NAVIGATION = [(b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")]


class Viewer:
    def __init__(self) -> None:
        self.views: list[ViewerView] = []

    def page(self, view: ViewerView) -> Response:
        self.views.append(view)
        return Response("viewer")


@pytest.mark.parametrize(("method", "opening"), [("GET", True), ("HEAD", False)])
def test_only_who_opens_the_viewer_page_gets_a_browser_for_it(method: str, opening: bool) -> None:
    """A link checker that asks for the head of a page looks at nothing, and must not keep a node busy."""
    viewer = Viewer()
    given: Any = cast("Any", None)
    site = SimpleNamespace(origin=lambda host: f"http://{host}")
    replies = Replies(site=cast("Any", site), apps=list, pages=given, hand_off=given, viewer=cast("Any", viewer), metrics=given)
    ruling = SimpleNamespace(
        decision=Isolate(Mode.PIXELS, Controls(), Because(rules=("Contractors",))),
        app=SimpleNamespace(name="Payroll", domain="payroll.test", controls=None),
        person=SimpleNamespace(email="carol@contoso.example", name="Carol"),
        session=SimpleNamespace(digest="d", person_key="p", expires_at=1.0),
        ref="ref",
        fresh_viewer=True,
    )
    target: Any = SimpleNamespace(host="payroll.test")
    scope = {"type": "http", "method": method, "headers": NAVIGATION}
    assert replies.instead(scope, cast("Any", ruling), target).body == b"viewer"
    assert [view.opening for view in viewer.views] == [opening]
