"""What the published package passes to a builder of a custom tab."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from openenv_gym.generic_client import plain
from openenv_gym.types import EnvironmentMetadata
from openenv_server.playground.visits import Visits

# The fields of a property of a schema, and their names for a builder.
_FIELDS = {
    "choices": "enum",
    "min_value": "minimum",
    "max_value": "maximum",
    "min_length": "minLength",
    "max_length": "maxLength",
    "pattern": "pattern",
}
_LONG_TEXT = 100


class WebManager:
    """What a builder's handlers call: the session of the tab that they are called for.

    Args:
        visits: The open tabs.
        metadata: The environment's metadata.
    """

    def __init__(self, visits: Visits, metadata: EnvironmentMetadata) -> None:
        self._visits = visits
        self.metadata = metadata

    async def reset_environment(self, reset_kwargs: dict[str, Any] | None = None) -> dict[str, Any]:
        """Begin an episode; return ``observation``, ``reward`` and ``done``."""
        episode = self._visits.episode(_request())
        await episode.reset(reset_kwargs or {})
        return await self._latest()

    async def step_environment(self, action_data: dict[str, Any]) -> dict[str, Any]:
        """Take an action, from its fields; return ``observation``, ``reward`` and ``done``."""
        episode = self._visits.episode(_request())
        await episode.step(action_data)
        return await self._latest()

    def get_state(self) -> dict[str, Any]:
        """Return the fields of the environment's state.

        Raises:
            RuntimeError: No episode has begun.
        """
        episode = self._visits.episode(_request())
        if episode.latest_state is None:
            raise RuntimeError("Environment not initialized. Call reset first.")
        return episode.latest_state

    @property
    def episode_state(self) -> SimpleNamespace:
        """The episode: ``episode_id``, ``step_count``, ``current_observation`` and ``is_reset``."""
        episode = self._visits.episode(_request())
        last = episode.history[-1] if episode.history else None
        return SimpleNamespace(
            episode_id=(episode.latest_state or {}).get("episode_id"),
            step_count=episode.steps,
            current_observation=None if last is None else plain(last.observation),
            is_reset=last is not None and last.step == 0,
        )

    async def _latest(self) -> dict[str, Any]:
        episode = self._visits.episode(_request())
        episode.latest_state = await episode.state()
        last = episode.history[-1]
        return {"observation": plain(last.observation), "reward": last.reward, "done": last.is_last}


def action_fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of an action as a builder expects them."""
    required = schema.get("required", [])
    return [
        {
            "name": name,
            "type": _input_type(name, field),
            "required": name in required,
            "description": field.get("description", ""),
            "default_value": field.get("default"),
            **{theirs: field.get(keyword) for theirs, keyword in _FIELDS.items()},
            "placeholder": f"Enter {name.replace('_', ' ')}...",
            "help_text": field.get("description", ""),
        }
        for name, field in schema.get("properties", {}).items()
        if name != "metadata"
    ]


def _input_type(name: str, field: dict[str, Any]) -> str:
    if "tokens" in name.lower():
        return "tensor"
    if "enum" in field:
        return "select"
    kind = field.get("type")
    if kind == "string" and (
        field.get("maxLength", 0) > _LONG_TEXT or {"message", "code"} & set(name.lower().split("_"))
    ):
        return "textarea"
    return {"boolean": "checkbox", "integer": "number", "number": "number"}.get(str(kind), "text")


def _request() -> Any:
    """The request that the running handler answers."""
    from gradio.context import LocalContext

    return LocalContext.request.get()
