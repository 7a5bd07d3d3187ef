"""What somebody gets who does not pass straight through: the viewer, a refusal, the way to sign in, or a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog
from starlette.responses import Response

from isolation.audit.events import new_reference
from isolation.broker.model import Grant
from isolation.errors import IsolationError
from isolation.limits import OWN_PREFIX
from isolation.proxy.exchange import TARGET
from isolation.routing.model import App, Isolate, RefusalReason, Refuse, Target
from isolation.web.answers import FAILURES, Act, failure_for, respond_failure, respond_refusal
from isolation.web.decisions import Ruling
from isolation.web.endpoints.hand_off import HandOff
from isolation.web.endpoints.kit import Site
from isolation.web.endpoints.viewer import ViewerEndpoints, ViewerView
from isolation.web.metrics import Metrics
from isolation.web.navigation import wants_navigation
from isolation.web.pages import PageRenderer, redirect

log = structlog.get_logger()


class Replies:
    """Makes the responses. ``apps``: the configured apps, read anew each time."""

    def __init__(
        self,
        *,
        site: Site,
        apps: Callable[[], Sequence[App]],
        pages: PageRenderer,
        hand_off: HandOff,
        viewer: ViewerEndpoints,
        metrics: Metrics,
    ) -> None:
        self._site = site
        self._apps = apps
        self._pages = pages
        self._hand_off = hand_off
        self._viewer = viewer
        self._metrics = metrics

    def instead(self, scope: Any, ruling: Ruling, target: Target) -> Response:
        """Return what a ruling other than Forward comes to."""
        navigation = scope["type"] == "http" and wants_navigation(scope["headers"])
        decision = ruling.decision
        if isinstance(decision, Isolate):
            if not navigation:
                # Whatever of the app still runs in this browser (an old tab, a service worker) is told to go.
                refusal = respond_refusal(
                    self._pages, Refuse(RefusalReason.ISOLATED_ONLY), navigation=False, app=ruling.app.name, reference=ruling.ref
                )
                refusal.headers["clear-site-data"] = '"cache", "storage"'
                return refusal
            if scope["method"] not in {"GET", "HEAD"}:
                # A form sent by a page from before: the viewer opens at its address, the form is not sent again.
                return redirect(local(target))
            return self._viewer_page(ruling, target, opening=scope["method"] == "GET")
        if isinstance(decision, Refuse):
            return respond_refusal(
                self._pages,
                decision,
                navigation=navigation,
                app=ruling.app.name,
                reference=ruling.ref,
                account=ruling.person.email or ruling.person.name,
                retry_url=local(target),
                switch_url=f"{OWN_PREFIX}sign-in?switch=1",
                launcher_url=f"{self._site.auth_origin}/",
            )
        return self.sign_in(scope, target)

    def _viewer_page(self, ruling: Ruling, target: Target, *, opening: bool) -> Response:
        because = ruling.decision.because
        reasons = [f"Rule: {rule}" for rule in because.rules] + [f"Not known for certain: {signal}" for signal in because.signals]
        view = ViewerView(
            grant=self.grant(ruling, target.host),
            person=ruling.person.email or ruling.person.name,
            reasons=reasons,
            origins=[self._site.origin(app.domain) for app in self._apps() if not app.domain.startswith("*")],
            clear_site_data=ruling.fresh_viewer,
            opening=opening,
        )
        ruling.fresh_viewer = False
        return self._viewer.page(view)

    def grant(self, ruling: Ruling, host: str) -> Grant:
        """Return what a ruling lets a viewer do. Raises IsolationError for one that is not isolation."""
        decision = ruling.decision
        if not isinstance(decision, Isolate):
            raise IsolationError("only an isolated session has a viewer")
        return Grant(
            session_digest=ruling.session.digest,
            person_key=ruling.session.person_key,
            app=ruling.app.name,
            origin=self._site.origin(host),
            controls=decision.controls,
            reference=ruling.ref,
            person=ruling.person.email or ruling.person.name,
        )

    def sign_in(self, scope: Any, target: Target) -> Response:
        """Send a page load to the auth host; tell code that nobody is signed in."""
        headers = scope["headers"]
        if scope["type"] == "http" and wants_navigation(headers):
            return self._hand_off.start(headers, target.host, target.raw, method=scope["method"])
        return self.unauthorized(scope, target.host)

    def unauthorized(self, scope: Any, host: str) -> Response:
        """Tell code that nobody is signed in."""
        return self._hand_off.unauthorized(scope["headers"], host)

    def not_found(self, scope: Any) -> Response:
        """Say that there is no such app or page."""
        acts = (Act("Your apps", f"{self._site.auth_origin}/"),)
        return respond_failure(self._pages, FAILURES["not-found"], navigation=wants_navigation(scope["headers"]), acts=acts)

    def ended(self, scope: Any, app: App) -> Response:
        """Tell an isolated browser that its person's session is over."""
        refuse = Refuse(RefusalReason.SESSION_ENDED)
        return respond_refusal(self._pages, refuse, navigation=wants_navigation(scope["headers"]), app=app.name, reference="")

    def failed(self, scope: Any, error: IsolationError) -> Response:
        """Say what went wrong, to the person and, under the same reference, to the log."""
        reference = new_reference()
        target: Target = scope[TARGET]
        log.error(
            "request.failed",
            code=error.code,
            error=str(error),
            cause=type(error.__cause__).__name__ if error.__cause__ is not None else "",
            host=target.host,
            method=scope.get("method", ""),
            path=target.path,
            reference=reference,
        )
        self._metrics.failed(error.code)
        return respond_failure(
            self._pages,
            failure_for(error),
            navigation=wants_navigation(scope["headers"]),
            reference=reference,
            acts=(Act("Try again", local(target)),),
        )


def local(target: Target) -> str:
    """Return a target as a reference that stays on this host: ``//evil`` begins with one slash too many to be one."""
    return "/" + target.raw.decode("ascii").lstrip("/")
