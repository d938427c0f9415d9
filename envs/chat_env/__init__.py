"""Chat environment: its models, and the client that drives it."""

from .client import ChatEnv
from .models import (
    ChatAction,
    ChatObservation,
)

__all__ = ["ChatAction", "ChatEnv", "ChatObservation"]
