"""Entra's error answers: JSON at the token endpoint, redirects and pages at the authorize endpoint."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from isolation.clock import Clock


@dataclass(frozen=True, slots=True)
class Refusal:
    """An Entra error: OAuth ``error``, AADSTS number and text."""

    error: str
    number: int
    text: str
    status: int = 400

    def description(self, clock: Clock) -> str:
        """Return ``error_description`` as Entra writes it."""
        stamp = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return f"AADSTS{self.number}: {self.text} Trace ID: {uuid.uuid4()} Correlation ID: {uuid.uuid4()} Timestamp: {stamp}"

    def response(self, clock: Clock) -> Response:
        """Return the JSON error of the token endpoint."""
        description = self.description(clock)
        stamp = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return JSONResponse(
            {
                "error": self.error,
                "error_description": description,
                "error_codes": [self.number],
                "timestamp": stamp,
                "trace_id": str(uuid.uuid4()),
                "correlation_id": str(uuid.uuid4()),
                "error_uri": f"https://login.microsoftonline.com/error?code={self.number}",
            },
            status_code=self.status,
            headers={"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"},
        )


class RefusedError(Exception):
    """Raised by the handlers; carries the :class:`Refusal` to answer with."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def refused(error: str, number: int, text: str, status: int = 400) -> RefusedError:
    """Return an error to raise."""
    return RefusedError(Refusal(error, number, text, status))


def unknown_tenant(tenant: str) -> RefusedError:
    """Return AADSTS90002."""
    return refused("invalid_tenant", 90002, f"Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID.")


def unknown_client(client: str) -> RefusedError:
    """Return AADSTS700016."""
    text = f"Application with identifier '{client}' was not found in the directory 'Contoso'."
    return refused("unauthorized_client", 700016, text)


def wrong_reply_to(uri: str, client: str) -> RefusedError:
    """Return AADSTS50011."""
    text = f"The redirect URI '{uri}' specified in the request does not match the redirect URIs configured for the application '{client}'."
    return refused("invalid_request", 50011, text)


DISABLED = Refusal("invalid_grant", 50057, "The user account is disabled.")
NO_SESSION = Refusal("login_required", 50058, "Session information is not sufficient for single-sign-on.")
BAD_VERIFIER = Refusal(
    "invalid_grant", 501481, "The Code_Verifier does not match the code_challenge supplied in the authorization request."
)
CODE_USED = Refusal(
    "invalid_grant",
    54005,
    "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token.",
)
CODE_EXPIRED = Refusal(
    "invalid_grant",
    70008,
    "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource.",
)
CODE_MALFORMED = Refusal("invalid_grant", 9002313, "Invalid request. Request is malformed or invalid.")
OTHER_REPLY_TO = Refusal(
    "invalid_grant",
    500112,
    "The reply address does not match the reply address provided when requesting Authorization code.",
)
BAD_SECRET = Refusal(
    "invalid_client",
    7000215,
    "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.",
    401,
)
NO_CREDENTIAL = Refusal(
    "invalid_client",
    7000218,
    "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
    401,
)
NO_CERTIFICATE = Refusal(
    "invalid_client",
    700027,
    "The certificate with identifier used to sign the client assertion is not registered on application.",
    401,
)
CROSS_ORIGIN = Refusal(
    "invalid_request", 9002326, "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type."
)
BAD_GRANT_TYPE = Refusal("unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
COMMON_TENANT = Refusal(
    "invalid_request",
    9001023,
    "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint.",
)
BAD_SCOPE = Refusal(
    "invalid_scope",
    1002012,
    "The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).",
)
BAD_RESOURCE = Refusal("invalid_resource", 500011, "The resource principal was not found in the tenant named Contoso.")


def invalid(number: int, text: str) -> RefusedError:
    """Return an ``invalid_request`` to raise."""
    return refused("invalid_request", number, text)
