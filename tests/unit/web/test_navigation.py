"""Only the load of a page in a whole tab may start a sign-in."""

from __future__ import annotations

import pytest

from isolation.web.navigation import header, wants_navigation

CHROME = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document", "sec-fetch-site": "none", "accept": "text/html,*/*;q=0.8"}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (CHROME, True),
        (CHROME | {"sec-fetch-site": "cross-site"}, True),
        (CHROME | {"sec-fetch-dest": "iframe"}, False),
        (CHROME | {"sec-fetch-dest": "frame"}, False),
        (CHROME | {"sec-fetch-dest": "embed"}, False),
        (CHROME | {"sec-purpose": "prefetch;prerender"}, False),
        ({"sec-fetch-mode": "cors", "sec-fetch-dest": "empty", "accept": "text/html"}, False),
        ({"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image", "accept": "text/html"}, False),
        ({"sec-fetch-mode": "same-origin", "sec-fetch-dest": "serviceworker"}, False),
        ({"sec-fetch-mode": "cors", "sec-fetch-dest": "manifest"}, False),
        ({"sec-fetch-mode": "websocket", "sec-fetch-dest": "websocket"}, False),
        ({"sec-fetch-mode": "no-cors", "accept": "text/html"}, False),
        ({"sec-fetch-dest": "script", "accept": "text/html"}, False),
        ({"sec-fetch-mode": "navigate"}, True),
        ({"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, True),
        ({"accept": "application/xhtml+xml"}, True),
        ({"accept": "TEXT/HTML"}, True),
        ({"accept": "text/html;q=0"}, False),
        ({"accept": "text/html;q=0.000, */*"}, False),
        ({"accept": "text/html; q=0.1"}, True),
        ({"accept": "*/*"}, False),
        ({"accept": "application/json"}, False),
        ({"accept": "text/event-stream"}, False),
        ({"accept": "text/htmlx"}, False),
        ({}, False),
        ({"accept": "text/html", "x-requested-with": "XMLHttpRequest"}, False),
        ({"accept": "application/grpc-web+proto"}, False),
    ],
)
def test_who_waits_for_a_page(headers: dict[str, str], expected: bool) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert wants_navigation(raw) is expected
    assert wants_navigation([(name.upper(), value) for name, value in raw]) is expected


def test_a_request_that_says_two_things_is_no_page_load() -> None:
    assert not wants_navigation([(b"sec-fetch-mode", b"navigate"), (b"sec-fetch-mode", b"cors")])
    assert not wants_navigation([(b"sec-fetch-dest", b"document"), (b"sec-fetch-dest", b"document")])
    assert not wants_navigation([(b"sec-fetch-mode", b"\xff\xfe")])
    assert header([(b"Referer", b"a"), (b"referer", b"b")], b"referer") is None
