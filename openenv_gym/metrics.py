"""Metrics: where the time of steps goes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openenv_gym.session.session import Times

PARTS = ("environment", "server", "network", "client")
# Of a vector environment, whose slots wait for each other.
VECTOR_PARTS = ("environment", "other_slots", "server", "network", "client")

# Steps are buffered and added up so many at a time, which costs a tenth of adding them one by one.
METRICS_BUFFER = 256


def parts_us(whole_s: Any, times: Times) -> tuple[Any, Any, Any, Any]:
    """Return the microseconds of each of `PARTS`; arrays if they are those of several slots."""
    wait_us = (times.received_at - times.sent_at) * 1e6
    server_us = times.server_us
    return (
        times.environment_us,
        server_us - times.busy_us,
        wait_us if math.isnan(server_us) else wait_us - server_us,
        whole_s * 1e6 - wait_us,
    )


class SlotMetrics:
    """The parts of one session's steps, summed up; see `Metrics`."""

    def __init__(self) -> None:
        self.steps: int = 0
        self._sums = [0.0] * len(PARTS)

    def add_all(self, steps: list[tuple[float, Times]]) -> None:
        """Add steps, and clear the list: the seconds from the call to its return, and what is known of it."""
        for whole_s, times in steps:
            self._sums = [total + us for total, us in zip(self._sums, parts_us(whole_s, times), strict=True)]
        self.steps += len(steps)
        steps.clear()

    def mean_us(self) -> dict[str, float]:
        """Return the mean of each part over all steps, NaN before the first."""
        return {
            part: us / self.steps if self.steps else math.nan
            for part, us in zip(PARTS, self._sums, strict=True)
        }


class Metrics:
    """The parts of each slot's steps, summed up, and of the last step.

    ``environment`` is the time inside the environment; ``other_slots`` the time in which only environments of
    other slots were running; ``server`` the rest of the time between the arrival of a request and the sending
    of its response; ``network`` the rest of the time between sending the request and receiving the response;
    and ``client`` the rest. All are in microseconds.
    Version 1 of the protocol says nothing about the server: its time is in ``network`` there, and its own
    parts are NaN.

    Args:
        count: The number of slots.
    """

    def __init__(self, count: int) -> None:
        self.steps: NDArray[np.int64] = np.zeros(count, np.int64)
        self._sums = np.zeros((len(VECTOR_PARTS), count))
        self._last = np.full((len(VECTOR_PARTS), count), np.nan)

    def add_all(self, steps: list[tuple[Any, Any, Times]]) -> None:
        """Add steps, and clear the list.

        Args:
            steps: For each, the rows of its slots, the seconds from the call to its return, and what is known
                of it. The seconds and ``environment_us`` are arrays over the slots, or one number for all.
        """
        last = self._last
        for rows, whole_s, times in steps:
            last[0, rows], last[2, rows], last[3, rows], last[4, rows] = parts_us(whole_s, times)
            last[1, rows] = np.maximum(times.busy_us - times.environment_us, 0.0)
            self.steps[rows] += 1
            self._sums[:, rows] += last[:, rows]
        steps.clear()

    def mean_us(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the mean of each part over all steps: float64 over the slots, NaN before the first."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {part: self._sums[row] / self.steps for row, part in enumerate(VECTOR_PARTS)}

    def last_us(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return each part of the last step: float64 arrays over the slots."""
        return {part: self._last[row].copy() for row, part in enumerate(VECTOR_PARTS)}
