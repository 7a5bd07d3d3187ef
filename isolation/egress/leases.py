"""Who speaks to the gateway: leases and their proxy credentials."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from isolation.tokens import digest, equal

# limits
MAX_CREDENTIALS_BYTES = 1_024
"""Ours are about 100 bytes of Basic credentials; more is not ours."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One isolated Chromium of one signed-in session.

    ``session_digest`` names the router session whose identity its requests carry; ``apps`` are the names of the apps it was opened for, and
    decide which public hosts it may reach. ``domains``: patterns that narrow these (the control); None: no narrower.
    """

    id: str
    session_digest: str
    person_key: str
    apps: frozenset[str] = frozenset()
    domains: frozenset[str] | None = None


class LeaseLookup(Protocol):
    """Finds the live lease of a user name and password."""

    async def find(self, username: str, password: str) -> Lease | None:
        """Return the live lease with exactly these credentials. Must compare in constant time; ``None`` for ended leases."""
        ...


class LeaseTable:
    """Live leases in memory. Holds digests of passwords only."""

    def __init__(self) -> None:
        self._leases: dict[str, tuple[Lease, str, str]] = {}  # lease id → lease, user name, digest
        self._by_user: dict[str, str] = {}

    def add(self, lease: Lease, *, username: str, password_digest: str) -> None:
        """Make a lease's credentials good. The same id again replaces them: the former credentials are dead."""
        self.remove(lease.id)
        self._leases[lease.id] = (lease, username, password_digest)
        self._by_user[username] = lease.id

    def remove(self, lease_id: str) -> None:
        """End a lease's credentials. Unknown ids are fine."""
        entry = self._leases.pop(lease_id, None)
        if entry is not None:
            self._by_user.pop(entry[1], None)

    def live(self) -> Iterable[Lease]:
        """Return all live leases."""
        return [lease for lease, _, _ in self._leases.values()]

    async def find(self, username: str, password: str) -> Lease | None:
        """Return the live lease with exactly these credentials."""
        entry = self._leases.get(self._by_user.get(username, ""))
        # An unknown user name costs the same comparison as a known one.
        known = entry[2] if entry is not None else digest("nobody")
        matched = equal(digest(password), known)
        return entry[0] if entry is not None and matched else None


def parse_basic(value: str) -> tuple[str, str] | None:
    """Return user name and password of a ``Proxy-Authorization: Basic …`` value (RFC 7617), or ``None`` for anything else."""
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic" or len(encoded) > MAX_CREDENTIALS_BYTES:
        return None
    try:
        text = base64.b64decode(encoded.strip(" "), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeError, ValueError):
        return None
    username, colon, password = text.partition(":")
    return (username, password) if colon and username and password else None
