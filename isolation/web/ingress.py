"""The listener: uvicorn's server with our own protocol on httptools.

What a browser or a renderer sends is parsed here, held against the guard, bounded in size and time, and handed to the application as an ASGI
scope that also carries the exact target (``isolation.raw_target``), its one parse (``isolation.target``) and the exchange
(``isolation.exchange``) through which the data plane answers without detours.

A WebSocket handshake for our own stream becomes an ASGI ``websocket`` scope (uvicorn's websockets-sansio). For anything else it becomes a scope of type
``isolation.upgrade``: the application answers it like a plain request, or takes the connection over as a tunnel. No other upgrade exists:
RFC 9110 §7.8 lets a server ignore them, so the request is served without.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast

import uvicorn
from uvicorn.config import Config
from uvicorn.server import ServerState

from isolation.web.client import IngressProtocol
from isolation.web.exchange import Application
from isolation.web.limits import Limits
from renderer.wire.blobs import MAX_BLOB_BYTES


class Ingress:
    """What all connections of one worker share: the application, the limits, and the ticker that keeps the time limits."""

    def __init__(self, app: Application, limits: Limits | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self.app = app
        self.limits = limits or Limits()
        self.connections: set[IngressProtocol] = set()
        self.now = 0.0  # monotonic, as of the last tick: exact enough for limits of seconds, and free to read
        self._ticker: asyncio.TimerHandle | None = None
        self.config = Config(
            cast("Any", app),
            http=cast("Any", self._protocol),
            ws="websockets-sansio",
            ws_max_size=MAX_BLOB_BYTES,
            ws_per_message_deflate=False,  # the stream's content is compressed already
            lifespan="off",
            log_config=None,
            log_level="warning",  # uvicorn's own lines about WebSockets contain the query
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            interface="asgi3",
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
            timeout_graceful_shutdown=5,
        )
        self.config.load()
        self.server = uvicorn.Server(self.config)

    @property
    def stopping(self) -> bool:
        """Say whether the server is told to stop."""
        return self.server.should_exit

    def serve(self, transport: asyncio.Transport, channel: object, *, scheme: str | None = None) -> IngressProtocol:
        """Speak HTTP on a transport that somebody else accepted (the egress gateway), and return the protocol.

        ``channel`` ends up in ``scope["state"]["channel"]``; requests of such a connection may have absolute-form targets. ``scheme``: what the client
        believes to speak, where the transport cannot tell.
        """
        protocol = IngressProtocol(
            self.config, self.server.server_state, {}, asyncio.get_running_loop(), ingress=self, channel=channel, scheme=scheme
        )
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        return protocol

    def _protocol(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> IngressProtocol:
        return IngressProtocol(config, server_state, app_state, _loop, ingress=self, channel=None)

    def joined(self, protocol: IngressProtocol) -> None:
        """Count a connection, and keep the ticker running."""
        if self._ticker is None:
            self.now = protocol.loop.time()
            self._ticker = protocol.loop.call_later(self.limits.tick, self._tick, protocol.loop)
        self.connections.add(protocol)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time()
        for protocol in list(self.connections):
            protocol.tend(self.now)
        self._ticker = loop.call_later(self.limits.tick, self._tick, loop) if self.connections else None


def make_server(app: Application, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None) -> uvicorn.Server:
    """Return a server for ``app``: ``await server.serve(sockets=[…])``. Nothing of Starlette or uvicorn's middleware is on the way."""
    return Ingress(app, limits, tls=tls).server
