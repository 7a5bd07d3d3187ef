"""Who is there, told to the app: one signed assertion, plain headers where they are wanted, and nothing that a client made up. On every path."""

from __future__ import annotations

import contextlib
import time

import httpx
import jwt
import pytest
from sqlalchemy import text

from isolation.store.events import EventKind, EventRepository
from isolation.store.keys import AHEAD_SECONDS, KEEP_SECONDS, SIGN_SECONDS, KeyRepository
from isolation.testing.tenant import people
from tests.support.browsing import NAVIGATION, Browser
from tests.support.product import ALICE, BOB, ERIN, Product, eventually
from tests.support.upstream import MARK

EVIL = "evil@attacker.example"


@pytest.fixture(scope="module")
def alice(whole_product: Product) -> Browser:
    return whole_product.browser(ALICE)


def test_the_app_gets_one_assertion_that_the_published_keys_verify(product: Product, alice: Browser) -> None:
    answer = alice.get(product.url("data", "/page?x=1"))
    assert MARK in answer.text
    [seen] = product.upstream.of("/page")
    claims = product.assertion(seen)
    assert claims["aud"] == [product.audience("Data")]
    assert claims["email"] == ALICE
    assert claims["iss"] == product.url("auth", "")
    assert claims["exp"] - claims["iat"] <= 600
    assert people.ALICE.oid not in claims["sub"]
    # It is for this app only.
    [token] = seen.values("x-isolation-jwt-assertion")
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(
            token,
            product.keys()[jwt.get_unverified_header(token)["kid"]].key,
            algorithms=["RS256"],
            audience=product.audience("Lab"),
        )


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_every_method_carries_exactly_one(product: Product, alice: Browser, method: str) -> None:
    alice.fetch(product.url("data", "/method"), method, content=b"body" if method in {"POST", "PUT", "PATCH"} else None)
    [seen] = product.upstream.of("/method")
    assert seen.method == method
    assert product.assertion(seen)["email"] == ALICE


def test_a_websocket_handshake_carries_exactly_one(product: Product, alice: Browser) -> None:
    with alice.websocket() as socket:
        assert socket.recv(10) == MARK
        socket.send("hello")
        assert socket.recv(10) == "HELLO"
    [seen] = product.upstream.of("/socket")
    assert product.assertion(seen)["email"] == ALICE
    assert seen.values("x-forwarded-email") == [ALICE]


def test_plain_headers_are_sent_only_where_they_are_configured(product: Product, alice: Browser) -> None:
    alice.get(product.url("data", "/plain"))
    alice.get(product.url("lab", "/plain"))
    with_headers, without = product.upstream.of("/plain")
    assert with_headers.values("x-forwarded-email") == [ALICE]
    assert with_headers.values("x-staff-name") == ["Alice Archer"]
    assert with_headers.values("x-staff-id") == [people.ALICE.oid]
    assert with_headers.values("x-staff-groups") == [people.EMPLOYEES]
    for name in ("x-forwarded-email", "x-staff-name", "x-staff-id", "x-staff-groups"):
        assert without.values(name) == []
    assert product.assertion(without, "Lab")["email"] == ALICE


def test_the_router_s_own_cookies_stay_with_it_and_the_app_s_come_through(product: Product, alice: Browser) -> None:
    alice.get(product.url("data", "/first"))
    alice.get(product.url("data", "/second"))
    [second] = product.upstream.of("/second")
    assert second.values("cookie") == ["appcookie=app-value"]
    assert alice.cookie("data.localhost").encode() not in b"".join(seen.raw for seen in product.upstream.seen)


# ---------------------------------------------------------------------- what clients make up

NAMES = [
    "X-Isolation-Jwt-Assertion",
    "x_isolation_jwt_assertion",
    "X-ISOLATION_JWT-ASSERTION",
    "X-Isolation-Anything",
    "X-Forwarded-Email",
    "X_Forwarded_Email",
    "x-forwarded_email",
    "X.Forwarded.Email",
    "X-Staff-Name",
    "x_staff_name",
    "X-STAFF-GROUPS",
    "X_Staff-Id",
    "Remote-User",
    "Remote_User",
    "X-Remote-User",
    "X-Auth-Request-Email",
    "Cf-Access-Jwt-Assertion",
    "Forwarded",
    "X-Forwarded-User",
    "X-Real-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Forwarded-Prefix",
    "Proxy-Authorization",
]
WAYS = {
    "plain": "{name}: {value}",
    "no space": "{name}:{value}",
    "space before the colon": "{name} : {value}",
    "tab before the colon": "{name}\t: {value}",
    "folded": "X-Harmless: 1\r\n {name}: {value}",
    "twice": "{name}: {value}\r\n{name}: {value}",
}
GENUINE = {
    "x-forwarded-email": [ALICE],
    "x-staff-name": ["Alice Archer"],
    "x-staff-id": [people.ALICE.oid],
    "x-staff-groups": [people.EMPLOYEES],
}


def requests_of(path: str, cookie: str) -> dict[str, tuple[str, str, list[str]]]:
    """Every kind of way through the product: app, request line, further lines."""
    with_cookie = [f"Cookie: {cookie}"]
    upgrade = [
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]
    navigation = [f"{name}: {value}" for name, value in NAVIGATION.items()]
    return {
        "pass-through": ("data", f"GET {path} HTTP/1.1", with_cookie),
        "options": ("data", f"OPTIONS {path} HTTP/1.1", with_cookie),
        "http 1.0": ("data", f"GET {path} HTTP/1.0", with_cookie),
        "websocket": ("data", "GET /socket HTTP/1.1", [*with_cookie, *upgrade]),
        "websocket refused by the app": ("data", f"GET {path} HTTP/1.1", [*with_cookie, *upgrade]),
        "bypass": ("open", f"GET {path} HTTP/1.1", []),
        "bypass with a session": ("open", f"GET {path} HTTP/1.1", with_cookie),
        "error of the app": ("data", "GET /nonsense HTTP/1.1", with_cookie),
        "app that is down": ("gone", f"GET {path} HTTP/1.1", with_cookie),
        "nobody": ("data", f"GET {path} HTTP/1.1", []),
        "nobody, page load": ("data", f"GET {path} HTTP/1.1", navigation),
        "sign-in": ("data", "GET /.isolation/sign-in HTTP/1.1", navigation),
        "hand-off": ("data", "GET /.isolation/complete?code=x HTTP/1.1", navigation),
        "callback": ("auth", "GET /.isolation/callback?code=x&state=y HTTP/1.1", navigation),
    }


@pytest.mark.parametrize("way", WAYS)
def test_no_spelling_of_an_identity_header_goes_through(product: Product, alice: Browser, way: str) -> None:
    """Every name in one way of writing it, on every kind of way through, is gone or the whole request is refused."""
    cookie = alice.cookie_header("data")
    refused = 0
    for name in NAMES:
        line = WAYS[way].format(name=name, value=EVIL)
        for kind, (app, start, lines) in requests_of("/spelling", cookie).items():
            product.upstream.forget()
            raw = product.raw(app)
            # The line comes first, last and (for what takes the first or the last of several) is never the only one.
            kinds = [*lines, line] if len(kind) % 2 else [line, *lines]
            if kind.startswith("websocket"):
                raw.send("\r\n".join([start, f"Host: {raw.authority}", *kinds, "", ""]).encode())
                answer = raw.until(b"\r\n\r\n")
                raw.close()
            else:
                with contextlib.suppress(ConnectionResetError):
                    answer = raw.ask(start, *kinds)
            refused += answer.startswith(b"HTTP/1.1 400")
            for seen in product.upstream.seen:
                assert EVIL.encode() not in seen.raw, (kind, line, seen.raw)
                passing = app == "data"
                assert len(seen.values("x-isolation-jwt-assertion")) == passing
                for header, values in GENUINE.items():
                    assert seen.values(header) == (values if passing else []), (kind, line)
            assert EVIL.encode() not in answer
    assert (refused == len(NAMES) * len(requests_of("", ""))) == (
        way in {"space before the colon", "tab before the colon", "folded"}
    )


@pytest.mark.parametrize(
    "listed",
    [
        "X-Isolation-Jwt-Assertion",
        "x-forwarded-email, x-staff-name",
        "close, X-Isolation-JWT-Assertion",
        "cookie, host, x-forwarded-for",
    ],
)
def test_connection_cannot_take_our_headers_away(product: Product, alice: Browser, listed: str) -> None:
    product.raw().ask("GET /listed HTTP/1.1", f"Cookie: {alice.cookie_header('data')}", f"Connection: {listed}")
    [seen] = product.upstream.of("/listed")
    assert product.assertion(seen)["email"] == ALICE
    for header, values in GENUINE.items():
        assert seen.values(header) == values
    assert seen.values("x-forwarded-for") == ["127.0.0.1"]
    assert seen.values("host") == [f"data.localhost:{product.port}"]


def test_a_client_s_own_address_cannot_be_made_up(product: Product, alice: Browser) -> None:
    product.raw(source="127.0.0.7").ask(
        "GET /address HTTP/1.1", f"Cookie: {alice.cookie_header('data')}", "X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1"
    )
    [seen] = product.upstream.of("/address")
    assert seen.values("x-forwarded-for") == ["127.0.0.7"]
    assert seen.values("forwarded") == []


def test_nobody_is_told_to_a_bypassed_app(product: Product, alice: Browser) -> None:
    alice.get(product.url("open", "/bypassed"))
    [seen] = product.upstream.of("/bypassed")
    assert [name for name in seen.names if "isolation" in name.lower() or "staff" in name.lower()] == []
    assert seen.values("x-forwarded-email") == []


# ---------------------------------------------------------------------- keys


def test_keys_rotate_with_overlap(product: Product) -> None:
    """Six weeks pass: the next key is published before it signs, and the last one stays until nothing it signed is in use."""
    browser = product.browser(product.newcomer("rota"))

    def signed_by() -> str:
        product.upstream.forget()
        browser.get(product.url("data", "/signed"))
        [seen] = product.upstream.of("/signed")
        assert product.assertion(seen)  # whoever signed it, the published keys verify it
        return str(jwt.get_unverified_header(seen.values("x-isolation-jwt-assertion")[0])["kid"])

    with product.store() as store:
        keys = KeyRepository(store, [product.deployment_secret()])

        def pass_time(seconds: float) -> None:
            shift = text(
                "UPDATE signing_keys SET signs_from = signs_from - :s, signs_until = signs_until - :s, published_until = published_until - :s"
            )
            store.run_sync(store.write(lambda connection: connection.execute(shift, {"s": seconds})))
            store.run_sync(keys.rotate_if_due(time.time()))
            store.run_sync(EventRepository(store).announce(EventKind.KEYS_CHANGED, ""))

        first = signed_by()
        assert list(product.keys()) == [first]
        [old] = product.upstream.of("/signed")

        pass_time(SIGN_SECONDS - AHEAD_SECONDS + 60)
        eventually(lambda: len(product.keys()) == 2, "the next key was not published")
        assert signed_by() == first
        [second] = product.keys().keys() - {first}

        pass_time(AHEAD_SECONDS)
        eventually(lambda: signed_by() == second, "the next key never signed")
        assert product.assertion(old)["aud"] == [product.audience("Data")]  # what the old key signed still verifies

        pass_time(KEEP_SECONDS)
        eventually(lambda: not product.keys().get(first), "the old key stayed for ever")
        assert signed_by() == second
        with pytest.raises(KeyError):
            product.assertion(old)


def test_the_published_keys_are_public_halves_only(product: Product) -> None:
    document = product.browser().get(product.url("auth", "/.isolation/certs")).json()
    for key in document["keys"]:
        assert set(key) == {"kty", "use", "alg", "kid", "n", "e"}


# ---------------------------------------------------------------------- cookies and own addresses


def test_one_app_s_cookie_opens_no_other(product: Product) -> None:
    browser = product.browser(ERIN)
    stolen = browser.cookie("data.localhost")
    assert b"200 OK" in product.raw("data").ask("GET /mine HTTP/1.1", f"Cookie: isolation={stolen}").split(b"\r\n")[0]
    product.upstream.forget()
    for app in ("lab", "hasty"):
        answer = product.raw(app).ask("GET /theirs HTTP/1.1", f"Cookie: isolation={stolen}")
        assert answer.startswith(b"HTTP/1.1 401")
    answer = product.raw("auth").ask("GET / HTTP/1.1", f"Cookie: isolation={stolen}")
    assert answer.startswith(b"HTTP/1.1 401")
    assert product.upstream.seen == []


def test_a_cookie_is_dead_after_signing_out(product: Product) -> None:
    browser = product.browser(product.newcomer("sonia"))
    browser.get(product.url("lab"))
    kept = {app: browser.cookie(f"{app}.localhost") for app in ("data", "lab", "auth")}
    page = browser.get(product.url("data", "/.isolation/sign-out"))
    token = page.text.partition('name="token" value="')[2].partition('"')[0]
    signed_out = browser.client.post(
        product.url("data", "/.isolation/sign-out"), data={"token": token}, headers={"sec-fetch-site": "same-origin"}
    )
    assert "Signed out" in signed_out.text
    product.upstream.forget()
    for app, value in kept.items():
        eventually(
            lambda app=app, value=value: (
                product.raw(app).ask("GET / HTTP/1.1", f"Cookie: isolation={value}").startswith(b"HTTP/1.1 401")
            ),
            f"the cookie of {app} outlived its session",
        )
    product.upstream.forget()
    for app, value in kept.items():
        assert product.raw(app).ask("GET / HTTP/1.1", f"Cookie: isolation={value}").startswith(b"HTTP/1.1 401")
    assert product.upstream.seen == []


@pytest.mark.parametrize("tampered", ["flip", "cut", "empty", "swap", "twice"])
def test_a_changed_cookie_opens_nothing(product: Product, alice: Browser, tampered: str) -> None:
    good = alice.cookie("data.localhost")
    value = {
        "flip": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "cut": good[:-4],
        "empty": "",
        "swap": good.partition(".")[2] + "." + good.partition(".")[0],
        "twice": f"{good}; isolation={good[:-2]}",
    }[tampered]
    answer = product.raw().ask("GET /changed HTTP/1.1", f"Cookie: isolation={value}")
    assert answer.startswith(b"HTTP/1.1 401")
    assert product.upstream.seen == []


@pytest.mark.parametrize("person", [ALICE, BOB])
@pytest.mark.parametrize(
    "path",
    [
        "/.isolation",
        "/.isolation/",
        "/.isolation/no-such-page",
        "/.isolation/stream",
        "/.isolation/static/../secret",
        "/%2eisolation/identity",
        "/.%69solation/identity",
        "/.isolation%2fidentity",
        "/.isolation/;x=y/identity",
        "/./.isolation/identity",
        "/x/../.isolation/identity",
        "/.isolation/complete?code=nonsense",
    ],
)
def test_own_addresses_never_reach_the_app(
    product: Product, whole_product: Product, alice: Browser, person: str, path: str
) -> None:
    browser = alice if person == ALICE else product.browser(person)
    product.upstream.forget()
    cookie = browser.cookie_header("data")
    for method in ("GET", "POST", "OPTIONS", "PROPFIND"):
        answer = product.raw().ask(f"{method} {path} HTTP/1.1", f"Cookie: {cookie}")
        assert not answer.startswith(b"HTTP/1.1 5"), answer
        assert MARK.encode() not in answer
    answer = product.raw("open").ask(f"GET {path} HTTP/1.1")
    assert MARK.encode() not in answer
    assert product.upstream.seen == []


def test_who_am_i_says_what_the_app_is_told(product: Product, alice: Browser) -> None:
    told = alice.fetch(product.url("data", "/.isolation/identity")).json()
    assert (told["email"], told["app"], told["decision"], told["policy"]) == (ALICE, "Data", "forward", "Staff")
    assert product.cli("audit", "find", told["reference"])
    assert (
        httpx.get(
            f"http://127.0.0.1:{product.port}/.isolation/identity",
            headers={"host": f"data.localhost:{product.port}"},
            trust_env=False,
        ).status_code
        == 401
    )
