"""What the router and a renderer node say to each other about leases, and the node's address book.

A node is a WebSocket server. Every connection carries ``Authorization: Bearer <node token>`` and the subprotocol
``isolation-renderer.1``. Two paths:

``/control``
    One JSON object per text message, shapes below. A router worker keeps one open to each node.
``/leases/{lease}/page?origin={scheme://host[:port], percent-encoded}``
    One per viewer: binary messages of :mod:`renderer.wire.messages`, first a ``Hello``, answered by ``Ready`` (or ``Closed``). ``origin`` is the
    app the viewer stands on, said by the router; see :class:`renderer.wire.control_codec.PageAddress`.

A lease is one Chromium for one signed-in session. It survives the loss of its viewers and of the router's connections for
``GRACE_SECONDS``, then ends. It ends at once when told to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from renderer.wire.controls import Value

SUBPROTOCOL = "isolation-renderer.1"
GRACE_SECONDS = 120.0


class LeaseState(StrEnum):
    """What became of a lease."""

    STARTED = "started"
    FAILED = "failed"  # code says why
    ENDED = "ended"


class LeaseCode(StrEnum):
    """Why a lease failed or ended."""

    OK = "ok"
    NO_CAPACITY = "no-capacity"
    LAUNCH_FAILED = "launch-failed"
    NO_SANDBOX = "no-sandbox"
    CRASHED = "crashed"
    HUNG = "hung"  # its browser did not answer any more
    IDLE = "idle"
    TOLD = "told"
    MEMORY = "memory"  # more than one session may use, as are the next three
    PROCESSES = "processes"
    DISK = "disk"
    TIME = "time"


LIMITS = frozenset({LeaseCode.MEMORY, LeaseCode.PROCESSES, LeaseCode.DISK, LeaseCode.TIME})


class NodeState(StrEnum):
    """Whether a node takes new leases."""

    OPEN = "open"
    DRAINING = "draining"  # it was told to end; its leases go on
    LOW_MEMORY = "low-memory"  # the machine has less memory left than the node leaves free


@dataclass(frozen=True, slots=True)
class Egress:
    """How a lease's Chromium reaches the world: the gateway and its credentials. ``spki``: base64 SHA-256 of the gateway's key."""

    host: str
    port: int
    username: str
    password: str
    spki: str


@dataclass(frozen=True, slots=True)
class StartLease:
    """``{"op": "start", "lease": …, "egress": {…}, "controls": {…}, "scale": 100}``. Idempotent: a live lease answers ``started`` and takes the new controls.

    ``controls``: exactly the names of :data:`renderer.wire.controls.RULES`. ``scale``: of the screen of whoever came first, in hundredths;
    a browser serves every scale, each viewer says its own.
    """

    lease: str
    egress: Egress
    controls: Mapping[str, Value]
    scale: int


@dataclass(frozen=True, slots=True)
class EndLease:
    """``{"op": "end", "lease": …}``."""

    lease: str


@dataclass(frozen=True, slots=True)
class Mark:
    """``{"op": "mark", "lease": …, "text": …}``: the watermark of a live lease reads differently now (it says the time)."""

    lease: str
    text: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """``{"op": "prepare", "host": …, "port": …, "spki": …}``: the gateway of leases to come, so that browsers can be kept ready for them."""

    host: str
    port: int
    spki: str


@dataclass(frozen=True, slots=True)
class Drain:
    """``{"op": "drain"}``: take no new leases, and end when the last one has."""


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """``{"op": "lease", "lease": …, "state": …, "code": …}``: answer to a start, and unasked when a lease ends."""

    lease: str
    state: LeaseState
    code: LeaseCode


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """``{"op": "status", "live": …, "warm": …, "capacity": …, "chromium": "156.0…", "state": …}``: on connect and on every change."""

    live: int
    warm: int
    capacity: int
    chromium: str
    state: NodeState = NodeState.OPEN


ToNode = StartLease | EndLease | Mark | Prepare | Drain
FromNode = LeaseReport | NodeStatus
