"""`V2Channel`: several requests on one WebSocket."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from openenv_server import create_app, gymnasium_factory

from openenv_gym.wire import v2
from tests.support.servers import running
from tests.support.v2_client import V2Client

SHAPE = (210, 160, 3)


class Frames(gym.Env[Any, Any]):
    """Frames filled with the number of steps."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(0, 255, SHAPE, np.uint8)
        self.action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self._steps = 0
        return np.full(SHAPE, self._steps, np.uint8), {}

    def step(self, action: Any) -> Any:
        self._steps += 1
        return np.full(SHAPE, self._steps, np.uint8), 0.0, False, False, {}


def frames_of(result: v2.Result) -> np.ndarray[Any, Any]:
    (frames,) = result.observations.values()
    return frames


def test_a_large_result_survives_the_requests_that_follow_it() -> None:
    factory, models = gymnasium_factory(Frames)
    with running(create_app(factory, models.action, models.observation)) as base_url:
        client = V2Client(base_url)
        client.open([0, 1])
        client.ask(v2.Reset(id=1, slots=[0, 1]), "reset")
        client.send(v2.Step(id=2, slots=[0], actions=[{"action": 0}]), "step")
        assert client.values(v2.GetState(id=3, slots=[0]), "state")  # the step's result comes first
        client.send(v2.Step(id=4, slots=[1], actions=[{"action": 0}]), "step")
        client.values(v2.GetState(id=5, slots=[1]), "state")
        client.send(v2.Step(id=6, slots=[0], actions=[{"action": 0}]), "step")
        results = [client.result("step") for _ in range(2)]
        last = client.result("step")
        assert [frames_of(result)[0, 0, 0, 0] for result in (*results, last)] == [1, 1, 2]
        assert all((frames_of(result) == frames_of(result)[0, 0, 0, 0]).all() for result in results)
        client.close()
