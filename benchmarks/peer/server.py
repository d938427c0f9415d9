"""Serve CartPole, or frames as nested lists, with the published package: python server.py KIND PORT."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import uvicorn
from pydantic import Field

from openenv.core.env_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State


class Push(Action):
    """A push to the left or to the right."""

    action: int = Field(ge=0, le=1)


class Poles(Observation):
    """The position of the pole."""

    observation: list[float]


class Frame(Observation):
    """An image as nested lists."""

    observation: list[list[list[int]]]


class CartPole(Environment):
    """Gymnasium's CartPole. When an episode ends, the same step begins the next one."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._env = gym.make("CartPole-v1", disable_env_checker=True)

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Poles:
        observation, _ = self._env.reset(seed=seed)
        return Poles(observation=observation.tolist(), done=False, reward=None)

    def step(self, action: Push, timeout_s: float | None = None, **kwargs: Any) -> Poles:
        observation, reward, terminated, truncated, _ = self._env.step(action.action)
        if terminated or truncated:
            observation, _ = self._env.reset()
        return Poles(
            observation=observation.tolist(), done=bool(terminated or truncated), reward=float(reward)
        )

    @property
    def state(self) -> State:
        return State()


class Frames(Environment):
    """The same frames as benchmarks.environments.Frames."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._frames = np.random.default_rng(0).integers(0, 256, (8, 210, 160, 3), np.uint8)
        self._steps = 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Frame:
        return Frame(observation=self._frames[0].tolist(), done=False, reward=None)

    def step(self, action: Push, timeout_s: float | None = None, **kwargs: Any) -> Frame:
        self._steps += 1
        return Frame(observation=self._frames[self._steps % 8].tolist(), done=False, reward=1.0)

    @property
    def state(self) -> State:
        return State()


if __name__ == "__main__":
    kinds = {"cartpole": (CartPole, Poles), "frames": (Frames, Frame)}
    environment, observation = kinds[sys.argv[1]]
    app = create_app(environment, Push, observation, env_name=sys.argv[1], max_concurrent_envs=100)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
