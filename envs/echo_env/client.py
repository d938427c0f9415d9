"""The client: a session on a server, with this environment's types."""

from typing import Any

from openenv.core.client_types import StepResult
from openenv.core.env_client import EnvClient
from openenv.core.env_server.types import State

from .models import (
    EchoAction,
    EchoObservation,
)


class EchoEnv(EnvClient[EchoAction, EchoObservation, State]):
    """Connects to the environment on a server.

    Example:
        >>> with EchoEnv(base_url="http://localhost:8000") as client:
        ...     result = client.reset()
        ...     result = client.step(EchoAction(message="Hello"))
    """

    def _step_payload(self, action: EchoAction) -> dict[str, Any]:
        return action.model_dump(mode="json")

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[EchoObservation]:
        reward, done = payload.get("reward"), payload.get("done", False)
        observation = EchoObservation.model_validate(
            {**payload.get("observation", {}), "reward": reward, "done": done}
        )
        return StepResult(observation=observation, reward=reward, done=done)

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State.model_validate(payload)
