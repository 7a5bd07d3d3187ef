"""Text ⇄ control messages, and the address a router opens to reach a page. Total: a checked value or :class:`WireError`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps
from urllib.parse import parse_qsl, quote, urlsplit

from renderer.wire import control as c
from renderer.wire.codec import parse_object
from renderer.wire.controls import MAX_WATERMARK, ControlsField
from renderer.wire.fields import ORIGIN, PAGE, Field, Keyword, Object, WireError, integer, text

# ---------------------------------------------------------------- limits
MAX_CONTROL_BYTES = 16 * 1024  # a start with every field at its longest is below 4 KiB
MAX_NAME = 255  # host names, user names
MAX_PASSWORD = 255
MAX_SPKI = 64  # 44 characters of base64 in fact

_EGRESS = Object(
    c.Egress,
    {
        "host": text(MAX_NAME, least=1),
        "port": integer(1, 65_535),
        "username": text(MAX_NAME, least=1),
        "password": text(MAX_PASSWORD, least=1),
        "spki": text(MAX_SPKI),
    },
)
_COUNT = integer(0, 1_000_000)
_LEASE: Field = PAGE  # a token: letters, digits, "-" and "_"


_SHAPES: Mapping[str, tuple[type, Mapping[str, Field]]] = {
    "start": (
        c.StartLease,
        {"lease": _LEASE, "egress": _EGRESS, "controls": ControlsField(), "scale": integer(25, 500)},
    ),
    "end": (c.EndLease, {"lease": _LEASE}),
    "mark": (c.Mark, {"lease": _LEASE, "text": text(MAX_WATERMARK, least=1)}),
    "prepare": (c.Prepare, {"host": text(MAX_NAME, least=1), "port": integer(1, 65_535), "spki": text(MAX_SPKI)}),
    "drain": (c.Drain, {}),
    "lease": (
        c.LeaseReport,
        {"lease": _LEASE, "state": Keyword(c.LeaseState), "code": Keyword(c.LeaseCode)},
    ),
    "status": (
        c.NodeStatus,
        {"live": _COUNT, "warm": _COUNT, "capacity": _COUNT, "chromium": text(MAX_NAME), "state": Keyword(c.NodeState)},
    ),
}
_OP_OF = {shape: op for op, (shape, _) in _SHAPES.items()}


def encode_control(message: c.ToNode | c.FromNode) -> str:
    """One JSON object. Raises :class:`WireError` when a field is out of its range."""
    op = _OP_OF.get(type(message))
    if op is None:
        raise WireError("not a control message")
    document: dict[str, object] = {"op": op}
    document |= {name: rule.dump(getattr(message, name)) for name, rule in _SHAPES[op][1].items()}
    return dumps(document, ensure_ascii=False, separators=(",", ":"))


def decode_to_node(data: str | bytes) -> c.ToNode:
    """Read what a router said. Raises :class:`WireError`."""
    message = _decode(data)
    if not isinstance(message, c.StartLease | c.EndLease | c.Mark | c.Prepare | c.Drain):
        raise WireError("not a message to a node")
    return message


def decode_from_node(data: str | bytes) -> c.FromNode:
    """Read what a node said. Raises :class:`WireError`."""
    message = _decode(data)
    if not isinstance(message, c.LeaseReport | c.NodeStatus):
        raise WireError("not a message from a node")
    return message


def _decode(data: str | bytes) -> object:
    if isinstance(data, str):
        try:
            data = data.encode()
        except UnicodeEncodeError:
            raise WireError("not Unicode") from None
    if len(data) > MAX_CONTROL_BYTES:
        raise WireError("control message too long")
    document = parse_object(data)
    op = document.pop("op", None)
    if not isinstance(op, str) or op not in _SHAPES:
        raise WireError("unknown op")
    shape, spec = _SHAPES[op]
    return Object(shape, spec).load(document)


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Which lease a viewer's stream belongs to and the origin of the app it stands on: paths of ``Hello`` and ``Navigate`` are of that origin.

    The router knows the origin from its route table; a viewer cannot choose it.
    """

    lease: str
    origin: str

    def target(self) -> str:
        """Path and query to open at the node. Raises :class:`WireError`."""
        return f"/leases/{_LEASE.dump(self.lease)}/page?origin={quote(str(ORIGIN.dump(self.origin)), safe='')}"


def parse_page_target(target: str) -> PageAddress:
    """Inverse of :meth:`PageAddress.target`. Raises :class:`WireError`."""
    try:
        parts = urlsplit(target)
        query = parse_qsl(parts.query, strict_parsing=True, max_num_fields=1)
    except ValueError:
        raise WireError("not a page address") from None
    segments = parts.path.split("/")
    if parts.scheme or parts.netloc or len(segments) != 4 or (segments[0], segments[1], segments[3]) != ("", "leases", "page"):
        raise WireError("not a page address")
    if len(query) != 1 or query[0][0] != "origin":
        raise WireError("a page address names its origin")
    return PageAddress(str(_LEASE.load(segments[2])), str(ORIGIN.load(query[0][1])))
