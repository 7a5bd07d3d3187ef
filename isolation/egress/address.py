"""Which addresses and host spellings an isolated page may never reach. Pure; every doubt is a refusal.

Two questions, in this order: what does the *spelling* of a host say (:func:`examine`), and what does the *address* say that we are
about to connect to (:func:`classify`). The second is asked for every address a name resolves to; the first never replaces it.

Networks are those of the IANA special-purpose registries (RFC 6890 and updates), plus the clouds' metadata services, one of
which (168.63.129.16) lies in public space.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from isolation.errors import IsolationError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# limits
MAX_HOST_CHARACTERS = 253
"""RFC 1035 §2.3.4: 255 octets on the wire are 253 characters of text."""
MAX_LABEL_CHARACTERS = 63
"""RFC 1035 §2.3.4."""
MAX_PORT = 65_535


class Reason(StrEnum):
    """Why something was refused. Stable: these are the values in the log and in the audit trail."""

    LOOPBACK = "loopback"
    PRIVATE = "private"
    LINK_LOCAL = "link-local"
    METADATA = "metadata"
    SHARED = "carrier-grade-nat"
    MULTICAST = "multicast"
    UNSPECIFIED = "unspecified"
    RESERVED = "reserved"
    TRANSLATED = "translated"  # an IPv4 address wrapped in IPv6: NAT64, 6to4, Teredo, mapped, compatible
    OWN_ADDRESS = "own-address"  # an address of this very machine
    LOCAL_NAME = "local-name"  # a name that only local resolvers answer
    MALFORMED = "malformed"
    PORT = "port"
    NOT_ALLOWED = "not-allowed"  # public, but no app of this configuration permits it
    UNRESOLVED = "unresolved"
    UNREACHABLE = "unreachable"
    CAPACITY = "capacity"
    MISDIRECTED = "misdirected"  # a request inside a tunnel for another host than the tunnel's
    METHOD = "method"


class EgressRefusedError(IsolationError):
    """The gateway does not carry this. ``reason`` is for the log; the page learns only that it was refused."""

    code = "egress-refused"

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(detail or reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Name:
    """A DNS name: lower case, ASCII, no trailing dot, at least two labels."""

    text: str


_METADATA = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, GCP, OpenStack, DigitalOcean, Oracle
        "169.254.169.253",  # AWS resolver
        "169.254.169.123",  # AWS time
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "169.254.42.42",  # Scaleway
        "169.254.0.23",  # Tencent
        "168.63.129.16",  # Azure WireServer: public space, reachable from every Azure VM
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle Cloud Classic
        "fd00:ec2::254",  # AWS
        "fd00:ec2::253",
        "fd00:ec2::23",  # AWS EKS pod identity
        "fd20:ce::254",  # GCP
        "fd00:42::42",  # Scaleway
    )
)

_NETWORKS_4: tuple[tuple[IPv4Network, Reason], ...] = tuple(
    (IPv4Network(text), reason)
    for text, reason in (
        ("0.0.0.0/32", Reason.UNSPECIFIED),  # on Linux a connection to 0.0.0.0 reaches this machine
        ("0.0.0.0/8", Reason.RESERVED),
        ("10.0.0.0/8", Reason.PRIVATE),
        ("100.64.0.0/10", Reason.SHARED),
        ("127.0.0.0/8", Reason.LOOPBACK),
        ("169.254.0.0/16", Reason.LINK_LOCAL),
        ("172.16.0.0/12", Reason.PRIVATE),
        ("192.0.0.0/24", Reason.RESERVED),
        ("192.0.2.0/24", Reason.RESERVED),  # documentation
        ("192.31.196.0/24", Reason.RESERVED),  # AS112
        ("192.52.193.0/24", Reason.RESERVED),  # AMT
        ("192.88.99.0/24", Reason.TRANSLATED),  # 6to4 relays
        ("192.168.0.0/16", Reason.PRIVATE),
        ("192.175.48.0/24", Reason.RESERVED),  # AS112
        ("198.18.0.0/15", Reason.RESERVED),  # benchmarking; some VPN clients route it inwards
        ("198.51.100.0/24", Reason.RESERVED),
        ("203.0.113.0/24", Reason.RESERVED),
        ("224.0.0.0/4", Reason.MULTICAST),
        ("240.0.0.0/4", Reason.RESERVED),  # includes 255.255.255.255
    )
)

_GLOBAL_UNICAST_6 = IPv6Network("2000::/3")
_NETWORKS_6: tuple[tuple[IPv6Network, Reason], ...] = tuple(
    (IPv6Network(text), reason)
    for text, reason in (
        ("::/128", Reason.UNSPECIFIED),
        ("::1/128", Reason.LOOPBACK),
        ("fc00::/7", Reason.PRIVATE),
        ("fe80::/10", Reason.LINK_LOCAL),
        ("fec0::/10", Reason.PRIVATE),  # site-local, deprecated and still routed inside old networks
        ("ff00::/8", Reason.MULTICAST),
        ("64:ff9b:1::/48", Reason.TRANSLATED),  # local-use NAT64 (RFC 8215): may reach anything inside
        ("2001::/23", Reason.RESERVED),  # IETF protocol assignments (ORCHID, AMT, benchmarking, …)
        ("2001:db8::/32", Reason.RESERVED),  # documentation
        ("2620:4f:8000::/48", Reason.RESERVED),  # AS112
        ("3fff::/20", Reason.RESERVED),  # documentation
    )
)

_WELL_KNOWN_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")

_METADATA_NAMES = frozenset(
    {"metadata.google.internal", "metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal"}
    | {"metadata.azure.internal", "metadata.azure.com", "metadata.tencentyun.com", "metadata.packet.net"}
)
_LOCAL_SUFFIXES = frozenset(
    # RFC 6761, 6762, 8375, 9476 and ICANN's .internal; then what company resolvers answer by habit (RFC 6762 appendix G, ICANN SAC 062)
    {"local", "internal", "localdomain", "home.arpa", "in-addr.arpa", "ip6.arpa", "invalid", "test", "onion", "alt"}
    | {"intranet", "private", "corp", "home", "lan", "domain", "workgroup"}
)

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_CANONICAL_4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_PORT = re.compile(r"[0-9]{1,5}")


def classify(address: Address) -> Reason | None:
    """Return why ``address`` must not be reached, or ``None`` for a public address.

    IPv4 addresses wrapped in IPv6 are refused even when the inner one is public: no ordinary site needs them, and who
    unwraps them is not under our control. The reason names the inner address where that is the worse of the two.
    """
    if address in _METADATA:
        return Reason.METADATA
    if isinstance(address, IPv4Address):
        return next((reason for network, reason in _NETWORKS_4 if address in network), None)
    if address.scope_id is not None:
        return Reason.LINK_LOCAL
    inner = _wrapped(address)
    if inner is not None:
        return classify(inner) or Reason.TRANSLATED
    for network, reason in _NETWORKS_6:
        if address in network:
            return reason
    return None if address in _GLOBAL_UNICAST_6 else Reason.RESERVED


def examine(host: str) -> Address | Name:
    """Return what ``host`` (as in a URL, IPv6 with or without brackets) stands for.

    Raises :class:`EgressRefusedError` for local names, for anything that is not a plain DNS name or a canonical address, and for every
    spelling of an address that :func:`classify` refuses. Browsers send canonical spellings, so an odd spelling of a public address is
    refused too: whoever sends it hopes that two parsers disagree.
    """
    if (
        not host.isascii()
    ):  # browsers send xn--; full-width digits and dots are tricks, and so is the Kelvin sign, whose lower case is k
        raise EgressRefusedError(Reason.MALFORMED)
    text = host.lower()
    if text.startswith("[") or ":" in text:
        return _public(_ipv6(text))
    text = text.removesuffix(".")
    labels = text.split(".")
    if not text or len(text) > MAX_HOST_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        raise EgressRefusedError(Reason.MALFORMED)
    if _NUMBER.fullmatch(labels[-1]):  # WHATWG URL: a host whose last label is a number is an IPv4 address, or an error
        address = _public(_ipv4(labels))
        if not _CANONICAL_4.fullmatch(text) or host.endswith("."):
            raise EgressRefusedError(Reason.MALFORMED)
        return address
    if text in _METADATA_NAMES:
        raise EgressRefusedError(Reason.METADATA)
    if labels[-1] == "localhost":
        raise EgressRefusedError(Reason.LOOPBACK)
    if len(labels) == 1 or any(".".join(labels[start:]) in _LOCAL_SUFFIXES for start in range(len(labels))):
        raise EgressRefusedError(Reason.LOCAL_NAME)
    return Name(text)


def normalise(host: str) -> str:
    """Return the spelling by which a host is looked up among the configured apps: lower case, one trailing dot removed."""
    return host.lower().removesuffix(".")


def parse_authority(text: str, default_port: int | None = None) -> tuple[str, int]:
    """Split ``host:port`` or ``[v6]:port``. The host is as written.

    Raises :class:`EgressRefusedError` for user information, a missing port without ``default_port``, or a port outside 1 to 65535.
    """
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?", text, re.DOTALL)
    if match is None or not match[1] or any(character in text for character in "@/\\?#% \t\r\n\0"):
        raise EgressRefusedError(Reason.MALFORMED)
    if match[2] is None:
        if default_port is None:
            raise EgressRefusedError(Reason.MALFORMED)
        return match[1], default_port
    if not _PORT.fullmatch(match[2]) or not 0 < int(match[2]) <= MAX_PORT:
        raise EgressRefusedError(Reason.MALFORMED)
    return match[1], int(match[2])


def _public(address: Address) -> Address:
    reason = classify(address)
    if reason is not None:
        raise EgressRefusedError(reason)
    return address


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]  # the client behind the relay: where packets finally go
    if address in _WELL_KNOWN_NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address in _COMPATIBLE and int(address) > 1:  # :: and ::1 have names of their own
        return IPv4Address(int(address))
    return None


def _ipv6(text: str) -> IPv6Address:
    if text.startswith("[") != text.endswith("]"):
        raise EgressRefusedError(Reason.MALFORMED)
    try:
        return IPv6Address(text.removeprefix("[").removesuffix("]"))
    except ValueError as error:
        raise EgressRefusedError(Reason.MALFORMED) from error


def _ipv4(labels: list[str]) -> IPv4Address:
    """Read an IPv4 address as browsers and libc do: 1 to 4 parts, each decimal, octal (``0…``) or hexadecimal (``0x…``).

    Source: WHATWG URL §3.5 "IPv4 parser"; ``inet_aton(3)`` agrees.
    """
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        raise EgressRefusedError(Reason.MALFORMED)
    try:
        numbers = [_number(label) for label in labels]
    except ValueError as error:  # 08 and 09 are no octal numbers
        raise EgressRefusedError(Reason.MALFORMED) from error
    last = numbers.pop()
    if any(number > 255 for number in numbers) or last >= 256 ** (4 - len(numbers)):
        raise EgressRefusedError(Reason.MALFORMED)
    return IPv4Address(last + sum(number << (8 * (3 - place)) for place, number in enumerate(numbers)))


def _number(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8) if len(label) > 1 and label.startswith("0") else int(label)
