"""Gymnasium environments with steps of a given cost: frames, computing, waiting."""

from __future__ import annotations

import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Frames(gym.Env[np.ndarray[Any, Any], np.int64]):
    """Observes frames of the size of an Atari game, and does nothing else."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, (210, 160, 3), np.uint8)
        self.action_space = spaces.Discrete(4)
        self._frames = np.random.default_rng(0).integers(0, 256, (8, 210, 160, 3), np.uint8)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        return self._frames[0], {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        return self._frames[self._steps % 8], 1.0, False, False, {}


class Busy(gym.Env[np.int64, np.int64]):
    """Computes for a number of seconds of CPU time in each step."""

    def __init__(self, seconds: float) -> None:
        self.observation_space = spaces.Discrete(2)
        self.action_space = spaces.Discrete(2)
        self._seconds = seconds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.int64(0), {}

    def step(self, action: Any) -> Any:
        end = time.thread_time() + self._seconds
        while time.thread_time() < end:
            pass
        return np.int64(1), 1.0, False, False, {}


class Nap(gym.Env[np.int64, np.int64]):
    """Sleeps in each step, beside the others of its process."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, seconds: float) -> None:
        self.observation_space = spaces.Discrete(2)
        self.action_space = spaces.Discrete(2)
        self._seconds = seconds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.int64(0), {}

    def step(self, action: Any) -> Any:
        time.sleep(self._seconds)
        return np.int64(1), 1.0, False, False, {}


gym.register("Frames-v0", "benchmarks.environments:Frames")
gym.register("Busy1ms-v0", "benchmarks.environments:Busy", kwargs={"seconds": 0.001})
gym.register("Nap50ms-v0", "benchmarks.environments:Nap", kwargs={"seconds": 0.05})
gym.register("Nap1s-v0", "benchmarks.environments:Nap", kwargs={"seconds": 1.0})
