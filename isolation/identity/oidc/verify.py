"""The ID token: which keys may sign it, which claims it must carry, and what it says about the person. Pure.

Every way to fail has a code of its own (``SignInError.code``, all beginning with ``token-`` or ``keys-``), so that a log line tells a
wrong clock from a wrong tenant. The rules are those of https://learn.microsoft.com/entra/identity-platform/access-tokens#validate-tokens
and OpenID Connect Core 1.0 §3.1.3.7; MSAL checks none of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm
from jwt.types import Options

from isolation.errors import SignInError
from isolation.identity.oidc.flow import EntraProvider, parse_guid
from isolation.policy.facts import UserType

# limits
SKEW = 300.0  # seconds: Microsoft's own allowance for clocks that differ
MAX_TOKEN = 65_536  # characters: 200 groups make 8 KB
MAX_KEYS = 100  # Entra publishes fewer than ten
MAX_TOKEN_LIFE = 86_400.0  # seconds: a tenant may set an ID token's life to one day at most
MIN_EXPONENT = 65_537  # FIPS 186-5 §A.1.1: more than 2^16; every key that Entra has published has exactly this one
MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192  # a larger modulus only makes verifying slow
MAX_GROUPS = 1_000  # Entra sends at most 200 in a JWT

PERSONAL_TENANT = "9188040d-6c67-4c5b-b112-36a304b66dad"  # the issuer of consumer (outlook.com, live.com) accounts

_SIGNATURE_ONLY: Options = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}

# One local part of characters that a Microsoft UPN or an unquoted address may have, one @, and a DNS name.
_EMAIL = re.compile(
    r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One RSA key of the provider. ``issuer``: which issuer it may sign for (``{tenantid}`` is a placeholder), or None: any."""

    kid: str
    key: RSAPublicKey
    issuer: str | None


Keys = Mapping[str, SigningKey]


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified ID token says. ``key`` is the only identity; the rest is for reading or a hint.

    ``email``: lower-case with exactly one ``@``, or ``""``. ``groups``: the complete list, or None when the token does not hold it.
    ``user_type``: None when the token does not say. ``sid``: Entra's session, for front-channel logout. ``logout_hint``: opaque.
    """

    tenant: str
    oid: str
    email: str
    name: str
    user_type: UserType | None
    groups: frozenset[str] | None
    sid: str | None
    logout_hint: str | None

    @property
    def key(self) -> str:
        """Return ``tenant/oid``."""
        return f"{self.tenant}/{self.oid}"


def parse_keys(document: Mapping[str, Any]) -> Keys:
    """Return the usable keys of a JWKS document by ``kid``. Keys of other kinds are passed over, as RFC 7517 §5 asks.

    Raises :class:`SignInError`: ``keys-malformed``, ``keys-too-many``, ``keys-none`` (nothing usable in it).
    """
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise SignInError("The identity provider's keys cannot be read.", code="keys-malformed")
    if len(listed) > MAX_KEYS:
        raise SignInError("The identity provider publishes too many keys.", code="keys-too-many")
    keys: dict[str, SigningKey] = {}
    for entry in listed:
        key = _parse_key(entry)
        if key is None:
            continue
        if key.kid in keys:
            raise SignInError("The identity provider publishes two keys with one name.", code="keys-malformed")
        keys[key.kid] = key
    if not keys:
        raise SignInError("The identity provider publishes no usable key.", code="keys-none")
    return MappingProxyType(keys)


def token_kid(token: str) -> str:
    """Return the name of the key that is said to have signed ``token``, after checking that the header is one we take.

    Raises :class:`SignInError`: ``token-too-large``, ``token-malformed``, ``token-algorithm``, ``token-key-name``.
    """
    if len(token) > MAX_TOKEN:
        raise SignInError("The ID token is too large.", code="token-too-large")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError, TypeError) as error:
        raise SignInError("The ID token cannot be read.", code="token-malformed") from error
    if header.get("alg") != "RS256":  # none, HS256 with the client secret or the public key, …: all the same answer
        raise SignInError("The ID token is not signed with RS256.", code="token-algorithm")
    if "crit" in header or "b64" in header:  # an extension that changes the meaning of what follows: none is known here
        raise SignInError("The ID token has critical extensions.", code="token-malformed")
    kid = header.get("kid")
    if not isinstance(kid, str) or not 0 < len(kid) <= 256:
        raise SignInError("The ID token does not name its key.", code="token-key-name")
    return kid


def verify_id_token(token: str, *, provider: EntraProvider, keys: Keys, nonce: str, now: float) -> Claims:
    """Return what a valid ID token says; raise :class:`SignInError` with a code of its own for each way to be invalid.

    ``nonce``: what was sent with the authorize request. ``now``: epoch seconds.
    """
    kid = token_kid(token)
    key = keys.get(kid)
    if key is None:
        raise SignInError(
            "The ID token is signed with a key that the identity provider does not publish.", code="token-key-unknown"
        )
    claims = _checked_payload(token, key)
    tenant = _check_issuer(claims, provider, key)
    _check_audience(claims, provider)
    _check_times(claims, now)
    if not nonce or claims.get("nonce") != nonce:
        raise SignInError("The ID token belongs to another sign-in.", code="token-nonce")
    oid = parse_guid(claims.get("oid"))
    if oid is None:
        raise SignInError("The ID token does not say who signed in (is the scope profile granted?).", code="token-identity")
    return Claims(
        tenant=tenant,
        oid=oid,
        email=_email(claims, provider.email_claim),
        name=_text(claims.get("name"), 256) or "",
        user_type=_user_type(claims.get("acct")),
        groups=_groups(claims),
        sid=_text(claims.get("sid"), 128),
        logout_hint=_text(claims.get("login_hint"), 2048),
    )


def _parse_key(entry: object) -> SigningKey | None:
    if not isinstance(entry, dict):
        raise SignInError("The identity provider's keys cannot be read.", code="keys-malformed")
    kid, issuer = entry.get("kid"), entry.get("issuer")
    if entry.get("kty") != "RSA" or entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return None
    if not isinstance(kid, str) or not 0 < len(kid) <= 256 or not (issuer is None or isinstance(issuer, str)):
        return None
    # Only the public numbers are handed on: a published private part, x5c or unknown member plays no role.
    numbers = {"kty": "RSA", "n": entry.get("n"), "e": entry.get("e")}
    if not all(isinstance(value, str) and len(value) <= 2048 for value in numbers.values()):
        return None
    try:
        key = RSAAlgorithm.from_jwk(numbers)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if not isinstance(key, RSAPublicKey) or not MIN_KEY_BITS <= key.key_size <= MAX_KEY_BITS:
        return None
    if key.public_numbers().e < MIN_EXPONENT:
        return None
    return SigningKey(kid=kid, key=key, issuer=issuer)


def _checked_payload(token: str, key: SigningKey) -> Mapping[str, Any]:
    """Return the payload after checking the signature, and only the signature: the claims are checked here, with our codes."""
    try:
        payload: Mapping[str, Any] = jwt.decode(token, key.key, algorithms=["RS256"], options=_SIGNATURE_ONLY)
    except jwt.InvalidSignatureError as error:
        raise SignInError("The ID token's signature is not right.", code="token-signature") from error
    except (jwt.PyJWTError, ValueError, RecursionError, TypeError) as error:
        raise SignInError("The ID token cannot be read.", code="token-malformed") from error
    return payload


def _check_issuer(claims: Mapping[str, Any], provider: EntraProvider, key: SigningKey) -> str:
    """Check version, tenant and issuer, and that this key may sign for that issuer. Returns the tenant."""
    if claims.get("ver") != "2.0":
        raise SignInError("The ID token is not of version 2.0.", code="token-version")
    tenant = parse_guid(claims.get("tid"))
    if tenant is None:
        raise SignInError("The ID token does not name its tenant.", code="token-tenant")
    if tenant == PERSONAL_TENANT:
        raise SignInError("Personal Microsoft accounts cannot sign in here.", code="token-personal", retry=False)
    if tenant != provider.tenant:
        raise SignInError("This account belongs to another organisation.", code="token-tenant", retry=False)
    if claims.get("iss") != provider.issuer:
        raise SignInError("The ID token was issued by somebody else.", code="token-issuer")
    if key.issuer is not None and key.issuer.replace("{tenantid}", tenant) != provider.issuer:
        raise SignInError("The ID token is signed with another issuer's key.", code="token-key-issuer")
    return tenant


def _check_audience(claims: Mapping[str, Any], provider: EntraProvider) -> None:
    """Check that the token was made for this registration. Entra sends one audience as text: a list is not from Entra."""
    if claims.get("aud") != provider.client_id:
        raise SignInError("The ID token was made for another application.", code="token-audience")
    if claims.get("azp", provider.client_id) != provider.client_id:
        raise SignInError("The ID token was asked for by another application.", code="token-audience")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires, begins, issued = (_seconds(claims, name) for name in ("exp", "nbf", "iat"))
    if now > expires + SKEW:
        raise SignInError("The ID token has expired already: the clocks differ.", code="token-expired")
    if begins > now + SKEW or issued > now + SKEW:
        raise SignInError("The ID token is not valid yet: the clocks differ.", code="token-not-yet-valid")
    if expires > now + MAX_TOKEN_LIFE + SKEW or expires < begins:
        raise SignInError("The ID token's validity makes no sense.", code="token-time")


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    """Return a time claim. Only whole numbers of a sane size are times: no text, no list, no 1e300, no true."""
    value = claims.get(name)
    if type(value) is not int or not 0 < value < 2**53:
        raise SignInError(f"The ID token's {name} is not a time.", code="token-time")
    return value


def _email(claims: Mapping[str, Any], configured: str | None) -> str:
    """Return the address of the first claim that is there. A malformed one is ``""``: the next claim is no substitute for it."""
    for name in (configured, "email", "preferred_username", "upn"):
        value = claims.get(name) if name else None
        if value is None or value == "":
            continue
        if name == "email" and claims.get("xms_edov") in (False, 0, "0", "false"):
            continue  # Entra says that nobody proved to own that address's domain
        if not isinstance(value, str) or not value.isascii() or len(value) > 254:  # RFC 5321 §4.5.3.1.3 less the brackets
            return ""
        lowered = value.lower()
        return lowered if _EMAIL.fullmatch(lowered) else ""
    return ""


def _text(value: object, limit: int) -> str | None:
    """Return printable text cut to ``limit`` characters, or None. Names are shown: line breaks and bidi controls are not."""
    if not isinstance(value, str):
        return None
    return "".join(character for character in value[:limit] if character.isprintable()).strip() or None


def _user_type(value: object) -> UserType | None:
    """Read ``acct`` (0 member, 1 guest). Anything else says nothing."""
    if type(value) not in (int, str):  # in particular not a bool, which equals 0 or 1
        return None
    return {"0": UserType.MEMBER, "1": UserType.GUEST}.get(str(value))


def _groups(claims: Mapping[str, Any]) -> frozenset[str] | None:
    """Return the groups, or None when the token does not hold the complete list as object ids.

    On overage Entra leaves the claim out and sets ``_claim_names`` (or ``hasgroups``); an absent claim is not "no groups".
    """
    elsewhere = claims.get("_claim_names")
    if elsewhere is not None and (not isinstance(elsewhere, dict) or "groups" in elsewhere):
        return None
    if claims.get("hasgroups") not in (None, False) or not isinstance(listed := claims.get("groups"), list):
        return None
    ids = [parse_guid(item) for item in listed]
    if (
        len(ids) > MAX_GROUPS or None in ids
    ):  # names in place of ids, or a shape Entra does not send: part of a list is not the list
        return None
    return frozenset(group for group in ids if group is not None)
