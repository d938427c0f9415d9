"""The environment's logic."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        SIZE,
        GridWorldAction,
        GridWorldObservation,
    )
else:  # started from inside the folder
    from models import (
        SIZE,
        GridWorldAction,
        GridWorldObservation,
    )

MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])
EPISODE_STEPS = 50


class GridWorldEnvironment(Environment[GridWorldAction, GridWorldObservation, State]):
    """An agent on a square field looks for the goal."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State()
        self._random = np.random.default_rng()
        self._agent = self._goal = np.zeros(2, int)

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        **kwargs: Any,
    ) -> GridWorldObservation:
        """Begins an episode; the seed decides where the agent and the goal are."""
        if seed is not None:
            self._random = np.random.default_rng(seed)
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        agent, goal = self._random.choice(SIZE * SIZE, size=2, replace=False)
        self._agent, self._goal = np.array(divmod(agent, SIZE)), np.array(divmod(goal, SIZE))
        return GridWorldObservation(cells=self._cells())

    def step(
        self,
        action: GridWorldAction,
        timeout_s: float | None = None,
        **kwargs: Any,
    ) -> GridWorldObservation:
        """Moves the agent; it stays where a move would lead out of the field."""
        self._state.step_count += 1
        self._agent = np.clip(self._agent + MOVES[action.move], 0, SIZE - 1)
        is_there = bool((self._agent == self._goal).all())
        is_late = not is_there and self._state.step_count >= EPISODE_STEPS
        return GridWorldObservation(
            cells=self._cells(),
            reward=1.0 if is_there else -0.01,
            done=is_there or is_late,
            metadata={"truncated": is_late},
        )

    @property
    def state(self) -> State:
        """The episode's id, and its steps so far."""
        return self._state

    def _cells(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        cells = np.zeros((SIZE, SIZE), np.uint8)
        cells[tuple(self._goal)] = 2
        cells[tuple(self._agent)] = 1
        return cells
