"""The first tables.

Revision ID: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("app", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        sa.UniqueConstraint("ref", name=op.f("uq_audit_ref")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index("ix_audit_person_key_at", "audit", ["person_key", "at"], unique=False)
    op.create_table(
        "bus",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pruned_through", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_bus_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bus")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("data", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_events_at"), "events", ["at"], unique=False)
    op.create_table(
        "flows",
        sa.Column("state_digest", sa.Text(), nullable=False),
        sa.Column("idp", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("verifier", sa.Text(), nullable=False),
        sa.Column("binding_digest", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("state_digest", name=op.f("pk_flows")),
    )
    op.create_table(
        "leases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("session_digest", sa.Text(), nullable=False),
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("credential_digest", sa.Text(), nullable=False),
        sa.Column("controls", sa.Text(), nullable=False),
        sa.Column("scale", sa.Integer(), nullable=False),
        sa.Column("apps", sa.Text(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double(), nullable=True),
        sa.Column("ended_because", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leases")),
    )
    op.create_index("ix_leases_live_session", "leases", ["session_digest"], unique=True, sqlite_where=sa.text("ended_at IS NULL"))
    op.create_table(
        "people",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("oid", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("login_method", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.Double(), nullable=False),
        sa.Column("signed_in_at", sa.Double(), nullable=True),
        sa.Column("user_type", sa.Text(), nullable=True),
        sa.Column("user_type_as_of", sa.Double(), nullable=True),
        sa.Column("user_type_source", sa.Text(), nullable=False),
        sa.Column("profile_failure", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.Column("disabled_because", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_people")),
    )
    op.create_index(op.f("ix_people_email"), "people", ["email"], unique=False)
    op.create_index(op.f("ix_people_oid"), "people", ["oid"], unique=False)
    op.create_table(
        "provider_states",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("last_attempt", sa.Double(), nullable=True),
        sa.Column("last_success", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_provider_states")),
    )
    op.create_table(
        "risk_overrides",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_risk_overrides")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_risk_overrides_person_key"), "risk_overrides", ["person_key"], unique=False)
    op.create_table(
        "risk_readings",
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("reported_at", sa.Double(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("person_key", name=op.f("pk_risk_readings")),
    )
    op.create_table(
        "risk_tags",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_risk_tags")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_risk_tags_person_key"), "risk_tags", ["person_key"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("kid", sa.Text(), nullable=False),
        sa.Column("sealed_pem", sa.Text(), nullable=False),
        sa.Column("public_jwk", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("signs_from", sa.Double(), nullable=False),
        sa.Column("signs_until", sa.Double(), nullable=False),
        sa.Column("published_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "used_tickets",
        sa.Column("ticket_digest", sa.Text(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("ticket_digest", name=op.f("pk_used_tickets")),
    )
    op.create_index(op.f("ix_used_tickets_until"), "used_tickets", ["until"], unique=False)
    op.create_table(
        "group_readings",
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("group_ids", sa.Text(), nullable=True),
        sa.Column("as_of", sa.Double(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("failed_at", sa.Double(), nullable=True),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["person_key"], ["people.key"], name=op.f("fk_group_readings_person_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("person_key", name=op.f("pk_group_readings")),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("person_key", sa.Text(), nullable=False),
        sa.Column("idp", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.Column("idle_seconds", sa.Double(), nullable=False),
        sa.Column("last_seen_at", sa.Double(), nullable=False),
        sa.Column("sid", sa.Text(), nullable=True),
        sa.Column("revoked_at", sa.Double(), nullable=True),
        sa.Column("revoked_because", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["person_key"], ["people.key"], name=op.f("fk_sessions_person_key"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_person_key"), "sessions", ["person_key"], unique=False)
    op.create_index(op.f("ix_sessions_sid"), "sessions", ["sid"], unique=False)
    op.create_table(
        "handoffs",
        sa.Column("code_digest", sa.Text(), nullable=False),
        sa.Column("session_digest", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_digest"], ["sessions.digest"], name=op.f("fk_handoffs_session_digest"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("code_digest", name=op.f("pk_handoffs")),
    )
    op.create_index(op.f("ix_handoffs_session_digest"), "handoffs", ["session_digest"], unique=False)
    op.create_table(
        "session_secrets",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("session_digest", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["session_digest"], ["sessions.digest"], name=op.f("fk_session_secrets_session_digest"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_session_secrets")),
    )
    op.create_index(op.f("ix_session_secrets_session_digest"), "session_secrets", ["session_digest"], unique=False)
    op.execute("INSERT INTO bus (id, pruned_through) VALUES (1, 0)")


def downgrade() -> None:
    for table in (
        "session_secrets",
        "handoffs",
        "sessions",
        "group_readings",
        "used_tickets",
        "signing_keys",
        "risk_tags",
        "risk_readings",
        "risk_overrides",
        "provider_states",
        "people",
        "leases",
        "flows",
        "events",
        "bus",
        "audit",
    ):
        op.drop_table(table)
