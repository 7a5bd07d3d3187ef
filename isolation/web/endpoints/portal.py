"""The launcher: which apps a person may open now, and which of them open in isolation. Decided by the code that enforces it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import Response

from isolation.identity.sessions.model import Session
from isolation.limits import OWN_PREFIX
from isolation.policy.facts import Facts
from isolation.routing.decide import decide
from isolation.routing.model import App, Forward, Isolate
from isolation.web.endpoints.kit import Kit
from isolation.web.navigation import wants_navigation
from isolation.web.pages import problem, redirect

FactsFor = Callable[[Request, Session], Awaitable[Facts]]


@dataclass(frozen=True, slots=True)
class Tile:
    """One app as the launcher shows it."""

    name: str
    host: str
    url: str
    description: str
    isolated: bool


class Portal:
    """``/`` on the auth host. ``apps``: the configured apps, read anew each time. ``facts_for``: what is known about a session's person."""

    def __init__(self, kit: Kit, apps: Callable[[], Sequence[App]], facts_for: FactsFor) -> None:
        self._kit = kit
        self._apps = apps
        self._facts_for = facts_for

    async def launcher(self, request: Request) -> Response:
        """Show the apps of who is signed in; sign in who is not. Raises StoreError."""
        kit = self._kit
        session = await kit.session(request, kit.site.auth_host)
        if session is None:
            if wants_navigation(request.headers.raw):
                return redirect(f"{OWN_PREFIX}sign-in")
            return problem(
                401,
                "sign-in",
                "Sign-in is needed",
                "Nobody is signed in here. Load the address in `login` in the whole tab.",
                {"www-authenticate": f'Isolation realm="{kit.site.auth_host}"'},
                login=f"{kit.site.auth_origin}{OWN_PREFIX}sign-in",
            )
        facts = await self._facts_for(request, session)
        person = facts.person
        view = {
            "title": "Your apps",
            "name": person.name if person is not None else "",
            "account": (person.email or person.name) if person is not None else "",
            "apps": [tile for app in self._apps() if (tile := self._tile(app, facts)) is not None],
            "sign_out_url": f"{OWN_PREFIX}sign-out",
            "switch_url": f"{OWN_PREFIX}sign-in?switch=1",
        }
        return kit.pages.page("launcher", view)

    def _tile(self, app: App, facts: Facts) -> Tile | None:
        """Return an app's tile when its first page would open. An app on many hosts (``*.parent``) has no first page."""
        if not app.launcher or app.domain.startswith("*."):
            return None
        here = replace(facts.context, method="GET", host=app.domain, path="/")
        decision = decide(app, replace(facts, context=here))
        if not isinstance(decision, Forward | Isolate):
            return None
        return Tile(app.name, app.domain, f"{self._kit.site.origin(app.domain)}/", app.description, isinstance(decision, Isolate))
