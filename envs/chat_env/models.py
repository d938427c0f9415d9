"""What an agent sends, and what it gets back."""

from typing import Literal

from openenv.core.env_server.types import Action, Observation
from pydantic import BaseModel, Field


class ChatMessage(BaseModel):
    """One message of a conversation; dumped, it is what a tokenizer's chat template takes."""

    role: Literal["system", "user", "assistant"] = Field(description="Who speaks")
    content: str = Field(max_length=2000, description="What is said")


class ChatAction(Action):
    """The agent's message, which the conversation gets as the assistant's."""

    content: str = Field(max_length=2000, description="What to say")


class ChatObservation(Observation):
    """The conversation so far; the last message is the user's, to be answered, until the episode ends."""

    messages: list[ChatMessage] = Field(max_length=16, description="All messages, the oldest first")
