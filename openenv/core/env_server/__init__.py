"""What an environment's author needs."""

from openenv_server import Environment, Transform, create_app
from openenv_server.app import EnvironmentServer as HTTPEnvServer
from openenv_server.app import create_app as create_fastapi_app

from openenv_gym.types import Action, Observation, State

__all__ = [
    "Action",
    "Environment",
    "HTTPEnvServer",
    "Observation",
    "State",
    "Transform",
    "create_app",
    "create_fastapi_app",
]
