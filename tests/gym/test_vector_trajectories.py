"""The vector environment beside Gymnasium's own: all of classic control and toy text, and Atari's frames.

``OPENENV_TEST_STEPS`` sets the number of vector steps, 500 where it is not set.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import gymnasium as gym
import pytest
from gymnasium.vector import AutoresetMode

from tests.support.vectors import compare

STEPS = int(os.environ.get("OPENENV_TEST_STEPS", "500"))
FAMILIES = ("gymnasium.envs.classic_control", "gymnasium.envs.toy_text")
SPECS = [
    spec
    for spec in gym.registry.values()
    if spec.namespace is None and str(spec.entry_point).startswith(FAMILIES)
]
LATEST = {spec.name: spec.id for spec in sorted(SPECS, key=lambda spec: spec.version or 0)}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", AutoresetMode)
@pytest.mark.parametrize("gym_id", sorted(LATEST.values()))
def test_trajectories_equal_the_local_ones(
    gym_id: str, mode: AutoresetMode, serve_gym: Callable[[str], str]
) -> None:
    theirs = gym.make_vec(gym_id, 4, "sync", vector_kwargs={"autoreset_mode": mode})
    ours = gym.make_vec("openenv/remote", 4, base_url=serve_gym(gym_id), autoreset_mode=mode)
    try:
        compare(theirs, ours, steps=STEPS)
    finally:
        theirs.close()
        ours.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_frames_of_an_atari_game_equal_the_local_ones(serve_gym: Callable[[str], str]) -> None:
    theirs = gym.make_vec("ale_py:ALE/Breakout-v5", 3, "sync")
    ours = gym.make_vec("openenv/remote", 3, base_url=serve_gym("ale_py:ALE/Breakout-v5"))
    try:
        compare(theirs, ours, steps=min(STEPS, 500))
    finally:
        theirs.close()
        ours.close()
