"""Figures for Prometheus. Names follow https://prometheus.io/docs/practices/naming/."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from renderer.wire.control import LIMITS, NodeState, NodeStatus

# ---------------------------------------------------------------- limits
START_BUCKETS = (
    0.1,
    0.25,
    0.5,
    0.8,
    1.5,
    3.0,
    6.0,
    12.0,
    20.0,
)  # 0.8 s is what people are promised; after 20 s a start is given up
WAIT_BUCKETS = (1, 5, 15, 60, 180, 600, 1800, 3600)  # seconds
_LIMITS = frozenset(code.value for code in LIMITS)


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
        self.queued = Gauge(
            "isolation_queue", "Sessions that wait for an isolated browser.", registry=registry, multiprocess_mode="livesum"
        )
        self._nodes = Gauge(
            "isolation_node_browsers",
            "Browsers of a renderer node: live, warm, and how many may be live (capacity; 0 while it takes nobody new).",
            ["node", "kind"],
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._starts = Counter(
            "isolation_browser_starts", "Starts of isolated browsers, by outcome.", ["outcome"], registry=registry
        )
        self._start_seconds = Histogram(
            "isolation_browser_start_seconds",
            "How long a browser took to start.",
            registry=registry,
            buckets=START_BUCKETS,
        )
        self._wait_seconds = Histogram(
            "isolation_queue_wait_seconds", "How long people waited in the queue.", registry=registry, buckets=WAIT_BUCKETS
        )
        self._ends = Counter("isolation_browser_ends", "Ends of isolated browsers, by reason.", ["why"], registry=registry)
        self._limits = Counter(
            "isolation_limits", "Sessions that were ended because they used too much, by limit.", ["limit"], registry=registry
        )
        self._notices = Counter(
            "isolation_notices",
            "Notices to people, by code: `page-hung` and `page-crashed` among them.",
            ["code"],
            registry=registry,
        )
        self._messages = Counter("isolation_stream_messages", "Messages to viewers, by kind.", ["kind"], registry=registry)
        self._bytes = Counter("isolation_stream_bytes", "Bytes of messages to viewers, by kind.", ["kind"], registry=registry)
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

    def node(self, name: str, status: NodeStatus | None) -> None:
        """Show how full a node is; None: it cannot be reached."""
        takes = status is not None and status.state is NodeState.OPEN
        for kind, value in (
            ("live", status.live if status else 0),
            ("warm", status.warm if status else 0),
            ("capacity", status.capacity if status and takes else 0),
        ):
            self._nodes.labels(name, kind).set(value)

    def started(self, outcome: str, seconds: float) -> None:
        """See :class:`isolation.broker.figures.Figures`."""
        self._starts.labels(outcome).inc()
        if outcome == "started":
            self._start_seconds.observe(seconds)

    def ended(self, why: str) -> None:
        """See :class:`isolation.broker.figures.Figures`."""
        self._ends.labels(why).inc()
        if why in _LIMITS:
            self._limits.labels(why).inc()

    def waited(self, seconds: float) -> None:
        """See :class:`isolation.broker.figures.Figures`."""
        self._wait_seconds.observe(seconds)

    def sent(self, kind: str, size: int) -> None:
        """See :class:`isolation.broker.figures.Figures`."""
        self._messages.labels(kind).inc()
        self._bytes.labels(kind).inc(size)

    def noticed(self, code: str) -> None:
        """See :class:`isolation.broker.figures.Figures`."""
        self._notices.labels(code).inc()
