"""The client of plain dicts."""

from openenv_gym.client import GenericEnvClient

__all__ = ["GenericEnvClient"]
