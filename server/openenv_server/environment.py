"""What an environment's author subclasses."""

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
        """The observation to send instead."""


class Environment(ABC, Generic[ActT, ObsT, StateT]):
    """One environment; each session on the server has an instance of its own.

    A subclass implements `reset`, `step` and `state`. It may leave out every argument but ``action``, take
    further keywords in ``reset``, write ``reset`` and ``step`` as ``async def``, or override `reset_async`
    and `step_async`. All calls of one session come from the same thread, one at a time, except for
    ``async`` methods, which run on the server's event loop.

    Attributes:
        SUPPORTS_CONCURRENT_SESSIONS: Set it to False in your class where two instances in one process would
            disturb each other. The server then serves one session at a time.
        REQUIRES_SINGLE_THREAD_EXECUTOR: Set it to True where the environment must be made, driven and closed
            by one thread (a browser, say). This server does so for every environment.
        transform: What each observation goes through where `_apply_transform` is called.
    """

    SUPPORTS_CONCURRENT_SESSIONS: ClassVar[bool] = False
    REQUIRES_SINGLE_THREAD_EXECUTOR: ClassVar[bool] = False

    transform: Transform[ObsT] | None = None

    def __init__(self, transform: Transform[ObsT] | None = None) -> None:
        self.transform = transform

    @abstractmethod
    def reset(self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any) -> ObsT:
        """Starts an episode and returns its first observation.

        Args:
            seed: Makes the episode repeatable. None goes on with the randomness that there is.
            episode_id: A name for the episode, where the client gives one.
            **kwargs: What else the client's ``reset`` was given.
        """

    @abstractmethod
    def step(self, action: ActT, timeout_s: float | None = None, **kwargs: Any) -> ObsT:
        """Takes one action and returns what comes of it.

        Args:
            action: The action, checked against its model.
            timeout_s: The time that the client allows, in seconds, where it says.
            **kwargs: What else the client's ``step`` was given.
        """

    @property
    @abstractmethod
    def state(self) -> StateT:
        """Where the session stands."""

    async def reset_async(
        self, seed: int | None = None, episode_id: str | None = None, **kwargs: Any
    ) -> ObsT:
        """Override it to reset on the event loop."""
        return self.reset(seed=seed, episode_id=episode_id, **kwargs)

    async def step_async(self, action: ActT, timeout_s: float | None = None, **kwargs: Any) -> ObsT:
        """Override it to step on the event loop."""
        return self.step(action, timeout_s=timeout_s, **kwargs)

    def get_metadata(self) -> EnvironmentMetadata:
        """What the environment says of itself."""
        return describe(type(self))

    def close(self) -> None:
        """Releases what the environment holds. Called at every end of a session."""

    def _apply_transform(self, observation: ObsT) -> ObsT:
        return observation if self.transform is None else self.transform(observation)


def describe(kind: type) -> EnvironmentMetadata:
    """What a class's name and docstring say of it."""
    own_doc = vars(kind).get("__doc__") or ""
    sentence = " ".join(own_doc.strip().split("\n\n")[0].split())
    return EnvironmentMetadata(name=kind.__name__, description=sentence or f"The environment {kind.__name__}")
