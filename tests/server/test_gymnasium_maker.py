"""Gymnasium environments that are served with wrappers, and ids of packages that nobody has imported."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing, FrameStackObservation
from openenv_server import create_app, gymnasium_factory
from openenv_server.gymnasium_maker import GymnasiumMaker, qualified_id

import openenv_gym  # noqa: F401 - registers the ids
from openenv_gym.errors import ConfigurationError
from tests.support.servers import running
from tests.support.vectors import assert_equal

ATARI = "gymnasium.wrappers:AtariPreprocessing"
STACK = "gymnasium.wrappers:FrameStackObservation"
PONG = GymnasiumMaker(
    "ALE/Pong-v5", {"frameskip": 1}, [(ATARI, {"screen_size": 42}), (STACK, {"stack_size": 3})]
)


def local_pong() -> gym.Env[Any, Any]:
    env = gym.make("ale_py:ALE/Pong-v5", frameskip=1)
    return FrameStackObservation(AtariPreprocessing(env, screen_size=42), stack_size=3)


def test_wrapped_atari_is_the_local_one() -> None:
    factory, models = gymnasium_factory(PONG)
    with (
        running(create_app(factory, *models)) as base_url,
        closing(local_pong()) as local,
        closing(gym.make("openenv/remote", base_url=base_url)) as remote,
    ):
        assert remote.observation_space == local.observation_space
        assert_equal(local.reset(seed=3)[0], remote.reset(seed=3)[0])
        local.action_space.seed(3)
        for _ in range(40):
            action = local.action_space.sample()
            theirs, ours = local.step(action), remote.step(action)
            assert_equal(theirs[:4], ours[:4])


class Twice(gym.RewardWrapper):  # type: ignore[type-arg]
    def reward(self, reward: Any) -> Any:
        return 2 * reward


def plus(env: gym.Env[Any, Any], amount: float = 1) -> gym.Env[Any, Any]:
    return gym.wrappers.TransformReward(env, lambda reward: reward + amount)


@pytest.mark.parametrize(
    ("wrappers", "reward"),
    [
        ([], 1.0),
        ([("Twice", {})], 2.0),
        ([("Twice", {}), ("plus", {"amount": 3})], 5.0),
        ([("plus", {"amount": 3}), ("Twice", {})], 8.0),
        ([("plus", {}), ("plus", {}), ("Twice", {})], 6.0),
    ],
)
def test_wrappers_keep_their_order(wrappers: list[tuple[str, dict[str, Any]]], reward: float) -> None:
    named = [(f"{__name__}:{name}", keywords) for name, keywords in wrappers]
    with closing(GymnasiumMaker("CartPole-v1", {}, named)()) as env:
        env.reset(seed=0)
        assert env.step(np.int64(0))[1] == reward


@pytest.mark.parametrize(
    ("env_id", "found"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("ALE/Pong-v5", "ale_py:ALE/Pong-v5"),
        ("BreakoutNoFrameskip-v4", "ale_py:BreakoutNoFrameskip-v4"),
        ("Pong-v4", "ale_py:Pong-v4"),
        ("MiniGrid-Empty-5x5-v0", "minigrid:MiniGrid-Empty-5x5-v0"),
        ("BabyAI-GoToRedBall-v0", "minigrid:BabyAI-GoToRedBall-v0"),
        ("minigrid:MiniGrid-Empty-5x5-v0", "minigrid:MiniGrid-Empty-5x5-v0"),
        ("gym_of_a_user/Thing-v0", "gym_of_a_user:gym_of_a_user/Thing-v0"),
    ],
)
def test_ids_are_found_in_a_new_process(env_id: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "gym_of_a_user.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('gym_of_a_user/Thing-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    code = (
        "import sys; from openenv_server.gymnasium_maker import *\n"
        "print(qualified_id(sys.argv[1])); GymnasiumMaker(sys.argv[1])().close()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, env_id], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == found


@pytest.mark.parametrize(
    ("env_id", "distribution"),
    [
        ("highway-fast-v0", "highway-env"),
        ("FetchReach-v4", "gymnasium-robotics"),
        ("MiniWorld-Hallway-v0", "miniworld"),
        ("PandaReach-v3", "panda-gym"),
        ("dm_control/cartpole-balance-v0", "shimmy"),
    ],
)
def test_a_package_that_is_missing_is_named(env_id: str, distribution: str) -> None:
    if find_spec(distribution.replace("-", "_")) is not None:
        pytest.skip(f"{distribution} is installed")
    with pytest.raises(ConfigurationError, match=f"^{env_id} .* {distribution}, which is not .* pip install"):
        qualified_id(env_id)


@pytest.mark.parametrize(
    ("maker", "said"),
    [
        (GymnasiumMaker("Foo/Bar-v0"), "Gymnasium cannot make Foo/Bar-v0: .* MODULE:Foo/Bar-v0"),
        (GymnasiumMaker("CartPole-v9"), "Gymnasium cannot make CartPole-v9: .*`v1`"),
        (GymnasiumMaker("CartPole-v1", {"gravity_": 1}), "unexpected keyword argument 'gravity_'"),
        (GymnasiumMaker("CartPole-v1", {}, [("gymnasium.wrappers", {})]), "not the import path of a wrapper"),
        (GymnasiumMaker("CartPole-v1", {}, [("nowhere:Thing", {})]), "nowhere:Thing cannot be imported"),
        (GymnasiumMaker("CartPole-v1", {}, [("math:Thing", {})]), "math:Thing cannot be imported"),
        (
            GymnasiumMaker("ALE/Pong-v5", {}, [(ATARI, {})]),
            "cannot wrap ALE/Pong-v5: .* --gym-kwarg frameskip=1",
        ),
        (GymnasiumMaker("CartPole-v1", {}, [(STACK, {"size": 2})]), "cannot wrap .* argument 'size'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_made_is_explained(maker: GymnasiumMaker, said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        maker()
    assert re.search(said, str(raised.value), re.DOTALL)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Blackjack-v1"])
def test_the_order_of_calls_is_checked_once_by_the_server(env_id: str) -> None:
    made, local = GymnasiumMaker(env_id)(), gym.make(env_id)
    assert "OrderEnforcing" not in str(made)
    assert (made.spec and made.spec.max_episode_steps) == (local.spec and local.spec.max_episode_steps)


@pytest.mark.parametrize("call", ["step", "render"])
def test_a_served_environment_is_not_called_before_its_first_reset(call: str) -> None:
    factory, models = gymnasium_factory(GymnasiumMaker("CartPole-v1", {"render_mode": "rgb_array"}))
    environment = factory()
    calls = {"step": lambda: environment.step(models.action(action=1)), "render": environment.render}
    with pytest.raises(gym.error.ResetNeeded, match="before its first reset"):
        calls[call]()
    environment.reset(seed=1)
    assert calls[call]() is not None
