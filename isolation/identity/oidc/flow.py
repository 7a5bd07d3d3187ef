"""The authorization code flow as pure functions: what is sent, what may come back, and what is believed of it.

Nothing here does I/O, reads a clock or draws a secret: state, nonce and verifier are passed in.
Sources: OpenID Connect Core 1.0 §3.1, RFC 7636 (PKCE), RFC 9207 (``iss`` in the answer), RFC 9700 §4.4 (mix-up).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

from isolation.errors import ConfigurationError, SignInError
from isolation.identity.oidc import aadsts

# limits
MAX_QUERY = 16_384  # bytes of a callback's query: Entra's codes are 1 to 2 KB, its error texts below 1 KB
MAX_PARAMETERS = 32  # an answer has at most six
MAX_DESCRIPTION = 400  # characters of the provider's own words that are shown


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where one Entra cloud lives: origins of its sign-in service and of Microsoft Graph, without a trailing slash."""

    login: str
    graph: str


@dataclass(frozen=True, slots=True)
class EntraProvider:
    """One app registration in one tenant.

    ``directory_id`` is the tenant's GUID: the only tenant whose tokens are believed. ``email_claim``: the claim to read the e-mail
    address from before the usual ones. ``prompt``: ``login`` or ``select_account`` to force it at every sign-in.
    Raises :class:`ConfigurationError` where a value can never work.
    """

    name: str
    client_id: str
    client_secret: str = field(repr=False)
    directory_id: str
    cloud: Cloud
    scopes: tuple[str, ...] = ("openid", "profile", "email")  # profile: without it Entra sends no oid
    prompt: str | None = None
    email_claim: str | None = None

    def __post_init__(self) -> None:
        if parse_guid(self.directory_id) is None:
            raise ConfigurationError(f"{self.name}: directory_id must be the tenant's id (a GUID), not a domain name")
        if not {"openid", "profile"} <= set(self.scopes):
            raise ConfigurationError(f"{self.name}: the scopes openid and profile are needed to know who signs in")
        if self.prompt not in {None, "login", "select_account"}:
            raise ConfigurationError(f"{self.name}: prompt must be login or select_account")

    @property
    def tenant(self) -> str:
        """Return the tenant's GUID in its canonical (lower-case, hyphenated) form."""
        return str(UUID(self.directory_id))

    @property
    def issuer(self) -> str:
        """Return the issuer that this tenant's v2 tokens carry."""
        return f"{self.cloud.login}/{self.tenant}/v2.0"

    @property
    def discovery_url(self) -> str:
        """Return where the tenant publishes its endpoints."""
        return f"{self.issuer}/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The part of a discovery document that is used. All lie on the cloud's login origin."""

    authorization: str
    token: str
    keys: str
    end_session: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in under way: kept on the server under the digest of its state, and used once.

    ``binding``: digest of the secret in the cookie of the browser that started it. ``to``: the sealed request to return to, or ``""``.
    """

    provider: str
    nonce: str
    verifier: str
    binding: str
    to: str = ""


@dataclass(frozen=True, slots=True)
class Callback:
    """What the provider sent the browser back with. Everything in it is the browser's word until checked."""

    state: str
    code: str | None
    issuer: str | None
    error: str | None
    description: str


def parse_guid(text: object) -> str | None:
    """Return a GUID in its canonical form, or None for anything that is not exactly 8-4-4-4-12 hex digits."""
    if not isinstance(text, str) or len(text) != 36:
        return None
    try:
        canonical = str(UUID(text))
    except ValueError:
        return None
    return canonical if canonical == text.lower() else None


def challenge(verifier: str) -> str:
    """Return the S256 code challenge of a verifier (RFC 7636 §4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def parse_query(raw: bytes) -> dict[str, str]:
    """Return the parameters of a query string or form body.

    Raises :class:`SignInError` for a repeated parameter (two readers could believe different ones), for one that is not UTF-8, and
    for one too large.
    """
    if len(raw) > MAX_QUERY:
        raise SignInError("The request is too large.", code="request-too-large")
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS, separator="&"
        )
    except ValueError as error:
        raise SignInError("The request cannot be read.", code="request-malformed") from error
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise SignInError("A parameter was sent twice.", code="request-duplicate")
    return parameters


def parse_discovery(provider: EntraProvider, document: Mapping[str, Any]) -> Endpoints:
    """Return a tenant's endpoints. Raises :class:`SignInError` (``idp-malformed``) when the document is another issuer's.

    Every endpoint must lie on the configured login origin: the client secret and the codes are sent nowhere else,
    whatever a document says.
    """
    if document.get("issuer") != provider.issuer:
        raise SignInError("The identity provider's configuration names another issuer.", code="idp-malformed")
    end_session = document.get("end_session_endpoint")
    return Endpoints(
        authorization=_endpoint(provider, document.get("authorization_endpoint")),
        token=_endpoint(provider, document.get("token_endpoint")),
        keys=_endpoint(provider, document.get("jwks_uri")),
        end_session=None if end_session is None else _endpoint(provider, end_session),
    )


def authorize_url(
    provider: EntraProvider,
    endpoints: Endpoints,
    *,
    redirect_uri: str,
    state: str,
    nonce: str,
    verifier: str,
    prompt: str | None = None,
) -> str:
    """Return where to send the browser. ``prompt`` (``select_account``) overrides the provider's own."""
    parameters = {
        "client_id": provider.client_id,
        "response_type": "code",
        "redirect_uri": redirect_uri,
        "response_mode": "query",  # a form_post would arrive without the Lax cookie that binds it to this browser
        "scope": " ".join(provider.scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
    }
    if wanted := prompt or provider.prompt:
        parameters["prompt"] = wanted
    return f"{endpoints.authorization}?{urlencode(parameters)}"


def parse_callback(query: bytes) -> Callback:
    """Return the provider's answer. Raises :class:`SignInError` for a missing state or a malformed query."""
    parameters = parse_query(query)
    state = parameters.get("state", "")
    if not state:
        raise SignInError("The answer does not say which sign-in it belongs to.", code="state-missing")
    return Callback(
        state=state,
        code=parameters.get("code") or None,
        issuer=parameters.get("iss"),
        error=parameters.get("error"),
        description=parameters.get("error_description", "")[:MAX_DESCRIPTION],
    )


def check_callback(provider: EntraProvider, attempt: Attempt | None, callback: Callback, *, binding: str | None) -> str:
    """Return the code that may now be redeemed. ``binding``: digest of this browser's cookie, or None.

    Raises :class:`SignInError`. The order matters: whose sign-in it is comes before anything the answer says,
    and the code is returned last, so that no check can be skipped by redeeming early.
    """
    if attempt is None or attempt.provider != provider.name:
        raise SignInError("This sign-in is not known here, was used already, or took too long.", code="state-unknown")
    if attempt.binding != binding:  # both are digests of 256-bit secrets: timing tells nothing about a preimage
        raise SignInError("This sign-in was started in another browser.", code="state-other-browser")
    if callback.issuer is not None and callback.issuer != provider.issuer:
        raise SignInError("The answer comes from another identity provider.", code="issuer-mixed-up", retry=False)
    if callback.error is not None:
        raise aadsts.explain(callback.error, callback.description)
    if callback.code is None:
        raise SignInError("The identity provider sent no code.", code="code-missing")
    return callback.code


def token_request(provider: EntraProvider, *, redirect_uri: str, code: str, verifier: str) -> dict[str, str]:
    """Return the form that redeems a code. It holds the client secret: never log it."""
    return {
        "grant_type": "authorization_code",
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "scope": " ".join(provider.scopes),
    }


def parse_token_response(status: int, document: Mapping[str, Any]) -> str:
    """Return the ID token of a token response. Raises :class:`SignInError` with the provider's reason, in words."""
    if status != 200:
        error, description = document.get("error"), document.get("error_description")
        if not isinstance(error, str):
            raise SignInError("The identity provider refused without saying why.", code="idp-malformed")
        raise aadsts.explain(error, description[:MAX_DESCRIPTION] if isinstance(description, str) else "")
    token = document.get("id_token")
    if not isinstance(token, str) or not token:
        raise SignInError("The identity provider sent no ID token.", code="idp-malformed")
    return token


def end_session_url(endpoints: Endpoints, *, post_logout_redirect_uri: str, logout_hint: str | None = None) -> str | None:
    """Return where to end the provider's own session, or None where it offers no such place."""
    if endpoints.end_session is None:
        return None
    parameters = {"post_logout_redirect_uri": post_logout_redirect_uri}
    if logout_hint:
        parameters["logout_hint"] = logout_hint
    return f"{endpoints.end_session}?{urlencode(parameters)}"


def parse_json_object(body: bytes) -> Mapping[str, Any]:
    """Return a JSON object. Raises :class:`SignInError` (``idp-malformed``) for anything else, however deep or long."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise SignInError("The identity provider's answer is not JSON.", code="idp-malformed") from error
    if not isinstance(document, dict):
        raise SignInError("The identity provider's answer is not a JSON object.", code="idp-malformed")
    return document


def _endpoint(provider: EntraProvider, url: object) -> str:
    if not isinstance(url, str):
        raise SignInError("The identity provider's configuration lacks an endpoint.", code="idp-malformed")
    try:
        parts, login = urlsplit(url), urlsplit(provider.cloud.login)
    except ValueError as error:
        raise SignInError("The identity provider's configuration has a malformed endpoint.", code="idp-malformed") from error
    if (parts.scheme, parts.netloc) != (login.scheme, login.netloc) or parts.query or parts.fragment:
        raise SignInError("The identity provider's configuration points to another host.", code="idp-malformed")
    return url
