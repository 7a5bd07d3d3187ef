"""Own pages and problem documents: complete, escaped, and with the headers that protect them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from starlette.responses import Response

from isolation.errors import (
    BadRequestError,
    BrokerError,
    ConfigurationError,
    IsolationError,
    SignInError,
    StoreError,
    UpstreamError,
)
from isolation.identity.oidc import aadsts
from isolation.routing.model import Because, RefusalReason, Refuse
from isolation.web import csp
from isolation.web.answers import FAILURES, Act, failure_for, respond_failure, respond_refusal
from isolation.web.pages import PageRenderer, redirect

PAGES = PageRenderer()
XSS = "</title></pre><script>alert(1)</script><img src=x onerror=alert(1)>\"'`{{7*7}}"


class Reader(HTMLParser):
    """Collects what a page would run or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def check(response: Response) -> Reader:
    """Check what holds for every page of ours; return it read."""
    for name, value in csp.OWN_HEADERS.items():
        assert response.headers[name] == value
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    page = Reader(bytes(response.body).decode())
    assert not {"script", "iframe", "object", "embed", "base", "style"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on")
        assert name != "style"
        if name == "src" or (name == "href" and value.endswith((".css", ".svg"))):
            assert value.startswith("/.isolation/static/")
    assert page.tags.count("h1") == 1
    assert page.tags.count("main") == 1
    return page


def refusal(reason: RefusalReason, *, navigation: bool = True, policy: str = XSS, retry: bool = False) -> Response:
    return respond_refusal(
        PAGES,
        Refuse(reason, Because(policy=policy), retry=retry),
        navigation=navigation,
        app=XSS,
        reference="7KQ4-M2XD",
        account=XSS,
        retry_url="/again",
        switch_url="/switch",
        launcher_url="/apps",
        login="/login",
    )


@pytest.mark.parametrize("reason", RefusalReason)
def test_every_refusal_is_a_page_and_a_problem_document(reason: RefusalReason) -> None:
    response = refusal(reason)
    page = check(response)
    assert response.status_code in {401, 403, 503}
    assert "7KQ4-M2XD" in page.text
    assert XSS in page.text  # as text
    assert ("retry-after" in response.headers) == (response.status_code == 503)
    twin = refusal(reason, navigation=False)
    document = json.loads(bytes(twin.body))
    assert twin.headers["content-type"] == "application/problem+json"
    assert (document["status"], document["code"], document["reference"]) == (response.status_code, reason.value, "7KQ4-M2XD")
    assert document["login"] == "/login"


def test_a_refusal_without_a_record_or_ways_on_is_still_a_whole_page() -> None:
    response = respond_refusal(PAGES, Refuse(RefusalReason.SESSION_ENDED), navigation=True, app="Payroll", reference="")
    assert "Reference" not in check(response).text


def test_trying_again_is_offered_only_where_it_may_help() -> None:
    assert ("href", "/again") in check(refusal(RefusalReason.NOT_ALLOWED, retry=True)).attributes
    assert ("href", "/again") not in check(refusal(RefusalReason.NOT_ALLOWED)).attributes
    assert ("href", "/again") not in check(refusal(RefusalReason.BLOCKED)).attributes
    assert ("href", "/again") in check(refusal(RefusalReason.NO_CAPACITY)).attributes


@pytest.mark.parametrize("code", FAILURES)
def test_every_failure_is_a_page_and_a_problem_document(code: str) -> None:
    failure = FAILURES[code]
    acts = (Act(XSS, "/x?a=1&b=2"), Act("Other", "/y"))
    page = check(respond_failure(PAGES, failure, navigation=True, reference=XSS, acts=acts, said=XSS, refresh="0; url=/x"))
    assert failure.title in page.text
    assert page.text.count("alert(1)") >= 3
    twin = respond_failure(PAGES, failure, navigation=False, reference="R")
    assert json.loads(bytes(twin.body))["code"] == code
    assert twin.status_code == failure.status


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UpstreamError("secret detail"), "upstream-down"),
        (UpstreamError("secret detail", code="response-timeout"), "upstream-slow"),
        (UpstreamError("secret detail", code="tls-failed"), "upstream-untrusted"),
        (UpstreamError("secret detail", code="closed-early"), "upstream-malformed"),
        (UpstreamError("secret detail", code="busy"), "upstream-busy"),
        (UpstreamError("secret detail", code="bad-response"), "upstream-malformed"),
        (UpstreamError("secret detail", code="new"), "upstream-down"),
        (StoreError("secret detail"), "store"),
        (BrokerError("secret detail"), "broker"),
        (BrokerError("secret detail", code="no-capacity"), "no-capacity"),
        (BadRequestError("secret detail"), "bad-request"),
        (ConfigurationError("secret detail"), "internal"),
        (IsolationError("secret detail"), "internal"),
        (ValueError("secret detail"), "internal"),
        (SignInError("secret detail", code="idp-unreachable"), "idp-down"),
        (SignInError("secret detail", code="idp-slow"), "idp-down"),
        (SignInError("secret detail", code="token-expired"), "clock-skew"),
        (SignInError("secret detail", code="token-not-yet-valid"), "clock-skew"),
        (SignInError("secret detail", code="token-signature"), "token-rejected"),
        (SignInError("secret detail", code="keys-none"), "token-rejected"),
        (SignInError("secret detail", code="state-unknown"), "sign-in-expired"),
        (SignInError("secret detail", code="state-other-browser"), "unknown-browser"),
        (SignInError("secret detail", code="something-new"), "sign-in-malformed"),
    ],
)
def test_errors_get_our_words_and_not_their_own(error: BaseException, code: str) -> None:
    failure = failure_for(error)
    assert failure.code == code
    assert b"secret detail" not in bytes(respond_failure(PAGES, failure, navigation=True).body)


def test_what_is_meant_for_the_person_is_shown() -> None:
    assert "not assigned" in failure_for(aadsts.explain("access_denied", "AADSTS50105: x")).text
    assert "Personal" in failure_for(SignInError("Personal accounts cannot.", code="token-personal")).text
    assert "disabled" in failure_for(SignInError("Your account is disabled.", code="disabled", retry=False)).text


TILE = {"name": XSS, "host": XSS, "url": "/x", "description": XSS, "isolated": True}
LAUNCHER = {"title": "Your apps", "name": XSS, "account": XSS, "apps": [TILE], "sign_out_url": "/o", "switch_url": "/s"}
OUT = {
    "title": "x",
    "confirm": True,
    "account": XSS,
    "form_action": "/f",
    "token": XSS,
    "back_url": "/",
    "continue_url": "",
    "provider": XSS,
}


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("launcher", LAUNCHER),
        ("launcher", LAUNCHER | {"apps": []}),
        ("launcher", LAUNCHER | {"apps": [TILE | {"isolated": False, "description": ""}], "name": ""}),
        ("sign_in", {"title": XSS, "app": XSS, "providers": [{"name": XSS, "url": "/p"}]}),
        ("sign_in", {"title": "x", "app": "", "providers": []}),
        ("signed_out", OUT),
        ("signed_out", OUT | {"confirm": False}),
        ("signed_out", OUT | {"confirm": False, "continue_url": "https://idp.example/?a=1&b=2"}),
        ("waiting", {"title": XSS, "text": XSS, "seconds": 2, "url": "/x"}),
    ],
)
def test_every_page_escapes_what_it_is_given_and_misses_nothing(name: str, view: dict[str, object]) -> None:
    check(PAGES.page(name, view))
    for missing in view:
        rest = {key: value for key, value in view.items() if key != missing}
        try:
            PAGES.page(name, rest)
        except UndefinedError:
            continue
        # A value that only a branch not taken here needs.
        assert name in {"signed_out", "launcher"}


def test_headers_of_a_page_can_be_added_to() -> None:
    response = PAGES.page("waiting", {"title": "x", "text": "x", "seconds": 1, "url": "/"}, 202, {"clear-site-data": '"cache"'})
    assert (response.status_code, response.headers["clear-site-data"]) == (202, '"cache"')
    assert response.headers["cache-control"] == "no-store"


def test_redirects_carry_cookies_one_header_each() -> None:
    response = redirect("/x", "a=1; Path=/", "b=2; Path=/")
    assert response.headers.getlist("set-cookie") == ["a=1; Path=/", "b=2; Path=/"]
    assert (response.status_code, response.headers["location"]) == (303, "/x")


def test_static_files_are_ours_and_refer_to_nothing_else() -> None:
    for name in ("pages.css", "icon.svg"):
        response = PAGES.static(name)
        assert response is not None
        text = bytes(response.body).decode()
        assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text)
        assert response.headers["x-content-type-options"] == "nosniff"
    for name in ("", "../pages.py", "viewer/viewer.js", "pages.css/", "/etc/passwd"):
        assert PAGES.static(name) is None


def test_missing_templates_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"waiting\.html"):
        PageRenderer(tmp_path).page("waiting", {})
