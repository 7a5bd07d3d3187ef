"""Adapters to those who know something about people. Each raises :class:`ProviderError` with a named state; none ever guesses.

``token`` gets access tokens from Entra; ``graph_client`` is the only module that touches msgraph-sdk (heavy: it lives in the sync process);
``entra`` reads risk, groups and profiles through it, strictly.
"""

from __future__ import annotations

from isolation.errors import ProviderError


class ThrottledError(ProviderError):
    """The provider asks to be left alone. ``retry_after``: seconds it named, None where it named none (identityProtection never does)."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, code="throttled")
        self.retry_after = retry_after


class NoSuchPersonError(ProviderError):
    """The directory says that it does not hold this person (any more)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="no-such-person")
