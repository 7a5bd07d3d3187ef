"""Shapes of the broker: what a node, a lease and a viewer's grant are. Frozen; secrets never show in a repr."""

from __future__ import annotations

from dataclasses import dataclass, field

from isolation.policy.controls import Controls


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a renderer node listens. ``url``: ``ws://`` or ``wss://`` with host and port, no path. ``ca_file``: roots for ``wss``."""

    name: str
    url: str
    token: str = field(repr=False)
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class EgressAddress:
    """Where a lease's Chromium finds the egress gateway. ``spki``: base64 SHA-256 of the gateway's public key."""

    host: str
    port: int
    spki: str


@dataclass(frozen=True, slots=True)
class Lease:
    """One Chromium for one signed-in session. Never shared between two sessions.

    ``credential_digest``: SHA-256 of the egress password; the password itself is sent to the node once and kept nowhere.
    ``controls``: the strictest of what its viewers may do. ``apps``: names of the apps it was opened for.
    ``started_at``, ``active_at`` (when somebody last did something, as far as it was written down): epoch seconds. ``scale``: device pixels per CSS pixel in hundredths, fixed when Chromium starts.
    """

    id: str
    session_digest: str
    person_key: str
    node: str
    controls: Controls
    scale: int
    credential_digest: str = field(repr=False)
    started_at: float
    apps: frozenset[str] = frozenset()
    active_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a decision allows one viewer: this session, on this app, with these controls.

    ``origin``: the app's public origin (``https://payroll.corp.example``), exactly as a browser writes it in ``Origin``.
    ``reference``: the reference id of the decision's audit entry. ``person``: name or address, for the watermark.
    """

    session_digest: str
    person_key: str
    app: str
    origin: str
    controls: Controls
    reference: str = ""
    person: str = ""
