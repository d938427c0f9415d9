"""The typed client."""

from openenv_gym.client import ActT, EnvClient, ObsT, StateT
from openenv_gym.types import StepResult

__all__ = ["ActT", "EnvClient", "ObsT", "StateT", "StepResult"]
