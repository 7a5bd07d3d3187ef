"""A session: who signed in, when, and how long that holds. The secret id is not in here, only its digest."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# ---- limits
SHORT_ID_LENGTH = 12  # hex characters of the digest: 48 bits, enough to name one of a deployment's live sessions to people


class EndReason(StrEnum):
    """Why a session ended. Goes to the audit log and to the page that says so."""

    SIGNED_OUT = "signed-out"
    REVOKED = "revoked"  # by an administrator
    DISABLED = "disabled"  # the person's account was disabled or removed
    SIGNED_OUT_AT_IDP = "signed-out-at-idp"  # front-channel sign-out
    REVOKED_AT_IDP = "revoked-at-idp"  # the directory no longer accepts sign-ins as old as this one
    REPLACED = "replaced"  # signed in again in the same browser
    EXPIRED = "expired"  # its absolute life was over
    IDLE = "idle"  # nobody used it for too long


def short_id(digest: str) -> str:
    """Return a session's name for people and logs."""
    return digest[:SHORT_ID_LENGTH]


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in session as the store holds it.

    ``id``: a short name for people and logs; it opens nothing. ``digest``: SHA-256 of the first secret id, the session's identity everywhere
    inside the router. ``idp``: the identity provider's name. ``sid``: the provider's session id, for its sign-out messages, or None. Times are
    epoch seconds; ``idle_seconds`` ends a session that nobody uses.
    """

    id: str
    digest: str
    person_key: str
    idp: str
    created_at: float
    expires_at: float
    idle_seconds: float
    last_seen_at: float
    sid: str | None = None
    revoked_at: float | None = None
    revoked_because: str = ""

    @property
    def ends_at(self) -> float:
        """Return when the session ends by itself if nobody uses it again."""
        return min(self.expires_at, self.last_seen_at + self.idle_seconds)

    def is_live(self, now: float) -> bool:
        """Say whether the session may be used at ``now``."""
        return self.revoked_at is None and now < self.ends_at
