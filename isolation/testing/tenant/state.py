"""Everything the tenant's endpoints share: the registered application, switches, codes, tokens, recent requests."""

from __future__ import annotations

import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from isolation.clock import Clock
from isolation.testing.tenant.directory import Directory
from isolation.testing.tenant.faults import Faults
from isolation.testing.tenant.people import CLIENT_ID, CLIENT_SECRET, TENANT_ID
from isolation.testing.tenant.signing import KeyRing

# ---- limits
CODE_LIFE = 600.0  # seconds: Entra's authorization codes live about ten minutes
ACCESS_TOKEN_LIFE = 3599  # seconds, as Entra says in expires_in
ID_TOKEN_LIFE = 3900  # seconds: iat to exp of Entra's v2 ID tokens
MAX_PENDING = 1_000  # sign-in pages, codes and SSO sessions kept; the oldest go first
REQUESTS_KEPT = 200  # recent requests shown on the control page and to tests

#: What the application may do by default (application permissions of Microsoft Graph).
DEFAULT_PERMISSIONS = frozenset({"IdentityRiskyUser.Read.All", "User.Read.All", "GroupMember.Read.All"})

V = TypeVar("V")


class Bounded(Generic[V]):
    """A dictionary that forgets its oldest entries."""

    def __init__(self, size: int = MAX_PENDING) -> None:
        self._size = size
        self._entries: OrderedDict[str, V] = OrderedDict()

    def put(self, value: V) -> str:
        """Keep a value under a fresh secret key and return the key."""
        key = secrets.token_urlsafe(32)
        self._entries[key] = value
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
        return key

    def get(self, key: str) -> V | None:
        """Return a value, or None."""
        return self._entries.get(key)

    def set(self, key: str, value: V) -> None:
        """Replace a value."""
        self._entries[key] = value

    def pop(self, key: str) -> V | None:
        """Take a value out."""
        return self._entries.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()


@dataclass(frozen=True, slots=True)
class Grant:
    """What was agreed at the authorize endpoint."""

    oid: str
    redirect_uri: str
    scope: str
    nonce: str | None
    challenge: str
    auth_time: float
    expires: float
    acrs: tuple[str, ...] = ()
    sid: str = ""
    used: bool = False


@dataclass(frozen=True, slots=True)
class SignOn:
    """A browser's single sign-on session."""

    oid: str
    at: float
    sid: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One request that the tenant answered: for the control page and for tests. No token, no secret."""

    at: float
    method: str
    path: str
    query: str
    status: int


@dataclass(slots=True)
class Switches:
    """Tenant-wide switches."""

    overage: bool = False  # `_claim_names` in place of `groups`
    groups_claim: bool = True  # the application's groupMembershipClaims is SecurityGroup
    licensed: bool = True  # Entra ID P2
    permissions: frozenset[str] = DEFAULT_PERMISSIONS
    skew: float = 0.0  # seconds added to every time in a token
    max_page: int = 999  # groups and users per page are never more than this


@dataclass(slots=True)
class TenantState:
    """The tenant."""

    clock: Clock
    base_url: str = ""
    tenant_id: str = TENANT_ID
    client_id: str = CLIENT_ID
    client_secret: str = CLIENT_SECRET
    redirect_uris: frozenset[str] = frozenset()
    directory: Directory = field(init=False)
    keys: KeyRing = field(default_factory=KeyRing)
    faults: Faults = field(default_factory=Faults)
    switches: Switches = field(default_factory=Switches)
    pages: Bounded[dict[str, str]] = field(default_factory=Bounded)
    codes: Bounded[Grant] = field(default_factory=Bounded)
    refresh: Bounded[Grant] = field(default_factory=Bounded)
    sign_ons: Bounded[SignOn] = field(default_factory=Bounded)
    seen: deque[Seen] = field(default_factory=lambda: deque(maxlen=REQUESTS_KEPT))
    token_generation: int = 0  # access tokens of an earlier one are refused

    def __post_init__(self) -> None:
        """Make the directory with the tenant's clock."""
        self.directory = Directory(self.clock)

    @property
    def issuer(self) -> str:
        """Return the issuer of ID tokens."""
        return f"{self.base_url}/{self.tenant_id}/v2.0"

    @property
    def issuer_template(self) -> str:
        """Return the issuer with Entra's literal placeholder."""
        return f"{self.base_url}/{{tenantid}}/v2.0"

    @property
    def graph_audience(self) -> str:
        """Return the audience of Graph access tokens."""
        return self.base_url

    def may_redirect_to(self, uri: str) -> bool:
        """Say whether a redirect URI is registered. With none registered, every URI on this machine's loopback is."""
        if self.redirect_uris:
            return uri in self.redirect_uris
        try:
            parts = urlsplit(uri)
            host = (parts.hostname or "").casefold()
        except ValueError:
            return False
        return parts.scheme in {"http", "https"} and not parts.fragment and is_loopback_name(host)


def is_loopback_name(host: str) -> bool:
    """Say whether a host name can only mean this machine."""
    return host in {"localhost", "127.0.0.1", "::1"} or host.endswith(".localhost")


def scopes(value: str) -> frozenset[str]:
    """Return the members of a scope parameter."""
    return frozenset(value.split())


def single(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return parameters as a dictionary. Raises ValueError for one that occurs twice (RFC 6749 §3.1)."""
    result: dict[str, str] = {}
    for name, value in pairs:
        if name in result:
            raise ValueError(name)
        result[name] = value
    return result
