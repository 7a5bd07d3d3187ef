"""Header rules: what a client or an app may not say about itself, in every spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.errors import UpstreamError
from isolation.proxy.headers import (
    OWN_COOKIES,
    RequestRules,
    ResponseRules,
    identity_lines,
    only_cookies,
    without_cookies,
)

PROTECTED = [
    "x-isolation-jwt-assertion",
    "x-forwarded-for",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-host",
    "forwarded",
    "remote-user",
    "x-real-ip",
    "cf-access-jwt-assertion",
    "x-original-url",
    "x-rewrite-url",
    "x-envoy-original-path",
    "x-team-name",
    "proxy-authorization",
    "x-ms-client-principal-name",
]
SEPARATORS = st.sampled_from("-_.~|^`+*'&%$#!")


@st.composite
def spellings(draw: st.DrawFn) -> bytes:
    """A protected name with any of its separators replaced. (The ingress has lower-cased it by then.)"""
    name = draw(st.sampled_from(PROTECTED))
    return "".join(draw(SEPARATORS) if letter == "-" else letter for letter in name).encode()


@given(st.lists(spellings(), min_size=1, max_size=8), st.binary(max_size=20).filter(lambda value: not set(value) & {0, 10, 13}))
def test_no_spelling_of_a_protected_name_gets_through(names: list[bytes], value: bytes) -> None:
    rules = RequestRules(["X-Team-Name"])
    lines = rules.lines([*((name, value) for name in names), (b"accept", b"*/*")])
    assert lines == [b"accept: */*"]
    assert all(rules.drops(name) for name in names)


@given(st.lists(st.sampled_from([b"accept", b"x-app", b"authorization", b"cookie", b"x-http-method-override"]), max_size=6))
def test_other_headers_stay_in_order_and_in_number(names: list[bytes]) -> None:
    headers = [(name, b"v%d" % index) for index, name in enumerate(names)]
    assert RequestRules().lines(headers) == [name + b": " + value for name, value in headers]


def test_names_listed_in_connection_go_and_nothing_of_ours_can_be_listed() -> None:
    lines = RequestRules().lines(
        [(b"x-hop", b"1"), (b"connection", b"close, X-Hop ,x-isolation-jwt-assertion"), (b"x-stay", b"2")]
    )
    assert lines == [b"x-stay: 2"]


def test_what_is_remembered_about_names_is_bounded() -> None:
    rules = RequestRules()
    for number in range(10_000):
        rules.lines([(b"x-%d" % number, b"")])
    assert len(rules._treatment) <= 2_048
    assert rules.lines([(b"x_forwarded_user", b"a"), (b"x-new", b"b")]) == [b"x-new: b"]


cookie_names = st.sampled_from([*sorted(OWN_COOKIES), b"a", b"isolation2", b"myisolation", b"theme", b"Isolation", b""])
pairs = st.tuples(
    st.sampled_from([b"", b" ", b"  ", b"\t"]), cookie_names, st.sampled_from([b"", b"=", b"=1", b'="x y"', b"=a=b", b" =1"])
)


@given(st.lists(pairs, max_size=6))
def test_no_cookie_of_ours_is_left_and_no_other_is_touched(parts: list[tuple[bytes, bytes, bytes]]) -> None:
    value = b";".join(space + name + rest for space, name, rest in parts)
    left = without_cookies(value)
    names = [pair.strip(b" \t").partition(b"=")[0].strip(b" \t") for pair in left.split(b";")]
    assert not OWN_COOKIES & set(names)
    if not any(name in OWN_COOKIES for _, name, _ in parts):
        assert left == value


def test_only_our_cookies() -> None:
    assert only_cookies(b"a=b; isolation=x;__Host-isolation=y ; isolation2=z") == b"isolation=x; __Host-isolation=y"
    assert only_cookies(b"a=b") == b""


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")],
        [(b"Content-Length", b"5"), (b"content-length", b"5")],
        [(b"Content-Length", b"+5")],
        [(b"Content-Length", b"")],
        [(b"Content-Length", b"5, 5")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"Transfer-Encoding", b"chunked, gzip")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"X", b"y")] * 600,
    ],
)
def test_responses_that_two_readers_could_read_differently_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(UpstreamError):
        ResponseRules().head(headers)


def test_response_headers_of_the_hop_and_of_ours_are_removed() -> None:
    head = ResponseRules(["X-Team-Name"]).head(
        [
            (b"Content-Length", b"5"),
            (b"Connection", b"close, x-hop"),
            (b"X-Hop", b"evil"),
            (b"X-TEAM-Name", b"evil"),
            (b"X-Isolation-Jwt-Assertion", b"evil"),
            (b"Set-Cookie", b"isolation=evil"),
            (b"Set-Cookie", b" __Host-isolation-flow = evil"),
            (b"Set-Cookie", b"==isolation=evil"),
            (b"Set-Cookie", b"isolation; Path=/"),
            (b"Set-Cookie", b"fine=isolation=x"),
            (b"Clear-Site-Data", b'"*"'),
            (b"Clear-Site-Data", b'"cookies"'),
            (b"Location", b"//evil-is-the-apps-business"),
        ]
    )
    assert head.length == 5
    assert not head.chunked
    assert head.block == (
        b"Set-Cookie: fine=isolation=x\r\n"
        b'Clear-Site-Data: "cache", "storage", "executionContexts"\r\n'
        b"Location: //evil-is-the-apps-business\r\n"
    )


@pytest.mark.parametrize(
    ("name", "value"), [(b"x", b"a\r\nb: c"), (b"x", b"a\x00"), (b"x\r\ny", b"a"), (b"x: y", b"a"), (b"", b"a")]
)
def test_identity_headers_cannot_break_out_of_their_line(name: bytes, value: bytes) -> None:
    with pytest.raises(ValueError):
        identity_lines(((name, value),))
