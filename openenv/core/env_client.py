"""The typed client."""

from openenv_gym.client import EnvClient

__all__ = ["EnvClient"]
