"""The base class of environments."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import isawaitable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from openenv_gym.types import Action, EnvironmentMetadata, Observation, State
from openenv_server.rubrics.evaluation import in_event_loop, is_pending
from openenv_server.rubrics.rubric import Rubric, score_step

ActT = TypeVar("ActT", bound=Action)
ObsT = TypeVar("ObsT", bound=Observation)
StateT = TypeVar("StateT", bound=State)


class Transform(ABC, Generic[ObsT]):
    """Changes an observation before it is sent: adds a reward, say."""

    @abstractmethod
    def __call__(self, observation: ObsT) -> ObsT:
        """Return the observation to send instead."""


class CompositeTransform(Transform[ObsT]):
    """Applies transforms in order.

    Args:
        transforms: The transforms.
    """

    def __init__(self, transforms: Sequence[Transform[ObsT]]) -> None:
        self.transforms = transforms

    def __call__(self, observation: ObsT) -> ObsT:
        for transform in self.transforms:
            observation = transform(observation)
        return observation


class NullTransform(Transform[ObsT]):
    """Changes nothing."""

    def __call__(self, observation: ObsT) -> ObsT:
        return observation


class TaskProvider(Protocol):
    """The methods of an environment whose episodes are tasks of a data set. Each may be ``async``.

    They change nothing, and work before any reset. `reset` gets the task as its keywords ``split`` and
    ``index``.
    """

    def list_splits(self) -> list[Any]:
        """Return the splits: their names, or dicts or models with ``name`` and ``type``."""

    def list_tasks(self, split: str) -> list[Any]:
        """Return the tasks of a split, or the first ones of many."""

    def num_tasks(self, split: str) -> int:
        """Return the number of tasks of a split."""

    def get_task(self, split: str, index: int) -> Any:
        """Return a task.

        Raises:
            IndexError: The split has no such task.
        """

    def get_task_range(self, split: str, start: int | None = None, stop: int | None = None) -> list[Any]:
        """Return the tasks from ``start`` to before ``stop``, as in a slice."""


class Environment(ABC, Generic[ActT, ObsT, StateT]):
    """One environment. Each session on the server has its own instance.

    A subclass implements `reset`, `step` and `state`. It may leave out every argument but ``action``, take
    further keywords in ``reset``, write ``reset`` and ``step`` as ``async def``, or override `reset_async`
    and `step_async`. All calls of one session come from the same thread, one at a time, except for
    ``async`` methods, which run on the server's event loop and must not block it. The state's model is the
    third parameter: ``Environment[MyAction, MyObservation, MyState]``.

    Attributes:
        SUPPORTS_CONCURRENT_SESSIONS: Set it to False if two instances in one process disturb each other. The
            server then serves one session at a time.
        REQUIRES_SINGLE_THREAD_EXECUTOR: Set it to True if the environment must be made, driven and closed by
            one thread (a browser, say). This server does so for every environment.
        transform: Applied to an observation by `_apply_transform`.
        rubric: Scores a step in `_apply_rubric`. Reset it at the start of an episode, with `_reset_rubric`.
    """

    SUPPORTS_CONCURRENT_SESSIONS: ClassVar[bool] = False
    REQUIRES_SINGLE_THREAD_EXECUTOR: ClassVar[bool] = False

    transform: Transform[ObsT] | None = None
    rubric: Rubric | None = None

    def __init__(self, transform: Transform[ObsT] | None = None, rubric: Rubric | None = None) -> None:
        self.transform = transform
        self.rubric = rubric

    @abstractmethod
    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> ObsT:
        """Start an episode; returns its first observation.

        Args:
            seed: Makes the episode repeatable. None keeps the current random state.
            episode_id: A name for the episode, if the client gives one.
            **kwargs: Further keywords of the client's ``reset``.
        """

    @abstractmethod
    def step(self, action: ActT, timeout_s: float | None = None, **kwargs: Any) -> ObsT:
        """Take one action; returns the next observation.

        Args:
            action: The action, checked against its model.
            timeout_s: The time that the client allows, in seconds, if it sets a limit.
            **kwargs: Further keywords of the client's ``step``.
        """

    @property
    @abstractmethod
    def state(self) -> StateT:
        """The state of the episode."""

    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any
    ) -> ObsT:
        """Override it to reset on the event loop."""
        return self.reset(seed=seed, episode_id=episode_id, **kwargs)

    async def step_async(self, action: ActT, timeout_s: float | None = None, **kwargs: Any) -> ObsT:
        """Override it to step on the event loop."""
        return self.step(action, timeout_s=timeout_s, **kwargs)

    def get_metadata(self) -> EnvironmentMetadata:
        """The environment's description of itself."""
        return describe(type(self))

    def close(self) -> None:
        """Release the environment's resources. Called at the end of every session."""

    def _apply_transform(self, observation: ObsT) -> ObsT:
        return observation if self.transform is None else self.transform(observation)

    def _apply_rubric(self, action: ActT, observation: ObsT) -> float:
        """Return the rubric's score of a step; 0 without a rubric.

        The scores of its parts go into the observation's metadata, as ``rubric_scores``. If something in the
        rubric is async, it is run here; on an event loop, an awaitable is returned.
        """
        if self.rubric is None:
            return 0.0
        score = score_step(self.rubric, action, observation)
        reward: float = asyncio.run(score) if is_pending(score) and not in_event_loop() else score
        return reward

    async def _apply_rubric_async(self, action: ActT, observation: ObsT) -> float:
        """Return the rubric's score of a step, as `_apply_rubric` does, in an ``async`` step."""
        score: Any = self._apply_rubric(action, observation)
        reward: float = await score if isawaitable(score) else score
        return reward

    def _reset_rubric(self) -> None:
        """Start an episode in the rubric, if there is one."""
        if self.rubric is not None:
            self.rubric.reset()

    async def _reset_rubric_async(self) -> None:
        """Start an episode in the rubric, with its ``reset_async`` if it has that method."""
        reset = getattr(self.rubric, "reset_async", None)
        if reset is None:
            self._reset_rubric()
        elif isawaitable(pending := reset()):
            await pending


def describe(kind: type) -> EnvironmentMetadata:
    """The description that a class's name and docstring give."""
    own_doc = vars(kind).get("__doc__") or ""
    sentence = " ".join(own_doc.strip().split("\n\n")[0].split())
    return EnvironmentMetadata(name=kind.__name__, description=sentence or f"The environment {kind.__name__}")
