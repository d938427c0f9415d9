"""Any Gymnasium environment as an OpenEnv environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from openenv_server import create_app, gymnasium_factory

from openenv_gym import RemoteEnv
from openenv_gym.errors import ActionRefusedError
from tests.support.servers import running, without_v2
from tests.support.vectors import assert_equal


class Everything(gym.Env[Any, Any]):
    """Nested spaces, mixed info, and both flags at once."""

    observation_space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (4, 3, 3), np.uint8),
            "words": spaces.Text(8, min_length=0),
            "pair": spaces.Tuple([spaces.Discrete(3, start=1), spaces.MultiBinary(2)]),
            "reading": spaces.Box(-np.inf, np.inf, (2,), np.float32),
        }
    )
    action_space = spaces.Dict({"push": spaces.Box(-1, 1, (2,), np.float32), "mode": spaces.Discrete(2)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self.last: Any = None
        return self.observation_space.sample(), {"options": options}

    def step(self, action: Any) -> Any:
        self.last = action
        info = {"array": np.arange(3), "number": np.float32(0.5), "other": {1: (True, None)}, "kind": int}
        return self.observation_space.sample(), np.float32(0.1), np.bool_(True), True, info


IN_VERSION_1 = {
    "array": [0, 1, 2],
    "number": 0.5,
    "other": {"1": [True, None]},
    "kind": "<class 'int'>",
    "terminated": True,
}
IN_VERSION_2 = {
    "array": np.arange(3),
    "number": np.float32(0.5),
    "other": {"1": [True, None]},
    "kind": "<class 'int'>",
}


@pytest.mark.parametrize(
    ("version", "expected_info"),
    [(without_v2, IN_VERSION_1), (lambda app: app, IN_VERSION_2)],
    ids=["v1", "v2"],
)
def test_nested_spaces_flags_info_and_options(version: Any, expected_info: dict[str, Any]) -> None:
    factory, models = gymnasium_factory(Everything)
    local = Everything()
    with running(version(create_app(factory, models.action, models.observation))) as url:
        env = RemoteEnv(url)
        assert env.observation_space == local.observation_space
        assert env.action_space == local.action_space
        expected = local.reset(seed=3)[0]
        observation, info = env.reset(seed=3, options={"level": 2})
        assert info == {"options": {"level": 2}}
        assert observation in env.observation_space
        assert np.array_equal(observation["image"], expected["image"])
        assert observation["words"] == expected["words"]
        env.action_space.seed(1)
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert reward == float(np.float32(0.1))
        assert (terminated, truncated) == (True, True)
        assert_equal(expected_info, info)
        env.close()


def test_the_server_judges_actions_too(serve_gym: Any) -> None:
    from openenv_gym import GenericEnvClient

    with GenericEnvClient(serve_gym("CartPole-v1")) as client:
        client.reset(seed=1)
        for action in (2, "x", None, [0], 0.5):
            with pytest.raises(ActionRefusedError, match=r"action: .*Discrete\(2\)"):
                client.step({"action": action})
        assert client.step({"action": 1}).reward == 1.0
        assert client.state()["step_count"] == 1


def test_an_action_arrives_exactly() -> None:
    made: list[Everything] = []

    def make() -> Everything:
        made.append(Everything())
        return made[-1]

    factory, models = gymnasium_factory(make)
    with running(create_app(factory, models.action, models.observation)) as url:
        env = RemoteEnv(url)
        env.reset()
        action = env.action_space.sample()
        env.step(action)
        arrived = made[-1].last
        assert arrived["push"].dtype == np.float32
        assert np.array_equal(arrived["push"], action["push"])
        assert arrived["mode"] == action["mode"]
        env.close()
