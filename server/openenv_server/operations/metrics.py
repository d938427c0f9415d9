"""The metrics of a server, as Prometheus scrapes them."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from openenv_gym.version import own_version
from openenv_server.sessions.capacity import Sessions
from openenv_server.sessions.counters import Durations
from openenv_server.sessions.lifecycle import EndReason

CONTENT_TYPE = CONTENT_TYPE_LATEST
# What the guard refuses with, which is there before the first time.
_REFUSALS = (401, 403, 429)
_MEMORY = Path("/proc/self/statm")
_VERSION = own_version()

# Values by those of their labels, without the worker's.
Values = Mapping[tuple[str, ...], float]


class ServerMetrics(Collector):
    """Reads the counters of one process when Prometheus asks.

    It has its own registry, so two servers in one process do not collide.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._steps = self._resets = 0
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> str:
        """The metrics in Prometheus' text format. Call it on the event loop."""
        return generate_latest(self._registry).decode()

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges()
        yield from self._counters()
        yield from self._histograms()
        yield from self._process()

    def _gauges(self) -> Iterator[Metric]:
        sessions = self._sessions
        yield self._gauge("openenv_sessions_active", "Sessions in use.", sessions.active)
        yield self._gauge("openenv_sessions_capacity", "Maximum number of sessions.", sessions.capacity)
        yield self._gauge("openenv_sessions_kept", "Sessions that wait for their client.", sessions.kept())
        waiting = "Clients that wait in line for free sessions."
        yield self._gauge("openenv_clients_waiting", waiting, len(sessions.line))
        abandoned = "Threads whose environment does not return."
        yield self._gauge("openenv_abandoned_threads", abandoned, sessions.abandoned_threads)
        failures = "Failures to make an environment since the last success."
        yield self._gauge("openenv_factory_failures", failures, sessions.failures_in_a_row)
        yield self._gauge("openenv_draining", "1 while the server stops.", int(sessions.is_stopping))

    def _counters(self) -> Iterator[Metric]:
        counters, counts = self._sessions.counters, self._sessions.total_counts()
        # The parts of a session's count are not read atomically, and a counter must not decrease.
        self._steps, self._resets = max(counts.steps, self._steps), max(counts.resets, self._resets)
        cut, resumed = counters.cut_and_resumed()
        received, sent = counters.bytes_received_and_sent()
        for name, text, value in (
            ("sessions_opened", "Sessions opened.", counters.opened),
            ("sessions_cut", "Sessions whose connection broke, and which were kept.", cut),
            ("sessions_resumed", "Sessions whose client returned.", resumed),
            ("unix_connections", "Connections that moved to the Unix socket.", counters.moved()),
            ("steps", "Steps taken.", self._steps),
            ("resets", "Episodes started, by autoreset as well.", self._resets),
            ("received_bytes", "Bytes of messages and bodies received.", received),
            ("sent_bytes", "Bytes of messages and bodies sent.", sent),
        ):
            yield self._counter(f"openenv_{name}", text, [], {(): value})
        closed: Values = {(reason.value,): counters.closed[reason] for reason in EndReason}
        yield self._counter("openenv_sessions_closed", "Sessions closed.", ["reason"], closed)
        errors: Values = {(code,): count for code, count in sorted(counters.errors().items())}
        yield self._counter("openenv_errors", "Errors sent to clients.", ["code"], errors)
        found = {**dict.fromkeys(_REFUSALS, 0), **counters.refused()}
        refused: Values = {(str(status),): count for status, count in sorted(found.items())}
        yield self._counter("openenv_refused", "Requests and handshakes refused.", ["status"], refused)

    def _histograms(self) -> Iterator[Metric]:
        counters = self._sessions.counters
        for name, text, durations in (
            ("step", "Seconds inside the environment per step.", counters.step_s),
            ("reset", "Seconds inside the environment per requested reset.", counters.reset_s),
            ("queue", "Seconds from a request's arrival until its environment starts.", counters.queue_s),
        ):
            yield self._histogram(f"openenv_{name}_seconds", text, [], {(): durations})
        requests: dict[tuple[str, ...], Durations] = {
            (route, version): durations for route, version, durations in counters.requests()
        }
        text = "Seconds from a request's arrival until its answer is ready."
        yield self._histogram("openenv_request_seconds", text, ["route", "version"], requests)

    def _process(self) -> Iterator[Metric]:
        yield self._gauge("openenv_worker_up", "1 for each process that has answered this scrape.", 1)
        build = GaugeMetricFamily(
            "openenv_build_info", "The versions.", labels=["worker", "version", "python"]
        )
        build.add_metric([str(self._sessions.worker), _VERSION, platform.python_version()], 1)
        yield build
        spent = os.times()
        cpu_s = spent.user + spent.system
        yield self._counter("process_cpu_seconds", "CPU time of the process.", [], {(): cpu_s})
        if _MEMORY.exists():
            resident = int(_MEMORY.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            yield self._gauge("process_resident_memory_bytes", "Memory of the process.", resident)
        started_at = time.time() - (time.monotonic() - self._sessions.made_at)
        yield self._gauge("process_start_time_seconds", "When the server was made.", round(started_at, 1))

    def _gauge(self, name: str, text: str, value: float) -> Metric:
        gauge = GaugeMetricFamily(name, text, labels=["worker"])
        gauge.add_metric([str(self._sessions.worker)], value)
        return gauge

    def _counter(self, name: str, text: str, labels: Sequence[str], values: Values) -> Metric:
        counter = CounterMetricFamily(name, text, labels=["worker", *labels])
        for label_values, value in values.items():
            counter.add_metric([str(self._sessions.worker), *label_values], value)
        return counter

    def _histogram(
        self, name: str, text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], Durations]
    ) -> Metric:
        histogram = HistogramMetricFamily(name, text, labels=["worker", *labels])
        for label_values, durations in values.items():
            buckets, sum_s = durations.cumulative()
            histogram.add_metric([str(self._sessions.worker), *label_values], buckets, sum_s)
        return histogram


def merged(texts: Sequence[str]) -> str:
    """The metrics of several processes as one text, in which each metric stands once."""
    found: dict[str, list[str]] = {}
    for text in texts:
        for block in text.split("# HELP ")[1:]:
            about, _, rest = block.partition("\n")
            kind, _, samples = rest.partition("\n")
            found.setdefault(f"# HELP {about}\n{kind}\n", []).append(samples)
    return "".join(head + "".join(samples) for head, samples in found.items())
