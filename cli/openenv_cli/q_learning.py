"""Tabular Q-learning on a vector environment with `Discrete` observations and actions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

Table = np.ndarray[Any, np.dtype[np.float64]]

DISCOUNT = 0.99
LEARNING_RATE = 0.02
# High initial values make the agent try everything once (optimism in the face of uncertainty).
INITIAL_VALUE = 1.0
BATCH = 64
UPDATES_PER_STEP = 4
POINTS = 6
EVALUATION_EPISODES = 100


@dataclass
class LearningCurve:
    """The course of a training run.

    Attributes:
        before: The success rate of random actions.
        after: The success rate of the learned greedy policy.
        points: Pairs of steps taken and success rate of the episodes that ended since the last point.
        steps_per_second: Environment steps per second during training.
    """

    before: float = 0.0
    after: float = 0.0
    points: list[tuple[int, float]] = field(default_factory=list)
    steps_per_second: float = 0.0


def train(envs: VectorEnv[Any, Any, Any], steps: int, progress: Callable[[int], None]) -> LearningCurve:
    """Train, and measure the policy before and after.

    The update follows Watkins and Dayan, "Q-learning", Machine Learning 8, 1992; the replay follows Lin,
    "Self-improving reactive agents", in the same volume.

    Args:
        envs: A vector environment in the autoreset mode NEXT_STEP. An episode with a reward of 1 succeeds.
        steps: Environment steps to learn from, over all sub-environments.
        progress: Called regularly with the number of steps done.

    Returns:
        The learning curve.
    """
    states, actions = int(envs.single_observation_space.n), int(envs.single_action_space.n)  # type: ignore[attr-defined]
    random = np.random.default_rng(0)
    curve = LearningCurve()
    curve.before = success_rate(envs, lambda observations: random.integers(actions, size=observations.shape))

    table = np.full((states, actions), INITIAL_VALUE)
    memory = Memory(steps + envs.num_envs)
    observations, _ = envs.reset(seed=1)
    fresh = np.zeros(envs.num_envs, dtype=bool)
    ended: list[float] = []
    next_point, begin = steps // POINTS, time.perf_counter()
    while memory.size < steps:
        chosen = greedy(table, observations, random)
        following, rewards, terminated, truncated, _ = envs.step(chosen)
        # In NEXT_STEP mode, the step after an episode's end is a reset, so it is not stored.
        memory.add(~fresh, observations, chosen, rewards, following, terminated)
        for _ in range(UPDATES_PER_STEP):
            learn(table, *memory.sample(BATCH, random))
        fresh = terminated | truncated
        ended.extend(rewards[fresh])
        observations = following
        if memory.size >= next_point:
            curve.points.append((memory.size, float(np.mean(ended)) if ended else 0.0))
            ended.clear()
            next_point += steps // POINTS
            progress(min(memory.size, steps))
    curve.steps_per_second = memory.size / (time.perf_counter() - begin)
    curve.after = success_rate(envs, lambda observations: greedy(table, observations, random))
    return curve


class Memory:
    """All transitions so far, for experience replay.

    Args:
        capacity: The maximum number of transitions.
    """

    def __init__(self, capacity: int) -> None:
        self.size: int = 0
        self._columns = tuple(np.zeros(capacity, kind) for kind in (int, int, float, int, bool))

    def add(self, where: Any, *columns: Any) -> None:
        """Add the transitions of the sub-environments that ``where`` selects.

        Args:
            where: One bool per sub-environment.
            *columns: Observations, actions, rewards, next observations, and whether those are terminal.
        """
        end = self.size + int(np.count_nonzero(where))
        for kept, new in zip(self._columns, columns, strict=True):
            kept[self.size : end] = new[where]
        self.size = end

    def sample(self, count: int, random: np.random.Generator) -> tuple[Any, ...]:
        """A random batch of transitions, as columns."""
        drawn = random.integers(self.size, size=count)
        return tuple(column[drawn] for column in self._columns)


def learn(table: Table, observations: Any, actions: Any, rewards: Any, following: Any, terminal: Any) -> None:
    """Move the table towards each step's reward plus the discounted value of the next state."""
    promised = np.where(terminal, 0.0, table[following].max(axis=1))
    errors = rewards + DISCOUNT * promised - table[observations, actions]
    np.add.at(table, (observations, actions), LEARNING_RATE * errors)


def greedy(table: Table, observations: Any, random: np.random.Generator) -> Any:
    """The best action in each state; ties are broken at random."""
    values = table[observations]
    best = values == values.max(axis=1, keepdims=True)
    return np.argmax(best * random.random(values.shape), axis=1)


def success_rate(envs: VectorEnv[Any, Any, Any], policy: Callable[[Any], Any]) -> float:
    """The share of episodes that end with a reward of 1, over at least `EVALUATION_EPISODES` episodes."""
    observations, _ = envs.reset(seed=10_000)
    outcomes: list[float] = []
    while len(outcomes) < EVALUATION_EPISODES:
        observations, rewards, terminated, truncated, _ = envs.step(policy(observations))
        outcomes.extend(rewards[terminated | truncated])
    return float(np.mean(outcomes))
