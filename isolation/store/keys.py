"""Signing keys of the assertion that apps receive: RS256, private halves sealed, with overlap when they change.

A key's life: *published* for a day before it signs, so that apps that keep the key set for hours know it by then; *signs* for six weeks; then
stays published for seven days, so that what it signed last can still be verified. Six weeks and seven days are Cloudflare Access's figures
(https://developers.cloudflare.com/cloudflare-one/identity/authorization-cookie/validating-json/).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, insert, select, update

from isolation.errors import ConfigurationError, StoreError
from isolation.store import events
from isolation.store.database import Store
from isolation.store.events import EventKind
from isolation.store.tables import signing_keys

# ---- limits
SIGN_SECONDS: Final = 6 * 7 * 86_400.0
KEEP_SECONDS: Final = 7 * 86_400.0
AHEAD_SECONDS: Final = 86_400.0
KEY_BITS: Final = 2_048  # what RS256 (RFC 7518 §3.3) asks for at least, and what every JWT library verifies fast
MIN_SECRET: Final = 32  # characters of a deployment secret, as isolation.tokens asks for

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key to sign with now. ``kid``: SHA-256 of its public half, 64 hex characters. ``pem``: PKCS#8, not sealed. Epoch seconds."""

    kid: str
    pem: str = field(repr=False)
    signs_from: float
    signs_until: float


class KeyRepository:
    """Keeps the signing keys. ``secrets``: deployment secrets; the first seals, every one opens.

    Raises ConfigurationError for a secret that is too short.
    """

    def __init__(self, store: Store, secrets: Sequence[str]) -> None:
        if not secrets or any(len(secret) < MIN_SECRET for secret in secrets):
            raise ConfigurationError(f"secret: the deployment secret needs at least {MIN_SECRET} characters")
        self._store = store
        self._box = MultiFernet([Fernet(_derive(secret)) for secret in secrets])

    async def rotate_if_due(self, now: float) -> bool:
        """Make the next key when its time has come and forget keys nobody needs; say whether anything changed.

        Several workers may call this at the same moment: one of them does it.
        """
        if not await self._store.read(lambda connection: _due(connection, now)):
            return False
        key = generate_private_key(public_exponent=65_537, key_size=KEY_BITS)  # 0.1 s: not under the write lock

        def work(connection: Connection) -> bool:
            # Looked at again under the write lock: another worker may have been first.
            newest = _newest(connection)
            retired = delete(signing_keys).where(_retired(newest, now)).returning(signing_keys.c.kid)
            changed = list(connection.execute(retired).scalars().all())
            if newest is None or newest.signs_until - AHEAD_SECONDS <= now:
                signs_from = now
                if newest is not None:
                    # After a long sleep the old key signs on until the new one has been published for a while.
                    signs_from = max(newest.signs_until, now + AHEAD_SECONDS)
                    connection.execute(
                        update(signing_keys)
                        .where(signing_keys.c.kid == newest.kid)
                        .values(signs_until=signs_from, published_until=signs_from + KEEP_SECONDS)
                    )
                changed.append(self._insert(connection, key, now, signs_from))
            events.append_many(connection, self._store.clock.now(), EventKind.KEYS_CHANGED, changed)
            return bool(changed)

        done = await self._store.write(work)
        if done:
            log.info("keys.rotated")
        return done

    async def current(self, now: float | None = None) -> SigningKey:
        """Return the key to sign with; the first one is made when there is none.

        Raises ConfigurationError when no deployment secret opens it, StoreError when the store cannot be used.
        """
        moment = self._store.clock.now() if now is None else now
        row = await self._store.read(lambda connection: _signing(connection, moment))
        if row is None:
            await self.rotate_if_due(moment)
            row = await self._store.read(lambda connection: _signing(connection, moment))
        if row is None:
            raise StoreError("there is no signing key, and none could be made")
        try:
            pem = self._box.decrypt(row.sealed_pem.encode()).decode()
        except InvalidToken as error:
            raise ConfigurationError(
                "secret: the deployment secret does not open the signing keys in the store; put the former secret back"
            ) from error
        return SigningKey(row.kid, pem, row.signs_from, row.signs_until)

    async def public_jwks(self, now: float | None = None) -> Mapping[str, list[Mapping[str, str]]]:
        """Return the JSON Web Key Set to publish: past, present and next key, the signing one first."""
        moment = self._store.clock.now() if now is None else now

        def work(connection: Connection) -> list[Mapping[str, str]]:
            current = _signing(connection, moment)
            rows = connection.execute(select(signing_keys).order_by(signing_keys.c.signs_from.desc())).all()
            kept = [row for row in rows if row.published_until > moment or (current is not None and row.kid == current.kid)]
            kept.sort(key=lambda row: current is None or row.kid != current.kid)
            return [json.loads(row.public_jwk) for row in kept]

        return {"keys": await self._store.read(work)}

    def _insert(self, connection: Connection, key: RSAPrivateKey, now: float, signs_from: float) -> str:
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        jwk = _public_jwk(key)
        connection.execute(
            insert(signing_keys).values(
                kid=jwk["kid"],
                sealed_pem=self._box.encrypt(pem).decode(),
                public_jwk=json.dumps(jwk),
                created_at=now,
                signs_from=signs_from,
                signs_until=signs_from + SIGN_SECONDS,
                published_until=signs_from + SIGN_SECONDS + KEEP_SECONDS,
            )
        )
        return jwk["kid"]


def _due(connection: Connection, now: float) -> bool:
    newest = _newest(connection)
    if newest is None or newest.signs_until - AHEAD_SECONDS <= now:
        return True
    return connection.execute(select(signing_keys.c.kid).where(_retired(newest, now))).first() is not None


def _retired(newest: Row[Any] | None, now: float) -> ColumnElement[bool]:
    """Select the keys nobody needs any more. The newest is always needed: it may be signing past its time."""
    return and_(signing_keys.c.published_until <= now, signing_keys.c.kid != (newest.kid if newest is not None else ""))


def _newest(connection: Connection) -> Row[Any] | None:
    return connection.execute(select(signing_keys).order_by(signing_keys.c.signs_from.desc()).limit(1)).first()


def _signing(connection: Connection, now: float) -> Row[Any] | None:
    """Return the newest key whose time has come.

    It signs on past its time rather than leave nothing to sign with; and where none has come yet, this clock is behind the one of the machine that
    made the first key, which then signs already.
    """
    begun = select(signing_keys).where(signing_keys.c.signs_from <= now).order_by(signing_keys.c.signs_from.desc()).limit(1)
    first = select(signing_keys).order_by(signing_keys.c.signs_from).limit(1)
    return connection.execute(begun).first() or connection.execute(first).first()


def _derive(secret: str) -> bytes:
    hkdf = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=b"isolation signing keys")
    return base64.urlsafe_b64encode(hkdf.derive(secret.encode()))


def _public_jwk(key: RSAPrivateKey) -> dict[str, str]:
    public = key.public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    numbers = public.public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": hashlib.sha256(spki).hexdigest(),
        "n": _base64_number(numbers.n),
        "e": _base64_number(numbers.e),
    }


def _base64_number(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).rstrip(b"=").decode()
