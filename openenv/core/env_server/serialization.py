"""Actions and observations as JSON values."""

from openenv_server.serialization import deserialize_action, serialize_observation

__all__ = ["deserialize_action", "serialize_observation"]
