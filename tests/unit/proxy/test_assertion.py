"""The signed header and the plain ones."""

from __future__ import annotations

from dataclasses import replace

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from isolation.policy.facts import Known, Person, RiskLevel, Stale, Unknown, UnknownReason, UserType
from isolation.policy.model import PolicySet
from isolation.proxy import assertion
from isolation.proxy.assertion import LIFE_SECONDS, Assertions, header_value, plain_headers
from isolation.proxy.headers import identity_lines
from isolation.routing.model import App, Upstream
from isolation.testing.clock import FakeClock

APP = App("Payroll", "payroll.example", Upstream("127.0.0.1", 1), PolicySet(()), "f" * 64)
ALICE = Person(
    key="tenant/a11ce",
    email="alice@contoso.example",
    name="Alice Ångström",
    login_method="Entra",
    signed_in_at=0.0,
    user_type=Known(UserType.MEMBER, 0.0),
    groups=Known(frozenset({"g2", "g1"}), 0.0),
    risk=Known(RiskLevel.NONE, 0.0),
)


class Keys:
    def __init__(self) -> None:
        self.id = "k1"
        self.key = rsa.generate_private_key(65537, 2048)
        self.used = 0

    def current(self) -> tuple[str, rsa.RSAPrivateKey]:
        self.used += 1
        return self.id, self.key


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys()


def test_an_app_can_verify_it(keys: Keys) -> None:
    clock = FakeClock()
    ((name, token),) = Assertions(keys, "https://auth.example", clock).headers_for("s", ALICE, APP)
    assert name == b"x-isolation-jwt-assertion"
    claims = jwt.decode(
        token, keys.key.public_key(), algorithms=["RS256"], audience="f" * 64, issuer="https://auth.example", options={"verify_exp": False, "verify_iat": False, "verify_nbf": False}
    )  # fmt: skip
    assert jwt.get_unverified_header(token) == {"alg": "RS256", "kid": "k1", "typ": "JWT"}
    assert claims["aud"] == ["f" * 64]
    assert claims["email"] == "alice@contoso.example"
    assert claims["type"] == "app"
    assert claims["exp"] - claims["iat"] == LIFE_SECONDS
    assert claims["nbf"] == claims["iat"] == int(clock.now())
    assert "a11ce" not in claims["sub"]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, keys.key.public_key(), algorithms=["RS256"], audience="e" * 64, options={"verify_exp": False, "verify_iat": False, "verify_nbf": False})  # fmt: skip


def test_it_is_kept_until_half_its_life_and_for_one_session_app_and_person() -> None:
    clock, keys = FakeClock(), Keys()
    assertions = Assertions(keys, "https://auth.example", clock)
    first = assertions.headers_for("s", ALICE, APP)
    clock.advance(LIFE_SECONDS / 2 - 1)
    assert assertions.headers_for("s", replace(ALICE), APP) is first
    assert keys.used == 1
    clock.advance(1)
    assert assertions.headers_for("s", ALICE, APP) != first
    second = assertions.headers_for("s", ALICE, APP)
    assert assertions.headers_for("other", ALICE, APP) != second
    assert assertions.headers_for("s", ALICE, replace(APP, audience="e" * 64)) != second
    assert assertions.headers_for("s", replace(ALICE, email="bob@contoso.example"), APP) != second
    third = assertions.headers_for("s", ALICE, APP)
    assertions.forget("s")
    assert assertions.headers_for("s", ALICE, APP) != third
    fourth = assertions.headers_for("s", ALICE, APP)
    assertions.forget()
    assert assertions.headers_for("s", ALICE, APP) != fourth


def test_what_is_kept_is_bounded(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assertion, "MAX_KEPT", 3)
    assertions = Assertions(keys, "https://auth.example", FakeClock())
    for number in range(5):
        assertions.headers_for(f"s{number}", ALICE, APP)
    assert len(assertions._kept) == 3


def test_plain_headers() -> None:
    app = replace(APP, identity_headers=(("email", "X-Email"), ("groups", "X-Groups"), ("name", "X-Name"), ("user_id", "X-Id")))
    assert dict(plain_headers(ALICE, app)) == {
        b"X-Email": b"alice@contoso.example",
        b"X-Groups": b"g1,g2",
        b"X-Name": b"UTF-8''Alice%20%C3%85ngstr%C3%B6m",
        b"X-Id": b"a11ce",
    }
    assert plain_headers(ALICE, APP) == ()


@pytest.mark.parametrize(
    "groups",
    [
        Unknown(UnknownReason.INCOMPLETE),
        Stale(frozenset({"g1"}), 0.0),
        Known(frozenset(f"{n:036}" for n in range(500)), 0.0),
        Known(frozenset(), 0.0),
    ],
)
def test_groups_that_are_not_known_whole_are_left_out(groups: object) -> None:
    app = replace(APP, identity_headers=(("groups", "X-Groups"),))
    assert plain_headers(replace(ALICE, groups=groups), app) == ()  # type: ignore[arg-type]


@given(st.text())
def test_no_text_breaks_out_of_a_header(text: str) -> None:
    value = header_value(text)
    if value is not None:
        assert all(0x20 <= byte <= 0x7E for byte in value)
        assert identity_lines(((b"x", value),)).count(b"\r\n") == 1


@pytest.mark.parametrize("text", ["a\r\nX-Admin: 1", "a\nb", "a\x00", "a\x85b", "a\u2028b", "", " "])
def test_control_characters_are_never_sent(text: str) -> None:
    assert header_value(text) is None
