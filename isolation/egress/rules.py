"""What the gateway carries: configured apps by name, and the public hosts that apps permit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address
from typing import Protocol

from isolation.egress.address import Address, EgressRefusedError, Name, Reason, examine, normalise
from isolation.egress.leases import Lease
from isolation.routing.model import App

# limits
PUBLIC_PORTS = frozenset({80, 443})
"""The web's ports. Anything else towards public hosts (22, 25, 6379, …) turns a browser into a port scanner or a mail relay."""


class Destinations(Protocol):
    """What the configuration in force permits. Asked for every request and tunnel, so that a new configuration acts at once."""

    def is_app(self, host: str, port: int) -> bool:
        """Tell whether ``host`` (normalised) and ``port`` are an own or an app's public origin: the data plane answers."""
        ...

    def permitted(self, lease: Lease) -> Iterable[str]:
        """Return the public host patterns that this lease may reach: ``host``, ``*.parent`` (any depth) or ``*``."""
        ...


def matches(pattern: str, host: Address | Name) -> bool:
    """Tell whether a public ``host`` is within ``pattern``.

    ``*.parent`` covers every name below ``parent`` at a label boundary, not ``parent`` itself, and never a bare address.
    """
    pattern = normalise(pattern)
    if pattern == "*":
        return True
    if isinstance(host, Name):
        return host.text.endswith(pattern[1:]) if pattern.startswith("*.") else host.text == pattern
    try:
        return ip_address(pattern.removeprefix("[").removesuffix("]")) == host
    except ValueError:
        return False


def admit_public(patterns: Iterable[str], host: str, port: int, *, within: Iterable[str] | None = None) -> Address | Name:
    """Return what ``host`` stands for when its spelling, port and the patterns permit it; the addresses are checked later.

    ``within``: patterns of which one must cover the host as well; None: no such bound.

    Raises :class:`EgressRefusedError`. The spelling is judged first: an attempt at a private address shows as such in the log.
    """
    examined = examine(host)
    if port not in PUBLIC_PORTS:
        raise EgressRefusedError(Reason.PORT)
    if not any(matches(pattern, examined) for pattern in patterns):
        raise EgressRefusedError(Reason.NOT_ALLOWED)
    if within is not None and not any(matches(pattern, examined) for pattern in within):
        raise EgressRefusedError(Reason.NOT_ALLOWED)
    return examined


class AppDestinations:
    """Destinations read from the apps in force.

    ``find``: the route table's lookup (normalised host → app). ``apps``: all apps. ``own_hosts``: hosts of the router itself, such
    as the auth host. ``ports``: ports of public origins (80, 443 and the router's public port).

    A tunnel does not say which page asked for it, so a lease may reach what any of the apps permits that the lease has been
    opened for; a lease that names no apps may reach no public host.
    """

    def __init__(
        self,
        *,
        find: Callable[[str], App | None],
        apps: Callable[[], Sequence[App]],
        own_hosts: Iterable[str] = (),
        ports: Iterable[int] = (80, 443),
    ) -> None:
        self._find = find
        self._apps = apps
        self._own_hosts = frozenset(normalise(host) for host in own_hosts)
        self._ports = frozenset(ports)

    def is_app(self, host: str, port: int) -> bool:
        """Tell whether the data plane answers for this origin."""
        return port in self._ports and (host in self._own_hosts or self._find(host) is not None)

    def permitted(self, lease: Lease) -> Iterable[str]:
        """Return the patterns of the lease's apps."""
        return (pattern for app in self._apps() if app.name in lease.apps for pattern in app.egress_allow)
