"""A published environment that costs next to nothing, for ``openenv-gym serve --app app:app``."""

from __future__ import annotations

import math
from typing import Any

from openenv.core.env_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State
from server import Poles, Push


class Pole(Environment):
    """The equations of CartPole. An episode that ends begins again."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._at = [0.01, 0.0, 0.01, 0.0]

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Poles:
        self._at = [0.01, 0.0, 0.01, 0.0]
        return Poles(observation=self._at)

    def step(self, action: Push, timeout_s: float | None = None, **kwargs: Any) -> Poles:
        x, speed, angle, turning = self._at
        sine, cosine = math.sin(angle), math.cos(angle)
        pushed = ((10.0 if action.action else -10.0) + 0.05 * turning**2 * sine) / 1.1
        faster = (9.8 * sine - cosine * pushed) / (0.5 * (4 / 3 - 0.1 * cosine**2 / 1.1))
        self._at = [
            x + 0.02 * speed,
            speed + 0.02 * (pushed - 0.05 * faster * cosine / 1.1),
            angle + 0.02 * turning,
            turning + 0.02 * faster,
        ]
        done = abs(x) > 2.4 or abs(angle) > 0.21
        seen = self._at
        if done:
            self._at = [0.01, 0.0, 0.01, 0.0]
        return Poles(observation=seen, done=done, reward=1.0)

    @property
    def state(self) -> State:
        return State()


app = create_app(Pole, Push, Poles, env_name="pole", max_concurrent_envs=100)
