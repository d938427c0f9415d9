"""What an author subclasses."""

from openenv_server.environment import ActT, Environment, ObsT, StateT, TaskProvider, Transform

from openenv_gym.types import Action, EnvironmentMetadata, Message, ModelTokenizer, Observation, State

__all__ = [
    "ActT",
    "Action",
    "Environment",
    "EnvironmentMetadata",
    "Message",
    "ModelTokenizer",
    "ObsT",
    "Observation",
    "State",
    "StateT",
    "TaskProvider",
    "Transform",
]
