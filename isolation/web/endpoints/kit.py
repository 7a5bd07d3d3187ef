"""What the endpoints of sign-in share: addresses, cookies, pages, and the repositories they need, as Protocols."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request

from isolation.audit.events import AuditEvent
from isolation.clock import Clock
from isolation.errors import TokenError
from isolation.identity.oidc.flow import Endpoints, EntraProvider
from isolation.identity.oidc.verify import Claims
from isolation.identity.principals import PersonRecord
from isolation.identity.sessions.model import EndReason, Session
from isolation.limits import OWN_PREFIX
from isolation.policy.facts import UserType
from isolation.routing.model import App
from isolation.store.handoffs import Flow, Handoff
from isolation.tokens import Purpose, Tokens
from isolation.web.cookies import Cookies
from isolation.web.pages import PageRenderer
from isolation.web.redirects import safe_target

# limits
WISH_SECONDS = 3_600  # how long a sealed wish is good: somebody may leave the choice of provider open while fetching a coffee


@dataclass(frozen=True, slots=True)
class Site:
    """The deployment's public addresses. ``suffix``: ``":8080"`` where the public port is not the scheme's own, else ``""``."""

    scheme: str
    auth_host: str
    suffix: str = ""

    def authority(self, host: str) -> str:
        """Return a host as it stands in URLs: what cookies of that host are signed for."""
        return f"{host}{self.suffix}"

    def origin(self, host: str) -> str:
        """Return the public origin of a host."""
        return f"{self.scheme}://{host}{self.suffix}"

    @property
    def auth_origin(self) -> str:
        """Return the public origin of the auth host."""
        return self.origin(self.auth_host)

    @property
    def redirect_uri(self) -> str:
        """Return the redirect URI to register with the identity provider."""
        return f"{self.auth_origin}{OWN_PREFIX}callback"

    @property
    def signed_out_uri(self) -> str:
        """Return the second redirect URI to register: where the provider sends people after signing them out."""
        return f"{self.auth_origin}{OWN_PREFIX}signed-out"


@dataclass(frozen=True, slots=True)
class Wish:
    """Where somebody wants to be once signed in. ``binding``: digest of the app host's browser cookie. ``switch``: as another person."""

    host: str
    target: str
    binding: str
    switch: bool = False


class Sessions(Protocol):
    """Sessions on the server: :class:`isolation.store.sessions.SessionRepository` or a twin. All methods raise StoreError."""

    async def create(
        self, person_key: str, *, idp: str, lifetime: float, idle_seconds: float, sid: str | None = None
    ) -> tuple[Session, str]:
        """Begin a session; return it and its secret id. Raises SignInError for a disabled account."""
        ...

    async def add_secret(self, session_digest: str) -> str | None:
        """Return one more secret id for a live session (each host has its own), or None when it is over."""
        ...

    async def get(self, secret: str) -> Session | None:
        """Return the live session that a secret id opens."""
        ...

    async def revoke(self, digest: str, why: EndReason | str) -> bool:
        """End a session everywhere; say whether it was alive."""
        ...

    async def revoke_sid(self, idp: str, sid: str, why: EndReason | str = EndReason.SIGNED_OUT_AT_IDP) -> Sequence[str]:
        """End the sessions of one of the provider's sessions; return their digests."""
        ...


class HandOffs(Protocol):
    """One-time codes: :class:`isolation.store.handoffs.HandoffRepository` or a twin. All methods raise StoreError."""

    async def create(self, code_digest: str, session_digest: str, host: str, nonce: str, target: str, expires: float) -> None:
        """Keep a hand-off until it is redeemed or expires."""
        ...

    async def redeem(self, code: str, *, host: str | None = None, nonce: str | None = None) -> Handoff | None:
        """Return a hand-off once, and never again."""
        ...


class Flows(Protocol):
    """Sign-ins under way: :class:`isolation.store.handoffs.FlowRepository` or a twin. All methods raise StoreError."""

    async def create(self, state: str, *, idp: str, nonce: str, verifier: str, binding: str, target: str, expires: float) -> None:
        """Keep a sign-in under way until it is redeemed or expires."""
        ...

    async def redeem(self, state: str, *, binding: str | None = None) -> Flow | None:
        """Return a sign-in under way once, and never again. Without ``binding`` the caller compares it."""
        ...


class People(Protocol):
    """What is known about people: :class:`isolation.store.people.PeopleRepository` or a twin. All methods raise StoreError."""

    async def upsert_from_sign_in(
        self,
        tenant: str,
        oid: str,
        email: str,
        name: str,
        user_type: UserType | None,
        groups: Iterable[str] | None,
        at: float,
        idp: str,
    ) -> PersonRecord:
        """Write down who signed in."""
        ...

    async def get(self, key: str) -> PersonRecord | None:
        """Return what is known about somebody."""
        ...


class AuditRecorder(Protocol):
    """Writes the audit log."""

    async def record(self, event: AuditEvent) -> str:
        """Return the reference id once the event is durable. Raises StoreError."""
        ...


class ProviderClient(Protocol):
    """One identity provider: :class:`isolation.identity.oidc.client.EntraClient` or a twin. Methods raise SignInError."""

    @property
    def provider(self) -> EntraProvider:
        """Return its settings."""
        ...

    async def endpoints(self) -> Endpoints:
        """Return its endpoints."""
        ...

    def known_endpoints(self) -> Endpoints | None:
        """Return its endpoints if they were ever read."""
        ...

    async def redeem(self, *, code: str, verifier: str, redirect_uri: str) -> str:
        """Exchange a code for an ID token."""
        ...

    async def verify(self, token: str, *, nonce: str) -> Claims:
        """Return what a valid ID token says."""
        ...


@dataclass(frozen=True, slots=True)
class Kit:
    """Everything the endpoints of sign-in work with.

    ``app_for``: the app of a host, or None. ``client_ip``: who is asking, for the audit log. ``sync_wanted``: asks the directory
    sync to read somebody's groups and profile soon.
    """

    site: Site
    tokens: Tokens
    cookies: Cookies
    clock: Clock
    pages: PageRenderer
    providers: Mapping[str, ProviderClient]
    sessions: Sessions
    hand_offs: HandOffs
    flows: Flows
    people: People
    audit: AuditRecorder
    app_for: Callable[[str], App | None]
    client_ip: Callable[[Request], str]
    sync_wanted: Callable[[str], Awaitable[None]]
    session_seconds: float
    idle_seconds: float

    async def session(self, request: Request, host: str) -> Session | None:
        """Return the live session that the request's cookie opens at ``host``. Raises StoreError."""
        secret = self.cookies.read_session(request.headers.raw, self.site.authority(host))
        session = await self.sessions.get(secret) if secret is not None else None
        return session if session is not None and session.is_live(self.clock.now()) else None

    def seal(self, wish: Wish) -> str:
        """Return a wish as it travels in a URL: readable, but nobody else can make one."""
        value = [wish.host, wish.target, wish.binding, wish.switch]
        return self.tokens.seal(Purpose.SIGN_IN, value, audience=self.site.auth_host)

    def unseal(self, sealed: str) -> Wish | None:
        """Return a wish, or None when it is forged, too old, or for a host that is no app (any more)."""
        try:
            value = self.tokens.unseal(Purpose.SIGN_IN, sealed, max_age=WISH_SECONDS, audience=self.site.auth_host)
        except TokenError:
            return None
        match value:
            case [str(host), str(target), str(binding), bool(switch)] if self.app_for(host) is not None:
                return Wish(host, safe_target(target), binding, switch)
            case _:
                return None
