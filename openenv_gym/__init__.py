"""Every OpenEnv environment is a ``gymnasium.Env``.

    import gymnasium as gym, openenv_gym

    env = gym.make("openenv/my-env")                               # a name that is known
    env = gym.make("openenv/remote", base_url="http://host:8000")  # any server

Importing this registers the names; what needs more than Gymnasium is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from openenv_gym.naming.registration import follow_lookups, names, register, register_known

if TYPE_CHECKING:
    from openenv_gym.client import EnvClient
    from openenv_gym.env import RemoteEnv
    from openenv_gym.errors import OpenEnvError
    from openenv_gym.generic_client import GenericEnvClient
    from openenv_gym.types import Action, Observation, State, StepResult
    from openenv_gym.vector import RemoteVectorEnv

__all__ = [
    "Action",
    "EnvClient",
    "GenericEnvClient",
    "Observation",
    "OpenEnvError",
    "RemoteEnv",
    "RemoteVectorEnv",
    "State",
    "StepResult",
    "names",
    "register",
]

_HOMES = {
    "Action": "types",
    "EnvClient": "client",
    "GenericEnvClient": "generic_client",
    "Observation": "types",
    "OpenEnvError": "errors",
    "RemoteEnv": "env",
    "RemoteVectorEnv": "vector",
    "State": "types",
    "StepResult": "types",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


register_known()
follow_lookups()
