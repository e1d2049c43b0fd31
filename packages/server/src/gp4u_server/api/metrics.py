"""What Prometheus reads: requests by method, route template and status. Never by path: paths are without end."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class RequestMetrics:
    """Counters of one api process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route", "status")
        self._requests = Counter("gp4u_http_requests", "Answered requests", labels, registry=self.registry)
        self._seconds = Histogram(
            "gp4u_http_request_seconds",
            "Time to the first byte of the answer",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.running = Gauge(
            "gp4u_http_requests_running", "Requests not yet answered", registry=self.registry
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self) -> bytes:
        """The text that a scrape gets."""
        return generate_latest(self.registry)
