"""Many sessions as one ``gymnasium.vector.VectorEnv``."""

from __future__ import annotations

from openenv_gym.vector.env import Ready, RemoteVectorEnv

__all__ = ["Ready", "RemoteVectorEnv"]
