"""Our listener and data plane, with a gate that forwards everything: ``python -m bench.proxy.bare PORT UPSTREAM_PORT``."""

from __future__ import annotations

import socket
import sys
from typing import Any

import uvloop

from isolation.identity.sessions.live import LiveRegistry
from isolation.policy.model import PolicySet
from isolation.proxy.exchange import TARGET
from isolation.proxy.headers import ASSERTION_HEADER
from isolation.proxy.http import HttpForwarder
from isolation.proxy.pool import Pools
from isolation.routing.model import App, Upstream
from isolation.web.ingress import make_server


def main() -> None:
    port, upstream_port = int(sys.argv[1]), int(sys.argv[2])
    app = App("bench", "127.0.0.1", Upstream("127.0.0.1", upstream_port), PolicySet(()), "a" * 64)
    forwarder = HttpForwarder(Pools(), LiveRegistry())
    identity = ((ASSERTION_HEADER, b"e" * 700),)

    async def gate(scope: Any, _receive: Any, _send: Any) -> None:
        await forwarder.forward(scope, app, scope[TARGET], identity, "session")

    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    uvloop.run(make_server(gate).serve(sockets=[listener]))


main()
