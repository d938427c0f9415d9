"""The environment."""

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        EchoAction,
        EchoObservation,
    )
else:  # run from inside the folder
    from models import (
        EchoAction,
        EchoObservation,
    )

EPISODE_STEPS = 10


class EchoEnvironment(Environment[EchoAction, EchoObservation, State]):
    """Echoes its input. Longer messages earn a higher reward."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State()

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        **kwargs: Any,
    ) -> EchoObservation:
        """Start an episode."""
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        return EchoObservation(echo="", length=0)

    def step(
        self,
        action: EchoAction,
        timeout_s: float | None = None,
        **kwargs: Any,
    ) -> EchoObservation:
        """Echo the message."""
        self._state.step_count += 1
        length = len(action.message)
        return EchoObservation(
            echo=action.message,
            length=length,
            reward=min(length / 10, 1.0),
            done=self._state.step_count >= EPISODE_STEPS,
        )

    @property
    def state(self) -> State:
        """The episode's id and step count."""
        return self._state
