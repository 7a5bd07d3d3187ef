"""Where a request comes from: the peer's address, or what trusted proxies in front of us say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

NOBODY = "0.0.0.0"  # noqa: S104 - a transport without an address: matches no rule that names networks

Headers = Iterable[tuple[bytes, bytes]]


class Callers:
    """Tells addresses. ``trusted``: networks of the proxies whose ``X-Forwarded-For`` is believed."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def address(self, peer: str, headers: Headers) -> str:
        """Return the person's address, without a zone. ``headers``: names in lower case.

        ``X-Forwarded-For`` counts only as far as trusted proxies wrote it: read from its right end, the first address that is not one of theirs. Whatever
        stands left of that, or of something that is no address, may have been made up.
        """
        address = _peer(peer) or NOBODY
        if not self._trusted or not self._is_trusted(address):
            return address
        lines = [value for name, value in headers if name == b"x-forwarded-for"]
        for hop in reversed(b",".join(lines).decode("latin-1").split(",")):
            candidate = hop.strip()
            if not candidate:
                continue
            found = _plain(candidate)
            if found is None:
                break
            address = found
            if not self._is_trusted(address):
                break
        return address

    def _is_trusted(self, address: str) -> bool:
        found = ip_address(address)
        return any(found in network for network in self._trusted)


def _plain(text: str) -> str | None:
    """Return an address in its usual form, an IPv4 address that came as IPv6 (``::ffff:192.0.2.1``) as IPv4; None for anything else."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


_peer = lru_cache(maxsize=4_096)(_plain)
"""The same, remembered: reading an address costs as much as the rest of a known session's decision, and a peer sends many requests.
For transports' addresses only, which are short; what a header says is not kept."""
