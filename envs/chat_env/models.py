"""The action and the observation."""

from typing import Literal

from openenv.core.env_server.types import Action, Observation
from pydantic import BaseModel, Field


class ChatMessage(BaseModel):
    """A message of a conversation. Its dump fits a tokenizer's chat template."""

    role: Literal["system", "user", "assistant"] = Field(description="The speaker")
    content: str = Field(max_length=2000, description="The text")


class ChatAction(Action):
    """The agent's message, added to the conversation as the assistant's."""

    content: str = Field(max_length=2000, description="The message")


class ChatObservation(Observation):
    """The conversation so far. The last message is from the user, until the episode ends."""

    messages: list[ChatMessage] = Field(max_length=16, description="All messages, oldest first")
