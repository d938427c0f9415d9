"""What an author subclasses."""

from openenv_server import Environment, Transform

from openenv_gym.types import Action, EnvironmentMetadata, Message, Observation, State

__all__ = ["Action", "Environment", "EnvironmentMetadata", "Message", "Observation", "State", "Transform"]
