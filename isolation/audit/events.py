"""The closed set of things that are written down, each with the fields it may carry.

One constructor per kind of event is the only way to make one: its parameters are the allow-list, and the free-form ``detail`` of each kind has an
allow-list of its own. No kind has a place for a token, a cookie, a query string or a body; text is scrubbed of what looks like one
all the same, because a reason or a message may have been written by somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from isolation import tokens

# ---- limits
MAX_TEXT: Final = 500  # characters of one text in an event: a sentence or two; an audit row stays below a few KiB
MAX_ITEMS: Final = 200  # members of one list in a detail: more steps than any policy set in sight has
MAX_DEPTH: Final = 6  # nesting of a detail: decision steps need three
REFERENCE_LENGTH: Final = 8  # characters of 5 bits: 40 bits, short enough to read out on the telephone

# Crockford's base 32: no I, L, O (read as 1, 1, 0) and no U. https://www.crockford.com/base32.html
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS: Final = str.maketrans({"I": "1", "L": "1", "O": "0", "-": None, " ": None, "\t": None})

_QUERY = re.compile(r"((?<!\S)\S{0,12}/[^\s?#]*)[?#]\S*|[?&#][\w.~%\[\]-]{1,64}=\S*")
_JWT = re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?")
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)


class Kind(StrEnum):
    """Every kind of audit event."""

    DECISION = "decision"
    SIGN_IN = "sign-in"
    SIGN_IN_FAILED = "sign-in-failed"
    SIGN_OUT = "sign-out"
    SESSION_STARTED = "session-started"
    SESSION_ENDED = "session-ended"
    ISOLATION_STARTED = "isolation-started"
    ISOLATION_ENDED = "isolation-ended"
    EGRESS_BLOCKED = "egress-blocked"
    TRANSFER = "transfer"
    TAG_ADDED = "tag-added"
    TAG_REMOVED = "tag-removed"
    OVERRIDE_ADDED = "override-added"
    OVERRIDE_REMOVED = "override-removed"
    ADMIN = "admin"
    CONFIGURATION = "configuration-applied"
    PROVIDER_STATE = "provider-state"


_DETAIL: Final[Mapping[Kind, frozenset[str]]] = {
    Kind.DECISION: frozenset({"policy", "rules", "signals", "steps", "controls", "reason"}),
    Kind.SIGN_IN: frozenset({"idp", "ip", "user_type", "groups"}),
    Kind.SIGN_IN_FAILED: frozenset({"idp", "ip", "code", "message"}),
    Kind.SIGN_OUT: frozenset({"why"}),
    Kind.SESSION_STARTED: frozenset({"idp", "ip", "expires_at"}),
    Kind.SESSION_ENDED: frozenset({"why"}),
    Kind.ISOLATION_STARTED: frozenset({"lease", "node", "controls"}),
    Kind.ISOLATION_ENDED: frozenset({"lease", "node", "why", "seconds"}),
    Kind.EGRESS_BLOCKED: frozenset({"lease", "host", "port", "address", "scheme", "why", "count"}),
    Kind.TRANSFER: frozenset({"direction", "name", "size", "type", "sha256", "why"}),
    Kind.TAG_ADDED: frozenset({"tag", "level", "reason", "until"}),
    Kind.TAG_REMOVED: frozenset({"tag", "level"}),
    Kind.OVERRIDE_ADDED: frozenset({"override", "level", "reason", "until"}),
    Kind.OVERRIDE_REMOVED: frozenset({"override", "level"}),
    Kind.ADMIN: frozenset({"act", "subject", "reason"}),
    Kind.CONFIGURATION: frozenset({"file", "digest", "apps", "problems"}),
    Kind.PROVIDER_STATE: frozenset({"provider", "status", "message"}),
}


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that happened. Made by the functions of this module.

    ``at``: epoch seconds. ``ref``: the reference id shown to people. ``person``: a person key. ``session``: a session digest. ``actor``: who did it
    when that is not the person (an administrator). ``outcome``: one word. ``detail``: JSON values, see the kind's allow-list.
    """

    at: float
    kind: Kind
    ref: str
    person: str = ""
    email: str = ""
    session: str = ""
    app: str = ""
    actor: str = ""
    outcome: str = ""
    detail: Mapping[str, object] = field(default_factory=dict)


def new_reference() -> str:
    """Return a fresh reference id such as ``7KQ4-M2XD``: 40 random bits. The audit log makes it unique."""
    number = int(tokens.digest(tokens.new_secret())[: REFERENCE_LENGTH * 5 // 4], 16)
    text = "".join(_ALPHABET[number >> 5 * place & 31] for place in range(REFERENCE_LENGTH))
    return f"{text[:4]}-{text[4:]}"


def normal_reference(text: str) -> str | None:
    """Return a reference id as it is stored, from however somebody typed it (``7kq4 m2xd``), or None if it cannot be one."""
    plain = text.strip().upper().translate(_READ_AS)
    if len(plain) != REFERENCE_LENGTH or not set(plain) <= set(_ALPHABET):
        return None
    return f"{plain[:4]}-{plain[4:]}"


def decision(
    *, at: float, session: str, person: str, email: str, app: str, outcome: str, detail: Mapping[str, object]
) -> AuditEvent:
    """Record that a request was decided: ``outcome`` forward, isolate, sign-in or refuse; ``detail`` with policy, rules, signals, steps, controls, reason."""
    return _event(Kind.DECISION, at, person=person, email=email, session=session, app=app, outcome=outcome, detail=detail)


def sign_in(
    *, at: float, person: str, email: str, session: str, idp: str, ip: str, user_type: str = "unknown", groups: str = ""
) -> AuditEvent:
    """Record that somebody signed in. ``groups``: in words where they came from (``"12 from token"``), never the list."""
    detail = {"idp": idp, "ip": ip, "user_type": user_type, "groups": groups}
    return _event(Kind.SIGN_IN, at, person=person, email=email, session=session, outcome="ok", detail=detail)


def sign_in_failed(
    *, at: float, idp: str, ip: str, code: str, message: str = "", person: str = "", email: str = ""
) -> AuditEvent:
    """Record that a sign-in came to nothing. ``code``: the stable code of the error."""
    detail = {"idp": idp, "ip": ip, "code": code, "message": message}
    return _event(Kind.SIGN_IN_FAILED, at, person=person, email=email, outcome="failed", detail=detail)


def sign_out(*, at: float, person: str, session: str, email: str = "", why: str = "signed-out") -> AuditEvent:
    """Record that somebody signed out, here or at the identity provider."""
    return _event(Kind.SIGN_OUT, at, person=person, email=email, session=session, outcome="ok", detail={"why": why})


def session_started(*, at: float, person: str, session: str, idp: str, ip: str, expires_at: float, email: str = "") -> AuditEvent:
    """Record that a session began."""
    detail = {"idp": idp, "ip": ip, "expires_at": expires_at}
    return _event(Kind.SESSION_STARTED, at, person=person, email=email, session=session, outcome="ok", detail=detail)


def session_ended(*, at: float, person: str, session: str, why: str, actor: str = "", email: str = "") -> AuditEvent:
    """Record that a session ended before its time."""
    return _event(
        Kind.SESSION_ENDED, at, person=person, email=email, session=session, actor=actor, outcome="ended", detail={"why": why}
    )


def isolation_started(
    *,
    at: float,
    person: str,
    session: str,
    lease: str,
    node: str,
    app: str = "",
    email: str = "",
    controls: Mapping[str, object] | None = None,
) -> AuditEvent:
    """Record that an isolated browser was started for a session."""
    detail = {"lease": lease, "node": node, "controls": dict(controls or {})}
    return _event(
        Kind.ISOLATION_STARTED, at, person=person, email=email, session=session, app=app, outcome="started", detail=detail
    )


def isolation_ended(
    *, at: float, person: str, session: str, lease: str, node: str, why: str, seconds: float, app: str = "", email: str = ""
) -> AuditEvent:
    """Record that an isolated browser ended. ``seconds``: how long it lived."""
    detail = {"lease": lease, "node": node, "why": why, "seconds": seconds}
    return _event(Kind.ISOLATION_ENDED, at, person=person, email=email, session=session, app=app, outcome="ended", detail=detail)


def egress_blocked(
    *,
    at: float,
    session: str,
    lease: str,
    host: str,
    port: int,
    why: str,
    address: str = "",
    scheme: str = "",
    count: int = 1,
    person: str = "",
    email: str = "",
    app: str = "",
) -> AuditEvent:
    """Record that an isolated browser tried to reach something it may not. Host and port only: a path may hold secrets.

    ``count``: how many attempts this stands for; repeats of the same within a few seconds are gathered.
    """
    detail = {"lease": lease, "host": host, "port": port, "address": address, "scheme": scheme, "why": why, "count": count}
    return _event(Kind.EGRESS_BLOCKED, at, person=person, email=email, session=session, app=app, outcome="blocked", detail=detail)


def transfer(
    *,
    at: float,
    person: str,
    session: str,
    app: str,
    outcome: str,
    direction: str,
    name: str,
    size: int,
    type_: str = "",
    sha256: str = "",
    why: str = "",
) -> AuditEvent:
    """Record that a file, a print or a picture crossed between a device and an isolated page, or was kept from it. Never its content.

    ``outcome``: allowed, refused or cancelled. ``direction``: download, upload, print, copy or paste. ``size``: bytes. ``type_``: as told by
    the content, "" for none that is known. ``sha256``: of all its bytes, where all crossed.
    """
    detail = {"direction": direction, "name": name, "size": size, "type": type_, "sha256": sha256, "why": why}
    return _event(Kind.TRANSFER, at, person=person, session=session, app=app, outcome=outcome, detail=detail)


def tag_added(
    *, at: float, person: str, actor: str, tag: int, level: str, reason: str, until: float | None, email: str = ""
) -> AuditEvent:
    """Record that the security team tagged somebody. ``until`` None: until it is removed."""
    detail = {"tag": tag, "level": level, "reason": reason, "until": until}
    return _event(Kind.TAG_ADDED, at, person=person, email=email, actor=actor, outcome=level, detail=detail)


def tag_removed(*, at: float, person: str, actor: str, tag: int, level: str, email: str = "") -> AuditEvent:
    """Record that a tag was taken away."""
    return _event(
        Kind.TAG_REMOVED, at, person=person, email=email, actor=actor, outcome="removed", detail={"tag": tag, "level": level}
    )


def override_added(
    *, at: float, person: str, actor: str, override: int, level: str, reason: str, until: float, email: str = ""
) -> AuditEvent:
    """Record that an administrator overrode somebody's risk."""
    detail = {"override": override, "level": level, "reason": reason, "until": until}
    return _event(Kind.OVERRIDE_ADDED, at, person=person, email=email, actor=actor, outcome=level, detail=detail)


def override_removed(*, at: float, person: str, actor: str, override: int, level: str, email: str = "") -> AuditEvent:
    """Record that an override was taken away."""
    detail = {"override": override, "level": level}
    return _event(Kind.OVERRIDE_REMOVED, at, person=person, email=email, actor=actor, outcome="removed", detail=detail)


def admin(
    *, at: float, actor: str, act: str, subject: str, reason: str = "", person: str = "", email: str = "", session: str = ""
) -> AuditEvent:
    """Record any other administrative act: ``act`` is a verb with its object (``"sessions revoke"``), ``subject`` what it was done to."""
    detail = {"act": act, "subject": subject, "reason": reason}
    return _event(Kind.ADMIN, at, person=person, email=email, session=session, actor=actor, outcome="ok", detail=detail)


def configuration_applied(*, at: float, actor: str, file: str, digest: str, apps: Sequence[str], problems: int = 0) -> AuditEvent:
    """Record that a configuration was applied, or refused with ``problems``. ``digest``: SHA-256 of the file."""
    detail = {"file": file, "digest": digest, "apps": list(apps), "problems": problems}
    return _event(Kind.CONFIGURATION, at, actor=actor, outcome="refused" if problems else "applied", detail=detail)


def provider_state(*, at: float, provider: str, status: str, message: str = "") -> AuditEvent:
    """Record that a signal provider changed its state."""
    detail = {"provider": provider, "status": status, "message": message}
    return _event(Kind.PROVIDER_STATE, at, outcome=status, detail=detail)


def scrub(text: str) -> str:
    """Return text without control characters, query strings, tokens and credentials, cut to :data:`MAX_TEXT` characters."""
    cut = text[: MAX_TEXT * 4]  # bound the work before matching
    plain = "".join(character if character.isprintable() else " " for character in cut)
    plain = _JWT.sub("[removed]", plain)
    plain = _BEARER.sub(r"\1 [removed]", plain)
    plain = _QUERY.sub(r"\1", plain)
    return plain if len(plain) <= MAX_TEXT else plain[: MAX_TEXT - 1] + "…"


def _event(
    kind: Kind,
    at: float,
    *,
    detail: Mapping[str, object],
    person: str = "",
    email: str = "",
    session: str = "",
    app: str = "",
    actor: str = "",
    outcome: str = "",
) -> AuditEvent:
    unexpected = detail.keys() - _DETAIL[kind]
    if unexpected:
        raise ValueError(f"an audit event of kind {kind.value} does not carry {', '.join(sorted(unexpected))}")
    return AuditEvent(
        at=at,
        kind=kind,
        ref=new_reference(),
        person=scrub(person),
        email=scrub(email),
        session=scrub(session),
        app=scrub(app),
        actor=scrub(actor),
        outcome=scrub(outcome),
        detail={key: _plain(value, MAX_DEPTH) for key, value in detail.items()},
    )


def _plain(value: object, depth: int) -> object:
    match value:
        case None | bool() | int():
            return value
        case float():
            # JSON has no infinity; the only one in sight is "for ever".
            return value if abs(value) != float("inf") and value == value else None  # noqa: PLR0124 - NaN
        case str():
            return scrub(value)
        case _ if depth == 0:
            return "…"
        case Mapping():
            return {scrub(str(key)): _plain(item, depth - 1) for key, item in list(value.items())[:MAX_ITEMS]}
        case list() | tuple() | set() | frozenset():
            return [_plain(item, depth - 1) for item in list(value)[:MAX_ITEMS]]
        case _:
            raise ValueError(f"an audit detail holds plain values, not {type(value).__name__}")
