"""An environment that counts its steps."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Counting(gym.Env[Any, Any]):
    """Observes how many steps the episode took."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Discrete(10**9)
        self.action_space = gym.spaces.Discrete(2)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        return np.int64(0), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        return np.int64(self._steps), 1.0, False, False, {}


gym.register("Counting-v0", "tests.ray.counting:Counting")
