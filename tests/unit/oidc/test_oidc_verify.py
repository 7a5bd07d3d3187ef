"""Forged, foreign, stale and misshapen ID tokens, each refused with a code of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from isolation.errors import SignInError
from isolation.identity.oidc.flow import Cloud, EntraProvider
from isolation.identity.oidc.verify import MAX_KEYS, PERSONAL_TENANT, Claims, parse_keys, token_kid, verify_id_token
from isolation.policy.facts import UserType

NOW = 1_760_000_000.0
TENANT, OTHER = "c0417050-0000-4000-8000-00000000c050", "11111111-2222-4333-8444-555555555555"
OID = "a11ce000-0000-4000-8000-000000000001"
LOGIN = "https://login.microsoftonline.com"
PROVIDER = EntraProvider("Entra", "client", "client-secret-of-some-length", TENANT.upper(), Cloud(LOGIN, "https://graph"))
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key: rsa.RSAPrivateKey = KEY, kid: str = "one", **extra: Any) -> dict[str, Any]:
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {
        "kty": "RSA",
        "use": "sig",
        "kid": kid,
        "n": public["n"],
        "e": public["e"],
        "issuer": f"{LOGIN}/{{tenantid}}/v2.0",
    } | extra


KEYS = parse_keys({"keys": [jwk()]})


def payload(**changes: Any) -> dict[str, Any]:
    claims = {
        "aud": "client",
        "iss": f"{LOGIN}/{TENANT}/v2.0",
        "iat": int(NOW),
        "nbf": int(NOW),
        "exp": int(NOW) + 3900,
        "name": "Alice Archer",
        "nonce": "nonce",
        "oid": OID,
        "preferred_username": "Alice@Contoso.Example",
        "sub": "x" * 43,
        "tid": TENANT,
        "ver": "2.0",
    }
    claims |= changes
    return {name: value for name, value in claims.items() if value is not ...}


def signed(claims: dict[str, Any], key: Any = KEY, algorithm: str = "RS256", **headers: Any) -> str:
    # The encoder refuses some hostile claims, so that they are signed as plain bytes.
    return jwt.PyJWS().encode(json.dumps(claims).encode(), key, algorithm=algorithm, headers={"kid": "one"} | headers)


def verify(token: str, nonce: str = "nonce", now: float = NOW, keys: Any = KEYS, provider: EntraProvider = PROVIDER) -> Claims:
    return verify_id_token(token, provider=provider, keys=keys, nonce=nonce, now=now)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(SignInError) as caught:
        act()
    return caught.value.code


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def test_a_good_token_names_the_person_by_tenant_and_object_id() -> None:
    claims = verify(signed(payload(sid="s-1", login_hint="O.abc", acct=0, groups=[OTHER.upper()])))
    assert claims.key == f"{TENANT}/{OID}"
    assert (claims.email, claims.name, claims.sid, claims.logout_hint) == (
        "alice@contoso.example",
        "Alice Archer",
        "s-1",
        "O.abc",
    )
    assert claims.user_type is UserType.MEMBER
    assert claims.groups == {OTHER}


def test_alg_none_in_every_spelling_is_refused() -> None:
    for algorithm in ("none", "None", "NONE", "", None, ["RS256"], "rs256", "RS256 "):
        header = b64(json.dumps({"alg": algorithm, "kid": "one"}).encode())
        body = b64(json.dumps(payload()).encode())
        for token in (f"{header}.{body}.", f"{header}.{body}.{b64(b'x' * 256)}"):
            assert code_of(lambda token=token: verify(token)) in {"token-algorithm", "token-malformed"}


def test_hs256_with_the_client_secret_or_the_public_key_is_refused() -> None:
    public = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for secret in (PROVIDER.client_secret.encode(), public, jwk()["n"].encode()):
        head = b64(json.dumps({"alg": "HS256", "kid": "one", "typ": "JWT"}).encode())
        text = f"{head}.{b64(json.dumps(payload()).encode())}"
        token = f"{text}.{b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"
        assert code_of(lambda token=token: verify(token)) == "token-algorithm"


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
def test_only_rs256_is_taken(algorithm: str) -> None:
    assert code_of(lambda: verify(signed(payload(), algorithm=algorithm))) == "token-algorithm"


def test_a_key_that_the_token_brings_along_is_not_used() -> None:
    for extra in ({"jwk": jwk(STRANGER)}, {"jku": "https://evil.example/keys"}, {"x5u": "https://evil.example/x"}):
        assert code_of(lambda extra=extra: verify(signed(payload(), STRANGER, **extra))) == "token-signature"


@pytest.mark.parametrize("kid", ["two", "../../one", "https://evil.example/keys", "one\u0000", "ONE", " one"])
def test_a_key_that_is_not_published_is_refused(kid: str) -> None:
    assert code_of(lambda: verify(signed(payload(), kid=kid))) == "token-key-unknown"


def test_the_key_must_be_named_by_text() -> None:
    for kid in ("", "k" * 257):
        assert code_of(lambda kid=kid: verify(signed(payload(), kid=kid))) == "token-key-name"
    for kid in (1, None, ["one"], {"one": 1}):
        token = f"{b64(json.dumps({'alg': 'RS256', 'kid': kid}).encode())}.{b64(b'{}')}.{b64(b'x')}"
        assert code_of(lambda token=token: verify(token)) in {"token-key-name", "token-malformed"}


def test_a_signature_by_somebody_else_or_of_something_else_is_refused() -> None:
    assert code_of(lambda: verify(signed(payload(), STRANGER))) == "token-signature"
    head, _, signature = signed(payload()).split(".")
    other = b64(json.dumps(payload(oid=OTHER)).encode())
    assert code_of(lambda: verify(f"{head}.{other}.{signature}")) == "token-signature"
    assert code_of(lambda: verify(f"{head}.{other}.")) == "token-signature"


def test_critical_extensions_are_refused() -> None:
    header = b64(json.dumps({"alg": "RS256", "kid": "one", "crit": ["exp"], "exp": 1}).encode())
    assert code_of(lambda: verify(f"{header}.{b64(b'{}')}.{b64(b'x')}")) == "token-malformed"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ver": "1.0"}, "token-version"),
        ({"ver": ...}, "token-version"),
        ({"ver": 2.0}, "token-version"),
        ({"tid": OTHER, "iss": f"{LOGIN}/{OTHER}/v2.0"}, "token-tenant"),
        ({"tid": PERSONAL_TENANT, "iss": f"{LOGIN}/{PERSONAL_TENANT}/v2.0"}, "token-personal"),
        ({"tid": ...}, "token-tenant"),
        ({"tid": "common"}, "token-tenant"),
        ({"tid": [TENANT]}, "token-tenant"),
        ({"tid": f"{{{TENANT}}}"}, "token-tenant"),
        ({"iss": f"{LOGIN}/{OTHER}/v2.0"}, "token-issuer"),
        ({"iss": f"https://login.microsoftonline.us/{TENANT}/v2.0"}, "token-issuer"),
        ({"iss": f"{LOGIN}/{TENANT}/v2.0/"}, "token-issuer"),
        ({"iss": f"{LOGIN}/{{tenantid}}/v2.0"}, "token-issuer"),
        ({"iss": ...}, "token-issuer"),
        ({"iss": [f"{LOGIN}/{TENANT}/v2.0"]}, "token-issuer"),
        ({"aud": "another"}, "token-audience"),
        ({"aud": ...}, "token-audience"),
        ({"aud": None}, "token-audience"),
        ({"aud": ["client"]}, "token-audience"),
        ({"aud": ["client", "another"]}, "token-audience"),
        ({"azp": "another"}, "token-audience"),
        ({"exp": int(NOW) - 301}, "token-expired"),
        ({"nbf": int(NOW) + 301, "exp": int(NOW) + 4000}, "token-not-yet-valid"),
        ({"iat": int(NOW) + 301}, "token-not-yet-valid"),
        ({"exp": 1e300}, "token-time"),
        ({"exp": 10**300}, "token-time"),
        ({"exp": int(NOW) + 100 * 86_400}, "token-time"),
        ({"exp": float(NOW) + 100}, "token-time"),
        ({"exp": str(int(NOW) + 100)}, "token-time"),
        ({"exp": [int(NOW) + 100]}, "token-time"),
        ({"exp": True}, "token-time"),
        ({"exp": None}, "token-time"),
        ({"exp": ...}, "token-time"),
        ({"exp": float("inf")}, "token-time"),
        ({"exp": float("nan")}, "token-time"),
        ({"nbf": ...}, "token-time"),
        ({"iat": ...}, "token-time"),
        ({"iat": -1}, "token-time"),
        ({"nonce": "another"}, "token-nonce"),
        ({"nonce": ...}, "token-nonce"),
        ({"nonce": None}, "token-nonce"),
        ({"nonce": ["nonce"]}, "token-nonce"),
        ({"oid": ...}, "token-identity"),
        ({"oid": ""}, "token-identity"),
        ({"oid": [OID]}, "token-identity"),
        ({"oid": OID.replace("-", "")}, "token-identity"),
        ({"oid": f"{OID}/x"}, "token-identity"),
        ({"oid": "me"}, "token-identity"),
    ],
)
def test_each_wrong_claim_has_its_own_code(changes: dict[str, Any], code: str) -> None:
    assert code_of(lambda: verify(signed(payload(**changes)))) == code


def test_an_empty_nonce_is_no_nonce() -> None:
    assert code_of(lambda: verify(signed(payload(nonce="")), nonce="")) == "token-nonce"


def test_clocks_may_differ_by_five_minutes_and_no_more() -> None:
    assert verify(signed(payload(exp=int(NOW) - 300, nbf=int(NOW) - 900, iat=int(NOW) - 900)))
    assert verify(signed(payload(nbf=int(NOW) + 300, iat=int(NOW) + 300)))


@pytest.mark.parametrize(
    "issuer",
    [f"{LOGIN}/{OTHER}/v2.0", f"{LOGIN}/{PERSONAL_TENANT}/v2.0", "https://evil.example/{tenantid}/v2.0", "", "{tenantid}"],
)
def test_a_key_of_another_issuer_may_not_sign(issuer: str) -> None:
    keys = parse_keys({"keys": [jwk(issuer=issuer)]})
    assert code_of(lambda: verify(signed(payload()), keys=keys)) == "token-key-issuer"


def test_a_key_of_this_very_issuer_may_sign() -> None:
    assert verify(signed(payload()), keys=parse_keys({"keys": [jwk(issuer=f"{LOGIN}/{TENANT}/v2.0")]}))


def test_a_payload_that_is_no_object_is_refused() -> None:
    for body in (b"[]", b"null", b'"x"', b"1", b"{", b"", b"\xff", b"[" * 20_000):
        token = jwt.PyJWS().encode(body, KEY, algorithm="RS256", headers={"kid": "one"})
        assert code_of(lambda token=token: verify(token)) in {"token-malformed", "token-version"}


def test_a_huge_token_is_not_even_parsed() -> None:
    assert code_of(lambda: token_kid("a" * 70_000)) == "token-too-large"


@given(
    st.one_of(
        st.text(max_size=200), st.lists(st.text(alphabet="abcXYZ019-_=", max_size=60), min_size=3, max_size=3).map(".".join)
    )
)
def test_no_text_is_a_token_and_none_breaks_the_reader(text: str) -> None:
    assert code_of(lambda: verify(text)).startswith("token-")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "name",
                "email",
                "preferred_username",
                "upn",
                "acct",
                "groups",
                "_claim_names",
                "hasgroups",
                "sid",
                "login_hint",
                "xms_edov",
            ]
        ),
        values,
    )
)
def test_whatever_the_descriptive_claims_hold_the_answer_is_well_formed(changes: dict[str, Any]) -> None:
    claims = verify(signed(payload(**changes)))
    assert claims.key == f"{TENANT}/{OID}"
    assert claims.email == "" or (claims.email.count("@") == 1 and claims.email == claims.email.lower())
    assert claims.name.isprintable()
    assert claims.groups is None or all(len(group) == 36 for group in claims.groups)


# -- who and what


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (0, UserType.MEMBER),
        (1, UserType.GUEST),
        ("0", UserType.MEMBER),
        ("1", UserType.GUEST),
        (2, None),
        (True, None),
        (False, None),
        (None, None),
        (..., None),
        ([1], None),
        (1.0, None),
    ],
)
def test_guests_are_told_apart_only_where_the_token_says_so(claim: Any, expected: UserType | None) -> None:
    assert verify(signed(payload(acct=claim))).user_type is expected


@pytest.mark.parametrize(
    "address",
    [
        "a@evil.example@contoso.example",
        "a@contoso.example.",
        "a@contoso.example\u0000",
        "a@contoso.example\n",
        '"a@evil.example"@contoso.example',
        "a@.contoso.example",
        "a@contoso..example",
        "a b@contoso.example",
        "@contoso.example",
        "a@",
        "a",
        "a@contoso.example,b@evil.example",
        "<a@contoso.example>",
        "\u212aate@contoso.example",
        "a@contoso.\u0435xample",
        "a\u0040\uff20contoso.example",
        "a@contoso.example" + "x" * 300,
        ["a@contoso.example"],
        {"a": 1},
        7,
    ],
)
def test_a_malformed_address_is_none_and_no_other_claim_stands_in_for_it(address: Any) -> None:
    assert verify(signed(payload(email=address))).email == ""


def test_the_order_of_the_claims_for_the_address() -> None:
    def email(provider: EntraProvider = PROVIDER, **claims: Any) -> str:
        return verify(signed(payload(**claims)), provider=provider).email

    configured = EntraProvider("Entra", "client", "s", TENANT, PROVIDER.cloud, email_claim="work_mail")
    assert email(configured, work_mail="W@x.example", email="e@x.example") == "w@x.example"
    assert email(configured, work_mail=None, email="E@x.example") == "e@x.example"
    assert email(configured, work_mail="bad", email="e@x.example") == ""
    assert email(email="", preferred_username="P@x.example") == "p@x.example"
    assert email(email=..., preferred_username=..., upn="U@x.example") == "u@x.example"
    assert email(preferred_username=...) == ""


@pytest.mark.parametrize("verified", [False, 0, "0", "false"])
def test_an_address_whose_domain_nobody_owns_is_passed_over(verified: Any) -> None:
    assert verify(signed(payload(email="ceo@contoso.example", xms_edov=verified))).email == "alice@contoso.example"


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"groups": None},
        {"groups": OTHER},
        {"groups": [OTHER, "Domain Admins"]},
        {"groups": [OTHER, 1]},
        {"groups": [OTHER] * 1_001},
        {"groups": {"a": OTHER}},
        {"groups": [OTHER], "_claim_names": {"groups": "src1"}},
        {"groups": [OTHER], "_claim_names": "groups"},
        {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://evil.example"}}},
        {"groups": [OTHER], "hasgroups": True},
        {"groups": [OTHER], "hasgroups": "true"},
    ],
)
def test_anything_but_the_complete_list_is_no_list(claims: dict[str, Any]) -> None:
    assert verify(signed(payload(**claims))).groups is None


def test_an_empty_list_is_a_list() -> None:
    assert verify(signed(payload(groups=[]))).groups == frozenset()
    assert verify(signed(payload(groups=[], _claim_names={"other": "src1"}))).groups == frozenset()


def test_names_are_shown_without_what_moves_text_about() -> None:
    assert verify(signed(payload(name="A\u202elice\r\n\u0000</pre><script>"))).name == "Alice</pre><script>"


# -- keys


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({}, "keys-malformed"),
        ({"keys": {}}, "keys-malformed"),
        ({"keys": ["x"]}, "keys-malformed"),
        ({"keys": [None]}, "keys-malformed"),
        ({"keys": []}, "keys-none"),
        ({"keys": [jwk()] * 2}, "keys-malformed"),
        ({"keys": [jwk(kid=str(number)) for number in range(MAX_KEYS + 1)]}, "keys-too-many"),
        ({"keys": [jwk(use="enc")]}, "keys-none"),
        ({"keys": [jwk(alg="HS256")]}, "keys-none"),
        ({"keys": [jwk(kty="oct", k="AAAA")]}, "keys-none"),
        ({"keys": [jwk(kid=1)]}, "keys-none"),
        ({"keys": [jwk(n="!!")]}, "keys-none"),
        ({"keys": [jwk(n=["x"])]}, "keys-none"),
        ({"keys": [jwk(n="A" * 100_000)]}, "keys-none"),
        ({"keys": [jwk(e="AA")]}, "keys-none"),
        ({"keys": [jwk(issuer=7)]}, "keys-none"),
        ({"keys": [jwk(rsa.generate_private_key(public_exponent=65537, key_size=1024))]}, "keys-none"),
    ],
)
def test_only_sound_signing_keys_are_taken(document: dict[str, Any], code: str) -> None:
    assert code_of(lambda: parse_keys(document)) == code


def test_keys_of_another_kind_are_passed_over() -> None:
    assert set(parse_keys({"keys": [{"kty": "EC", "kid": "ec"}, jwk(), jwk(STRANGER, "two")]})) == {"one", "two"}


@given(values)
def test_no_key_document_breaks_the_reader(value: Any) -> None:
    for document in ({"keys": value}, {"keys": [value]}, {"keys": [jwk(n=value)]}):
        assert code_of(lambda document=document: parse_keys(document)).startswith("keys-")


@given(st.binary(min_size=1, max_size=8) | st.sampled_from([b"\x03", b"\xd3", b"\x01\x00\x01", b"\x00\x00\x05"]))
def test_an_exponent_is_large_enough_or_the_key_is_passed_over(exponent: bytes) -> None:
    number = int.from_bytes(exponent, "big")
    encoded = base64.urlsafe_b64encode(exponent).rstrip(b"=").decode()
    if number < 65_537 or number % 2 == 0:
        assert code_of(lambda: parse_keys({"keys": [jwk(e=encoded)]})) == "keys-none"
    else:
        [key] = parse_keys({"keys": [jwk(e=encoded)]}).values()
        assert key.key.public_numbers().e == number
