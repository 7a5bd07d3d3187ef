"""Which own URL leads where, and what happens when one of them fails."""

from __future__ import annotations

from collections.abc import Awaitable

import structlog
from starlette.requests import Request
from starlette.responses import Response

from isolation.audit.events import new_reference
from isolation.errors import IsolationError, SignInError
from isolation.limits import OWN_PREFIX
from isolation.web.answers import FAILURES, Act, failure_for, respond_failure
from isolation.web.endpoints.hand_off import HandOff
from isolation.web.endpoints.kit import Kit
from isolation.web.endpoints.portal import Portal
from isolation.web.endpoints.sign_in import SignIn
from isolation.web.endpoints.sign_out import SignOut
from isolation.web.navigation import wants_navigation

_log = structlog.get_logger()


class OwnPages:
    """Sign-in, sign-out, hand-off, launcher and their stylesheet. One method for the gate: :meth:`handle`."""

    def __init__(self, kit: Kit, *, hand_off: HandOff, sign_in: SignIn, sign_out: SignOut, portal: Portal) -> None:
        self._kit = kit
        self._hand_off = hand_off
        self._sign_in = sign_in
        self._sign_out = sign_out
        self._portal = portal

    async def handle(self, request: Request, host: str, path: str) -> Response | None:
        """Answer a request for one of these pages; None when ``path`` is none of them.

        ``host``: as routed (the auth host or an app's host, lower-case, no port). ``path``: decoded once, as decided on. Never raises for
        anything this project foresees: whatever fails becomes a page with a reference and a log line.
        """
        try:
            answer = self._route(request, host, path)
            return answer if answer is None or isinstance(answer, Response) else await answer
        except IsolationError as error:
            return self._failed(request, host, error)

    def _route(self, request: Request, host: str, path: str) -> Response | Awaitable[Response] | None:
        name = path.removeprefix(OWN_PREFIX) if path.startswith(OWN_PREFIX) else None
        on_auth_host = host == self._kit.site.auth_host
        get, post = request.method in {"GET", "HEAD"}, request.method == "POST"
        match (on_auth_host, name):
            case (_, str(file)) if file.startswith("static/") and get:
                return self._kit.pages.static(file.removeprefix("static/"))
            case (_, "sign-out") if get:
                return self._sign_out.confirm(request, host)
            case (_, "sign-out") if post:
                return self._sign_out.perform(request, host)
            case (False, "sign-in") if get:
                return self._hand_off.sign_in(request, host)
            case (False, "complete") if request.method == "GET":
                return self._hand_off.complete(request, host)
            case (True, "sign-in") if get:
                return self._sign_in.sign_in(request)
            case (True, "callback") if request.method == "GET":
                return self._sign_in.callback(request)
            case (True, "signed-out") if get:
                return self._sign_out.signed_out(request)
            case (True, "front-channel-logout") if request.method == "GET":
                return self._sign_out.front_channel(request)
            case (True, None) if path == "/" and get:
                return self._portal.launcher(request)
            case (_, "sign-out" | "sign-in") | (False, "complete") | (True, "callback" | "signed-out" | "front-channel-logout"):
                failure = FAILURES["method-not-allowed"]
                return respond_failure(self._kit.pages, failure, navigation=wants_navigation(request.headers.raw))
            case _:
                return None

    def _failed(self, request: Request, host: str, error: IsolationError) -> Response:
        """Tell the person. There is no audit entry for what is not yet anybody's sign-in: strangers could fill the log with them."""
        failure, reference = failure_for(error), new_reference()
        expected = isinstance(error, SignInError) and failure.status < 500
        (_log.warning if expected else _log.error)(
            "own_page.failed",
            host=host,
            code=error.code,
            cause=type(error.__cause__).__name__ if error.__cause__ is not None else "",
            reference=reference,
        )
        acts = (Act("Try again" if failure.status >= 500 else "Start again", "/"),)
        if error.code == "hand-off-ended":  # going round once more would meet the same session: begin a new one
            acts = (Act("Sign in again", f"{OWN_PREFIX}sign-in?switch=1"),)
        return respond_failure(
            self._kit.pages, failure, navigation=wants_navigation(request.headers.raw), reference=reference, acts=acts
        )


def build(kit: Kit, portal: Portal) -> OwnPages:
    """Return the own pages of a deployment."""
    hand_off = HandOff(kit)
    return OwnPages(kit, hand_off=hand_off, sign_in=SignIn(kit, hand_off), sign_out=SignOut(kit), portal=portal)
