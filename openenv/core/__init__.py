"""The core: environments, their server, and their clients."""

from typing import TYPE_CHECKING, Any

from openenv_gym.client import EnvClient, GenericEnvClient
from openenv_gym.types import Action, Observation, State, StepResult

if TYPE_CHECKING:
    from openenv_server import Environment, Transform, create_app

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


def __getattr__(name: str) -> Any:
    """The server's names, which a trainer without the server extra never asks for."""
    if name not in {"Environment", "Transform", "create_app"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import openenv_server

    return getattr(openenv_server, name)
