from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isolation.egress.address import EgressRefusedError, Name, Reason, classify, examine, normalise, parse_authority

PRIVATE_4 = [
    ("127.0.0.1", Reason.LOOPBACK),
    ("127.255.255.254", Reason.LOOPBACK),
    ("0.0.0.0", Reason.UNSPECIFIED),
    ("0.1.2.3", Reason.RESERVED),
    ("10.0.0.1", Reason.PRIVATE),
    ("10.255.255.255", Reason.PRIVATE),
    ("172.16.0.1", Reason.PRIVATE),
    ("172.31.255.255", Reason.PRIVATE),
    ("192.168.1.1", Reason.PRIVATE),
    ("100.64.0.1", Reason.SHARED),
    ("100.127.255.255", Reason.SHARED),
    ("100.100.100.200", Reason.METADATA),
    ("169.254.1.1", Reason.LINK_LOCAL),
    ("169.254.169.254", Reason.METADATA),
    ("168.63.129.16", Reason.METADATA),
    ("192.0.0.192", Reason.METADATA),
    ("192.0.0.1", Reason.RESERVED),
    ("198.18.0.1", Reason.RESERVED),
    ("224.0.0.1", Reason.MULTICAST),
    ("239.255.255.250", Reason.MULTICAST),
    ("240.0.0.1", Reason.RESERVED),
    ("255.255.255.255", Reason.RESERVED),
]
PRIVATE_6 = [
    ("::", Reason.UNSPECIFIED),
    ("::1", Reason.LOOPBACK),
    ("::ffff:127.0.0.1", Reason.LOOPBACK),
    ("::ffff:7f00:1", Reason.LOOPBACK),
    ("::ffff:169.254.169.254", Reason.METADATA),
    ("::ffff:8.8.8.8", Reason.TRANSLATED),
    ("::127.0.0.1", Reason.LOOPBACK),
    ("::8.8.8.8", Reason.TRANSLATED),
    ("64:ff9b::10.0.0.1", Reason.PRIVATE),
    ("64:ff9b::7f00:1", Reason.LOOPBACK),
    ("64:ff9b::8.8.8.8", Reason.TRANSLATED),
    ("64:ff9b:1::1", Reason.TRANSLATED),
    ("2002:7f00:1::1", Reason.LOOPBACK),
    ("2002:a00:1::1", Reason.PRIVATE),
    ("2002:808:808::1", Reason.TRANSLATED),
    ("2001:0:808:808::1", Reason.RESERVED),
    ("fc00::1", Reason.PRIVATE),
    ("fd00:ec2::254", Reason.METADATA),
    ("fd20:ce::254", Reason.METADATA),
    ("fdff::1", Reason.PRIVATE),
    ("fe80::1", Reason.LINK_LOCAL),
    ("fe80::1%eth0", Reason.LINK_LOCAL),
    ("2606:4700::1111%eth0", Reason.LINK_LOCAL),
    ("febf::1", Reason.LINK_LOCAL),
    ("fec0::1", Reason.PRIVATE),
    ("ff02::1", Reason.MULTICAST),
    ("2001:db8::1", Reason.RESERVED),
    ("100::1", Reason.RESERVED),
    ("5f00::1", Reason.RESERVED),
    ("4000::1", Reason.RESERVED),
    ("::2:3:4", Reason.RESERVED),
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"]
PUBLIC += ["172.15.255.255", "172.32.0.0", "192.167.255.255", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1"]

SPELLINGS = [
    # §13.5 of the reference, and what Chromium 156 was seen to open
    ("2130706433", Reason.LOOPBACK),
    ("0x7f000001", Reason.LOOPBACK),
    ("0X7F000001", Reason.LOOPBACK),
    ("017700000001", Reason.LOOPBACK),
    ("0x7f.1", Reason.LOOPBACK),
    ("0x7f.0x0.0x0.0x1", Reason.LOOPBACK),
    ("0177.0.0.1", Reason.LOOPBACK),
    ("127.1", Reason.LOOPBACK),
    ("127.0.1", Reason.LOOPBACK),
    ("127.0.0.1.", Reason.LOOPBACK),
    ("127.000.000.001", Reason.LOOPBACK),
    ("0", Reason.UNSPECIFIED),
    ("0x", Reason.UNSPECIFIED),
    ("0.0.0.0", Reason.UNSPECIFIED),
    ("[::]", Reason.UNSPECIFIED),
    ("[::1]", Reason.LOOPBACK),
    ("[::ffff:7f00:1]", Reason.LOOPBACK),
    ("[::ffff:127.0.0.1]", Reason.LOOPBACK),
    ("[0:0:0:0:0:ffff:7f00:0001]", Reason.LOOPBACK),
    ("2852039166", Reason.METADATA),
    ("0xa9fea9fe", Reason.METADATA),
    ("0251.0376.0251.0376", Reason.METADATA),
    ("169.254.43518", Reason.METADATA),
    ("[::ffff:a9fe:a9fe]", Reason.METADATA),
    ("3232235777", Reason.PRIVATE),
    ("10.1", Reason.PRIVATE),
    ("１２７.０.０.１", Reason.MALFORMED),
    ("127。0。0。1", Reason.MALFORMED),
    ("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", Reason.MALFORMED),
    ("\u212aelvin.example", Reason.MALFORMED),
    ("localhost", Reason.LOOPBACK),
    ("LOCALHOST", Reason.LOOPBACK),
    ("localhost.", Reason.LOOPBACK),
    ("foo.localhost", Reason.LOOPBACK),
    ("a.b.localhost.", Reason.LOOPBACK),
    ("metadata.google.internal", Reason.METADATA),
    ("Metadata.Google.Internal.", Reason.METADATA),
    ("metadata", Reason.METADATA),
    ("instance-data", Reason.METADATA),
    ("printer.local", Reason.LOCAL_NAME),
    ("wiki.internal", Reason.LOCAL_NAME),
    ("host.docker.internal", Reason.LOCAL_NAME),
    ("router.home.arpa", Reason.LOCAL_NAME),
    ("intranet", Reason.LOCAL_NAME),
    ("router", Reason.LOCAL_NAME),
    ("localhost..", Reason.MALFORMED),
    (".localhost", Reason.MALFORMED),
    ("", Reason.MALFORMED),
    (".", Reason.MALFORMED),
    ("a..b", Reason.MALFORMED),
    ("-a.example", Reason.MALFORMED),
    ("a b.example", Reason.MALFORMED),
    ("allowed.example@169.254.169.254", Reason.MALFORMED),
    ("127.0.0.1\t", Reason.MALFORMED),
    ("127.0.0.1\0.example", Reason.MALFORMED),
    ("127.0.0.1%00.example", Reason.MALFORMED),
    ("1.2.3.4.5", Reason.MALFORMED),
    ("256.256.256.256", Reason.MALFORMED),
    ("4294967296", Reason.MALFORMED),
    ("127.0.0.08", Reason.MALFORMED),
    ("example.com.1", Reason.MALFORMED),
    ("[::1", Reason.MALFORMED),
    ("::1]", Reason.MALFORMED),
    ("[fe80::1%25eth0]", Reason.LINK_LOCAL),
    ("[127.0.0.1]", Reason.MALFORMED),
    ("a" * 64 + ".example", Reason.MALFORMED),
    (".".join(["a" * 60] * 5), Reason.MALFORMED),
    # public addresses in odd spellings: nobody honest sends them
    ("134744072", Reason.MALFORMED),
    ("8.8.2056", Reason.MALFORMED),
    ("010.8.8.8", Reason.MALFORMED),
    ("8.8.8.8.", Reason.MALFORMED),
]


@pytest.mark.parametrize(("text", "reason"), PRIVATE_4 + PRIVATE_6)
def test_private_addresses_are_refused(text: str, reason: Reason) -> None:
    assert classify(ip_address(text)) is reason


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_pass(text: str) -> None:
    assert classify(ip_address(text)) is None
    assert examine(text) == ip_address(text)


@pytest.mark.case(5)
@pytest.mark.parametrize(("host", "reason"), SPELLINGS)
def test_spellings_are_refused(host: str, reason: Reason) -> None:
    with pytest.raises(EgressRefusedError) as refused:
        examine(host)
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    "host", ["cdn.example", "A.CDN.Example.", "xn--bcher-kva.example", "_dmarc.a-b.example", "1a.example", "0xg.example"]
)
def test_names_are_normalised(host: str) -> None:
    assert examine(host) == Name(normalise(host))


@given(st.integers(0, 2**32 - 1))
@example(0x7F000001)
def test_nothing_global_by_the_registry_is_called_public_wrongly(number: int) -> None:
    """An independent table (the standard library's) never knows an address as local that we let through."""
    address = IPv4Address(number)
    if classify(address) is None:
        assert address.is_global
        assert not any((address.is_multicast, address.is_loopback, address.is_link_local, address.is_reserved))


@given(st.integers(0, 2**128 - 1) | st.integers(0x2000 << 112, (0x4000 << 112) - 1))
def test_v6_agrees_with_the_standard_library(number: int) -> None:
    address = IPv6Address(number)
    if classify(address) is None:
        assert address.is_global
        assert (number >> 125) == 1  # 2000::/3
        assert address.ipv4_mapped is None
        assert address.sixtofour is None
        assert address.teredo is None


@given(st.ip_addresses(v=4))
def test_a_wrapped_address_is_never_public(inner: IPv4Address) -> None:
    number = int(inner)
    for wrapped in (number, (0xFFFF << 32) | number, (0x64FF9B << 96) | number, (0x2002 << 112) | (number << 80) | 1):
        reason = classify(IPv6Address(wrapped))
        assert reason is not None
        plain = classify(inner)
        if plain is not None and wrapped > 1:
            assert reason is plain


def _spell(number: int, shape: int, bases: list[int]) -> str:
    """Write an address the way inet_aton reads it: ``shape`` parts, each in one of three bases."""
    parts = [(number >> (8 * (3 - place))) & 0xFF for place in range(shape - 1)]
    parts.append(number & (256 ** (5 - shape) - 1))
    return ".".join((str, lambda part: f"0{part:o}", hex)[base](part) for part, base in zip(parts, bases, strict=False))


@pytest.mark.case(5)
@given(
    st.integers(0, 2**32 - 1) | st.integers(0x7F000000, 0x7FFFFFFF),
    st.integers(1, 4),
    st.lists(st.integers(0, 2), min_size=4, max_size=4),
)
def test_no_spelling_changes_what_an_address_is(number: int, shape: int, bases: list[int]) -> None:
    address = IPv4Address(number)
    text = _spell(number, shape, bases)
    expected = classify(address)
    if expected is None and text == str(address):
        assert examine(text) == address
    else:
        with pytest.raises(EgressRefusedError) as refused:
            examine(text)
        assert refused.value.reason is (expected or Reason.MALFORMED)


@given(st.text(max_size=80) | st.from_regex(r"[\[\]0-9a-fxA-FX.:%@-]{0,40}", fullmatch=True))
def test_examine_is_total_and_its_names_are_plain(host: str) -> None:
    try:
        result = examine(host)
    except EgressRefusedError:
        return
    if isinstance(result, Name):
        assert result.text.isascii()
        assert result.text == result.text.lower()
        assert "." in result.text
        assert not result.text.endswith((".localhost", ".local", ".internal"))
        assert not result.text.rpartition(".")[2].isdigit()
    else:
        assert classify(result) is None


@given(st.text(max_size=60))
def test_authority_is_total(text: str) -> None:
    try:
        host, port = parse_authority(text, 80)
    except EgressRefusedError:
        return
    assert 0 < port <= 65_535
    assert not set(host) & set("@/\\?# \r\n\0")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.example:443", ("a.example", 443)), ("[::1]:80", ("[::1]", 80)), ("a:1", ("a", 1)), ("a:65535", ("a", 65_535))],
)
def test_authorities(text: str, expected: tuple[str, int]) -> None:
    assert parse_authority(text) == expected


@pytest.mark.case(5)
@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a:",
        "a:0",
        "a:65536",
        "a:-1",
        "a:+1",
        "a:1e1",
        "a:４４３",
        ":80",
        "::1:80",
        "[::1]80",
        "[::1",
        "u@a:80",
        "a:80:80",
        "a/b:80",
        "a:80 ",
        "a\n:80",
    ],
)
def test_bad_authorities(text: str) -> None:
    with pytest.raises(EgressRefusedError) as refused:
        parse_authority(text)
    assert refused.value.reason is Reason.MALFORMED
