"""What an agent sends, and what it gets back."""

from openenv.core.env_server.types import Action, Observation
from pydantic import Field


class EchoAction(Action):
    """A message."""

    message: str = Field(max_length=1000, description="What to say")


class EchoObservation(Observation):
    """The message, as it came back."""

    echo: str = Field(max_length=1000, description="What was said")
    length: int = Field(ge=0, le=1000, description="The number of its characters")
