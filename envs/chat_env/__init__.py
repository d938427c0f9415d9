"""Chat environment: its models and its client."""

from .client import ChatEnv
from .models import (
    ChatAction,
    ChatObservation,
)

__all__ = ["ChatAction", "ChatEnv", "ChatObservation"]
