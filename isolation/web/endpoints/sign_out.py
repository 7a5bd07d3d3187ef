"""Signing out: everywhere at once, and then at the identity provider too."""

from __future__ import annotations

from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import Response

from isolation.audit import events as audit
from isolation.errors import SignInError, TokenError
from isolation.identity.oidc import flow
from isolation.identity.sessions.model import EndReason, Session, short_id
from isolation.limits import OWN_PREFIX
from isolation.tokens import Purpose, equal
from isolation.web.endpoints.kit import Kit
from isolation.web.navigation import header
from isolation.web.pages import own_response, redirect, with_cookies

# limits
FORM_SECONDS = 43_200  # a confirmation page that was left open over a day's work still works
MAX_FORM = 4_096  # bytes of the confirmation form: one token
MAX_SID = 128  # characters: Entra's are GUIDs

_log = structlog.get_logger()


class SignOut:
    """``/.isolation/sign-out`` on every host; ``/.isolation/signed-out`` and ``/.isolation/front-channel-logout`` on the auth host."""

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def confirm(self, request: Request, host: str, *, status: int = 200) -> Response:
        """``GET``: ask, because a link on somebody else's page must not sign people out."""
        kit = self._kit
        session = await kit.session(request, host)
        if session is None:
            return self._done(host)
        person = await kit.people.get(session.person_key)
        token = kit.tokens.seal(Purpose.FORM, session.digest, audience=kit.site.authority(host))
        view = {
            "title": "Sign out",
            "confirm": True,
            "account": (person.email or person.name) if person is not None else "",
            "form_action": f"{OWN_PREFIX}sign-out",
            "token": token,
            "back_url": "/",
            "continue_url": "",
            "provider": session.idp,
        }
        return kit.pages.page("signed_out", view, status)

    async def perform(self, request: Request, host: str) -> Response:
        """``POST`` with the form's token: end the session on every host, then go to the provider to end its own."""
        kit = self._kit
        session = await kit.session(request, host)
        if session is None:
            return self._done(host)
        if not await self._is_ours(request, session, host):
            return await self.confirm(request, host, status=403)
        why = EndReason.SIGNED_OUT
        if await kit.sessions.revoke(session.digest, why):
            event = audit.sign_out(at=kit.clock.now(), person=session.person_key, session=session.digest, why=why.value)
            await kit.audit.record(event)
            _log.info("sign_out.done", session=session.id, why=why.value)
        if session.sid is not None:  # two tabs that signed in at the same instant have a session each
            await self._end_all(session.idp, session.sid, why)
        client = kit.providers.get(session.idp)
        leave = f"{kit.site.auth_origin}{OWN_PREFIX}signed-out?{urlencode({'leave': session.idp})}" if client else ""
        return self._done(host, continue_url=leave, provider=session.idp)

    async def signed_out(self, request: Request) -> Response:
        """``GET`` on the auth host: with ``leave`` go on to that provider's sign-out page, without it say that all is done."""
        kit, host = self._kit, self._kit.site.auth_host
        query = flow.parse_query(request.scope["query_string"])
        if await kit.session(request, host) is not None:
            return await self.confirm(request, host)  # a link to here must not end the provider's session behind somebody's back
        client = kit.providers.get(query.get("leave", ""))
        endpoints = client.known_endpoints() if client is not None else None
        if endpoints is None:
            return self._done(host)
        hint = kit.cookies.read_hint(request.headers.raw, kit.site.authority(host))
        url = flow.end_session_url(endpoints, post_logout_redirect_uri=kit.site.signed_out_uri, logout_hint=hint)
        if not url:
            return self._done(host)
        return redirect(url, *self._clearing(host))

    async def front_channel(self, request: Request) -> Response:
        """``GET ?sid=…`` on the auth host, from a hidden frame of Entra's sign-out page: end what belongs to Entra's session.

        The frame is a third party's, so no cookie comes along: the sid (a secret of Entra's and ours) is what counts.
        """
        kit = self._kit
        query = flow.parse_query(request.scope["query_string"])
        sid, issuer = query.get("sid", ""), query.get("iss")
        if not 0 < len(sid) <= MAX_SID:
            raise SignInError("The request names no session.", code="request-malformed")
        for name, client in kit.providers.items():
            if issuer is not None and issuer != client.provider.issuer:
                continue
            await self._end_all(name, sid, EndReason.SIGNED_OUT_AT_IDP)
        return own_response(b"", "text/plain; charset=utf-8", 200)

    async def _end_all(self, idp: str, sid: str, why: EndReason) -> None:
        """End everything that began in one of the provider's sessions."""
        kit = self._kit
        for digest in await kit.sessions.revoke_sid(idp, sid, why):
            await kit.audit.record(audit.sign_out(at=kit.clock.now(), person="", session=digest, why=why.value))
            _log.info("sign_out.done", session=short_id(digest), why=why.value)

    async def _is_ours(self, request: Request, session: Session, host: str) -> bool:
        """Say whether the form was ours, for this session, and sent from this very host."""
        kit = self._kit
        if (header(request.headers.raw, b"sec-fetch-site") or "same-origin") != "same-origin":
            return False
        if header(request.headers.raw, b"content-type") != "application/x-www-form-urlencoded":
            return False
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM:
                return False
        token = flow.parse_query(bytes(body)).get("token", "")
        try:
            sealed = kit.tokens.unseal(Purpose.FORM, token, max_age=FORM_SECONDS, audience=kit.site.authority(host))
        except TokenError:
            return False
        return isinstance(sealed, str) and equal(sealed, session.digest)

    def _done(self, host: str, *, continue_url: str = "", provider: str = "") -> Response:
        view = {
            "title": "Signed out",
            "confirm": False,
            "account": "",
            "form_action": "",
            "token": "",
            "back_url": "/",
            "continue_url": continue_url,
            "provider": provider,
        }
        # The app's cached pages and its data in this browser go too. Not "cookies": that reaches every host of the organisation.
        page = self._kit.pages.page("signed_out", view, headers={"clear-site-data": '"cache", "storage"'})
        return with_cookies(page, *self._clearing(host, keep_hint=bool(continue_url)))

    def _clearing(self, host: str, *, keep_hint: bool = False) -> list[str]:
        cookies = self._kit.cookies
        cleared = [cookies.clear_session(), cookies.clear_browser()]
        if host == self._kit.site.auth_host and not keep_hint:
            cleared.append(cookies.clear_hint())
        return cleared
