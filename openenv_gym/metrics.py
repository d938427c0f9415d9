"""Where the time of a step goes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from openenv_gym.session.session import Times

PARTS = ("environment", "server", "network", "client")


class SlotMetrics:
    """The parts of one session's steps, summed up; `Metrics` says what they are."""

    def __init__(self) -> None:
        self.steps = 0
        self._environment = self._server = self._network = self._client = 0.0

    def add(self, whole_s: float, times: Times) -> None:
        """Takes in a step that took ``whole_s`` seconds from the call to its return."""
        environment, server, network, client = parts_us(whole_s, times)
        self.steps += 1
        self._environment += environment
        self._server += server
        self._network += network
        self._client += client

    def mean_us(self) -> dict[str, float]:
        """The mean of each part over all steps, NaN before the first."""
        sums = (self._environment, self._server, self._network, self._client)
        return {
            part: us / self.steps if self.steps else math.nan for part, us in zip(PARTS, sums, strict=True)
        }


def parts_us(whole_s: Any, times: Times) -> tuple[Any, Any, Any, Any]:
    """The microseconds of each of `PARTS`; arrays where they are several slots'."""
    wait_us = (times.received_at - times.sent_at) * 1e6
    server_us = times.server_us
    return (
        times.environment_us,
        server_us - times.environment_us,
        wait_us if math.isnan(server_us) else wait_us - server_us,
        whole_s * 1e6 - wait_us,
    )


class Metrics:
    """The parts of each slot's steps, summed up and of the last one.

    The parts are: ``environment``, inside the environment; ``server``, the rest of the time from a request's
    arrival to its answer's leaving, other slots' steps included; ``network``, the rest of the time from the
    request's sending to the answer's arrival; and ``client``, the rest. All are in microseconds. Version 1 of
    the protocol tells nothing of the server: it is a part of the network there, and NaN in its own place.

    Args:
        count: The number of slots.
    """

    def __init__(self, count: int) -> None:
        self.steps = np.zeros(count, np.int64)
        self._sums = np.zeros((len(PARTS), count))
        self._last = np.full((len(PARTS), count), np.nan)

    def add(self, slots: Any, whole_s: Any, times: Times) -> None:
        """Takes in a step of some slots.

        Args:
            slots: Their numbers, or one.
            whole_s: Seconds from the call to its return; may be an array over the slots.
            times: What is known of it; ``environment_us`` may be an array over the slots.
        """
        last = self._last
        last[0, slots], last[1, slots], last[2, slots], last[3, slots] = parts_us(whole_s, times)
        self.steps[slots] += 1
        self._sums[:, slots] += last[:, slots]

    def mean_us(self) -> dict[str, np.ndarray[Any, Any]]:
        """The mean of each part over all steps: arrays of float64 over the slots, NaN before the first."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return {part: self._sums[row] / self.steps for row, part in enumerate(PARTS)}

    def last_us(self) -> dict[str, np.ndarray[Any, Any]]:
        """Each part of the last step: arrays of float64 over the slots."""
        return {part: self._last[row].copy() for row, part in enumerate(PARTS)}
