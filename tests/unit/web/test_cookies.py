"""Our cookies: for one host, believed only when there is exactly one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.testing.clock import FakeClock
from isolation.tokens import Purpose, Tokens
from isolation.web.cookies import LOOP_ROUNDS, LOOP_ROUNDS_KEPT, LOOP_WINDOW, Browser, Cookies, read_cookie

TOKENS = Tokens(["k" * 32])
HOST = "app.corp.example"


def cookies(*, secure: bool = True, clock: FakeClock | None = None) -> Cookies:
    return Cookies(TOKENS, clock or FakeClock(), secure=secure)


def sent(set_cookie: str) -> list[tuple[bytes, bytes]]:
    return [(b"cookie", set_cookie.split(";")[0].encode())]


def test_over_https_the_cookie_is_tied_to_the_host() -> None:
    value = cookies().set_session("s" * 43, HOST)
    assert value.startswith("__Host-isolation=")
    attributes = set(value.split("; ")[1:])
    assert attributes == {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"}
    assert "Secure" not in cookies(secure=False).set_session("s", HOST)


def test_a_cookie_opens_only_the_host_it_was_made_for() -> None:
    jar = cookies()
    header = sent(jar.set_session("secret", HOST))
    assert jar.read_session(header, HOST) == "secret"
    for other in ("lab.corp.example", f"{HOST}:8443", "", HOST.upper()):
        assert jar.read_session(header, other) is None


def test_a_value_signed_for_another_purpose_is_no_session() -> None:
    jar = cookies()
    for purpose in set(Purpose) - {Purpose.SESSION}:
        header = [(b"cookie", f"__Host-isolation={TOKENS.sign(purpose, 'secret', audience=HOST)}".encode())]
        assert jar.read_session(header, HOST) is None
    hint = jar.set_hint("O.abc", HOST).replace("isolation-hint", "isolation-flow")
    assert jar.read_browser(sent(hint), HOST) is None


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"cookie", b"__Host-isolation")],
        [(b"cookie", b"x__Host-isolation=good")],
        [(b"cookie", b"__host-isolation=good")],
        [(b"cookie", b"__Host-isolation=good; __Host-isolation=evil")],
        [(b"cookie", b"__Host-isolation=good; __Host-isolation=good")],
        [(b"cookie", b"__Host-isolation=good"), (b"Cookie", b"__Host-isolation=evil")],
        [(b"cookie", b"__Host-isolation=" + b"a" * 5_000)],
        [(b"cookie", b"__Host-isolation=\xff")],
        [(b"set-cookie", b"__Host-isolation=good")],
    ],
)
def test_a_cookie_that_is_not_there_exactly_once_is_not_there(headers: list[tuple[bytes, bytes]]) -> None:
    assert read_cookie(headers, "__Host-isolation") is None


def test_other_cookies_do_not_disturb() -> None:
    header = [(b"Cookie", b"a=b; =x;; __Host-isolation=good;c"), (b"cookie", b"d=e")]
    assert read_cookie(header, "__Host-isolation") == "good"


@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"Cookie", b"x"]), st.binary(max_size=80))))
def test_no_header_breaks_the_reader_or_opens_anything(headers: list[tuple[bytes, bytes]]) -> None:
    assert cookies().read_session(headers, HOST) is None
    assert cookies().read_browser(headers, HOST) is None


def test_a_browser_keeps_its_one_binding() -> None:
    jar = cookies()
    first = jar.browser([], HOST)
    again = jar.browser(sent(jar.set_browser(first, HOST)), HOST)
    assert (first.known, again.known) == (False, True)
    assert first.binding == again.binding
    assert first.secret not in first.binding
    assert jar.browser([], HOST).binding != first.binding


def test_three_completed_sign_ins_in_a_minute_are_a_loop() -> None:
    clock = FakeClock()
    jar = cookies(clock=clock)
    browser = Browser("b" * 43)
    kept = [(b"cookie", b"__Host-isolation=whatever")]
    for _ in range(LOOP_ROUNDS):
        assert not jar.is_looping([], browser)
        browser = jar.completed(browser)
    assert jar.is_looping([], browser)
    assert not jar.is_looping(kept, browser)
    for _ in range(LOOP_ROUNDS, LOOP_ROUNDS_KEPT):
        assert not jar.is_looping(kept, browser)
        browser = jar.completed(browser)
    assert jar.is_looping(kept, browser)
    assert not jar.is_looping([], jar.settled(browser))
    clock.advance(LOOP_WINDOW + 1)
    assert not jar.is_looping([], browser)
    assert jar.completed(browser).rounds == 1


def test_the_hint_for_signing_out_survives_only_where_it_fits_in_a_cookie() -> None:
    jar = cookies()
    assert jar.read_hint(sent(jar.set_hint("O.CiRh-_=", HOST)), HOST) == "O.CiRh-_="
    for bad in (None, "", "a;b", "a b", 'a"b', "a\r\nb", "ä", "a" * 700):
        assert "Max-Age=0" in jar.set_hint(bad, HOST)
