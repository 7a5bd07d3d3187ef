"""Entra's OIDC v2 endpoints: discovery, keys, authorize and its sign-in page, token, logout."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from isolation.testing.tenant import aadsts, pages
from isolation.testing.tenant.aadsts import Refusal, RefusedError
from isolation.testing.tenant.directory import User
from isolation.testing.tenant.people import DOMAIN
from isolation.testing.tenant.signing import b64url
from isolation.testing.tenant.state import (
    ACCESS_TOKEN_LIFE,
    CODE_LIFE,
    ID_TOKEN_LIFE,
    Grant,
    SignOn,
    TenantState,
    scopes,
    single,
)

SSO_COOKIE = "tenant-sso"
MULTI_TENANT = frozenset({"common", "organizations"})
MAX_GROUPS_IN_TOKEN = 200  # Entra: more than this and the claim is replaced by a reference
_CLAIMS = (
    *(
        "sub",
        "iss",
        "cloud_instance_name",
        "cloud_instance_host_name",
        "cloud_graph_host_name",
        "msgraph_host",
        "aud",
        "exp",
        "iat",
    ),
    *("auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"),
)
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")  # base64url of a SHA-256 (RFC 7636 §4.2)


async def form_of(request: Request) -> dict[str, str]:
    """Return an urlencoded body's parameters. Raises :class:`RefusedError` where one occurs twice."""
    body = (await request.body()).decode("utf-8", "replace")
    try:
        return single(parse_qsl(body, keep_blank_values=True))
    except ValueError as error:
        raise aadsts.invalid(90014, f"The parameter '{error}' occurs more than once.") from error


class EntraEndpoints:
    """The handlers, on one :class:`TenantState`."""

    def __init__(self, state: TenantState) -> None:
        self._state = state

    def discovery(self, request: Request) -> Response:
        """Serve ``/.well-known/openid-configuration``."""
        state, tenant = self._state, self._tenant(request)
        base = f"{state.base_url}/{tenant}"
        issuer = state.issuer_template if tenant in MULTI_TENANT else state.issuer
        document = {
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": f"{base}/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": issuer,
            "request_uri_parameter_supported": False,
            "userinfo_endpoint": f"{state.base_url}/oidc/userinfo",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "http_logout_supported": True,
            "frontchannel_logout_supported": True,
            "end_session_endpoint": f"{base}/oauth2/v2.0/logout",
            "claims_supported": list(_CLAIMS),
            "kerberos_endpoint": f"{base}/kerberos",
            "tenant_region_scope": "WW",
            "cloud_instance_name": "microsoftonline.com",
            "cloud_graph_host_name": "graph.windows.net",
            "msgraph_host": "graph.microsoft.com",
            "rbac_url": "https://pas.windows.net",
        }
        return JSONResponse(document, headers={"Cache-Control": "max-age=86400, private"})

    def keys(self, request: Request) -> Response:
        """Serve the JWKS; each key carries Entra's ``issuer`` member."""
        tenant = self._tenant(request)
        issuer = self._state.issuer_template if tenant in MULTI_TENANT else self._state.issuer
        return JSONResponse(self._state.keys.published(issuer), headers={"Cache-Control": "max-age=86400, private"})

    async def authorize(self, request: Request) -> Response:
        """Start a sign-in: single sign-on where possible, else the page with the people."""
        self._tenant(request)
        try:
            if request.method == "POST":
                params = await form_of(request)
            else:
                params = single(request.query_params.multi_items())
        except ValueError as error:
            raise aadsts.invalid(90014, f"The parameter '{error}' occurs more than once.") from error
        self._check_client(params)
        try:
            self._check_authorize(params)
            acrs = _requested_acrs(params.get("claims", ""))
            signed_on = self._signed_on(request, params)
            if signed_on is not None:
                return self._finish(params, signed_on, acrs)
            if params.get("prompt") == "none":
                raise RefusedError(aadsts.NO_SESSION)
        except RefusedError as error:
            return self._send_back(params, self._error(params, error.refusal))
        page = self._state.pages.put(params)
        chosen = self._state.sign_ons.get(request.cookies.get(SSO_COOKIE, ""))
        hint = params.get("login_hint", "").casefold()
        return HTMLResponse(
            pages.sign_in(
                list(self._state.directory.users.values()),
                page=page,
                action=f"{self._state.base_url}/{self._state.tenant_id}/login",
                first=next(
                    (u.oid for u in self._state.directory.users.values() if hint and u.upn == hint), chosen.oid if chosen else ""
                ),
            ),
            headers=pages.HEADERS,
        )

    async def login(self, request: Request) -> Response:
        """Take the choice made on the sign-in page."""
        self._tenant(request)
        form = await form_of(request)
        params = self._state.pages.get(form.get("page", ""))
        if params is None:
            raise aadsts.invalid(165000, "This sign-in page is too old. Go back to the app and sign in again.")
        try:
            user = self._state.directory.find(form.get("person", ""))
        except KeyError as error:
            raise aadsts.refused("invalid_grant", 50034, "The user account does not exist in the directory.") from error
        if not user.enabled:
            return HTMLResponse(
                pages.problem("This account is disabled", f"AADSTS50057: {aadsts.DISABLED.text}"), 200, headers=pages.HEADERS
            )
        self._state.pages.pop(form["page"])
        sign_on = SignOn(user.oid, self._state.clock.now(), str(uuid.uuid4()))
        cookie = self._state.sign_ons.put(sign_on)
        response = self._finish(params, sign_on, _requested_acrs(params.get("claims", "")))
        response.set_cookie(SSO_COOKIE, cookie, httponly=True, samesite="lax", path="/")
        return response

    async def token(self, request: Request) -> Response:
        """Redeem a code, a refresh token or the application's own credentials."""
        try:
            tenant = self._tenant(request)
            form = await form_of(request)
            self._authenticate_client(request, form)
            match form.get("grant_type", ""):
                case "authorization_code":
                    answer = self._redeem_code(form)
                case "refresh_token":
                    answer = self._redeem_refresh(form)
                case "client_credentials":
                    answer = self._client_credentials(tenant, form)
                case _:
                    raise RefusedError(aadsts.BAD_GRANT_TYPE)
        except RefusedError as error:
            return error.refusal.response(self._state.clock)
        return JSONResponse(answer, headers={"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"})

    async def logout(self, request: Request) -> Response:
        """End single sign-on and return to a registered address, or say so."""
        self._tenant(request)
        params = dict(request.query_params) if request.method == "GET" else await form_of(request)
        target = params.get("post_logout_redirect_uri", "")
        response: Response
        if target and self._state.may_redirect_to(target):
            if "state" in params:
                target += ("&" if "?" in target else "?") + urlencode({"state": params["state"]})
            response = RedirectResponse(target, 302)
        else:
            response = HTMLResponse(pages.problem("You are signed out", "You may close this window."), headers=pages.HEADERS)
        self._state.sign_ons.pop(request.cookies.get(SSO_COOKIE, ""))
        response.delete_cookie(SSO_COOKIE, path="/")
        return response

    def refused(self, refusal: Refusal) -> Response:
        """Show an error that must not go back to the application, as Entra does on its own page."""
        page = pages.problem("Sorry, but we’re having trouble signing you in.", refusal.description(self._state.clock))
        return HTMLResponse(page, 400, headers=pages.HEADERS)

    # ------------------------------------------------------------------ authorize

    def _tenant(self, request: Request) -> str:
        tenant = str(request.path_params["tenant"]).casefold()
        if tenant in MULTI_TENANT or tenant == self._state.tenant_id:
            return tenant
        if tenant == DOMAIN:
            return self._state.tenant_id
        raise aadsts.unknown_tenant(tenant)

    def _check_client(self, params: Mapping[str, str]) -> None:
        client = params.get("client_id", "")
        if client != self._state.client_id:
            raise aadsts.unknown_client(client)
        uri = params.get("redirect_uri", "")
        if not self._state.may_redirect_to(uri):
            raise aadsts.wrong_reply_to(uri, client)

    def _check_authorize(self, params: Mapping[str, str]) -> None:
        if params.get("response_type") != "code":
            raise aadsts.refused(
                "unsupported_response_type", 700054, "response_type 'id_token' is not enabled for the application."
            )
        if params.get("response_mode", "query") not in {"query", "fragment", "form_post"}:
            raise aadsts.invalid(90023, "The value of 'response_mode' is not supported.")
        if not scopes(params.get("scope", "")):
            raise aadsts.invalid(900144, "The request body must contain the following parameter: 'scope'.")
        if params.get("code_challenge_method") != "S256":
            raise aadsts.invalid(9002325, "Proof Key for Code Exchange (S256) is required for authorization code redemption.")
        if not _CHALLENGE.match(params.get("code_challenge", "")):
            raise aadsts.invalid(501491, "Invalid size of Code_Challenge parameter.")
        prompt = params.get("prompt", "")
        if prompt not in {"", "login", "none", "consent", "select_account"}:
            raise aadsts.invalid(90023, "The value of 'prompt' is not supported.")
        if prompt == "select_account" and "login_hint" in params:
            raise aadsts.invalid(90023, "The login_hint and prompt=select_account parameters cannot be combined.")

    def _signed_on(self, request: Request, params: Mapping[str, str]) -> SignOn | None:
        """Return the browser's single sign-on session, where this request may use it."""
        if params.get("prompt", "") in {"login", "select_account", "consent"}:
            return None
        sign_on = self._state.sign_ons.get(request.cookies.get(SSO_COOKIE, ""))
        user = self._state.directory.users.get(sign_on.oid) if sign_on else None
        if sign_on is None or user is None or not user.enabled:
            return None
        hint = params.get("login_hint", "").casefold()
        if hint and hint != user.upn:
            return None
        max_age = params.get("max_age", "")
        if max_age.isdecimal() and self._state.clock.now() - sign_on.at > int(max_age):
            return None
        return sign_on

    def _finish(self, params: Mapping[str, str], sign_on: SignOn, acrs: tuple[str, ...]) -> Response:
        now = self._state.clock.now()
        code = self._state.codes.put(
            Grant(
                oid=sign_on.oid,
                redirect_uri=params["redirect_uri"],
                scope=params["scope"],
                nonce=params.get("nonce"),
                challenge=params["code_challenge"],
                auth_time=sign_on.at,
                expires=now + CODE_LIFE,
                acrs=acrs,
                sid=sign_on.sid,
            )
        )
        answer = {"code": f"1.{code}"}
        if "state" in params:
            answer["state"] = params["state"]
        answer["session_state"] = sign_on.sid
        return self._send_back(params, answer)

    def _error(self, params: Mapping[str, str], refusal: Refusal) -> dict[str, str]:
        answer = {
            "error": refusal.error,
            "error_description": refusal.description(self._state.clock),
            "error_uri": f"https://login.microsoftonline.com/error?code={refusal.number}",
        }
        if "state" in params:
            answer["state"] = params["state"]
        return answer

    def _send_back(self, params: Mapping[str, str], answer: Mapping[str, str]) -> Response:
        uri = params["redirect_uri"]
        mode = params.get("response_mode", "query")
        if mode == "form_post":
            return HTMLResponse(pages.form_post(uri, answer), headers=pages.FORM_POST_HEADERS)
        separator = "#" if mode == "fragment" else ("&" if "?" in uri else "?")
        return RedirectResponse(uri + separator + urlencode(answer), 302, headers={"Cache-Control": "no-store, no-cache"})

    # ------------------------------------------------------------------ token

    def _authenticate_client(self, request: Request, form: dict[str, str]) -> None:
        client, secret = form.get("client_id", ""), form.get("client_secret", "")
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        if kind.casefold() == "basic":
            try:
                name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError) as error:
                raise RefusedError(aadsts.BAD_SECRET) from error
            client, secret = unquote(name), unquote(password)
        if client != self._state.client_id:
            raise aadsts.unknown_client(client)
        if "client_assertion" in form:
            raise RefusedError(aadsts.NO_CERTIFICATE)
        if not secret:
            raise RefusedError(aadsts.NO_CREDENTIAL)
        if "origin" in request.headers:
            raise RefusedError(aadsts.CROSS_ORIGIN)
        if not secrets.compare_digest(secret.encode(), self._state.client_secret.encode()):
            raise RefusedError(aadsts.BAD_SECRET)

    def _redeem_code(self, form: Mapping[str, str]) -> dict[str, Any]:
        version, _, code = form.get("code", "").partition(".")
        grant = self._state.codes.get(code)
        if version != "1" or grant is None:
            raise RefusedError(aadsts.CODE_MALFORMED)
        if grant.used:
            raise RefusedError(aadsts.CODE_USED)
        if self._state.clock.now() >= grant.expires:
            raise RefusedError(aadsts.CODE_EXPIRED)
        if form.get("redirect_uri", "") != grant.redirect_uri:
            raise RefusedError(aadsts.OTHER_REPLY_TO)
        challenge = b64url(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if not secrets.compare_digest(challenge, grant.challenge):
            raise RefusedError(aadsts.BAD_VERIFIER)
        self._state.codes.set(code, replace(grant, used=True))
        return self._tokens(grant)

    def _redeem_refresh(self, form: Mapping[str, str]) -> dict[str, Any]:
        version, _, token = form.get("refresh_token", "").partition(".")
        grant = self._state.refresh.get(token)
        if version != "1" or grant is None:
            raise RefusedError(aadsts.CODE_EXPIRED)
        return self._tokens(grant)

    def _client_credentials(self, tenant: str, form: Mapping[str, str]) -> dict[str, Any]:
        if tenant in MULTI_TENANT:
            raise RefusedError(aadsts.COMMON_TENANT)
        resource, slash, default = form.get("scope", "").rpartition("/")
        if not slash or default != ".default":
            raise RefusedError(aadsts.BAD_SCOPE)
        if resource not in {self._state.graph_audience, "https://graph.microsoft.com"}:
            raise RefusedError(aadsts.BAD_RESOURCE)
        claims = {"roles": sorted(self._state.switches.permissions), "idtyp": "app", "sub": self._state.client_id}
        return {
            "token_type": "Bearer",
            "expires_in": ACCESS_TOKEN_LIFE,
            "ext_expires_in": ACCESS_TOKEN_LIFE,
            "access_token": self._access_token(claims),
        }

    def _tokens(self, grant: Grant) -> dict[str, Any]:
        user = self._state.directory.users.get(grant.oid)
        if user is None:
            raise aadsts.refused("invalid_grant", 50034, "The user account does not exist in the directory.")
        if not user.enabled:
            raise RefusedError(aadsts.DISABLED)
        wanted = scopes(grant.scope)
        answer: dict[str, Any] = {
            "token_type": "Bearer",
            "scope": " ".join(sorted(wanted - {"offline_access"}) or ["openid"]),
            "expires_in": ACCESS_TOKEN_LIFE,
            "ext_expires_in": ACCESS_TOKEN_LIFE,
            "access_token": self._access_token({"scp": "openid profile email User.Read", "oid": user.oid, "sub": user.oid}),
        }
        if "offline_access" in wanted:
            answer["refresh_token"] = f"1.{self._state.refresh.put(grant)}"
        if "openid" in wanted:
            answer["id_token"] = self._state.keys.sign(self._id_claims(grant, user, wanted))
        return answer

    def _access_token(self, claims: Mapping[str, Any]) -> str:
        now = self._state.clock.now()
        return self._state.keys.sign_access(
            {
                "aud": self._state.graph_audience,
                "iss": f"https://sts.windows.net/{self._state.tenant_id}/",
                "iat": int(now),
                "nbf": int(now),
                "exp": int(now) + ACCESS_TOKEN_LIFE,
                "tid": self._state.tenant_id,
                "appid": self._state.client_id,
                "uti": secrets.token_urlsafe(16),
                "ver": "1.0",
                "generation": self._state.token_generation,
                **claims,
            }
        )

    def _id_claims(self, grant: Grant, user: User, wanted: frozenset[str]) -> dict[str, Any]:
        state = self._state
        now = int(state.clock.now() + state.switches.skew)
        subject = hashlib.sha256(f"{state.client_id}|{user.oid}".encode()).digest()
        claims: dict[str, Any] = {
            "aud": state.client_id,
            "iss": state.issuer,
            "iat": now,
            "nbf": now,
            "exp": now + ID_TOKEN_LIFE,
            "auth_time": int(grant.auth_time + state.switches.skew),
            "aio": secrets.token_urlsafe(48),
            "rh": "1." + secrets.token_urlsafe(48),
            "sid": grant.sid,
            "sub": b64url(subject),
            "tid": state.tenant_id,
            "uti": secrets.token_urlsafe(16),
            "ver": "2.0",
            "acct": 1 if user.user_type == "Guest" else 0,
            "login_hint": f"O.{b64url(user.oid.encode())}",
        }
        if "profile" in wanted:
            claims |= {"oid": user.oid, "name": user.name, "preferred_username": user.upn}
        if "email" in wanted:
            claims |= {"email": user.upn, "xms_edov": True}
        if grant.nonce is not None:
            claims["nonce"] = grant.nonce
        if grant.acrs:
            claims["acrs"] = list(grant.acrs)
        if state.switches.groups_claim:
            groups = [group.id for group in state.directory.groups_of(user.oid)]
            if state.switches.overage or len(groups) > MAX_GROUPS_IN_TOKEN:
                endpoint = f"https://graph.windows.net/{state.tenant_id}/users/{user.oid}/getMemberObjects"
                claims |= {"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": endpoint}}}
            elif groups:
                claims["groups"] = groups
        return claims


def _requested_acrs(raw: str) -> tuple[str, ...]:
    """Return the authentication contexts asked for in ``claims`` (``{"id_token":{"acrs":{"value":"c1"}}}``)."""
    if not raw:
        return ()
    try:
        wanted = json.loads(raw)["id_token"]["acrs"]
        value = wanted.get("values", [wanted["value"]] if "value" in wanted else [])
        return tuple(str(item) for item in value)
    except (ValueError, KeyError, TypeError, AttributeError):
        if raw.lstrip().startswith("{") and '"id_token"' not in raw:
            return ()
        raise aadsts.invalid(50014, "The value of 'claims' is not valid JSON.") from None
