"""Environments to train in: connect-four with masks, and one with all that Stable-Baselines3 supports."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ROWS, COLUMNS = 6, 7


class ConnectFour(gym.Env[np.ndarray[Any, Any], np.int64]):
    """Connect-four against an opponent that plays at random.

    The board has a 1 for the player's pieces and a 2 for the opponent's. ``info["action_mask"]`` has a 1 for
    each column with a free place; to play in another is an error.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 2, (ROWS, COLUMNS), np.int8)
        self.action_space = spaces.Discrete(COLUMNS)
        self.board = np.zeros((ROWS, COLUMNS), np.int8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.board[:] = 0
        return self.board.copy(), self._info()

    def step(self, action: Any) -> Any:
        reward, is_over = self._play(int(action), 1), False
        is_over = reward > 0 or not self.legal_actions()
        if not is_over:
            reward = -self._play(int(self.np_random.choice(self.legal_actions())), 2)
            is_over = reward < 0 or not self.legal_actions()
        return self.board.copy(), reward, is_over, False, self._info()

    def legal_actions(self) -> list[int]:
        return np.flatnonzero(self.board[0] == 0).tolist()

    def _play(self, column: int, player: int) -> float:
        """Drop a piece; return 1 if that wins."""
        free = np.flatnonzero(self.board[:, column] == 0)
        if not free.size:
            raise ValueError(f"Column {column} is full")
        row = int(free[-1])
        self.board[row, column] = player
        mine = self.board == player
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            count = 1
            for sign in (1, -1):
                y, x = row + sign * down, column + sign * right
                while 0 <= y < ROWS and 0 <= x < COLUMNS and mine[y, x]:
                    count, y, x = count + 1, y + sign * down, x + sign * right
            if count >= 4:
                return 1.0
        return 0.0

    def _info(self) -> dict[str, Any]:
        return {"action_mask": (self.board[0] == 0).astype(np.int8)}


class Mixed(gym.Env[dict[str, Any], np.ndarray[Any, Any]]):
    """Observations with an image and other parts, infos of all kinds, and episodes that end in all ways."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 7}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
                "kind": spaces.Discrete(3),
                "flags": spaces.MultiBinary(4),
                "numbers": spaces.Box(-1, 1, (2,), np.float32),
                "choices": spaces.MultiDiscrete([2, 5]),
            }
        )
        self.action_space = spaces.MultiDiscrete([3, 2])
        self._steps, self._start = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._steps, self._start = 0, int((options or {}).get("start", 0))
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self._observe(), {"start": self._start}

    def step(self, action: Any) -> Any:
        self._steps += 1
        end = self.np_random.random()
        info: dict[str, Any] = {"steps": self._steps, "row": np.arange(3), "part": {"reward": 0.5}}
        if end < 0.5:
            info |= {"word": "low", "items": [1, "two", None], "start": self._start}
        terminated, truncated = bool(0.05 < end < 0.2), bool(end < 0.1)
        return self._observe(), float(action[0]) / 3, terminated, truncated, info

    def render(self) -> np.ndarray[Any, Any]:
        return np.full((32, 48, 3), self._steps, np.uint8)

    def _observe(self) -> dict[str, Any]:
        observation: dict[str, Any] = self.observation_space.sample()
        return {**observation, "kind": int(observation["kind"])}


class Guess(gym.Env[str, Any]):
    """A text to read, and a number from 1 to 7 and a word to answer."""

    def __init__(self) -> None:
        self.observation_space = spaces.Text(8)
        self.action_space = spaces.Dict({"number": spaces.Discrete(7, start=1), "word": spaces.Discrete(2)})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return "guess", {}

    def step(self, action: Any) -> Any:
        is_right = int(action["number"]) == 7
        return "yes" if is_right else "no", float(is_right), is_right, False, {}


class FromOne(gym.Env[np.ndarray[Any, Any], np.int64]):
    """Actions that count from 1."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(0, 9, (1,), np.float32)
        self.action_space = spaces.Discrete(7, start=1)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        return np.full(1, action, np.float32), float(action), False, False, {}


gym.register("ConnectFour-v0", "tests.trainers.environments:ConnectFour")
gym.register("Mixed-v0", "tests.trainers.environments:Mixed", max_episode_steps=12)
gym.register("Guess-v0", "tests.trainers.environments:Guess")
gym.register("FromOne-v0", "tests.trainers.environments:FromOne")
