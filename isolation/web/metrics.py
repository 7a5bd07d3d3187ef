"""Figures for Prometheus. Names follow https://prometheus.io/docs/practices/naming/."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge


class Metrics:
    """Counters of one worker. A counter's child is looked up once: on the hot path only ``inc`` remains."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._requests = Counter(
            "isolation_requests", "Requests of people, by outcome and app.", ["outcome", "app"], registry=registry
        )
        self._renderer = Counter(
            "isolation_renderer_requests",
            "Requests of isolated browsers for apps, by outcome and app.",
            ["outcome", "app"],
            registry=registry,
        )
        self._failures = Counter(
            "isolation_failures", "Requests that ended in a failure page, by code.", ["code"], registry=registry
        )
        self.live = Gauge(
            "isolation_live_connections",
            "Open responses, WebSockets and viewers.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.viewers = Gauge("isolation_viewers", "Open viewers.", registry=registry, multiprocess_mode="livesum")
        self.event_lag = Gauge(
            "isolation_event_lag_seconds",
            "Age of the newest event when it was handled.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.provider_age = Gauge(
            "isolation_signal_age_seconds",
            "Seconds since a signal provider was last read completely.",
            ["provider"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.provider_up = Gauge(
            "isolation_signal_up",
            "1 when the last reading of a provider succeeded.",
            ["provider"],
            registry=registry,
            multiprocess_mode="livemin",
        )
        self._children: dict[tuple[str, str], Counter] = {}

    def decided(self, outcome: str, app: str) -> None:
        """Count a person's request."""
        child = self._children.get((outcome, app))
        if child is None:
            child = self._children[outcome, app] = self._requests.labels(outcome, app)
        child.inc()

    def rendered(self, outcome: str, app: str) -> None:
        """Count an isolated browser's request."""
        self._renderer.labels(outcome, app).inc()

    def failed(self, code: str) -> None:
        """Count a failure."""
        self._failures.labels(code).inc()
