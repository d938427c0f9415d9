"""A remote environment is the local one: the same spaces, and the same episodes from the same seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import openenv_gym  # noqa: F401 - registers the ids

CLASSIC_CONTROL = ["Acrobot-v1", "CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"]
TOY_TEXT = ["Blackjack-v1", "CliffWalking-v1", "FrozenLake-v1", "FrozenLake8x8-v1", "Taxi-v4"]
STEPS = 2_000
SEEDS = (0, 7, 123)


def registered(folder: str) -> list[str]:
    """The newest version of each id that Gymnasium itself registers from one of its folders."""
    newest: dict[str, gym.envs.registration.EnvSpec] = {}
    for spec in gym.registry.values():
        if str(spec.entry_point).startswith(f"gymnasium.envs.{folder}"):
            known = newest.get(spec.name)
            if known is None or (spec.version or 0) > (known.version or 0):
                newest[spec.name] = spec
    return sorted(spec.id for spec in newest.values())


GYM_IDS = registered("classic_control") + registered("toy_text")


def test_all_of_gymnasiums_small_environments_are_here() -> None:
    names = {gym_id.partition("-v")[0] for gym_id in GYM_IDS}
    assert names >= {gym_id.partition("-v")[0] for gym_id in CLASSIC_CONTROL + TOY_TEXT}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("gym_id", GYM_IDS)
def test_spaces_and_trajectories_are_the_local_ones(gym_id: str, serve_gym: Callable[[str], str]) -> None:
    local = gym.make(gym_id)
    remote = gym.make("openenv/remote", base_url=serve_gym(gym_id))
    assert remote.action_space == local.action_space
    assert remote.observation_space == local.observation_space
    try:
        for seed in SEEDS:
            compare_steps(local, remote, seed)
    finally:
        remote.close()
        local.close()


def compare_steps(local: gym.Env[Any, Any], remote: gym.Env[Any, Any], seed: int) -> None:
    local.action_space.seed(seed)
    assert_same(local.reset(seed=seed)[0], remote.reset(seed=seed)[0])
    for _ in range(STEPS):
        action = local.action_space.sample()
        expected, actual = local.step(action), remote.step(action)
        assert_same(expected[0], actual[0])
        assert actual[0] in remote.observation_space
        assert expected[1:4] == actual[1:4]
        assert [type(part) for part in actual[1:4]] == [float, bool, bool]
        if expected[2] or expected[3]:
            assert_same(local.reset()[0], remote.reset()[0])


def assert_same(expected: Any, actual: Any) -> None:
    """Equal bit for bit: arrays with their dtype, tuples part by part."""
    if isinstance(expected, tuple):
        assert len(expected) == len(actual)
        for one, other in zip(expected, actual, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert expected.dtype == actual.dtype
        assert np.array_equal(expected, actual)
    else:
        assert expected == actual
