"""The metrics of a slot say where its own time went, and not that of others."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteVectorEnv
from tests.support.servers import running

COUNT = 4


class Sleeper(gym.Env[Any, Any]):
    """An action is the duration of a step, in milliseconds."""

    observation_space = spaces.Discrete(2)
    action_space = spaces.Discrete(100)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return 0, {}

    def step(self, action: Any) -> Any:
        time.sleep(int(action) / 1000)
        return 0, 0.0, False, False, {}


class Parallel(Sleeper):
    SUPPORTS_CONCURRENT_SESSIONS = True


def metrics_of(kind: type[gym.Env[Any, Any]], actions: list[int], how: str) -> dict[str, Any]:
    factory, models = gymnasium_factory(kind)
    with running(create_app(factory, *models)) as base_url, closing(RemoteVectorEnv(base_url, COUNT)) as envs:
        envs.reset()
        envs.step(np.zeros(COUNT, np.int64))
        envs.reset_metrics()
        for _ in range(8):
            if how == "step":
                envs.step(np.array(actions))
                continue
            envs.send(np.array(actions))
            for _ in range(COUNT):
                if envs._results.pending.any() or envs._results.ready.any():
                    envs.recv()
        return {name: np.round(us / 1000, 1) for name, us in envs.metrics.items() if name != "steps"}


@pytest.mark.parametrize("how", ["step", "send and recv"])
@pytest.mark.parametrize("actions", [[10, 10, 10, 10], [1, 30, 1, 20]], ids=["alike", "mixed"])
@pytest.mark.parametrize("kind", [Sleeper, Parallel])
def test_the_servers_time_is_without_the_environments(
    kind: type[gym.Env[Any, Any]], actions: list[int], how: str
) -> None:
    metrics = metrics_of(kind, actions, how)
    assert (metrics["environment"] >= actions).all(), metrics
    # Less than what the environments of other slots take.
    assert (metrics["server"] < 8).all(), metrics
    assert (metrics["server"] >= 0).all(), metrics
    assert (metrics["other_slots"] >= 0).all(), metrics
    if how == "step" and kind is Sleeper:
        np.testing.assert_array_less(sum(actions) - np.array(actions) - 1, metrics["other_slots"])


def test_fast_slots_are_counted_apart() -> None:
    metrics = metrics_of(Sleeper, [0] * COUNT, "step")
    assert (metrics["environment"] < 5).all(), metrics
