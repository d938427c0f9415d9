"""The older root of the guide's import paths: everything under ``openenv.core``, by its former name."""

from openenv import core
from openenv.core import (
    Action,
    EnvClient,
    Environment,
    GenericEnvClient,
    Observation,
    State,
    StepResult,
    Transform,
    create_app,
)

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

# openenv_core.env_server and the others are found where openenv.core has them.
__path__ = core.__path__
