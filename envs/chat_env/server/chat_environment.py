"""The environment's logic."""

import random
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        ChatAction,
        ChatMessage,
        ChatObservation,
    )
else:  # started from inside the folder
    from models import (
        ChatAction,
        ChatMessage,
        ChatObservation,
    )

SYSTEM_PROMPT = "You are a helpful assistant. Do exactly what you are asked."
WORDS = ("apple", "bridge", "candle", "desert", "engine", "forest", "garden", "harbour")
TURNS = 3


class ChatEnvironment(Environment[ChatAction, ChatObservation, State]):
    """A conversation whose user asks for a word in each turn; a reply that has it earns 1."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State()
        self._random = random.Random()
        self._messages: list[ChatMessage] = []
        self._word = ""

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        **kwargs: Any,
    ) -> ChatObservation:
        """Begins a conversation; the seed decides the words."""
        if seed is not None:
            self._random.seed(seed)
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        self._messages = [ChatMessage(role="system", content=SYSTEM_PROMPT)]
        self._ask()
        return ChatObservation(messages=list(self._messages))

    def step(
        self,
        action: ChatAction,
        timeout_s: float | None = None,
        **kwargs: Any,
    ) -> ChatObservation:
        """Takes the reply, and asks for the next word."""
        self._state.step_count += 1
        reward = float(self._word in action.content.lower())
        self._messages.append(ChatMessage(role="assistant", content=action.content))
        done = self._state.step_count >= TURNS
        if not done:
            self._ask()
        return ChatObservation(messages=list(self._messages), reward=reward, done=done)

    @property
    def state(self) -> State:
        """The episode's id, and its steps so far."""
        return self._state

    def _ask(self) -> None:
        self._word = self._random.choice(WORDS)
        content = f"Write a sentence with the word {self._word}."
        self._messages.append(ChatMessage(role="user", content=content))
