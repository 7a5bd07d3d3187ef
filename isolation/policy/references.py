"""References from a policy to the identity providers that the configuration names."""

from __future__ import annotations

from isolation.policy.reading import Section, nearest, shown


def parse_provider(section: Section, key: str, *, required: bool) -> str | None:
    """Return the provider's name at ``key``; a name that is not configured is reported (where the configured ones are known)."""
    provider = section.text(key, example="Entra", required=required)
    known = section.problems.providers
    if provider is None or known is None or provider in known:
        return provider
    names = ", ".join(sorted(known)) or "none"
    section.error(
        key,
        f"{shown(provider)} is not a configured identity provider{nearest(provider, known)} "
        f"(configured: {names}). Use the provider's name from identity_providers",
    )
    return None
