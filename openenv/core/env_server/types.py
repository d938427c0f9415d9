"""The contract's models."""

from openenv_gym.types import Action, CodeExecResult, EnvironmentMetadata, Observation, State

__all__ = ["Action", "CodeExecResult", "EnvironmentMetadata", "Observation", "State"]
