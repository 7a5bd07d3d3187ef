"""The text over an isolated page: who looks at it, when, and in which session. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

# ---------------------------------------------------------------- limits
MAX_PERSON = 120  # bytes of the person's name: with minute and reference it stays within what a node takes
REFERENCE_LENGTH = 8  # hexadecimal digits of the session's digest, which the audit log has in full


def reference(session_digest: str) -> str:
    """Return what stands for a session: the beginning of its digest."""
    return session_digest[:REFERENCE_LENGTH]


def watermark(person: str, session_digest: str, at: float) -> str:
    """Return the text at ``at`` (epoch seconds), to the minute. What the person is called may be hostile: it is cut and kept on one line."""
    name = "".join(character if character.isprintable() else " " for character in person)
    name = name.encode("utf-8", "replace")[:MAX_PERSON].decode("utf-8", "ignore")
    return f"{name} · {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC · {reference(session_digest)}"
