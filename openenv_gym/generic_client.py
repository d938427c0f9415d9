"""A client of any server, with plain dicts."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from openenv_gym.client import EnvClient
from openenv_gym.types import StepResult


class GenericEnvClient(EnvClient[dict[str, Any], dict[str, Any], dict[str, Any]]):
    """A client of any server, with plain dicts for actions, observations and states: arrays are lists."""

    def _step_payload(self, action: Any) -> dict[str, Any]:
        if isinstance(action, dict):
            return action
        if hasattr(action, "model_dump"):
            return cast(dict[str, Any], action.model_dump(mode="json"))
        return dict(vars(action) if hasattr(action, "__dict__") else action)

    def _parse_result(self, payload: dict[str, Any]) -> StepResult[dict[str, Any]]:
        return StepResult(
            observation=plain(payload["observation"]),
            reward=payload["reward"],
            done=payload["done"],
            metadata=plain(payload["metadata"]),
            truncated=payload["truncated"],
        )

    def _parse_state(self, payload: dict[str, Any]) -> dict[str, Any]:
        return payload


class GenericAction(dict[str, Any]):
    """An action of plain values, for `GenericEnvClient`: ``GenericAction(amount=5)``."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(fields)

    def __repr__(self) -> str:
        return f"GenericAction({', '.join(f'{name}={value!r}' for name, value in self.items())})"


def plain(value: Any) -> Any:
    """Return a payload with lists and Python's numbers instead of arrays and NumPy's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part) for part in value]
    return value
