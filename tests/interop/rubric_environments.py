"""Environments with rubrics, in the ways of published ones: `game`, `repl` and `drive` are applications."""

from __future__ import annotations

from typing import Any

from openenv.core.env_server.http_server import create_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from openenv.core.rubrics import ExponentialDiscountingTrajectoryRubric, Gate, Rubric, Sequential, WeightedSum


class Move(Action):
    amount: int


class Seen(Observation):
    total: int
    step_reward: float = 0.0


class ReachedTen(ExponentialDiscountingTrajectoryRubric):
    def score_trajectory(self, trajectory: list[tuple[Any, Any]]) -> float:
        return 1.0 if trajectory[-1][1].total == 10 else -1.0


class Game(Environment):
    """A game whose rubric scores the whole episode; `reset` and `step` take no further keywords."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, gamma: float = 0.5) -> None:
        super().__init__(rubric=ReachedTen(gamma=gamma))
        self._state = State()
        self.total = 0
        self.reset()

    def reset(self, total: int = 0) -> Seen:
        self._reset_rubric()
        self.total = total
        return Seen(total=total, reward=0.0)

    def step(self, action: Move) -> Seen:
        self.total += action.amount
        observation = Seen(total=self.total, done=self.total >= 10)
        observation.reward = self._apply_rubric(action, observation)
        if observation.done:
            observation.metadata["credits"] = self.rubric.compute_step_rewards()
        return observation

    @property
    def state(self) -> State:
        return self._state


class Matches(Rubric):
    def __init__(self) -> None:
        super().__init__()
        self._expected: int | None = None

    def set_expected(self, expected: int | None) -> None:
        self._expected = expected

    def forward(self, action: Any, observation: Any) -> float:
        return float(observation.done and observation.metadata.get("answer") == self._expected)

    def reset(self) -> None:
        self._expected = None


class Tidy(Rubric):
    def forward(self, action: Any, observation: Any) -> float:
        return -0.1 if action.amount < 0 else 0.1


class Outcome(Rubric):
    def __init__(self, outcome: Rubric | None = None) -> None:
        super().__init__()
        self.outcome = outcome or Matches()
        self.process = Tidy()

    def set_expected(self, expected: int | None) -> None:
        self.outcome.set_expected(expected)

    def forward(self, action: Any, observation: Any) -> float:
        part = self.outcome if observation.done else self.process
        score = part(action, observation)
        observation.metadata = {**observation.metadata, "reward_total": score}
        return score

    def reset(self) -> None:
        self.outcome.reset()


class Repl(Environment):
    """Sets its rubric itself, calls no constructor, and gets the answer as a keyword of `reset`."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self, rubric: Outcome | None = None) -> None:
        self.rubric = rubric or Outcome()
        self.total = 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> Seen:
        self.rubric.reset()
        self.rubric.set_expected(kwargs.get("expected_answer"))
        self.total = 0
        return Seen(total=0, reward=0.0, metadata={"message": "ready"})

    def step(self, action: Move, timeout_s: float | None = None, **kwargs: Any) -> Seen:
        self.total += action.amount
        done = action.amount == 0
        observation = Seen(total=self.total, done=done, metadata={"answer": self.total})
        observation.reward = self._apply_rubric(action, observation)
        return observation

    @property
    def state(self) -> State:
        return State()


class Direct(Rubric):
    def forward(self, action: Any, observation: Any) -> float:
        return observation.step_reward


class Drive(Environment):
    """Calls its rubric itself, in `step_async`."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.rubric = Sequential(Gate(Tidy(), threshold=0.0), WeightedSum([Direct(), Tidy()], [0.5, 0.5]))
        self.total = 0

    async def reset_async(self, seed: Any = None, episode_id: Any = None, **kwargs: Any) -> Seen:
        await self._reset_rubric_async()
        self.total = 0
        return Seen(total=0)

    async def step_async(self, action: Move, timeout_s: Any = None, **kwargs: Any) -> Seen:
        self.total += action.amount
        observation = Seen(total=self.total, step_reward=action.amount / 2)
        observation.reward = await self._apply_rubric_async(action, observation)
        return observation

    def reset(self, **kwargs: Any) -> Seen:
        raise NotImplementedError

    def step(self, action: Move, **kwargs: Any) -> Seen:
        raise NotImplementedError

    @property
    def state(self) -> State:
        return State()


game = create_app(Game, Move, Seen, env_name="game", max_concurrent_envs=4)
repl = create_app(Repl, Move, Seen, env_name="repl", max_concurrent_envs=4)
drive = create_app(Drive, Move, Seen, env_name="drive", max_concurrent_envs=4)
