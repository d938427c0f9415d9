"""What a server counts for Prometheus, at a cost that a step does not feel."""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from openenv_server.sessions import Sessions

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Upper bounds in seconds, half a decade apart: from a step of CartPole to one of a browser.
BOUNDS_S = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)


class Durations:
    """Durations in buckets. Any thread may add some: 64 at once take 1.5 microseconds, and one a third."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        """Adds a duration, in seconds, so many times."""
        place = bisect_left(BOUNDS_S, seconds)
        with self._lock:
            self._counts[place] += times
            self._sum_s += seconds * times

    def add_all(self, seconds: Sequence[float]) -> None:
        """Adds several durations, in seconds."""
        size = len(seconds)
        if size == 1:
            self.add(seconds[0])
            return
        ordered, begin = sorted(seconds), 0
        with self._lock:
            self._sum_s += sum(seconds)
            for place, bound in enumerate(BOUNDS_S):
                end = bisect_right(ordered, bound, begin)
                self._counts[place] += end - begin
                if end == size:
                    return
                begin = end
            self._counts[-1] += size - begin

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """How many are at most as long as each bound, as Prometheus wants it; and the sum in seconds."""
        with self._lock:
            counts, sum_s = list(self._counts), self._sum_s
        total, buckets = 0, []
        for bound, count in zip((*map(str, BOUNDS_S), "+Inf"), counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets, sum_s


class Tally:
    """What has been done in the sessions of a server.

    Attributes:
        step_s: Seconds inside the environment, of each step; the reset of an autoreset is in the step's.
        reset_s: The same of each reset that was asked for.
        queue_s: Seconds from a request's arrival to its environment's start, for each reset and step. Where
            one thread has several environments step in turn, to the first one's start.
        opened: Sessions that were opened.
        steps: Steps taken in sessions that are closed.
        resets: Episodes started in sessions that are closed.
    """

    def __init__(self) -> None:
        self.step_s, self.reset_s, self.queue_s = Durations(), Durations(), Durations()
        self.opened = self.steps = self.resets = 0
        self._errors: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count_error(self, code: str) -> None:
        """Counts an error that a client was told; any thread may."""
        with self._lock:
            self._errors[code] += 1

    def errors(self) -> dict[str, int]:
        """How many there were of each code."""
        with self._lock:
            return dict(self._errors)


class ServerCollector(Collector):
    """Reads the figures of one server when Prometheus asks."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._steps = self._resets = 0

    def collect(self) -> Iterator[Metric]:
        sessions, tally = self._sessions, self._sessions.tally
        worker = [str(sessions.worker)]
        steps, resets = sessions.steps_and_resets()
        # A session's two parts of a count are not read in one go, and a counter must not go back.
        self._steps, self._resets = max(steps, self._steps), max(resets, self._resets)
        for name, text, value in (
            ("sessions_active", "Sessions under way.", sessions.active),
            ("sessions_capacity", "How many there may be.", sessions.capacity),
            ("abandoned_threads", "Threads whose environment does not return.", sessions.abandoned_threads),
        ):
            gauge = GaugeMetricFamily(f"openenv_{name}", text, labels=["worker"])
            gauge.add_metric(worker, value)
            yield gauge
        for name, text, value in (
            ("sessions_opened", "Sessions opened.", tally.opened),
            ("steps", "Steps taken.", self._steps),
            ("resets", "Episodes started, by autoreset as well.", self._resets),
        ):
            counter = CounterMetricFamily(f"openenv_{name}", text, labels=["worker"])
            counter.add_metric(worker, value)
            yield counter
        errors = CounterMetricFamily("openenv_errors", "Errors told to clients.", labels=["worker", "code"])
        for code, count in sorted(tally.errors().items()):
            errors.add_metric([*worker, code], count)
        yield errors
        for name, text, durations in (
            ("step", "Seconds inside the environment, of each step.", tally.step_s),
            ("reset", "Seconds inside the environment, of each reset asked for.", tally.reset_s),
            ("queue", "Seconds from a request's arrival to its environment's start.", tally.queue_s),
        ):
            histogram = HistogramMetricFamily(f"openenv_{name}_seconds", text, labels=["worker"])
            buckets, sum_s = durations.cumulated()
            histogram.add_metric(worker, buckets, sum_s)
            yield histogram


def registry_of(sessions: Sessions) -> CollectorRegistry:
    """A registry of a server's own: two in one process do not collide."""
    registry = CollectorRegistry()
    registry.register(ServerCollector(sessions))
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """What Prometheus scrapes."""
    return generate_latest(registry)
