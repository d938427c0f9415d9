"""Rubrics that score whole episodes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from openenv_server.rubrics.rubric import Rubric

Trajectory = list[tuple[Any, Any]]


class TrajectoryRubric(Rubric):
    """Scores an episode when it is done; until then, every step has the same score.

    It keeps the episode's actions and observations, so an observation should not hold memory of a GPU.
    `reset` forgets them.

    Args:
        intermediate_reward: The score of the steps before the last one.

    Example:
        >>> class Won(ExponentialDiscountingTrajectoryRubric):
        ...     def score_trajectory(self, trajectory):
        ...         _, last = trajectory[-1]
        ...         return float(last.winner == "agent")
    """

    def __init__(self, intermediate_reward: float = 0.0) -> None:
        super().__init__()
        self.intermediate_reward: float = intermediate_reward
        self._trajectory: Trajectory = []

    @abstractmethod
    def score_trajectory(self, trajectory: Trajectory) -> float:
        """Return the score of an episode, usually from 0 to 1.

        Args:
            trajectory: The action and the observation of each step.
        """

    @abstractmethod
    def compute_step_rewards(self) -> list[float]:
        """Return a reward for each step: how the steps share the episode's score."""

    @property
    def trajectory(self) -> Trajectory:
        """The action and the observation of each step since `reset`, as a copy."""
        return [*self._trajectory]

    def forward(self, action: Any, observation: Any) -> float:
        """Keep the step; return the episode's score once ``observation.done``."""
        self._trajectory.append((action, observation))
        if getattr(observation, "done", False):
            return self.score_trajectory(self._trajectory)
        return self.intermediate_reward

    def reset(self) -> None:
        """Forget the episode."""
        super().reset()
        self._trajectory = []

    def state_dict(self) -> dict[str, Any]:
        """Return the settings; the episode is not one of them."""
        return {**super().state_dict(), "intermediate_reward": self.intermediate_reward}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the settings."""
        super().load_state_dict(state)
        self.intermediate_reward = state.get("intermediate_reward", self.intermediate_reward)


class ExponentialDiscountingTrajectoryRubric(TrajectoryRubric):
    """An episode's score, discounted for the steps that are far from its end.

    Of T steps, step t (from 0) gets the reward ``gamma ** (T - 1 - t) * score``.

    Args:
        gamma: The discount factor, from 0 (all for the last step) to 1 (the same for all).
        intermediate_reward: The score of the steps before the last one.

    Raises:
        ValueError: ``gamma`` is not from 0 to 1.
    """

    def __init__(self, gamma: float = 0.99, intermediate_reward: float = 0.0) -> None:
        super().__init__(intermediate_reward)
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must be from 0 to 1, got {gamma}")
        self.gamma: float = gamma

    def compute_step_rewards(self) -> list[float]:
        """Return the discounted score of the episode for each of its steps."""
        if not self._trajectory:
            return []
        score = self.score_trajectory(self._trajectory)
        return [score * self.gamma**left for left in reversed(range(len(self._trajectory)))]

    def state_dict(self) -> dict[str, Any]:
        """Return the settings; the episode is not one of them."""
        return {**super().state_dict(), "gamma": self.gamma}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the settings."""
        super().load_state_dict(state)
        self.gamma = state.get("gamma", self.gamma)
