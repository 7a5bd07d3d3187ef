"""``ip``: where the request comes from."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from isolation.policy.facts import Facts
from isolation.policy.model import Match, Truth
from isolation.policy.reading import Section, shown
from isolation.policy.selector import Argument, Selector

_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True, slots=True)
class Ip:
    """The request's address lies in ``network``."""

    network: IPv4Network | IPv6Network

    @property
    def selector(self) -> str:
        """Return ``ip``."""
        return "ip"

    @property
    def needs_identity(self) -> bool:
        """Return False."""
        return False

    def describe(self) -> str:
        """Return the condition in words."""
        return f"request comes from {self.network}"

    def match(self, facts: Facts) -> Match:
        """Compare the address; an IPv4 address that arrived on a dual-stack socket (``::ffff:…``) counts as IPv4."""
        address = plain_address(facts.context.ip)
        return Match(Truth.TRUE if address in self.network else Truth.FALSE, str(address))


def plain_address(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address inside an IPv4-mapped one, and an IPv6 address without its zone."""
    if isinstance(address, IPv4Address):
        return address
    return address.ipv4_mapped or (IPv6Address(int(address)) if address.scope_id else address)


def _parse(section: Section) -> Ip | None:
    text = section.text("ip", example="10.0.0.0/8")
    if text is None:
        return None
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        section.error("ip", f"{shown(text)} is not an address range; write for example 10.0.0.0/8 or 2001:db8::/32")
        return None
    try:
        network = ip_network(text)
    except ValueError:
        section.error(
            "ip",
            f"{shown(text)} has bits set after the prefix; write {loose} for the range or {text.partition('/')[0]} for one address",
        )
        return None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inner = IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
        section.error("ip", f"{shown(text)} is an IPv4 range in IPv6 spelling; write {inner}")
        return None
    return Ip(network)


SELECTOR = Selector(
    key="ip",
    meaning="The request comes from this address or range.",
    arguments=(Argument("ip", "an address, or a range in CIDR notation"),),
    example={"ip": "10.0.0.0/8"},
    identity=False,
    parse=_parse,
)
