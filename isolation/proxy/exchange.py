"""What the data plane needs of a client's connection. ``isolation.web.ingress`` provides it; tests may provide their own.

The response is *pushed*: the upstream connection writes into the exchange as bytes arrive, without waking a task for each piece.
"""

from __future__ import annotations

from typing import Protocol

EXCHANGE = "isolation.exchange"
"""Key of the exchange in an ASGI scope."""

RAW_TARGET = "isolation.raw_target"
"""Key of the exact request target (bytes) in an ASGI scope."""

TARGET = "isolation.target"
"""Key of the parsed :class:`isolation.routing.model.Target` in an ASGI scope."""

UPGRADE = "isolation.upgrade"
"""Scope type of a WebSocket handshake for an app. The app answers it like a plain request, or takes the connection over."""


class ClientGoneError(ConnectionError):
    """The client closed its connection, or was cut off, before its request was read to the end."""


class Source(Protocol):
    """Whoever produces the response: told when the client cannot take more, and when it has gone."""

    def pause(self) -> None:
        """Produce nothing until :meth:`resume`: the client reads more slowly than the app writes."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...

    def client_gone(self) -> None:
        """Give up at once: nobody is listening any more."""
        ...


class TunnelEnd(Protocol):
    """Takes the bytes of a client's connection once HTTP is over on it (:meth:`Exchange.take_over`)."""

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        ...

    def connection_lost(self) -> None:
        """Learn that the client's connection has ended."""
        ...

    def pause(self) -> None:
        """Write nothing to the client until :meth:`resume`."""
        ...

    def resume(self) -> None:
        """Go on writing."""
        ...

    def end(self, why: str) -> None:
        """End the tunnel: the router is stopping (``going-away``), or the decision behind the tunnel has changed."""
        ...


class ClientTransport(Protocol):
    """The part of ``asyncio.Transport`` that a tunnel uses."""

    def write(self, data: bytes) -> None:
        """Send bytes."""
        ...

    def pause_reading(self) -> None:
        """Take nothing from the client for now."""
        ...

    def resume_reading(self) -> None:
        """Take bytes again."""
        ...

    def close(self) -> None:
        """Send what is waiting, then close."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...

    def is_closing(self) -> bool:
        """Say whether the connection is closed, or about to be."""
        ...

    def get_write_buffer_size(self) -> int:
        """Return how many bytes have not been sent yet."""
        ...


class Exchange(Protocol):
    """One request on a client's connection, and the way to answer it."""

    source: Source | None
    """Who produces the response; None while nobody does."""

    @property
    def disconnected(self) -> bool:
        """Say whether the client has gone."""
        ...

    @property
    def head_only(self) -> bool:
        """Say whether the request is a HEAD: the response has no body whatever its headers say."""
        ...

    @property
    def http_10(self) -> bool:
        """Say whether the client speaks HTTP/1.0: no chunks, no interim responses."""
        ...

    @property
    def content_length(self) -> int | None:
        """Return the declared length of the request's body in bytes, or None."""
        ...

    @property
    def has_body(self) -> bool:
        """Say whether the request declares a body (a length above zero, or chunks)."""
        ...

    @property
    def body_complete(self) -> bool:
        """Say whether the whole request has arrived."""
        ...

    @property
    def expects_continue(self) -> bool:
        """Say whether the client waits for ``100 Continue`` before it sends the body."""
        ...

    @property
    def response_started(self) -> bool:
        """Say whether any byte of the response was handed to the connection."""
        ...

    @property
    def writable(self) -> bool:
        """Say whether the client's connection takes more bytes just now."""
        ...

    def take(self) -> bytes:
        """Return the part of the body that has arrived and was not taken yet, without waiting."""
        ...

    async def read(self) -> bytes:
        """Return the next piece of the body, b"" at its end. Raises :class:`ClientGoneError`."""
        ...

    def inform(self, status: int, reason: bytes, block: bytes) -> None:
        """Send an interim (1xx) response. ``block``: header lines, each ended by CRLF."""
        ...

    def respond(self, status: int, reason: bytes, block: bytes, length: int | None, body: bytes, complete: bool) -> None:
        """Start the response, and send the part of the body that is there.

        ``block``: header lines, each ended by CRLF, without any that frame the message: the exchange adds those. ``length``: of the whole body
        in bytes, None where it is not known. ``complete``: ``body`` is all there is.
        """
        ...

    def write(self, data: bytes, complete: bool) -> None:
        """Send more of the body; ``complete`` ends it."""
        ...

    def cut(self) -> None:
        """Break the connection off so that the client sees a truncated response, never a clean end."""
        ...

    def take_over(self, end: TunnelEnd) -> tuple[ClientTransport, bytes]:
        """Make the connection a tunnel: return it, with the bytes that the client has sent already.

        Only for a scope of type :data:`UPGRADE`, and before any response.
        """
        ...
