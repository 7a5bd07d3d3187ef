"""Signing in at the auth host: choosing a provider, going there, and believing what comes back.

A sign-in under way is a record on the server, found by its state, used once, and tied to the browser that began it. Nothing that comes
back is sent on to the provider before all of that is checked. Every sign-in makes a new session: an id from before it opens nothing.
"""

from __future__ import annotations

from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import Response

from isolation.audit import events as audit
from isolation.errors import SignInError, StoreError
from isolation.identity.oidc import flow
from isolation.identity.oidc.aadsts import ProviderRefusalError
from isolation.identity.oidc.flow import Attempt
from isolation.identity.oidc.verify import Claims
from isolation.identity.sessions.model import EndReason, Session
from isolation.limits import OWN_PREFIX
from isolation.store.handoffs import Flow
from isolation.tokens import new_secret
from isolation.web.answers import Act, failure_for, respond_failure
from isolation.web.endpoints.hand_off import HandOff
from isolation.web.endpoints.kit import Kit, ProviderClient, Wish
from isolation.web.navigation import wants_navigation
from isolation.web.pages import redirect, with_cookies

# limits
FLOW_SECONDS = (
    1_800.0  # life of a sign-in under way: enrolling a second factor takes a while; Entra's codes live ten minutes anyway
)

_log = structlog.get_logger()


class SignIn:
    """``/.isolation/sign-in`` and ``/.isolation/callback`` on the auth host."""

    def __init__(self, kit: Kit, hand_off: HandOff) -> None:
        self._kit = kit
        self._hand_off = hand_off

    async def sign_in(self, request: Request) -> Response:
        """``GET /.isolation/sign-in?to=…&idp=…``: hand over who is signed in, otherwise go to the provider (or let people choose one).

        Without ``to`` the launcher is the goal. Raises SignInError, StoreError.
        """
        kit = self._kit
        query = flow.parse_query(request.scope["query_string"])
        sealed = query.get("to", "")
        wish = kit.unseal(sealed) if sealed else None
        if sealed and wish is None:
            raise SignInError("This sign-in request is not ours or too old.", code="to-expired")
        session = await kit.session(request, kit.site.auth_host)
        switch = (wish is not None and wish.switch) or (wish is None and query.get("switch") == "1")
        if session is not None and not switch:
            return await self._arrive(session, wish)
        chosen = query.get("idp")
        if chosen is None and len(kit.providers) != 1:
            return self._choices(sealed, wish, switch=switch)
        client = kit.providers.get(chosen) if chosen is not None else next(iter(kit.providers.values()))
        if client is None:
            raise SignInError("There is no such identity provider.", code="request-malformed")
        return await self._depart(request, client, sealed, switch=switch, expected_session=session is not None)

    async def callback(self, request: Request) -> Response:
        """``GET /.isolation/callback``: finish what :meth:`sign_in` began. Raises SignInError (before a sign-in is known), StoreError."""
        kit, headers = self._kit, request.headers.raw
        answer = flow.parse_callback(request.scope["query_string"])
        record = await kit.flows.redeem(answer.state)
        client = kit.providers.get(record.idp) if record is not None else None
        if record is None or client is None:
            raise SignInError("This sign-in is not known here, was used already, or took too long.", code="state-unknown")
        attempt = Attempt(record.idp, record.nonce, record.verifier, record.binding_digest, record.target)
        browser = kit.cookies.read_browser(headers, kit.site.authority(kit.site.auth_host))
        try:
            code = flow.check_callback(client.provider, attempt, answer, binding=browser.binding if browser is not None else None)
            token = await client.redeem(code=code, verifier=attempt.verifier, redirect_uri=kit.site.redirect_uri)
            claims = await client.verify(token, nonce=attempt.nonce)
            session, secret = await self._begin(request, client, claims, record)
        except SignInError as error:
            # Only a browser that we know starts again by itself: it is one tab of many that were opened at once.
            again = error.code == "state-other-browser" and browser is not None
            return await self._failed(request, error, attempt, again=again)
        response = await self._arrive(session, kit.unseal(attempt.to) if attempt.to else None)
        audience = kit.site.authority(kit.site.auth_host)
        cookies = [kit.cookies.set_hint(claims.logout_hint, audience)]
        if secret is not None:
            cookies.append(kit.cookies.set_session(secret, audience))
        if browser is not None:
            cookies.append(kit.cookies.set_browser(kit.cookies.completed(browser), audience))
        return with_cookies(response, *cookies)

    def _choices(self, sealed: str, wish: Wish | None, *, switch: bool) -> Response:
        kit = self._kit
        common = ({"to": sealed} if sealed else {}) | ({"switch": "1"} if switch and not sealed else {})
        providers = [
            {"name": name, "url": f"{OWN_PREFIX}sign-in?{urlencode(common | {'idp': name})}"} for name in sorted(kit.providers)
        ]
        app = kit.app_for(wish.host) if wish is not None else None
        return kit.pages.page("sign_in", {"title": "Sign in", "app": app.name if app else "", "providers": providers})

    async def _depart(
        self, request: Request, client: ProviderClient, sealed: str, *, switch: bool, expected_session: bool
    ) -> Response:
        """Send the browser to the provider, with the record of it on the server and the cookie in the browser."""
        kit = self._kit
        audience = kit.site.authority(kit.site.auth_host)
        browser = kit.cookies.browser(request.headers.raw, audience)
        if not expected_session and kit.cookies.is_looping(request.headers.raw, browser):
            return self._hand_off.loop(request.headers.raw, kit.site.auth_host, browser, self._again_url(sealed))
        endpoints = await client.endpoints()
        state, nonce, verifier = new_secret(), new_secret(), new_secret()
        await kit.flows.create(
            state,
            idp=client.provider.name,
            nonce=nonce,
            verifier=verifier,
            binding=browser.secret,
            target=sealed,
            expires=kit.clock.now() + FLOW_SECONDS,
        )
        url = flow.authorize_url(
            client.provider,
            endpoints,
            redirect_uri=kit.site.redirect_uri,
            state=state,
            nonce=nonce,
            verifier=verifier,
            prompt="select_account" if switch else None,
        )
        return redirect(url, *(() if browser.known else (kit.cookies.set_browser(browser, audience),)))

    async def _begin(self, request: Request, client: ProviderClient, claims: Claims, record: Flow) -> tuple[Session, str | None]:
        """Write down the person, begin a new session in place of the browser's old one, and audit both before anybody sees it.

        Of many tabs that the same person signs in with at once the first one begins the session; the others, whose sign-in began before
        that session did, join it (no new secret) and do not end it under the first one's feet.
        """
        kit, now, idp = self._kit, self._kit.clock.now(), client.provider.name
        await kit.people.upsert_from_sign_in(
            tenant=claims.tenant,
            oid=claims.oid,
            email=claims.email,
            name=claims.name,
            user_type=claims.user_type,
            groups=claims.groups,
            at=now,
            idp=idp,
        )
        old = await kit.session(request, kit.site.auth_host)
        if old is not None and (old.person_key, old.idp) == (claims.key, idp) and old.created_at >= record.created_at:
            return old, None
        session, secret = await kit.sessions.create(
            claims.key, idp=idp, lifetime=kit.session_seconds, idle_seconds=kit.idle_seconds, sid=claims.sid
        )
        ip = kit.client_ip(request)
        await kit.audit.record(
            audit.sign_in(
                at=now,
                person=claims.key,
                email=claims.email,
                session=session.digest,
                idp=idp,
                ip=ip,
                user_type=claims.user_type.value if claims.user_type is not None else "unknown",
                groups="not in the token" if claims.groups is None else f"{len(claims.groups)} from the token",
            )
        )
        await kit.audit.record(
            audit.session_started(
                at=now,
                person=claims.key,
                email=claims.email,
                session=session.digest,
                idp=idp,
                ip=ip,
                expires_at=session.expires_at,
            )
        )
        if old is not None:
            await kit.sessions.revoke(old.digest, EndReason.REPLACED)
            await kit.audit.record(
                audit.session_ended(at=now, person=old.person_key, session=old.digest, why=EndReason.REPLACED.value)
            )
        await kit.sync_wanted(claims.key)
        _log.info("sign_in.done", idp=idp, person=claims.key, session=session.id, groups=claims.groups is not None)
        return session, secret

    async def _arrive(self, session: Session, wish: Wish | None) -> Response:
        return redirect("/") if wish is None else await self._hand_off.mint(session, wish)

    async def _failed(self, request: Request, error: SignInError, attempt: Attempt, *, again: bool) -> Response:
        """Audit a failed sign-in and tell the person, with a way to begin again at the same place."""
        kit = self._kit
        event = audit.sign_in_failed(
            at=kit.clock.now(),
            idp=attempt.provider,
            ip=kit.client_ip(request),
            code=error.code,
            message=f"{error.number} {error.said}".strip() if isinstance(error, ProviderRefusalError) else str(error),
        )
        try:
            reference = await kit.audit.record(event)
        except StoreError:
            reference = event.ref  # nobody is let in by this answer: it may be given without the log
        _log.warning("sign_in.failed", idp=attempt.provider, code=error.code, reference=reference)
        failure, url = failure_for(error), self._again_url(attempt.to)
        return respond_failure(
            kit.pages,
            failure,
            navigation=wants_navigation(request.headers.raw),
            reference=reference,
            acts=(Act("Sign in again", url),) if failure.retry else (Act("Use another account", self._again_url("")),),
            said=error.said if isinstance(error, ProviderRefusalError) else "",
            refresh=f"0; url={url}" if again else "",
        )

    def _again_url(self, sealed: str) -> str:
        """Return where to begin again for the same goal: a fresh seal where the old one still opens."""
        wish = self._kit.unseal(sealed) if sealed else None
        if wish is None:
            return f"{OWN_PREFIX}sign-in"
        return f"{OWN_PREFIX}sign-in?{urlencode({'to': self._kit.seal(wish)})}"
