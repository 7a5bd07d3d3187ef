"""``/healthz``, ``/readyz`` and ``/metrics``, on a listener of their own that people cannot reach."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest, multiprocess
from starlette.responses import Response

from isolation.clock import Clock
from isolation.errors import StoreError
from isolation.identity.sessions.live import LiveRegistry
from isolation.proxy.exchange import TARGET
from isolation.signals.model import ProviderState
from isolation.web.metrics import Metrics
from renderer.wire.control import NodeState, NodeStatus


class ReadableStore(Protocol):
    """A store that can be asked whether it answers."""

    async def read(self, work: Any) -> Any:
        """Run ``work`` in a read transaction. Raises StoreError."""
        ...


class Node(Protocol):
    """A connection to a renderer node."""

    @property
    def up(self) -> bool:
        """Say whether the node is connected and has reported."""
        ...

    @property
    def status(self) -> NodeStatus | None:
        """Return what it reported last."""
        ...


class ProviderStates(Protocol):
    """Reads the states of signal providers."""

    async def provider_states(self) -> list[ProviderState]:
        """Return every provider's state."""
        ...


class Streams(Protocol):
    """Counts open viewers."""

    @property
    def streams(self) -> int:
        """Return how many are open."""
        ...


@dataclass(frozen=True, slots=True)
class Readiness:
    """What readiness depends on. Providers are reported but do not count: without them the router isolates, and that is its job."""

    store: ReadableStore
    nodes: Mapping[str, Node]
    risk: ProviderStates
    started: asyncio.Event
    clock: Clock
    metrics: Metrics
    live: LiveRegistry
    relay: Streams

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """Return whether people can be served, and the state of every part."""
        store, providers = "ok", {}
        try:
            states = await self.risk.provider_states()
        except StoreError as error:
            store, states = str(error), []
        for state in states:
            age = None if state.last_success is None else round(max(0.0, self.clock.now() - state.last_success), 1)
            providers[state.name] = {"status": str(state.status), "age_seconds": age}
            self.metrics.provider_up.labels(state.name).set(1 if str(state.status) == "ok" else 0)
            if age is not None:
                self.metrics.provider_age.labels(state.name).set(age)
        nodes = {name: _word(node) for name, node in self.nodes.items()}
        # A node that is full, drains or lacks memory still serves those it has, and people wait their turn for it.
        ready = self.started.is_set() and store == "ok" and any(word != "down" for word in nodes.values())
        return ready, {
            "ready": ready,
            "store": store,
            "renderer_nodes": nodes,
            "signals": providers,
            "live_connections": self.live.count(),
            "viewers": self.relay.streams,
        }


def _word(node: Node) -> str:
    """Return a node's state in one word: ``up``, ``full``, ``draining``, ``low-memory`` or ``down``."""
    status = node.status
    if not node.up or status is None:
        return "down"
    if status.state is not NodeState.OPEN:
        return status.state.value
    return "up" if status.live < status.capacity else "full"


class Health:
    """The ASGI application of the operations listener."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer GET and HEAD of the three paths."""
        path = scope[TARGET].path
        if scope["type"] != "http" or scope["method"] not in {"GET", "HEAD"}:
            response = Response("only GET\n", 405, {"allow": "GET, HEAD"}, "text/plain")
        elif path == "/healthz":
            response = Response("ok\n", 200, media_type="text/plain")
        elif path == "/readyz":
            ready, document = await self._readiness.report()
            response = Response(json.dumps(document, indent=1) + "\n", 200 if ready else 503, media_type="application/json")
        elif path == "/metrics":
            await self._readiness.report()
            response = Response(figures(), 200, media_type=CONTENT_TYPE_LATEST)
        else:
            response = Response("not found\n", 404, media_type="text/plain")
        response.headers["cache-control"] = "no-store"
        await response({**scope, "type": "http"}, receive, send)


def figures() -> bytes:
    """Return the figures of this process, or of all workers where there are several (prometheus-client's multi-process mode)."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
