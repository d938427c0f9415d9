"""A Gymnasium environment whose numbers are not finite, whose arrays are long, and whose render fails."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Wild(gym.Env[Any, Any]):
    """Answers with NaN and infinities."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"
    observation_space = spaces.Dict(
        field=spaces.Box(-np.inf, np.inf, (3,), np.float64),
        image=spaces.Box(0, 1, (64, 48, 3), np.float64),
        tall=spaces.Box(0, 1, (2000, 2), np.float64),
        wide=spaces.Box(0, 1, (2, 2000), np.float64),
    )
    action_space = spaces.OneOf([spaces.Discrete(2), spaces.Box(-1, 1, (2,), np.float64)])

    def __init__(self, render_mode: str | None = None) -> None:
        pass

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return self._observed([0.5, np.nan, np.inf]), {}

    def step(self, action: Any) -> Any:
        reward = np.inf if action[0] else 12345.0
        return self._observed([-np.inf, 1234567.0, 0.0]), reward, False, False, {}

    def _observed(self, field: list[float]) -> dict[str, Any]:
        return {**self.observation_space.sample(), "field": np.array(field)}

    def render(self) -> Any:
        raise RuntimeError("no picture")


gym.register("Wild-v0", Wild, disable_env_checker=True)
