"""What a client gets."""

from openenv_gym.client import ObsT, StateT
from openenv_gym.types import StepResult

__all__ = ["ObsT", "StateT", "StepResult"]
