"""The metrics of a server, as Prometheus scrapes them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from openenv_server.sessions.capacity import Sessions

CONTENT_TYPE = CONTENT_TYPE_LATEST


class ServerMetrics(Collector):
    """Reads the counters of one server when Prometheus asks.

    It has its own registry, so two servers in one process do not collide.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._steps = self._resets = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        sessions, counters = self._sessions, self._sessions.counters
        worker = [str(sessions.worker)]
        counts = sessions.total_counts()
        # The parts of a session's count are not read atomically, and a counter must not decrease.
        self._steps, self._resets = max(counts.steps, self._steps), max(counts.resets, self._resets)
        for name, text, value in (
            ("sessions_active", "Sessions in use.", sessions.active),
            ("sessions_capacity", "The most sessions at a time.", sessions.capacity),
            ("clients_waiting", "Clients that wait in line for free sessions.", len(sessions.line)),
            ("abandoned_threads", "Threads whose environment does not return.", sessions.abandoned_threads),
        ):
            gauge = GaugeMetricFamily(f"openenv_{name}", text, labels=["worker"])
            gauge.add_metric(worker, value)
            yield gauge
        for name, text, value in (
            ("sessions_opened", "Sessions opened.", counters.opened),
            ("steps", "Steps taken.", self._steps),
            ("resets", "Episodes started, by autoreset as well.", self._resets),
        ):
            counter = CounterMetricFamily(f"openenv_{name}", text, labels=["worker"])
            counter.add_metric(worker, value)
            yield counter
        errors = CounterMetricFamily("openenv_errors", "Errors sent to clients.", labels=["worker", "code"])
        for code, count in sorted(counters.errors().items()):
            errors.add_metric([*worker, code], count)
        yield errors
        for name, text, durations in (
            ("step", "Seconds inside the environment per step.", counters.step_s),
            ("reset", "Seconds inside the environment per requested reset.", counters.reset_s),
            ("queue", "Seconds from a request's arrival until its environment starts.", counters.queue_s),
        ):
            histogram = HistogramMetricFamily(f"openenv_{name}_seconds", text, labels=["worker"])
            buckets, sum_s = durations.cumulative()
            histogram.add_metric(worker, buckets, sum_s)
            yield histogram
