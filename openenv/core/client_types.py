"""What a client gets."""

from openenv_gym.types import StepResult

__all__ = ["StepResult"]
