"""The environment."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State

from .grid import Grid

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        GridWorldAction,
        GridWorldObservation,
    )
else:  # run from inside the folder
    from models import (
        GridWorldAction,
        GridWorldObservation,
    )

GOAL_REWARD = 1.0
STEP_REWARD = -0.01


class GridWorldEnvironment(Environment[GridWorldAction, GridWorldObservation, State]):
    """An agent on a grid with walls moves to a goal; each move costs a little.

    Args:
        wall_share: The maximum share of cells that are walls.
        episode_steps: The moves after which an episode is truncated.

    Raises:
        ValueError: An argument is out of range.
    """

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, wall_share: float = 0.25, episode_steps: int = 100) -> None:
        super().__init__()
        if not 0 <= wall_share <= 0.9:
            raise ValueError(f"wall_share (GRID_WORLD_WALL_SHARE) must be from 0 to 0.9, got {wall_share}")
        if episode_steps < 1:
            raise ValueError(
                f"episode_steps (GRID_WORLD_EPISODE_STEPS) must be 1 or more, got {episode_steps}"
            )
        self._wall_share, self._episode_steps = wall_share, episode_steps
        self._state = State()
        self._random = np.random.default_rng()
        self._grid = Grid(self._random, wall_share)

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        **kwargs: Any,
    ) -> GridWorldObservation:
        """Start an episode. The seed determines the positions of walls, agent and goal."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        self._grid = Grid(self._random, self._wall_share)
        return GridWorldObservation(cells=self._grid.cells(), frame=self._grid.frame())

    def step(
        self,
        action: GridWorldAction,
        timeout_s: float | None = None,
        **kwargs: Any,
    ) -> GridWorldObservation:
        """Move the agent. A move into a wall or off the grid has no effect."""
        self._state.step_count += 1
        self._grid.move(action.move)
        is_at_goal = self._grid.agent == self._grid.goal
        is_late = not is_at_goal and self._state.step_count >= self._episode_steps
        return GridWorldObservation(
            cells=self._grid.cells(),
            frame=self._grid.frame(),
            reward=GOAL_REWARD if is_at_goal else STEP_REWARD,
            done=is_at_goal or is_late,
            metadata={"truncated": is_late},
        )

    @property
    def state(self) -> State:
        """The episode's id and step count."""
        return self._state
