"""Counters of the server, in Prometheus' text format."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter

LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32)


class Histogram:
    """Cumulative histogram with fixed buckets; not locked by itself.

    Args:
        bounds: Upper bounds of the buckets, ascending; one more without bound is added.
    """

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> list[str]:
        """The histogram's samples."""
        cumulative = 0
        lines = []
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            cumulative += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {cumulative}')
        return [*lines, f"{name}_sum {self.total:.6f}", f"{name}_count {cumulative}"]


class Metrics:
    """Everything that is counted. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._latency = Histogram(LATENCY_BUCKETS_S)
        self._wait = Histogram(LATENCY_BUCKETS_S)
        self._batch_time = Histogram(LATENCY_BUCKETS_S)
        self._batch_size = Histogram(BATCH_BUCKETS)
        self.queue_length = 0
        self.connections = 0

    def observe_request(self, route: str, http_status: int, seconds: float) -> None:
        """Count one HTTP request."""
        with self._lock:
            self._requests[route, http_status] += 1
            self._latency.observe(seconds)

    def observe_wait(self, seconds: float) -> None:
        """Count the time that one question waited for the model."""
        with self._lock:
            self._wait.observe(seconds)

    def observe_batch(self, size: int, seconds: float) -> None:
        """Count one batch that the model answered."""
        with self._lock:
            self._batch_size.observe(size)
            self._batch_time.observe(seconds)

    def render(self) -> str:
        """All metrics in Prometheus' text format 0.0.4."""
        with self._lock:
            requests = [f'roboref_requests_total{{route="{_escaped(r)}",code="{c}"}} {n}' for (r, c), n in sorted(self._requests.items())]
            sections = [
                ("roboref_requests_total", "counter", "HTTP requests by route and status.", requests),
                ("roboref_request_seconds", "histogram", "Duration of HTTP requests.", self._latency.lines("roboref_request_seconds")),
                ("roboref_wait_seconds", "histogram", "Time a question waited for the model.", self._wait.lines("roboref_wait_seconds")),
                ("roboref_batch_seconds", "histogram", "Time the model took for a batch.", self._batch_time.lines("roboref_batch_seconds")),
                ("roboref_batch_size", "histogram", "Questions per batch.", self._batch_size.lines("roboref_batch_size")),
                ("roboref_queue_length", "gauge", "Questions waiting.", [f"roboref_queue_length {self.queue_length}"]),
                ("roboref_connections", "gauge", "Open connections.", [f"roboref_connections {self.connections}"]),
            ]
        lines = []
        for name, kind, text, samples in sections:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}", *samples]
        return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    """The value of a label, which the name of a model's file may be a part of."""
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
