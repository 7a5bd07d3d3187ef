"""Every table. Times are epoch seconds (UTC) as floating point; JSON is text.

A change here needs a migration (``migrations/``); a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Index, Integer, MetaData, Table, Text, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

people = Table(
    "people",
    metadata,
    Column("key", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("oid", Text, nullable=False, index=True),
    Column("email", Text, nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("login_method", Text, nullable=False),
    Column("first_seen_at", Double, nullable=False),
    Column("signed_in_at", Double),
    Column("user_type", Text),
    Column("user_type_as_of", Double),
    Column("user_type_source", Text, nullable=False),
    Column("profile_failure", Text, nullable=False),
    Column("disabled_at", Double),
    Column("disabled_because", Text, nullable=False),
)

group_readings = Table(
    "group_readings",
    metadata,
    Column("person_key", Text, ForeignKey("people.key", ondelete="CASCADE"), primary_key=True),
    Column("group_ids", Text),  # JSON array, sorted; NULL while there was no complete reading
    Column("as_of", Double),
    Column("source", Text, nullable=False),
    Column("failure", Text),
    Column("failed_at", Double),
    Column("message", Text, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("person_key", Text, ForeignKey("people.key", ondelete="CASCADE"), nullable=False, index=True),
    Column("idp", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("idle_seconds", Double, nullable=False),
    Column("last_seen_at", Double, nullable=False),
    Column("sid", Text, index=True),
    Column("revoked_at", Double),
    Column("revoked_because", Text, nullable=False),
)

session_secrets = Table(
    "session_secrets",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("session_digest", Text, ForeignKey("sessions.digest", ondelete="CASCADE"), nullable=False, index=True),
)

handoffs = Table(
    "handoffs",
    metadata,
    Column("code_digest", Text, primary_key=True),
    Column("session_digest", Text, ForeignKey("sessions.digest", ondelete="CASCADE"), nullable=False, index=True),
    Column("host", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("expires_at", Double, nullable=False),
)

flows = Table(
    "flows",
    metadata,
    Column("state_digest", Text, primary_key=True),
    Column("idp", Text, nullable=False),
    Column("nonce", Text, nullable=False),
    Column("verifier", Text, nullable=False),
    Column("binding_digest", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
)

risk_readings = Table(
    "risk_readings",
    metadata,
    Column("person_key", Text, primary_key=True),
    Column("level", Text, nullable=False),
    Column("reported_at", Double),
    Column("detail", Text, nullable=False),
)

risk_tags = Table(
    "risk_tags",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person_key", Text, nullable=False, index=True),
    Column("level", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("until", Double),  # NULL: until it is removed
    sqlite_autoincrement=True,
)

risk_overrides = Table(
    "risk_overrides",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person_key", Text, nullable=False, index=True),
    Column("level", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("until", Double, nullable=False),
    sqlite_autoincrement=True,
)

provider_states = Table(
    "provider_states",
    metadata,
    Column("name", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("last_attempt", Double),
    Column("last_success", Double),
)

events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("data", Text, nullable=False),  # JSON object
    sqlite_autoincrement=True,  # an id is never used twice, not even after pruning
)

bus = Table(
    "bus",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("pruned_through", Integer, nullable=False),  # events up to this id are gone
    CheckConstraint("id = 1", name="one_row"),
)

leases = Table(
    "leases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("session_digest", Text, nullable=False),
    Column("person_key", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("credential_digest", Text, nullable=False),
    Column("controls", Text, nullable=False),  # JSON object
    Column("scale", Integer, nullable=False),
    Column("apps", Text, nullable=False),  # JSON array, sorted
    Column("started_at", Double, nullable=False),
    Column("active_at", Double, nullable=False, server_default=text("0")),
    Column("ended_at", Double),
    Column("ended_because", Text, nullable=False),
    # One live lease per session, whoever asks first.
    Index("ix_leases_live_session", "session_digest", unique=True, sqlite_where=text("ended_at IS NULL")),
)

used_tickets = Table(
    "used_tickets",
    metadata,
    Column("ticket_digest", Text, primary_key=True),
    Column("until", Double, nullable=False, index=True),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    Column("sealed_pem", Text, nullable=False),
    Column("public_jwk", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("signs_from", Double, nullable=False),
    Column("signs_until", Double, nullable=False),
    Column("published_until", Double, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ref", Text, nullable=False, unique=True),
    Column("at", Double, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("person_key", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("session", Text, nullable=False),
    Column("app", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("detail", Text, nullable=False),  # JSON object
    Index("ix_audit_person_key_at", "person_key", "at"),
    sqlite_autoincrement=True,
)
