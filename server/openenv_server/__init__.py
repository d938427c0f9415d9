"""Build and serve environments: an `Environment` to subclass, and `create_app` to serve it."""

from __future__ import annotations

from openenv_gym.types import Action, EnvironmentMetadata, Observation, State
from openenv_server.app import create_app
from openenv_server.environment import Environment, Transform
from openenv_server.gymnasium_environment import (
    GymnasiumEnvironment,
    GymnasiumModels,
    SpaceField,
    describe_env,
    gymnasium_factory,
)
from openenv_server.tools.environment import MCPEnvironment
from openenv_server.vector_environment import vector_factory

__all__ = [
    "Action",
    "Environment",
    "EnvironmentMetadata",
    "GymnasiumEnvironment",
    "GymnasiumModels",
    "MCPEnvironment",
    "Observation",
    "SpaceField",
    "State",
    "Transform",
    "create_app",
    "describe_env",
    "gymnasium_factory",
    "vector_factory",
]
