"""Coding environment: its models and its client."""

from .client import CodingEnv
from .models import (
    CodingAction,
    CodingObservation,
    CodingState,
)

__all__ = ["CodingAction", "CodingEnv", "CodingObservation", "CodingState"]
