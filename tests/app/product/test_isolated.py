"""What an isolated person's own browser gets: the viewer's page, refusals that code can read, and not a byte of the app. Nothing it sends reaches the app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from websockets.exceptions import InvalidStatus

from tests.support.browsing import FETCH, IMAGE, NAVIGATION, XHR, Browser
from tests.support.product import ALICE, BOB, CAROL, Product
from tests.support.upstream import HTML, MARK, PNG

ISOLATED = (BOB, CAROL)  # a high-risk employee, and a contractor through two levels of nested groups

FRAME = {"accept": "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe", "sec-fetch-site": "same-origin"}
SCRIPT = {"accept": "*/*", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "script", "sec-fetch-site": "same-origin"}
WORKER = {"accept": "*/*", "service-worker": "script", "sec-fetch-mode": "same-origin", "sec-fetch-dest": "serviceworker"}
PREFETCH = {**NAVIGATION, "sec-purpose": "prefetch"}


@pytest.fixture(scope="module", params=ISOLATED)
def isolated(request: pytest.FixtureRequest, whole_product: Product) -> Iterator[Browser]:
    browser = whole_product.browser(request.param)
    whole_product.upstream.forget()
    yield browser
    # Whatever any test of this module did with this browser, the app has heard nothing of it.
    assert [seen for seen in whole_product.upstream.seen if request.param.encode() in seen.raw] == []


def holds_nothing_of_the_app(body: bytes, headers: Mapping[str, str]) -> bool:
    text = body + repr(dict(headers)).encode()
    return not any(part in text for part in (MARK.encode(), HTML[:40], PNG[:20], b"appcookie", b"app-value"))


@pytest.mark.case(61, 62)
@pytest.mark.parametrize(
    "path", ["/", "/deep/page?month=5", "/image.png", "/data.json", "/content", "/events", "/%2f%2fevil.example/x"]
)
def test_a_page_load_gets_the_viewer(product: Product, isolated: Browser, path: str) -> None:
    page = isolated.get(product.url("data", path))
    assert page.status_code == 200
    assert str(page.url) == product.url("data", path)
    assert "/.isolation/static/viewer/main.js" in page.text
    assert holds_nothing_of_the_app(page.content, page.headers)
    policy = page.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert product.upstream.seen == []


@pytest.mark.case(61)
def test_the_first_viewer_page_clears_what_the_app_left_behind(product: Product) -> None:
    browser = product.browser()
    browser.sign_in(product.url("data", "/here"), BOB)
    assert browser.trail[-1].headers["clear-site-data"] == '"cache", "storage"'
    assert "clear-site-data" not in browser.get(product.url("data", "/here")).headers


CODE = {
    "fetch": ("GET", FETCH),
    "fetch POST": ("POST", FETCH),
    "fetch PUT": ("PUT", FETCH),
    "fetch DELETE": ("DELETE", FETCH),
    "fetch HEAD": ("HEAD", FETCH),
    "preflight": ("OPTIONS", {**FETCH, "access-control-request-method": "POST", "origin": "http://data.localhost"}),
    "XMLHttpRequest": ("GET", XHR),
    "image": ("GET", IMAGE),
    "script": ("GET", SCRIPT),
    "service worker": ("GET", WORKER),
    "frame": ("GET", FRAME),
    "prefetch": ("GET", PREFETCH),
    "range": ("GET", {**FETCH, "range": "bytes=0-99"}),
    "beacon": ("POST", {**FETCH, "content-type": "text/plain", "sec-fetch-mode": "no-cors"}),
    "a program": ("GET", {"accept": "*/*", "user-agent": "curl/8"}),
    "WebDAV": ("PROPFIND", {"accept": "*/*"}),
}


@pytest.mark.case(61)
@pytest.mark.parametrize("kind", CODE)
def test_code_is_refused_and_the_app_hears_nothing(product: Product, isolated: Browser, kind: str) -> None:
    method, headers = CODE[kind]
    for path in ("/data.json", "/image.png", "/echo", "/content?x=/../y"):
        request = isolated.client.build_request(
            method, product.url("data", path), headers=headers, content=b"payload" if method in {"POST", "PUT"} else None
        )
        for name in ("sec-fetch-mode", "sec-fetch-dest", "sec-fetch-site"):
            if name not in headers:
                request.headers.pop(name, None)
        answer = isolated.client.send(request)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["clear-site-data"] == '"cache", "storage"'
        assert holds_nothing_of_the_app(answer.content, answer.headers)
        if method != "HEAD":
            problem = answer.json()
            assert (problem["code"], problem["status"]) == ("isolated-only", 403)
            assert problem["reference"]
    assert product.upstream.seen == []


@pytest.mark.case(61)
def test_a_websocket_is_refused(product: Product, isolated: Browser) -> None:
    with pytest.raises(InvalidStatus) as refused:
        isolated.websocket()
    assert refused.value.response.status_code == 403
    assert MARK.encode() not in (refused.value.response.body or b"")
    assert product.upstream.seen == []


@pytest.mark.case(61)
def test_a_form_of_the_old_page_is_not_sent(product: Product, isolated: Browser) -> None:
    """The viewer opens at the form's address instead."""
    answer = isolated.request(
        "POST", product.url("data", "/echo?a=1"), headers=NAVIGATION, data={"amount": "5"}, follow_redirects=False
    )
    assert answer.status_code == 303
    assert answer.headers["location"] == "/echo?a=1"
    assert product.upstream.seen == []


@pytest.mark.case(61)
def test_a_page_load_by_head_says_nothing(product: Product, isolated: Browser) -> None:
    answer = isolated.request("HEAD", product.url("data", "/"), headers=NAVIGATION)
    assert answer.status_code == 200
    assert answer.content == b""
    assert holds_nothing_of_the_app(b"", answer.headers)
    assert product.upstream.seen == []


@pytest.mark.case(61)
def test_a_large_upload_is_refused_without_reaching_the_app(product: Product, isolated: Browser) -> None:
    answer = isolated.fetch(product.url("data", "/echo"), "POST", content=b"x" * 3_000_000)
    assert answer.status_code == 403
    assert product.upstream.seen == []


def test_the_same_requests_of_somebody_else_pass(product: Product) -> None:
    """What the tests above refuse is not refused for want of an app: the same requests of an employee without risk arrive."""
    alice = product.browser(ALICE)
    product.upstream.forget()
    assert alice.fetch(product.url("data", "/data.json")).json() == {"app": MARK}
    assert alice.get(product.url("data", "/image.png"), headers=IMAGE).content == PNG
    ranged = alice.fetch(product.url("data", "/content"), headers={"range": "bytes=10-19"})
    assert (ranged.status_code, ranged.content) == (206, bytes(range(10, 20)))
    assert alice.fetch(product.url("data", "/echo"), "POST", content=b"payload").status_code == 200
    assert [seen.path for seen in product.upstream.seen] == ["/data.json", "/image.png", "/content", "/echo"]
