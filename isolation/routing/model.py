"""Shapes of routing: Target, App, Decision."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from isolation.policy.controls import Controls
from isolation.policy.facts import FOREVER
from isolation.policy.model import Mode, PolicySet


@dataclass(frozen=True, slots=True)
class Target:
    """One parse of where a request wants to go, used by everybody.

    ``host``: lower-case, no port, no trailing dot. ``port``: the port in the Host header or None. ``raw_path``: the exact bytes of the
    path as received (and as sent upstream). ``path``: decoded once, never decoded again: what policies look at. ``query``: exact
    bytes after ``?``, without it; ``has_query`` tells ``/a?`` from ``/a``.
    """

    host: str
    port: int | None
    raw_path: bytes
    path: str
    query: bytes = b""
    has_query: bool = False

    @property
    def raw(self) -> bytes:
        """Return the exact request target: path, and query where there was one."""
        return self.raw_path + b"?" + self.query if self.has_query else self.raw_path


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where an app lives. ``tls`` verifies against the system's roots unless ``ca_file`` names others."""

    host: str
    port: int
    tls: bool = False
    ca_file: str | None = None
    connect_timeout: float = 5.0
    response_timeout: float = 60.0  # to the first byte of the response head

    @property
    def origin(self) -> str:
        """Return scheme, host and port as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class App:
    """One protected app. ``domain`` is an exact host name, or ``*.parent`` (one label).

    ``audience``: the app's AUD tag (64 hex characters, never changes). ``identity_headers``: plain header names to send beside the signed
    assertion, by field (``{"email": "X-Forwarded-Email"}``); empty by default. ``preserve_host``: send the person's Host upstream.
    """

    name: str
    domain: str
    upstream: Upstream
    policy: PolicySet
    audience: str
    description: str = ""
    preserve_host: bool = True
    identity_headers: tuple[tuple[str, str], ...] = ()
    launcher: bool = True
    egress_allow: tuple[str, ...] = ()


class RefusalReason(StrEnum):
    """Why somebody is refused. Each has a text for people and a row in docs/configuration.md."""

    NOT_ALLOWED = "not-allowed"  # no policy lets this person in (deny by default)
    BLOCKED = "blocked"  # a Block policy matched
    RISK_UNKNOWN = "risk-unknown"  # risk.unknown: refuse
    SIGNAL_UNAVAILABLE = "signal-unavailable"  # a policy that might let them in could not be checked: try again
    ISOLATED_ONLY = "isolated-only"  # an isolated person's browser asked for app data directly
    SESSION_ENDED = "session-ended"
    NO_CAPACITY = "no-capacity"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the reason for a decision: rung, rule, value, age (seconds)."""

    rung: str
    text: str
    value: str = ""
    age: float | None = None


@dataclass(frozen=True, slots=True)
class Because:
    """Why, for the audit log, the refusal page and ``isolation decide``. ``policy`` / ``rules``: names that decided."""

    policy: str = ""
    rules: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    signals: tuple[str, ...] = ()  # signals that were unknown or stale and mattered


@dataclass(frozen=True, slots=True)
class Forward:
    """Pass straight through. ``anonymous``: a Bypass policy, no identity is attached."""

    because: Because = field(default_factory=Because)
    valid_until: float = FOREVER
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Isolate:
    """Serve the viewer; the page runs in our renderer."""

    mode: Mode
    controls: Controls
    because: Because = field(default_factory=Because)
    valid_until: float = FOREVER


@dataclass(frozen=True, slots=True)
class SignIn:
    """Nobody is signed in here: go to the auth host and come back."""

    because: Because = field(default_factory=Because)
    valid_until: float = FOREVER


@dataclass(frozen=True, slots=True)
class Refuse:
    """No. ``retry``: the cause may pass by itself (a signal was unreadable)."""

    reason: RefusalReason
    because: Because = field(default_factory=Because)
    valid_until: float = FOREVER
    retry: bool = False


Decision = Forward | Isolate | SignIn | Refuse
