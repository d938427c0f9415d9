"""The core: environments, their server, and their clients."""

from openenv_server import Environment, Transform, create_app

from openenv_gym.client import EnvClient, GenericEnvClient
from openenv_gym.types import Action, Observation, State, StepResult

__all__ = [
    "Action",
    "EnvClient",
    "Environment",
    "GenericEnvClient",
    "Observation",
    "State",
    "StepResult",
    "Transform",
    "create_app",
]
