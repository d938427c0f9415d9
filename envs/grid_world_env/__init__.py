"""Grid world environment: its models, and the client that drives it."""

from .client import GridWorldEnv
from .models import (
    GridWorldAction,
    GridWorldObservation,
)

__all__ = ["GridWorldAction", "GridWorldEnv", "GridWorldObservation"]
