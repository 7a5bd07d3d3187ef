"""What a worker answers while it cannot work: its store cannot be opened. People are told, and nothing is decided."""

from __future__ import annotations

import json
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from isolation.audit.events import new_reference
from isolation.limits import OWN_PREFIX
from isolation.proxy.exchange import TARGET
from isolation.web.answers import FAILURES, Act, respond_failure
from isolation.web.endpoints.health import figures
from isolation.web.navigation import wants_navigation
from isolation.web.pages import PageRenderer

log = structlog.get_logger()


class Shut:
    """The ASGI application of the public listener. ``reason``: what is wrong, for operators."""

    def __init__(self, pages: PageRenderer) -> None:
        self._pages = pages
        self.reason = ""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer everything with the same failure; only the look of its page is served as usual."""
        if scope["type"] == "websocket":
            return
        target = scope[TARGET]
        response = self._pages.static(target.path.removeprefix(f"{OWN_PREFIX}static/"))
        if response is None or not target.path.startswith(f"{OWN_PREFIX}static/"):
            reference = new_reference()
            log.error(
                "request.failed",
                code="store",
                error=self.reason,
                host=target.host,
                method=scope["method"],
                path=target.path,
                reference=reference,
            )
            # No address of the request is offered again: nobody has looked whether it may be.
            acts = (Act("Try again", "/"),)
            navigation = wants_navigation(scope["headers"])
            response = respond_failure(self._pages, FAILURES["store"], navigation=navigation, reference=reference, acts=acts)
        await response({**scope, "type": "http"}, receive, send)

    async def operations(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the operations listener: alive, but not ready."""
        path = scope[TARGET].path
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            response = Response("only GET\n", 405, {"allow": "GET, HEAD"}, "text/plain")
        elif path == "/healthz":
            response = Response("ok\n", 200, media_type="text/plain")
        elif path == "/readyz":
            document = {"ready": False, "store": self.reason}
            response = Response(json.dumps(document, indent=1) + "\n", 503, media_type="application/json")
        elif path == "/metrics":
            response = Response(figures(), 200, media_type=CONTENT_TYPE_LATEST)
        else:
            response = Response("not found\n", 404, media_type="text/plain")
        response.headers["cache-control"] = "no-store"
        await response({**scope, "type": "http"}, receive, send)
