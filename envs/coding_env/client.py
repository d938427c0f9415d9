"""The client: a session on a server, with this environment's types."""

from typing import Any

from openenv.core.client_types import StepResult
from openenv.core.env_client import EnvClient

from .models import (
    CodingAction,
    CodingObservation,
    CodingState,
)


class CodingEnv(EnvClient[CodingAction, CodingObservation, CodingState]):
    """Connects to the environment on a server.

    Example:
        >>> with CodingEnv(base_url="http://localhost:8000") as client:
        ...     result = client.reset()
        ...     result = client.step(CodingAction(code="print(6 * 7)"))
        ...     print(result.observation.stdout)
    """

    def _step_payload(self, action: CodingAction) -> dict[str, Any]:
        return action.model_dump(mode="json")

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[CodingObservation]:
        reward, done = payload.get("reward"), payload.get("done", False)
        metadata = payload.get("metadata") or {}
        observation = CodingObservation.model_validate(
            {**payload.get("observation", {}), "reward": reward, "done": done, "metadata": metadata}
        )
        return StepResult(observation=observation, reward=reward, done=done, metadata=metadata)

    def _parse_state(self, payload: dict[str, Any]) -> CodingState:
        return CodingState.model_validate(payload)
