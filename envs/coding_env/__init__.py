"""Coding environment: its models, and the client that drives it."""

from .client import CodingEnv
from .models import (
    CodingAction,
    CodingObservation,
    CodingState,
)

__all__ = ["CodingAction", "CodingEnv", "CodingObservation", "CodingState"]
