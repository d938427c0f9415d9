"""The client of plain dicts."""

from openenv_gym.generic_client import GenericAction, GenericEnvClient

__all__ = ["GenericAction", "GenericEnvClient"]
