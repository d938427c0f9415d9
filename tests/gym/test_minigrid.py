"""MiniGrid and BabyAI, whose observations have a space of texts that is not Gymnasium's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import gymnasium as gym
import pytest
from openenv_server import create_app, gymnasium_factory

import openenv_gym  # noqa: F401 - registers the ids
from tests.support.servers import running, without_v2
from tests.support.vectors import assert_equal

minigrid = pytest.importorskip("minigrid")


@pytest.mark.parametrize("version", [without_v2, lambda app: app], ids=["version 1", "version 2"])
@pytest.mark.parametrize(
    "gym_id", ["MiniGrid-Empty-5x5-v0", "MiniGrid-Fetch-5x5-N2-v0", "BabyAI-GoToRedBall-v0"]
)
def test_episodes_are_the_local_ones(gym_id: str, version: Callable[[Any], Any]) -> None:
    factory, models = gymnasium_factory(lambda: gym.make(gym_id))
    local = gym.make_vec(gym_id, num_envs=3, vectorization_mode="sync")
    with (
        running(version(create_app(factory, *models))) as base_url,
        closing(local),
        closing(gym.make_vec("openenv/remote", base_url=base_url, num_envs=3)) as remote,
    ):
        assert_equal(local.reset(seed=1), remote.reset(seed=1))
        local.action_space.seed(1)
        for _ in range(50):
            actions = local.action_space.sample()
            theirs, ours = local.step(actions), remote.step(actions)
            assert_equal(theirs, ours)
            assert ours[0] in remote.observation_space
