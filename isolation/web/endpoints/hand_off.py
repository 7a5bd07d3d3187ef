"""From the auth host to an app's host and back: how a session gets its cookie on a host that cannot see the auth host's.

The app host ties the journey to the browser with a cookie, the auth host answers with a code that is good once, for a minute, for that host
and that browser, and the app host turns the code into a cookie of its own. The session's id is never in a URL.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import Response

from isolation.errors import SignInError
from isolation.identity.oidc.flow import parse_query
from isolation.identity.sessions.model import Session
from isolation.limits import OWN_PREFIX
from isolation.tokens import digest, new_secret
from isolation.web.answers import FAILURES, Act, respond_failure
from isolation.web.cookies import Browser
from isolation.web.endpoints.kit import Kit, Wish
from isolation.web.navigation import header, wants_navigation
from isolation.web.pages import problem, redirect, with_cookies
from isolation.web.redirects import safe_target, same_origin_path

# limits
HAND_OFF_SECONDS = 60.0  # a code lives for one redirect

_log = structlog.get_logger()
Headers = Iterable[tuple[bytes, bytes]]


class HandOff:
    """The app host's side (``start``, ``unauthorized``, ``sign_in``, ``complete``) and the auth host's (``mint``)."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    def start_url(self, host: str, target: str | bytes, binding: str, *, switch: bool = False) -> str:
        """Return the auth host's URL that signs somebody in for ``target`` on ``host`` and hands them back to the bound browser."""
        sealed = self._kit.seal(Wish(host, safe_target(target), binding, switch))
        return f"{self._kit.site.auth_origin}{OWN_PREFIX}sign-in?{urlencode({'to': sealed})}"

    def start(self, headers: Headers, host: str, target: str | bytes, *, method: str = "GET", switch: bool = False) -> Response:
        """Send a page load without a session to the auth host. The gate calls this when :func:`wants_navigation` says so.

        A form that was sent is not sent again after signing in: such a person returns to the page the form stood on.
        """
        kit, headers = self._kit, list(headers)
        audience = kit.site.authority(host)
        browser = kit.cookies.browser(headers, audience)
        if kit.cookies.is_looping(headers, browser):
            return self.loop(headers, host, browser, f"{OWN_PREFIX}sign-in")
        if method not in {"GET", "HEAD"}:
            target = same_origin_path(header(headers, b"referer"), kit.site.origin(host))
        url = self.start_url(host, target, browser.binding, switch=switch)
        return redirect(url, *(() if browser.known else (kit.cookies.set_browser(browser, audience),)))

    def loop(self, headers: Headers, host: str, browser: Browser, again: str) -> Response:
        """Say that signing in does not get this browser anywhere, and why; the count starts anew with the page."""
        kit = self._kit
        _log.warning("sign_in.loop", host=host, rounds=browser.rounds)
        failure = FAILURES["sign-in-loop" if kit.cookies.keeps_session(headers) else "cookies-blocked"]
        page = respond_failure(kit.pages, failure, navigation=True, acts=(Act("Try again", again),))
        return with_cookies(page, kit.cookies.set_browser(kit.cookies.settled(browser), kit.site.authority(host)))

    def unauthorized(self, headers: Headers, host: str) -> Response:
        """Answer a background request without a session: a 401 that says where to send the person, never a redirect."""
        origin = self._kit.site.origin(host)
        back = same_origin_path(header(headers, b"referer"), origin)
        login = f"{origin}{OWN_PREFIX}sign-in?{urlencode({'target': back})}"
        return problem(
            401,
            "sign-in",
            "Sign-in is needed",
            "Nobody is signed in here. Load the address in `login` in the whole tab.",
            {"www-authenticate": f'Isolation realm="{host}"'},
            login=login,
        )

    def sign_in(self, request: Request, host: str) -> Response:
        """``GET /.isolation/sign-in?target=…&switch=1`` on an app's host: begin, for a link or a script of the page."""
        query = parse_query(request.scope["query_string"])
        return self.start(request.headers.raw, host, query.get("target", "/"), switch=query.get("switch") == "1")

    async def mint(self, session: Session, wish: Wish) -> Response:
        """On the auth host: send somebody with a session on to the app's host with a one-time code."""
        kit, code = self._kit, new_secret()
        expires = kit.clock.now() + HAND_OFF_SECONDS
        await kit.hand_offs.create(digest(code), session.digest, wish.host, wish.binding, wish.target, expires)
        return redirect(f"{kit.site.origin(wish.host)}{OWN_PREFIX}complete?{urlencode({'code': code})}")

    async def complete(self, request: Request, host: str) -> Response:
        """``GET /.isolation/complete?code=…`` on an app's host: turn the code into this host's cookie. Raises SignInError, StoreError."""
        kit, headers = self._kit, request.headers.raw
        audience = kit.site.authority(host)
        code = parse_query(request.scope["query_string"]).get("code", "")
        record = await kit.hand_offs.redeem(code, host=host) if code else None
        if record is None:
            raise SignInError("This hand-off is not known here, was used already, or took too long.", code="hand-off-unknown")
        browser = kit.cookies.read_browser(headers, audience)
        target = safe_target(record.target)
        if browser is None or browser.binding != record.nonce:
            _log.warning("hand_off.other_browser", host=host, known=browser is not None)
            # A browser of ours with another binding is most likely one tab of many that were opened at once, each of which set the
            # cookie: it begins again by itself, with the cookie it has now. Nobody is signed in by somebody else's link.
            return respond_failure(
                kit.pages,
                FAILURES["unknown-browser"],
                navigation=wants_navigation(headers),
                acts=(Act("Start again", target),),
                refresh=f"0; url={target}" if browser is not None else "",
            )
        secret = await kit.sessions.add_secret(record.session_digest)
        if secret is None:
            raise SignInError("The session has ended meanwhile.", code="hand-off-ended")
        done = kit.cookies.completed(browser)
        return redirect(target, kit.cookies.set_session(secret, audience), kit.cookies.set_browser(done, audience))
