"""Limits of the listener: times, and how many connections one worker holds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, and how many connections one worker holds.

    ``head``: for a whole request head, from its first byte, and for the first byte of a new connection (Apache's mod_reqtimeout: 20). ``idle``: between
    two requests; longer than the 60 s after which common load balancers drop theirs, so that they close first. ``body``: between two pieces of a
    body that somebody waits for. ``stall``: for a client that takes nothing of its response (nginx's send_timeout: 60). ``linger``: after a last
    response. ``parting``: for a request that is on its way when the server stops, on a connection that waits for one: what a client sends to a
    connection that is closed at that moment is lost, and only some send it again. ``connections``: about 100 KiB of memory and a file descriptor each.
    """

    head: float = 20.0
    idle: float = 75.0
    body: float = 30.0
    stall: float = 60.0
    linger: float = 5.0
    parting: float = 0.3
    tick: float = 1.0
    connections: int = 10_000
