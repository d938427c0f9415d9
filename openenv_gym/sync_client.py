"""A client whose methods are not awaited."""

from __future__ import annotations

from functools import partial
from inspect import iscoroutinefunction
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from openenv_gym.pending import driven
from openenv_gym.types import StepResult

if TYPE_CHECKING:
    from openenv_gym.client import EnvClient

ActT = TypeVar("ActT")
ObsT = TypeVar("ObsT")
StateT = TypeVar("StateT")


class SyncEnvClient(Generic[ActT, ObsT, StateT]):
    """A client whose methods are not awaited, even where an event loop runs.

    It has all methods and attributes of the client; those that are ``async def`` are run to their end.

    Args:
        async_client: The client.

    Attributes:
        async_client: The same.
    """

    def __init__(self, async_client: EnvClient[ActT, ObsT, StateT]) -> None:
        self.async_client = self._async = async_client

    def reset(self, **kwargs: Any) -> StepResult[ObsT]:
        """Begin an episode."""
        return cast(StepResult[ObsT], self._blocking("reset", **kwargs))

    def step(self, action: ActT, **kwargs: Any) -> StepResult[ObsT]:
        """Take one action."""
        return cast(StepResult[ObsT], self._blocking("step", action, **kwargs))

    def state(self) -> StateT:
        """Return the environment's state."""
        return cast(StateT, self._blocking("state"))

    def connect(self) -> Self:
        """Open the session now, instead of with the first call."""
        self._blocking("connect")
        return self

    def new_session(self) -> SyncEnvClient[ActT, ObsT, StateT]:
        """Return a connected client with another session on the same server. `close` closes it too."""
        return SyncEnvClient(self._blocking("new_session"))

    def disconnect(self) -> None:
        """End the session, and let the server run."""
        self._blocking("disconnect")

    def close(self) -> None:
        """End the session, and stop a server that was started for the client."""
        self._blocking("close")

    def sync(self) -> Self:
        """Return itself."""
        return self

    def __enter__(self) -> Self:
        return self.connect()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _blocking(self, name: str, /, *args: Any, **kwargs: Any) -> Any:
        self._async._belong_to(None)
        return driven(getattr(self._async, name)(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        if name == "_async":  # it is being copied
            raise AttributeError(name)
        found = getattr(self._async, name)
        is_call = iscoroutinefunction(found) or (callable(found) and not name.startswith("_"))
        return partial(self._blocking, name) if is_call else found
