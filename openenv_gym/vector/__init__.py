"""Many sessions as one ``gymnasium.vector.VectorEnv``."""

from __future__ import annotations

from openenv_gym.vector.env import RemoteVectorEnv
from openenv_gym.vector.results import Ready

__all__ = ["Ready", "RemoteVectorEnv"]
