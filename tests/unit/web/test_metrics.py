"""Figures of isolated browsers: what the broker says is what Prometheus reads."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from isolation.web.metrics import Metrics
from renderer.wire.control import LIMITS, LeaseCode, NodeState, NodeStatus


def test_isolated_browsers_are_counted() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.started("started", 0.4)
    metrics.started("no-capacity", 0.01)
    for code in LeaseCode:
        metrics.ended(code.value)
    metrics.ended("node-lost")
    metrics.waited(20.0)
    metrics.sent("frame", 1000)
    metrics.sent("frame", 500)
    metrics.noticed("page-hung")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("isolation_browser_starts_total", outcome="started") == 1
    assert value("isolation_browser_starts_total", outcome="no-capacity") == 1
    assert value("isolation_browser_start_seconds_count") == 1
    assert value("isolation_browser_ends_total", why="node-lost") == 1
    assert {code for code in LeaseCode if value("isolation_limits_total", limit=code.value)} == LIMITS
    assert value("isolation_queue_wait_seconds_sum") == 20
    assert value("isolation_stream_messages_total", kind="frame") == 2
    assert value("isolation_stream_bytes_total", kind="frame") == 1500
    assert value("isolation_notices_total", code="page-hung") == 1


def test_a_node_that_takes_nobody_has_no_capacity() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)

    def shown() -> list[float | None]:
        return [
            registry.get_sample_value("isolation_node_browsers", {"node": "n", "kind": kind})
            for kind in ("live", "warm", "capacity")
        ]

    metrics.node("n", NodeStatus(3, 1, 8, "156.0"))
    assert shown() == [3, 1, 8]
    metrics.node("n", NodeStatus(3, 0, 8, "156.0", NodeState.DRAINING))
    assert shown() == [3, 0, 0]
    metrics.node("n", None)
    assert shown() == [0, 0, 0]
