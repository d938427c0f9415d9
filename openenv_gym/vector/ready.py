"""What the slots that are ready first hand out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Ready(NamedTuple):
    """What `RemoteVectorEnv.recv` returns: k slots that are ready, and what came of their actions.

    Attributes:
        slots: Their numbers, ascending, int64 of shape (k,).
        observations: An element of the single observation space's batch of k.
        rewards: float64 of shape (k,).
        terminations: bool of shape (k,).
        truncations: bool of shape (k,).
        infos: As in `RemoteVectorEnv.step`, with k places.
    """

    slots: np.ndarray[Any, Any]
    observations: Any
    rewards: np.ndarray[Any, Any]
    terminations: np.ndarray[Any, Any]
    truncations: np.ndarray[Any, Any]
    infos: dict[str, Any]
