"""Compares any two vector environments: everything that they return, with dtypes, infos included."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

_NUMBERS = (int, float, np.number)
VectorEnv = gym.vector.VectorEnv[Any, Any, Any]


def assert_equal(expected: Any, actual: Any, where: str = "") -> None:
    """Equal bit for bit: types, dtypes and keys too.

    But for what Gymnasium's own infos lose: floats are cut where the first slot has an integer. And for what
    the protocol does not have: a tuple in an info comes back as a list.
    """
    if not isinstance(expected, _NUMBERS):
        assert type(expected) is type(actual) or (type(expected), type(actual)) == (tuple, list), where
    if isinstance(expected, dict):
        assert set(expected) == set(actual), where
        for key in expected:
            assert_equal(expected[key], actual[key], f"{where}.{key}")
    elif isinstance(expected, tuple | list):
        assert len(expected) == len(actual), where
        for place, (one, other) in enumerate(zip(expected, actual, strict=True)):
            assert_equal(one, other, f"{where}[{place}]")
    elif isinstance(expected, np.ndarray):
        if (expected.dtype, actual.dtype) == (np.int64, np.float64):
            actual = actual.astype(np.int64)
        assert (expected.dtype, expected.shape) == (actual.dtype, actual.shape), where
        if expected.dtype == object:
            assert_equal(expected.tolist(), actual.tolist(), where)
        else:
            np.testing.assert_array_equal(expected, actual, where)
    else:
        assert expected == actual, where


def compare(expected: VectorEnv, actual: VectorEnv, *, steps: int, seed: int = 7) -> int:
    """Takes the same steps in both. Returns how many episodes ended."""
    assert expected.observation_space == actual.observation_space
    assert expected.action_space == actual.action_space
    mode = actual.metadata["autoreset_mode"]
    assert mode is expected.metadata["autoreset_mode"]
    expected.action_space.seed(seed)
    assert_equal(expected.reset(seed=seed), actual.reset(seed=seed), "reset")
    episodes = 0
    for step in range(steps):
        actions = expected.action_space.sample()
        theirs, ours = expected.step(actions), actual.step(actions)
        assert_equal(theirs, ours, f"step {step}")
        ended = theirs[2] | theirs[3]
        episodes += int(ended.sum())
        if mode is AutoresetMode.DISABLED and ended.any():
            assert_equal(
                expected.reset(options={"reset_mask": ended.copy()}),
                actual.reset(options={"reset_mask": ended.copy()}),
                f"reset after step {step}",
            )
    return episodes
