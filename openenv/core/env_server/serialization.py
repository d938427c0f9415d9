"""Actions and observations as JSON values."""

from openenv_server.serialization import (
    deserialize_action,
    deserialize_action_with_preprocessing,
    serialize_observation,
)

__all__ = ["deserialize_action", "deserialize_action_with_preprocessing", "serialize_observation"]
