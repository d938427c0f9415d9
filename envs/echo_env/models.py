"""The action and the observation."""

from openenv.core.env_server.types import Action, Observation
from pydantic import Field


class EchoAction(Action):
    """A message."""

    message: str = Field(max_length=1000, description="The text to echo")


class EchoObservation(Observation):
    """The echoed message."""

    echo: str = Field(max_length=1000, description="The same text")
    length: int = Field(ge=0, le=1000, description="The number of characters")
