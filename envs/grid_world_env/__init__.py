"""Grid world environment: its models and its client."""

from .client import GridWorldEnv
from .models import (
    GridWorldAction,
    GridWorldObservation,
)

__all__ = ["GridWorldAction", "GridWorldEnv", "GridWorldObservation"]
