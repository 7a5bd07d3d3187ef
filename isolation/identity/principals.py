"""The person a decision looks at, put together from what the store holds. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from isolation.identity.sessions.model import Session
from isolation.policy.facts import Person, RiskLevel, Signal, UserType

# ---- limits
MAX_EMAIL_LENGTH = 254  # RFC 5321 §4.5.3.1.3: a path is at most 256 octets, of which two are angle brackets
MAX_NAME_LENGTH = 256  # Entra's own limit of displayName

# Printable ASCII without space, exactly one "@" with something on either side. Beyond ASCII, lower-casing folds distinct
# characters into one (the Kelvin sign becomes "k"), so such an address could be taken for somebody else's.
_EMAIL = re.compile(r"[!-?A-~]+@[!-?A-~]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class PersonRecord:
    """What is stored about a person, beside readings of signals. Times are epoch seconds.

    ``key``: see :func:`person_key`. ``user_type`` with ``user_type_as_of`` and ``user_type_source``: the last complete reading, or None.
    ``profile_failure``: the named state of the last attempt to read the profile, "" when it succeeded. ``signed_in_at`` is None for somebody
    whom only a directory poll has seen. ``disabled_at``: since when the account must not be used.
    """

    key: str
    tenant: str
    oid: str
    email: str
    name: str
    login_method: str
    first_seen_at: float
    signed_in_at: float | None = None
    user_type: UserType | None = None
    user_type_as_of: float | None = None
    user_type_source: str = ""
    profile_failure: str = ""
    disabled_at: float | None = None
    disabled_because: str = ""


def person_key(tenant: str, oid: str) -> str:
    """Return ``"{tenant}/{oid}"`` in lower case: the only identity of a person.

    Raises ValueError where either half is empty or not plain ASCII without slash, since two people could then share a key.
    """
    for half in (tenant, oid):
        if not half or not half.isascii() or "/" in half or not half.isprintable() or " " in half:
            raise ValueError("a tenant id and an object id are plain ASCII, not empty, without slash or space")
    return f"{tenant.lower()}/{oid.lower()}"


def normal_email(text: str | None) -> str:
    """Return an address in lower case, or ``""`` (which no rule matches) for anything that is not one plain ASCII address."""
    if not text or len(text) > MAX_EMAIL_LENGTH or not _EMAIL.fullmatch(text):
        return ""
    return text.lower()


def normal_name(text: str | None) -> str:
    """Return a display name without control or format characters, cut to a sane length. It is for reading only."""
    if not text:
        return ""
    return "".join(character for character in text if character.isprintable())[:MAX_NAME_LENGTH].strip()


def build_person(
    record: PersonRecord,
    session: Session,
    *,
    risk: Signal[RiskLevel],
    groups: Signal[frozenset[str]],
    user_type: Signal[UserType],
) -> Person:
    """Return the person behind a session. Raises ValueError when the two are not of the same person."""
    if record.key != session.person_key:
        raise ValueError("the session belongs to somebody else")
    return Person(
        key=record.key,
        email=normal_email(record.email),
        name=record.name,
        login_method=session.idp,
        signed_in_at=session.created_at,
        user_type=user_type,
        groups=groups,
        risk=risk,
    )
