"""The client of plain dicts."""

from openenv_gym.client import GenericAction, GenericEnvClient

__all__ = ["GenericAction", "GenericEnvClient"]
