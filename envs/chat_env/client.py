"""The client: a session on a server, with this environment's types."""

from typing import Any

from openenv.core.client_types import StepResult
from openenv.core.env_client import EnvClient
from openenv.core.env_server.types import State

from .models import (
    ChatAction,
    ChatObservation,
)


class ChatEnv(EnvClient[ChatAction, ChatObservation, State]):
    """Connects to the environment on a server.

    Example:
        >>> with ChatEnv(base_url="http://localhost:8000") as client:
        ...     result = client.reset()
        ...     result = client.step(ChatAction(content="The apple is red."))
    """

    def _step_payload(self, action: ChatAction) -> dict[str, Any]:
        return action.model_dump(mode="json")

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[ChatObservation]:
        reward, done = payload.get("reward"), payload.get("done", False)
        observation = ChatObservation.model_validate(
            {**payload.get("observation", {}), "reward": reward, "done": done}
        )
        return StepResult(observation=observation, reward=reward, done=done)

    def _parse_state(self, payload: dict[str, Any]) -> State:
        return State.model_validate(payload)
