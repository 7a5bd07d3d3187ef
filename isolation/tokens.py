"""The only signer, and the only source of randomness.

A value is signed for one :class:`Purpose` and one audience (usually a host); it verifies for no other.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from itsdangerous import BadData, BadSignature, Signer, URLSafeTimedSerializer
from itsdangerous.encoding import base64_decode, base64_encode

from isolation.errors import TokenError


class Purpose(StrEnum):
    """What a signed value is for. Each value is a salt, so that no signature is good for two purposes."""

    SESSION = "session-cookie"
    SIGN_IN = "sign-in-request"
    FLOW = "oidc-flow"
    HAND_OFF = "hand-off"
    TICKET = "viewer-ticket"
    FORM = "form-token"


def new_secret(size: int = 32) -> str:
    """Return ``size`` random bytes as URL-safe text without padding (32 bytes: 256 bits, 43 characters)."""
    return secrets.token_urlsafe(size)


def digest(secret: str) -> str:
    """Return the SHA-256 of a secret as hex: what the store keeps in place of the secret itself."""
    return hashlib.sha256(secret.encode()).hexdigest()


def equal(left: str | bytes, right: str | bytes) -> bool:
    """Compare two secrets in constant time."""
    return hmac.compare_digest(
        left.encode() if isinstance(left, str) else left, right.encode() if isinstance(right, str) else right
    )


class Tokens:
    """Signs and verifies small values with rotating keys (first key signs, all verify)."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys or any(len(key) < 32 for key in keys):
            raise TokenError("a signing key needs at least 32 characters; remove the key file to have one made")
        self._keys = list(reversed(keys))  # itsdangerous signs with the last

    def sign(self, purpose: Purpose, value: str, *, audience: str = "") -> str:
        """Return ``value`` with a signature for ``purpose`` and ``audience``. The value stays readable."""
        return self._signer(purpose, audience).sign(value).decode()

    def unsign(self, purpose: Purpose, signed: str, *, audience: str = "") -> str:
        """Return the value of :meth:`sign`. Raises :class:`TokenError` for anything else."""
        try:
            value = self._signer(purpose, audience).unsign(signed).decode()
        except (BadSignature, UnicodeError) as error:
            raise TokenError(f"not a valid {purpose.value}") from error
        _one_spelling(purpose, signed)
        return value

    def seal(self, purpose: Purpose, value: Any, *, audience: str = "") -> str:
        """Return a JSON value signed with the time of signing. The value stays readable."""
        return self._serializer(purpose, audience).dumps(value)

    def unseal(self, purpose: Purpose, sealed: str, *, max_age: int, audience: str = "") -> Any:
        """Return the value of :meth:`seal`, not older than ``max_age`` seconds. Raises :class:`TokenError`."""
        try:
            value = self._serializer(purpose, audience).loads(sealed, max_age=max_age)
        except (BadData, UnicodeError) as error:
            raise TokenError(f"not a valid {purpose.value}, or too old") from error
        _one_spelling(purpose, sealed)
        return value

    def _signer(self, purpose: Purpose, audience: str) -> Signer:
        return Signer(self._keys, salt=f"{purpose.value}|{audience}", key_derivation="hmac", digest_method=hashlib.sha256)

    def _serializer(self, purpose: Purpose, audience: str) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(
            self._keys,
            salt=f"{purpose.value}|{audience}",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )


def _one_spelling(purpose: Purpose, signed: str) -> None:
    """Refuse a signature written in another way than ours: Base64 leaves bits and characters over that decoders pass by."""
    signature = signed.rpartition(".")[2]
    if base64_encode(base64_decode(signature)).decode() != signature:
        raise TokenError(f"not a valid {purpose.value}")
