"""What the service was asked, as Prometheus is told: how often, how it ended, and how long it took.

Of the paths that there are, not of what somebody makes up, so that the series stay few.
"""

from prometheus_client import CollectorRegistry, Histogram, generate_latest

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0)
"""Up to the time that a request may take."""


class Traffic:
    """The requests of one service since it began; for any number of threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._seconds = Histogram(
            "pipeline_http_request_duration_seconds",
            "How long the service took for a request, its waiting included.",
            ("path", "status"),
            registry=self._registry,
            buckets=BUCKETS_S,
        )

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._seconds.labels(path, str(status)).observe(seconds)

    def text(self) -> str:
        """In Prometheus's text format."""
        return generate_latest(self._registry).decode()
