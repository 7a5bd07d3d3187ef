"""The tenant's signing keys: RSA, published as Entra publishes them (several at once, each with an ``issuer`` member)."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


def b64url(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key. ``kid`` is the SHA-1 thumbprint of its certificate, as at Entra."""

    kid: str
    key: rsa.RSAPrivateKey
    certificate: str

    def jwk(self, issuer: str) -> dict[str, Any]:
        """Return the public half as Entra's keys endpoint shows it."""
        numbers = self.key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "kid": self.kid,
            "x5t": self.kid,
            "n": b64url(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")),
            "e": b64url(numbers.e.to_bytes(3, "big")),
            "x5c": [self.certificate],
            "issuer": issuer,
        }


def new_key() -> SigningKey:
    """Return a fresh 2048-bit key with a self-signed certificate."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "accounts.accesscontrol.windows.net")])
    start = datetime(2025, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    kid = b64url(hashlib.sha1(certificate, usedforsecurity=False).digest())
    return SigningKey(kid, key, base64.b64encode(certificate).decode())


@cache
def _next_key() -> SigningKey:
    """Return the key that is published but signs nothing yet: one per process, because making keys is what a start-up costs."""
    return new_key()


class KeyRing:
    """Two published keys, of which the first signs; and on request a third that signs without being published."""

    def __init__(self) -> None:
        self._keys = [new_key(), _next_key()]
        self._access_secret = secrets.token_bytes(32)
        self._forger: SigningKey | None = None
        self._forged_kid_known = True

    def rotate(self, *, drop_old: bool = False) -> None:
        """Sign with a new key from now on. The old ones stay published, unless ``drop_old`` (an emergency rollover)."""
        self._keys = [new_key()] if drop_old else [new_key(), *self._keys[:2]]

    def forge(self, on: bool, *, known_kid: bool = True) -> None:
        """Sign with a key that is not published, under a published ``kid`` or an unknown one."""
        self._forger = new_key() if on else None
        self._forged_kid_known = known_kid

    @property
    def forging(self) -> bool:
        """Say whether ID tokens are signed with the wrong key."""
        return self._forger is not None

    def sign(self, claims: Mapping[str, Any]) -> str:
        """Return an ID token."""
        current = self._keys[0]
        key = self._forger or current
        kid = current.kid if self._forged_kid_known else key.kid
        return jwt.encode(dict(claims), key.key, algorithm="RS256", headers={"kid": kid})

    def sign_access(self, claims: Mapping[str, Any]) -> str:
        """Return an access token for the tenant's own Graph: opaque to everybody else."""
        return jwt.encode(dict(claims), self._access_secret, algorithm="HS256")

    def read_access(self, token: str, audience: str) -> dict[str, Any]:
        """Return the claims of an access token, without looking at its times. Raises :class:`jwt.PyJWTError`."""
        claims: dict[str, Any] = jwt.decode(
            token,
            self._access_secret,
            algorithms=["HS256"],
            audience=audience,
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        return claims

    def published(self, issuer: str) -> dict[str, Any]:
        """Return the JWKS document."""
        return {"keys": [key.jwk(issuer) for key in self._keys]}
