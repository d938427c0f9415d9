"""The example of docs/performance.md keeps two halves of the slots busy."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv

DOCUMENT = Path(__file__).parents[2] / "docs" / "performance.md"


def test_each_half_plays_the_episodes_that_it_would_play_alone(serve_gym: Callable[[str], str]) -> None:
    (example,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    example = example.replace("http://localhost:8000", serve_gym("CartPole-v1")).replace("1000", "50")
    seen: list[Any] = []

    def policy(observations: Any) -> Any:
        seen.append(observations.copy())
        return (observations[:, 2] > 0).astype(np.int64)

    space: dict[str, Any] = {"policy": policy}
    exec(example, space)
    local = SyncVectorEnv([lambda: gym.make("CartPole-v1")] * 64)
    observations, _ = local.reset(seed=1)
    for turn in range(51):
        np.testing.assert_array_equal(np.concatenate(seen[2 * turn : 2 * turn + 2]), observations)
        observations = local.step((observations[:, 2] > 0).astype(np.int64))[0]
    for half in space["halves"]:
        space["envs"].recv(slots=half)
    space["envs"].close()
