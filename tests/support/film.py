"""A Gymnasium environment that observes frames like those of a game: they compress well."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from openenv_server import create_app, gymnasium_factory

SHAPE = (210, 160, 3)
FRAME_BYTES = 210 * 160 * 3


class Film(gym.Env[Any, Any]):
    """A block on a background. Where it goes depends on the actions and on the seed."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 255, SHAPE, np.uint8)
        self.action_space = spaces.Discrete(5)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._row, self._color = 100, self.np_random.integers(0, 256, 3, np.uint8)
        return self._frame(), {}

    def step(self, action: Any) -> Any:
        self._row = int(self._row + self.np_random.integers(-5, 6) * (1 + action)) % 190
        return self._frame(), float(self._row), bool(self.np_random.random() < 0.03), False, {}

    def _frame(self) -> Any:
        frame = np.full(SHAPE, 87, np.uint8)
        frame[self._row : self._row + 16, 20:24] = self._color
        return frame


def film_app() -> Any:
    """An application that serves it."""
    factory, models = gymnasium_factory(Film)
    return create_app(factory, models.action, models.observation)
