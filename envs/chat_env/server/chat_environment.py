"""The environment."""

import random
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import State

from .requests import TASKS, Request, draw

if TYPE_CHECKING or __package__ != "server":
    from ..models import (
        ChatAction,
        ChatMessage,
        ChatObservation,
    )
else:  # run from inside the folder
    from models import (
        ChatAction,
        ChatMessage,
        ChatObservation,
    )

SYSTEM_PROMPT = "You are a helpful assistant. Do exactly what you are asked."
REQUESTS = 3
# The reward of a correct reply, at the first and at the last attempt.
REWARDS = (1.0, 0.5)


class ChatEnvironment(Environment[ChatAction, ChatObservation, State]):
    """A conversation. The user asks for things, checks each reply, and allows a second attempt."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self._state = State()
        self._random = random.Random()
        self._messages: list[ChatMessage] = []
        self._task = "mixed"
        self._request = Request("", lambda reply: False)
        self._asked = self._attempt = 0
        self._is_over = True

    def reset(
        self,
        seed: int | None = None,
        episode_id: str | None = None,
        *,
        system_prompt: str | None = None,
        task: str | None = None,
        **kwargs: Any,
    ) -> ChatObservation:
        """Start a conversation.

        Args:
            seed: Determines the requests.
            episode_id: A name for the episode.
            system_prompt: The first message, instead of the default; "" for none.
            task: The kind of requests: "word", "length", "sum", or "mixed" for all of them.
            **kwargs: Must be empty.

        Raises:
            TypeError: ``kwargs`` is not empty.
            ValueError: The task is unknown.
        """
        if kwargs:
            raise TypeError(
                f"Unknown options of reset: {', '.join(kwargs)}. It takes system_prompt and task."
            )
        if task is not None and task not in TASKS:
            raise ValueError(f"Unknown task {task!r}. Choose one of {', '.join(TASKS)}.")
        if seed is not None:
            self._random.seed(seed)
        self._state = State(episode_id=episode_id or str(uuid4()), step_count=0)
        self._task = task or "mixed"
        self._messages.clear()
        if prompt := SYSTEM_PROMPT if system_prompt is None else system_prompt:
            self._say("system", prompt)
        self._asked, self._is_over = 0, False
        self._ask("")
        return ChatObservation(messages=list(self._messages))

    def step(
        self,
        action: ChatAction,
        timeout_s: float | None = None,
        **kwargs: Any,
    ) -> ChatObservation:
        """Add the agent's message; the user checks it, and asks for the next thing.

        Raises:
            RuntimeError: The conversation is over, or has not started.
        """
        if self._is_over:
            raise RuntimeError("The conversation is over, or has not started: call reset")
        self._state.step_count += 1
        self._say("assistant", action.content)
        is_met = self._request.is_met(action.content)
        reward = REWARDS[self._attempt] if is_met else 0.0
        self._attempt += 1
        is_settled = is_met or self._attempt == len(REWARDS)
        self._is_over = is_settled and self._asked == REQUESTS
        if not is_settled:
            self._say("user", f"That is not what I asked for. {self._request.text}")
        elif not self._is_over:
            self._ask("Thank you. " if is_met else "Never mind. ")
        return ChatObservation(messages=list(self._messages), reward=reward, done=self._is_over)

    @property
    def state(self) -> State:
        """The episode's id and step count."""
        return self._state

    def _ask(self, words_before: str) -> None:
        self._request = draw(self._task, self._random)
        self._asked += 1
        self._attempt = 0
        self._say("user", f"{words_before}{self._request.text}")

    def _say(self, role: Literal["system", "user", "assistant"], content: str) -> None:
        self._messages.append(ChatMessage(role=role, content=content))
