"""The base class of environments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

from openenv_gym.types import Action, EnvironmentMetadata, Observation, State

ActT = TypeVar("ActT", bound=Action)
ObsT = TypeVar("ObsT", bound=Observation)
StateT = TypeVar("StateT", bound=State)


class Transform(ABC, Generic[ObsT]):
    """Changes an observation before it is sent: adds a reward, say."""

    @abstractmethod
    def __call__(self, observation: ObsT) -> ObsT:
        """Return the observation to send instead."""


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
    """

    SUPPORTS_CONCURRENT_SESSIONS: ClassVar[bool] = False
    REQUIRES_SINGLE_THREAD_EXECUTOR: ClassVar[bool] = False

    transform: Transform[ObsT] | None = None

    def __init__(self, transform: Transform[ObsT] | None = None) -> None:
        self.transform = transform

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


def describe(kind: type) -> EnvironmentMetadata:
    """The description that a class's name and docstring give."""
    own_doc = vars(kind).get("__doc__") or ""
    sentence = " ".join(own_doc.strip().split("\n\n")[0].split())
    return EnvironmentMetadata(name=kind.__name__, description=sentence or f"The environment {kind.__name__}")
