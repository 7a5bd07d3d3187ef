"""The viewer: the page an isolated person gets in place of the app, its tickets, its stream and its static files.

The page stands on the app's own origin and holds no byte of the app. What it may load is ours; what it may talk to is this origin; no frame,
form, plug-in, worker or evaluated string exists in it (CSP and Trusted Types).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from isolation.broker.model import Grant
from isolation.broker.relay import Relay, ViewerGoneError
from isolation.broker.tickets import Tickets
from isolation.broker.watermark import reference
from isolation.clock import Clock
from isolation.errors import TokenError
from isolation.policy.controls import Controls
from isolation.web import csp
from isolation.web.pages import PageRenderer, own_response, problem

log = structlog.get_logger()

# ---------------------------------------------------------------- limits
MAX_TICKET_REQUEST = 2048  # bytes: a page's handle is about 100
MAX_REASONS = 8  # lines of "why" in the indicator's panel

STREAM_PROTOCOL = "isolation-viewer.1"
TICKET_PREFIX = "ticket."

_STATIC = Path(__file__).resolve().parent.parent / "static" / "viewer"
_TYPES: Mapping[str, str] = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}


@dataclass(frozen=True, slots=True)
class ViewerView:
    """What a viewer page shows and knows. ``grant``: what the decision allows.

    ``person``: name or address to show. ``reasons``: why this is isolated, in words (rule names). ``origins``: public origins of
    the other apps of this router, where the viewer may follow its page to. ``clear_site_data``: this is the first viewer page since the app
    was passed straight through: what the app left in the browser goes. ``opening``: somebody opens the page now, so that their browser may
    be started while theirs loads it.
    """

    grant: Grant
    person: str
    reasons: Sequence[str]
    origins: Sequence[str]
    opening: bool
    clear_site_data: bool = False


class ViewerEndpoints:
    """The viewer's endpoints. Who is let in is decided before: each takes the :class:`Grant` of an Isolate decision, or None for any other."""

    def __init__(self, *, pages: PageRenderer, tickets: Tickets, relay: Relay, clock: Clock) -> None:
        self._pages = pages
        self._clock = clock
        self._tickets = tickets
        self._relay = relay
        self._files = {path.name: path.read_bytes() for path in sorted(_STATIC.iterdir()) if path.suffix in _TYPES}
        self._modules = [name for name in self._files if name.endswith(".js") and name != "main.js"]
        self._tags = {name: f'"{hashlib.sha256(content).hexdigest()[:32]}"' for name, content in self._files.items()}

    def page(self, view: ViewerView) -> Response:
        """Return a viewer page with a fresh ticket."""
        grant = view.grant
        if view.opening:
            self._relay.expect(grant)
        instance = self._tickets.new_page(grant.session_digest, grant.origin)
        configuration = {
            "app": grant.app,
            "person": view.person,
            "reference": grant.reference,
            "reasons": list(view.reasons)[:MAX_REASONS],
            "controls": grant.controls.for_viewer(),
            "watermark": self._watermark(view),
            "origins": sorted(set(view.origins) - {grant.origin}),
            "instance": instance.handle,
            "ticket": instance.ticket,
        }
        headers = {"permissions-policy": _permissions(grant.controls)}
        if view.clear_site_data:
            # Not "cookies": the router's own session cookie lives on this host.
            headers["clear-site-data"] = '"cache", "storage"'
        return self._pages.page(
            "viewer",
            {"app": grant.app, "configuration": json.dumps(configuration), "modules": self._modules},
            headers=headers,
            policy=_policy(grant.origin),
        )

    def _watermark(self, view: ViewerView) -> dict[str, Any] | None:
        """Return what the viewer writes over the page: a renderer that leaves its own mark out cannot leave out this one."""
        if not view.grant.controls.watermark:
            return None
        return {"person": view.person, "reference": reference(view.grant.session_digest), "at": round(self._clock.now())}

    def static(self, request: Request, name: str) -> Response | None:
        """Return one of the viewer's own files, or None where there is no such file. Needs no session: it says nothing about anybody."""
        content = self._files.get(name)
        if content is None:
            return None
        # Revalidated every time: modules of two versions must not meet in one page.
        headers = {"cache-control": "no-cache", "etag": self._tags[name], "vary": "Accept-Encoding"}
        if request.headers.get("if-none-match") == self._tags[name]:
            return own_response(b"", _TYPES[Path(name).suffix], 304, headers)
        return own_response(content, _TYPES[Path(name).suffix], 200, headers)

    async def ticket(self, request: Request, grant: Grant | None) -> Response:
        """Answer ``POST /.isolation/ticket`` of a living viewer page: ``{"instance": handle}`` → ``{"ticket": …}``.

        Only the page itself can ask (Sec-Fetch-Site, Origin, a JSON body), and only for itself: the handle is signed for session and origin.
        """
        if request.method != "POST":
            return problem(405, "method-not-allowed", "Only POST", "Tickets are made by POST.", {"allow": "POST"})
        if request.headers.get("sec-fetch-site") != "same-origin":
            return _refused("cross-site", "Only the viewer page itself may ask for a ticket.")
        if grant is None:
            return _refused("not-isolated", "This session is not isolated here (any more): load the page again.")
        if request.headers.get("origin") != grant.origin:
            return _refused("cross-site", "Only the viewer page itself may ask for a ticket.")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return problem(415, "bad-request", "Not JSON", "Send JSON.")
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > MAX_TICKET_REQUEST:
                return problem(413, "bad-request", "Too long", "The request is too long.")
        try:
            document = json.loads(bytes(body))
            handle = document["instance"] if isinstance(document, dict) else None
            if not isinstance(handle, str):
                raise TokenError("no instance")
            ticket = self._tickets.renew(grant.session_digest, grant.origin, handle)
        except (ValueError, KeyError, RecursionError, TokenError):
            return _refused("token", "This page belongs to another session: load it again.")
        return own_response(json.dumps({"ticket": ticket}).encode(), "application/json", 200)

    async def stream(self, scope: Scope, receive: Receive, send: Send, grant: Grant | None) -> None:
        """Serve a viewer's WebSocket (ASGI ``websocket``). Whatever is not exactly right is refused with 403 before it is accepted."""
        message = await receive()
        if message["type"] != "websocket.connect":
            return
        instance = await self._admit(scope, grant)
        if instance is None or grant is None:
            await send({"type": "websocket.close", "code": 1008})  # before acceptance: the server answers 403
            return
        await send({"type": "websocket.accept", "subprotocol": STREAM_PROTOCOL, "headers": []})
        await self._relay.run(_Socket(receive, send), grant, instance)

    async def _admit(self, scope: Scope, grant: Grant | None) -> str | None:
        """Return the page instance a stream may be opened for, or None."""
        if grant is None:
            log.info("stream.refused", why="not isolated, or nobody is signed in")
            return None
        origins = [value for name, value in scope["headers"] if name.lower() == b"origin"]
        if origins != [grant.origin.encode()]:
            log.warning("stream.refused", app=grant.app, why="foreign origin")
            return None
        match list(scope.get("subprotocols", ())):
            case [first, second] if first == STREAM_PROTOCOL and second.startswith(TICKET_PREFIX):
                try:
                    return await self._tickets.redeem(grant.session_digest, grant.origin, second.removeprefix(TICKET_PREFIX))
                except TokenError as error:
                    log.warning("stream.refused", app=grant.app, why=str(error))
                    return None
            case _:
                log.warning("stream.refused", app=grant.app, why="no ticket")
                return None


class _Socket:
    """An accepted ASGI WebSocket as the relay wants it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._gone = False

    async def receive(self) -> bytes:
        """Return the next binary message; a text message, which no viewer sends, as b""."""
        if self._gone:
            raise ViewerGoneError("the viewer is gone")
        message = await self._receive()
        if message["type"] != "websocket.receive":
            self._gone = True
            raise ViewerGoneError("the viewer is gone")
        return bytes(message.get("bytes") or b"")

    async def send(self, data: bytes) -> None:
        """Send a binary message."""
        await self._say({"type": "websocket.send", "bytes": data})

    async def close(self) -> None:
        """Close; never raises."""
        with contextlib.suppress(ViewerGoneError):
            await self._say({"type": "websocket.close", "code": 1000})
        self._gone = True

    async def _say(self, message: dict[str, Any]) -> None:
        if self._gone:
            raise ViewerGoneError("the viewer is gone")
        try:
            await self._send(message)
        except (OSError, RuntimeError) as error:  # what ASGI servers raise once the peer is gone
            self._gone = True
            raise ViewerGoneError("the viewer is gone") from error


def _permissions(controls: Controls) -> str:
    # Reading the device's clipboard is for "Paste" in the menu alone, and browsers ask the person as well.
    reads = ("clipboard-read",) if controls.clipboard.to_app else ()
    return csp.permissions("clipboard-write", "fullscreen", *reads)


def _policy(origin: str) -> str:
    scheme, _, host = origin.partition("://")
    socket = f"{'wss' if scheme == 'https' else 'ws'}://{host}"
    return csp.policy(
        {
            "script-src": ("'self'",),
            "style-src": ("'self'",),
            "img-src": ("'self'", "data:"),  # data: for the page's icon, which the gatekeeper has written anew
            "connect-src": ("'self'", socket),  # 'self' alone does not cover ws: in every browser
            "require-trusted-types-for": ("'script'",),
            "trusted-types": ("'none'",),
        }
    )


def _refused(code: str, detail: str) -> Response:
    return problem(403, code, "Refused", detail)
