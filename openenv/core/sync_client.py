"""The client whose methods are not awaited."""

from openenv_gym.sync_client import SyncEnvClient

__all__ = ["SyncEnvClient"]
