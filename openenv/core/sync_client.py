"""The client whose methods are not awaited."""

from openenv_gym.client import SyncEnvClient

__all__ = ["SyncEnvClient"]
