"""Who is there, told to the app: one RS256-signed header, and plain headers where an app wants them.

The claims are those of a Cloudflare Access application token, so that apps which verify one verify ours: ``aud`` (the app's tag, in a list), ``email``, ``sub``,
``iss``, ``iat``, ``nbf``, ``exp``, ``type``, ``identity_nonce``.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from isolation.clock import Clock
from isolation.policy.facts import Known, Person
from isolation.proxy.headers import ASSERTION_HEADER
from isolation.routing.model import App
from isolation.tokens import new_secret

# limits
LIFE_SECONDS = 300
"""How long an assertion is good. Five minutes: enough for a slow upload and for clocks that disagree a little; too short to be worth stealing."""

MAX_KEPT = 20_000
"""Assertions kept in memory, about 2 KiB each. Signing one takes a millisecond."""

MAX_PLAIN_VALUE = 4_096
"""Bytes of a plain identity header. App servers commonly stop at 8 KiB a line. A list of groups that does not fit is left out: part of it would be a lie."""

PERSON_NAMESPACE = uuid.UUID("6f1d7c1e-58a1-5f39-9d0b-2d5a8b0c4e11")
"""Namespace of ``sub``: a stable id per person that says nothing about the directory's own ids."""

_SAFE = re.compile(r"[\x20-\x7e]*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Header = tuple[bytes, bytes]


class SigningKeys(Protocol):
    """Where the signing key comes from."""

    def current(self) -> tuple[str, RSAPrivateKey]:
        """Return the key id and the private key to sign with now."""
        ...


@dataclass(slots=True)
class _Kept:
    person: Person
    app: App
    renew_at: float
    headers: tuple[Header, ...]


class Assertions:
    """Makes identity headers, and keeps them until half their life. ``issuer``: the auth host's base URL."""

    def __init__(self, keys: SigningKeys, issuer: str, clock: Clock) -> None:
        self._keys = keys
        self._issuer = issuer
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}

    def headers_for(self, session_digest: str, person: Person, app: App) -> tuple[Header, ...]:
        """Return the headers that tell ``app`` who is there: the assertion, then the plain ones the app is configured for."""
        now = self._clock.now()
        key = (session_digest, app.audience)
        kept = self._kept.get(key)
        if kept is not None and now < kept.renew_at and kept.app is app:
            if kept.person is person:
                return kept.headers
            if kept.person == person:  # read again, and the same: comparing groups by value once is enough
                kept.person = person
                return kept.headers
        headers = ((ASSERTION_HEADER, self._sign(person, app, now)), *plain_headers(person, app))
        self._kept.pop(key, None)
        if len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = _Kept(person, app, now + LIFE_SECONDS / 2, headers)
        return headers

    def forget(self, session_digest: str | None = None) -> None:
        """Forget a session's assertions, or all of them (the signing keys have changed)."""
        if session_digest is None:
            self._kept.clear()
        else:
            for key in [key for key in self._kept if key[0] == session_digest]:
                del self._kept[key]

    def _sign(self, person: Person, app: App, now: float) -> bytes:
        key_id, private_key = self._keys.current()
        issued = int(now)
        claims = {
            "aud": [app.audience],
            "email": person.email,
            "sub": str(uuid.uuid5(PERSON_NAMESPACE, person.key)),
            "iss": self._issuer,
            "iat": issued,
            "nbf": issued,
            "exp": issued + LIFE_SECONDS,
            "type": "app",
            "identity_nonce": new_secret(12),
        }
        return jwt.encode(claims, private_key, algorithm="RS256", headers={"kid": key_id}).encode("ascii")


def plain_headers(person: Person, app: App) -> tuple[Header, ...]:
    """Return the plain identity headers of an app. A value that is empty, unknown or cannot be sent safely has no header at all."""
    headers = []
    for field, name in app.identity_headers:
        text = _field(person, field)
        value = header_value(text) if text else None
        if value is not None and len(value) <= MAX_PLAIN_VALUE:
            headers.append((name.encode("ascii"), value))
    return tuple(headers)


def header_value(text: str) -> bytes | None:
    """Return ``text`` as a header value, or None where no value could stand for it.

    Printable ASCII goes as it is. Other letters go as RFC 8187 has them (``UTF-8''J%C3%BCrgen``): raw UTF-8 is read as Latin-1 by half of all app servers.
    Control characters and line breaks have no business in a name or an address; a value with one is not sent.
    """
    if _CONTROL.search(text):
        return None
    stripped = text.strip()
    if _SAFE.match(stripped):
        return stripped.encode("ascii") or None
    return ("UTF-8''" + quote(stripped, safe="!#$&+-.^_`|~")).encode("ascii")


def _field(person: Person, field: str) -> str:
    match field:
        case "email":
            return person.email
        case "name":
            return person.name
        case "user_id":
            return person.key.rpartition("/")[2]
        case "groups":
            # Only a complete and current reading: an app must not take "could not be read" for "in no group".
            return ",".join(sorted(person.groups.value)) if isinstance(person.groups, Known) else ""
        case _:
            return ""
