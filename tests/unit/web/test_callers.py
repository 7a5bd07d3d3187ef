"""Whose address it is: never what a client says of itself, and what trusted proxies say only as far as they said it."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.web.callers import NOBODY, Callers

TRUSTED = Callers([ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")])
Headers = list[tuple[bytes, bytes]]


def said(*values: str) -> Headers:
    return [(b"x-forwarded-for", value.encode("latin-1")) for value in values]


@pytest.mark.parametrize(
    ("peer", "values", "address"),
    [
        # nobody is trusted here: the peer counts, whatever is said
        ("203.0.113.9", ["1.2.3.4"], "203.0.113.9"),
        ("203.0.113.9", [], "203.0.113.9"),
        # a trusted proxy's word counts
        ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", [" 203.0.113.9 "], "203.0.113.9"),
        ("2001:db8::1", ["2001:db9::7"], "2001:db9::7"),
        ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        # the right-most untrusted hop; what stands left of it was written by a stranger
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["10.9.9.9, 203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4", "203.0.113.9, 10.0.0.3", "10.0.0.2"], "203.0.113.9"),
        # all of them trusted: the first of them
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["", " , ,"], "10.0.0.1"),
        # what is no address ends the walk: nothing left of it is believed
        ("10.0.0.1", ["203.0.113.9, garbage"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9, garbage, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["unknown"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.9:1234"], "10.0.0.1"),
        ("10.0.0.1", ["[2001:db9::7]"], "10.0.0.1"),
        ("10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
        ("10.0.0.1", ["1.2.3.4, ::ffff:10.0.0.2"], "1.2.3.4"),
        # zones are of this machine and in no rule
        ("fe80::1%eth0", [], "fe80::1"),
        ("", [], NOBODY),
        ("a unix socket", ["1.2.3.4"], NOBODY),
    ],
)
def test_addresses(peer: str, values: list[str], address: str) -> None:
    assert TRUSTED.address(peer, said(*values)) == address


def test_without_trusted_proxies_nothing_is_believed() -> None:
    assert Callers().address("10.0.0.1", said("203.0.113.9")) == "10.0.0.1"


def test_other_headers_say_nothing() -> None:
    headers = [(b"forwarded", b"for=1.2.3.4"), (b"x-real-ip", b"1.2.3.4"), (b"x_forwarded_for", b"1.2.3.4")]
    assert TRUSTED.address("10.0.0.1", headers) == "10.0.0.1"


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)


@given(st.lists(st.one_of(ADDRESSES, st.text(st.characters(codec="latin-1", exclude_characters=","), max_size=12)), max_size=6))
def test_a_stranger_in_front_of_the_proxy_is_always_the_stranger(prefix: list[str]) -> None:
    """Whatever a client sends: the address that our own proxy appended is the one that counts."""
    chain = ", ".join([*prefix, "203.0.113.9"])
    assert TRUSTED.address("10.0.0.1", said(chain)) == "203.0.113.9"


@given(st.text(max_size=40), st.lists(st.binary(max_size=60), max_size=4))
def test_the_answer_is_always_an_address(peer: str, values: list[bytes]) -> None:
    assert ip_address(TRUSTED.address(peer, [(b"x-forwarded-for", value) for value in values]))
