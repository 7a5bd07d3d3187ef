"""One shallow tree of errors.

Every error carries a ``code`` (stable, documented, safe to show), and a message that says what is wrong and what to do.
The cause, which may hold details nobody outside should see, stays in ``__cause__``.
"""

from __future__ import annotations


class IsolationError(Exception):
    """Base of everything this project raises on purpose.

    ``code`` is a stable identifier for logs, metrics and problem documents.
    """

    code = "internal"


class ConfigurationError(IsolationError):
    """The configuration cannot be used. The message lists every problem found."""

    code = "configuration"


class BadRequestError(IsolationError):
    """A request is malformed or ambiguous; nothing behind the ingress guard saw it."""

    code = "bad-request"


class TokenError(IsolationError):
    """A signed value is forged, expired, or made for another purpose or audience."""

    code = "token"


class SignInError(IsolationError):
    """Sign-in failed. ``code`` names why; the text is for people."""

    code = "sign-in"

    def __init__(self, message: str, *, code: str = "sign-in", retry: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.retry = retry


class UpstreamError(IsolationError):
    """The app behind the router did not answer properly."""

    code = "upstream"

    def __init__(self, message: str, *, code: str = "upstream") -> None:
        super().__init__(message)
        self.code = code


class StoreError(IsolationError):
    """The store cannot be read or written (disk full, locked, corrupt)."""

    code = "store"


class ProviderError(IsolationError):
    """A signal provider (Graph, Intune, …) did not answer properly. ``code`` is the provider's named state."""

    code = "provider"

    def __init__(self, message: str, *, code: str = "unreachable") -> None:
        super().__init__(message)
        self.code = code


class BrokerError(IsolationError):
    """An isolated session could not be started or continued."""

    code = "broker"

    def __init__(self, message: str, *, code: str = "broker") -> None:
        super().__init__(message)
        self.code = code
