"""Echo environment: its models and its client."""

from .client import EchoEnv
from .models import (
    EchoAction,
    EchoObservation,
)

__all__ = ["EchoAction", "EchoEnv", "EchoObservation"]
