"""Numbers that more than one room needs, each with the reason for it. Numbers of one room stand at the top of that room's module."""

from __future__ import annotations

OWN_PREFIX = "/.isolation/"
"""Everything of ours on an app's host lives below this path; apps never see it. A leading dot keeps it clear of real apps' routes,
as ``/.well-known/`` (RFC 8615) and Pomerium's ``/.pomerium/`` do."""

EVENT_POLL_SECONDS = 0.1
"""How often a process looks for new events: ``PRAGMA data_version`` costs microseconds, and invariant 4 allows one second."""

RECHECK_SECONDS = 0.25
"""How often live connections are checked for decisions that ended by the passing of time (a tag expired, a reading went stale)."""

SESSION_SECONDS = 86_400
"""Absolute life of a session: 24 hours, Cloudflare Access's default for the global session token."""

IDLE_SECONDS = 8 * 3_600
"""A session unused for a working day is over."""

RISK_STALE_SECONDS = 15 * 60
"""After this a reading of risk lets nobody pass. Fifteen minutes is Entra's own bound for continuous access evaluation."""

GROUPS_STALE_SECONDS = 60 * 60
"""After this a reading of groups lets nobody pass."""
