"""The app or the identity provider on a bad day: a clear page, a problem document for code, one line in the log, no wrong decision, and recovery by itself."""

from __future__ import annotations

import html
import re
from typing import Any

import httpx
import pytest

from isolation.testing.tenant.faults import Kind
from tests.support.browsing import NAVIGATION, Browser
from tests.support.product import ALICE, ERIN, Product, eventually
from tests.support.upstream import MARK

REFERENCE = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}\b")


@pytest.fixture(scope="module")
def erin(whole_product: Product) -> Browser:
    browser = whole_product.browser(ERIN)
    for app in ("hasty", "gone", "lab"):
        browser.get(whole_product.url(app))
    return browser


def title_of(page: httpx.Response) -> str:
    found = re.search(r"<title>(.*?)</title>", page.text)
    return html.unescape(found.group(1)) if found else ""


def one_line(product: Product, event: str, reference: str) -> dict[str, Any]:
    """Return the one log line with this reference."""
    [line] = eventually(lambda: product.logs(reference=reference), f"no log line has the reference {reference}")
    assert line["event"] == event
    assert line["level"] in {"warning", "error"}
    return dict(line)


BAD_DAYS = {
    "down": ("gone", "/", 502, "The app is not answering"),
    "slow": ("hasty", "/slow", 504, "The app is taking too long"),
    "resets": ("data", "/reset", 502, "The app gave an answer nobody can read"),
    "speaks nonsense": ("data", "/nonsense", 502, "The app gave an answer nobody can read"),
    "contradicts itself": ("data", "/two-lengths", 502, "The app gave an answer nobody can read"),
    "stops in the head": ("data", "/early", 502, "The app gave an answer nobody can read"),
}


@pytest.mark.parametrize("day", BAD_DAYS)
def test_an_app_on_a_bad_day(product: Product, erin: Browser, day: str) -> None:
    app, path, status, title = BAD_DAYS[day]
    canary = product.canary("query")
    page = erin.get(product.url(app, f"{path}?token={canary}"))
    assert (page.status_code, title_of(page)) == (status, title)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["cache-control"] == "no-store"
    assert MARK not in page.text
    assert MARK not in repr(page.headers)
    [reference] = set(REFERENCE.findall(page.text))
    line = one_line(product, "request.failed", reference)
    assert line["host"] == f"{app}.localhost"
    assert line["path"] == path

    answer = erin.fetch(product.url(app, path))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    problem = answer.json()
    assert problem["title"] == title
    assert problem["retry"] is True
    one_line(product, "request.failed", problem["reference"])
    assert MARK not in answer.text


@pytest.mark.parametrize("path", ["/half", "/half-chunked"])
def test_a_response_that_stops_in_the_middle_never_looks_whole(product: Product, erin: Browser, path: str) -> None:
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        erin.get(product.url("data", path))
    line = eventually(lambda: product.logs("upstream.failed", started=True), "nothing in the log")[-1]
    assert line["app"] == "Data"


def test_a_handshake_with_an_app_that_is_down_is_answered(product: Product, erin: Browser) -> None:
    lines = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    answer = product.raw("gone").ask("GET /socket HTTP/1.1", f"Cookie: {erin.cookie_header('gone')}", *lines)
    assert answer.startswith(b"HTTP/1.1 502")
    assert b"application/problem+json" in answer


def test_an_app_that_comes_back_is_used_at_once(product: Product, erin: Browser) -> None:
    with erin.websocket() as socket:
        assert socket.recv(10) == MARK
        product.upstream.stop()
        try:
            assert title_of(erin.get(product.url("data"))) == "The app is not answering"
        finally:
            product.upstream.start()
    assert MARK in erin.get(product.url("data")).text


def test_a_bypassed_app_that_is_down_says_so_too(product: Product) -> None:
    product.upstream.stop()
    try:
        page = product.browser().get(product.url("open"))
        assert (page.status_code, title_of(page)) == (502, "The app is not answering")
    finally:
        product.upstream.start()


def test_somebody_who_may_not_in_learns_nothing_about_a_bad_day(product: Product) -> None:
    """The decision comes first: whether the app is up is not told to strangers."""
    answer = product.raw("gone").ask("GET / HTTP/1.1", "Accept: */*")
    assert answer.startswith(b"HTTP/1.1 401")


# ---------------------------------------------------------------------- the identity provider

TOKEN_FAULTS = {
    "500": ({"status": 500}, Kind.STATUS),
    "503": ({"status": 503}, Kind.STATUS),
    "malformed": ({}, Kind.MALFORMED),
    "another shape": ({}, Kind.WRONG_SHAPE),
    "cut": ({}, Kind.TRUNCATED),
    "redirect": ({}, Kind.REDIRECT),
    "slow": ({"seconds": 30.0}, Kind.SLOW),
}


def try_to_sign_in(product: Product) -> tuple[Browser, httpx.Response]:
    browser = product.browser()
    product.upstream.forget()
    return browser, browser.sign_in(product.url("data", "/wanted?x=1"), ALICE)


def signs_in_again(product: Product, browser: Browser) -> None:
    """The very browser that met the failure: the provider knows it by now, so no button is needed."""
    page = browser.get(product.url("data", "/wanted?x=1"))
    assert MARK in page.text
    assert str(page.url) == product.url("data", "/wanted?x=1")


@pytest.mark.parametrize("fault", TOKEN_FAULTS)
def test_a_provider_that_fails_while_signing_in(product: Product, fault: str) -> None:
    options, kind = TOKEN_FAULTS[fault]
    product.tenant.fail("token", kind, **options)
    browser, page = try_to_sign_in(product)
    assert (page.status_code, title_of(page)) == (503, "Sign-in is not available")
    [reference] = set(REFERENCE.findall(page.text))
    line = one_line(product, "sign_in.failed", reference)
    assert line["idp"] == "Entra"
    assert reference in product.cli("audit", "find", reference)
    assert product.upstream.seen == []
    assert browser.fetch(product.url("data")).status_code == 401
    product.tenant.heal()
    signs_in_again(product, browser)


def test_tokens_that_somebody_else_signed(product: Product) -> None:
    product.tenant.keys.forge(True)
    try:
        browser, page = try_to_sign_in(product)
        assert (page.status_code, title_of(page)) == (403, "You could not be signed in")
        [reference] = set(REFERENCE.findall(page.text))
        assert one_line(product, "sign_in.failed", reference)["code"] == "token-signature"
        assert product.upstream.seen == []
    finally:
        product.tenant.keys.forge(False)
    signs_in_again(product, browser)


@pytest.mark.parametrize("minutes", [-10, 10, -75])
def test_clocks_that_differ(product: Product, minutes: int) -> None:
    product.tenant.switches.skew = minutes * 60.0
    try:
        browser, page = try_to_sign_in(product)
        if minutes == -10:
            # Entra's tokens live for 65 minutes: one that seems ten minutes old is good.
            assert MARK in page.text
            return
        assert (page.status_code, title_of(page)) == (503, "The clocks differ")
        [reference] = set(REFERENCE.findall(page.text))
        assert one_line(product, "sign_in.failed", reference)["code"] in {"token-expired", "token-not-yet-valid"}
        assert product.upstream.seen == []
    finally:
        product.tenant.switches.skew = 0.0
    signs_in_again(product, browser)


def test_a_provider_that_is_gone_when_the_product_starts(fragile: Product) -> None:
    """Nothing of it is known then, not even where its sign-in page is. It is asked again as soon as it answers."""
    for endpoint in ("discovery", "keys", "authorize", "token"):
        fragile.tenant.fail(endpoint, Kind.STATUS, status=503)
    mark = fragile.mark()
    fragile.stop()
    fragile.start(wait=False)
    fragile.wait_for("/healthz")
    browser = fragile.browser()
    page = browser.get(fragile.url("data"))
    assert (page.status_code, title_of(page)) == (503, "Sign-in is not available")
    [reference] = set(REFERENCE.findall(page.text))
    one_line(fragile, "own_page.failed", reference)
    assert fragile.logs("decision", mark) == []
    code = browser.request(
        "GET", fragile.url("data"), headers={**NAVIGATION, "sec-fetch-dest": "empty", "sec-fetch-mode": "cors"}
    )
    assert code.status_code == 401
    fragile.tenant.heal()
    eventually(lambda: "oauth2" in str(browser.get(fragile.url("data")).url), "the provider was never asked again")
    page = browser.get(fragile.url("data"))
    browser.choose(page, ALICE)
    eventually(lambda: MARK in browser.get(fragile.url("data")).text)
