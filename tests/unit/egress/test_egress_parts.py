"""Heads, credentials, rules, certificates: everything of the gateway that needs no socket of its own."""

from __future__ import annotations

import base64
import hashlib
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from isolation.egress import certificates as certificates_module
from isolation.egress.address import EgressRefusedError, Name, Reason, examine
from isolation.egress.certificates import LIFE_SECONDS, Certificates, new_key
from isolation.egress.forward import end_to_end
from isolation.egress.head import MAX_HEAD_BYTES, Head, HeadError, parse_head
from isolation.egress.leases import Lease, LeaseTable, parse_basic
from isolation.egress.rules import AppDestinations, admit_public, matches
from isolation.errors import ConfigurationError
from isolation.policy.model import PolicySet
from isolation.routing.model import App, Upstream
from isolation.testing.clock import FakeClock
from isolation.tokens import digest

GOOD = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\nProxy-Authorization: Basic YTpi\r\n\r\n"


# --- heads ---


def test_a_head_is_read_and_what_follows_is_not_part_of_it() -> None:
    assert parse_head(GOOD + b"\x16\x03\x01") == Head("CONNECT", "a.example:443", "Basic YTpi", len(GOOD))


@pytest.mark.parametrize("cut", [0, 1, 10, len(GOOD) - 1])
def test_an_incomplete_head_waits(cut: int) -> None:
    assert parse_head(GOOD[:cut]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00",
        b"\x05\x01\x00",
        b"\r\n" + GOOD,
        b" GET / HTTP/1.1\r\n\r\n",
        b"connect a:1 HTTP/1.1\r\n\r\n",
        b"GET http://a.example/ HTTP/2.0\r\n\r\n",
        b"GET http://a.example/\r\n\r\n",
        b"GET  http://a.example/ HTTP/1.1\r\n\r\n",
        b"GET http://a.example/\x00 HTTP/1.1\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nX: a\nProxy-Authorization: Basic YTpi\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nX: a\x00b\r\n\r\n",
        b"GET http://a.example/ HTTP/1.1\r\nProxy-Authorization: Basic YTpi\r\nproxy-authorization: Basic YTpi\r\n\r\n",
    ],
)
def test_malformed_heads_are_refused(data: bytes) -> None:
    with pytest.raises(HeadError) as error:
        parse_head(data)
    assert error.value.status == 400


def test_an_oversized_head_is_refused() -> None:
    with pytest.raises(HeadError) as error:
        parse_head(b"GET http://a.example/ HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES)
    assert error.value.status == 431


@given(
    st.binary(max_size=200) | st.builds(lambda a, b: GOOD[:a] + b + GOOD[a:], st.integers(0, len(GOOD)), st.binary(max_size=6))
)
def test_parse_head_is_total(data: bytes) -> None:
    try:
        head = parse_head(data)
    except HeadError:
        return
    if head is not None:
        assert head.size <= len(data)
        assert data[: head.size].endswith(b"\r\n\r\n")
        assert not set(head.target) & set(" \r\n\0")


# --- credentials ---


def _basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Basic",
        "Basic ",
        "Bearer YTpi",
        "Basic !!!",
        "Basic YQ",
        _basic(b"a"),
        _basic(b":b"),
        _basic(b"a:"),
        _basic(b"\xff:b"),
        _basic(b"a:" + b"b" * 900),
    ],
)
def test_bad_credentials(value: str) -> None:
    assert parse_basic(value) is None


def test_credentials_keep_colons_of_the_password() -> None:
    assert parse_basic(_basic(b"u:p:q")) == ("u", "p:q")


@given(st.text(max_size=60))
def test_parse_basic_is_total(value: str) -> None:
    parse_basic(value)
    parse_basic("Basic " + value)


@pytest.mark.case(16)
async def test_credentials_of_one_lease_are_no_others() -> None:
    table = LeaseTable()
    a, b = Lease("a", "sa", "pa"), Lease("b", "sb", "pb")
    table.add(a, username="ua", password_digest=digest("one"))
    table.add(b, username="ub", password_digest=digest("two"))
    assert await table.find("ua", "one") is a
    assert await table.find("ub", "two") is b
    for username, password in [("ua", "two"), ("ub", "one"), ("ua", ""), ("", "one"), ("uc", "one"), ("ua", digest("one"))]:
        assert await table.find(username, password) is None
    table.add(a, username="ua2", password_digest=digest("three"))
    assert await table.find("ua", "one") is None
    assert await table.find("ua2", "three") is a
    table.remove("a")
    table.remove("a")
    assert await table.find("ua2", "three") is None
    assert list(table.live()) == [b]


# --- rules ---


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("cdn.example", "cdn.example", True),
        ("CDN.example.", "cdn.EXAMPLE", True),
        ("cdn.example", "a.cdn.example", False),
        ("cdn.example", "evilcdn.example", False),
        ("*.cdn.example", "a.cdn.example", True),
        ("*.cdn.example", "a.b.cdn.example", True),
        ("*.cdn.example", "cdn.example", False),
        ("*.cdn.example", "evilcdn.example", False),
        ("*.cdn.example", "cdn.example.evil.example", False),
        ("*", "anything.example", True),
        ("*", "8.8.8.8", True),
        ("8.8.8.8", "8.8.8.8", True),
        ("8.8.8.8", "8.8.4.4", False),
        ("*.8.8", "8.8.8.8", False),
        ("[2606:4700::1111]", "[2606:4700:0::1111]", True),
        ("", "a.example", False),
    ],
)
def test_patterns(pattern: str, host: str, expected: bool) -> None:
    assert matches(pattern, examine(host)) is expected


@pytest.mark.case(1)
@pytest.mark.parametrize(
    ("patterns", "host", "port", "reason"),
    [
        ((), "cdn.example", 443, Reason.NOT_ALLOWED),
        (("*",), "cdn.example", 22, Reason.PORT),
        (("*",), "cdn.example", 25, Reason.PORT),
        (("*",), "cdn.example", 6379, Reason.PORT),
        (("*",), "cdn.example", 8080, Reason.PORT),
        (("*",), "127.0.0.1", 443, Reason.LOOPBACK),
        (("127.0.0.1", "localhost", "*.localhost"), "foo.localhost", 80, Reason.LOOPBACK),
        (("169.254.169.254",), "169.254.169.254", 80, Reason.METADATA),
        (("*",), "wiki.internal", 443, Reason.LOCAL_NAME),
        (("*",), "10.0.0.1", 22, Reason.PRIVATE),
    ],
)
def test_a_pattern_never_opens_a_private_address(patterns: tuple[str, ...], host: str, port: int, reason: Reason) -> None:
    with pytest.raises(EgressRefusedError) as refused:
        admit_public(patterns, host, port)
    assert refused.value.reason is reason


def test_what_is_permitted_passes() -> None:
    assert admit_public(("*.cdn.example",), "A.cdn.example.", 443) == Name("a.cdn.example")


@pytest.mark.parametrize(
    ("patterns", "within", "passes"),
    [
        (("*.cdn.example",), None, True),
        (("*.cdn.example",), ("a.cdn.example",), True),
        (("*",), ("*.cdn.example",), True),
        (("*.cdn.example",), ("b.cdn.example",), False),
        (("*.cdn.example",), (), False),
        (("b.cdn.example",), ("a.cdn.example", "*.cdn.example"), False),
        ((), ("a.cdn.example",), False),
    ],
)
def test_the_control_only_narrows(patterns: tuple[str, ...], within: tuple[str, ...] | None, passes: bool) -> None:
    if passes:
        assert admit_public(patterns, "a.cdn.example", 443, within=within) == Name("a.cdn.example")
        return
    with pytest.raises(EgressRefusedError) as refused:
        admit_public(patterns, "a.cdn.example", 443, within=within)
    assert refused.value.reason is Reason.NOT_ALLOWED


def _app(name: str, domain: str, *egress: str) -> App:
    return App(name, domain, Upstream("127.0.0.1", 1), PolicySet(()), "0" * 64, egress_allow=egress)


def test_app_destinations() -> None:
    apps = [_app("Data", "data.localhost", "cdn.example"), _app("Lab", "lab.localhost", "*")]
    by_host = {app.domain: app for app in apps}
    destinations = AppDestinations(find=by_host.get, apps=lambda: apps, own_hosts=["Auth.localhost"], ports=[80, 443, 8080])
    assert destinations.is_app("data.localhost", 8080)
    assert destinations.is_app("auth.localhost", 80)
    assert not destinations.is_app("data.localhost", 8081)  # another listener of this machine under an app's name
    assert not destinations.is_app("other.localhost", 8080)
    assert list(destinations.permitted(Lease("l", "s", "p", frozenset({"Data"})))) == ["cdn.example"]
    assert list(destinations.permitted(Lease("l", "s", "p"))) == []
    apps.clear()  # a new configuration acts at once
    assert list(destinations.permitted(Lease("l", "s", "p", frozenset({"Data"})))) == []


# --- headers of public requests ---


def test_headers_of_one_connection_are_not_sent_on() -> None:
    headers = [
        (b"connection", b"close, X-Secret"),
        (b"proxy-authorization", b"Basic YTpi"),
        (b"proxy-connection", b"keep-alive"),
        (b"x-secret", b"1"),
        (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"),
        (b"upgrade", b"h2c"),
        (b"host", b"other"),
        (b"accept", b"*/*"),
    ]
    assert end_to_end(headers, frozenset({b"host"})) == [(b"accept", b"*/*")]


# --- certificates ---


def _handshake(context: ssl.SSLContext, name: str) -> tuple[bytes, str | None]:
    """Shake hands in memory; return the certificate (DER) and the protocol agreed on."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_mode = ssl.CERT_NONE
    client_context.set_alpn_protocols(["h2", "http/1.1"])
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(down, up, server_hostname=name)
    server = context.wrap_bio(up, down, server_side=True)
    done = 0
    for _ in range(6):
        done = 0
        for side in (client, server):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
        if done == 2:
            break
    assert done == 2
    found = client.getpeercert(binary_form=True)
    assert found is not None
    return found, client.selected_alpn_protocol()


def test_certificates_share_one_key_and_name_their_host() -> None:
    clock = FakeClock()
    certificates = Certificates(clock)
    der, protocol = _handshake(certificates.context("data.localhost"), "data.localhost")
    other, _ = _handshake(certificates.context("lab.localhost"), "lab.localhost")
    assert protocol == "http/1.1"
    for data, host in ((der, "data.localhost"), (other, "lab.localhost")):
        certificate = x509.load_der_x509_certificate(data)
        public = certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        assert base64.b64decode(certificates.spki) == hashlib.sha256(public).digest()
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [host]
        assert certificate.not_valid_before_utc.timestamp() < clock.now() < certificate.not_valid_after_utc.timestamp()


def test_another_name_than_the_tunnels_is_not_answered() -> None:
    with pytest.raises(ssl.SSLError):
        _handshake(Certificates(FakeClock()).context("data.localhost"), "lab.localhost")


def test_contexts_are_kept_renewed_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates_module, "MAX_CONTEXTS", 2)
    clock = FakeClock()
    certificates = Certificates(clock)
    first = certificates.context("a.example")
    assert certificates.context("a.example") is first
    certificates.context("b.example")
    assert certificates.context("a.example") is first
    certificates.context("c.example")  # pushes out b, the one used longest ago
    assert certificates.context("a.example") is first
    clock.advance(LIFE_SECONDS / 2 + 1)
    assert certificates.context("a.example") is not first


def test_a_kept_key_gives_the_same_hash_and_a_bad_one_is_an_error() -> None:
    key = new_key()
    assert Certificates(FakeClock(), key).spki == Certificates(FakeClock(), key).spki
    assert Certificates(FakeClock()).spki != Certificates(FakeClock()).spki
    for bad in (b"", b"nonsense", _rsa_key()):
        with pytest.raises(ConfigurationError):
            Certificates(FakeClock(), bad)


def _rsa_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
