"""One browser tab's session: its current episode, and the history of its steps."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Coroutine, Iterator
from typing import Any, NamedTuple, TypeVar

import numpy as np

from openenv_gym.client import PayloadCoding
from openenv_gym.errors import (
    ClosedError,
    ConfigurationError,
    RemoteEnvironmentError,
    ResetNeededError,
)
from openenv_gym.generic_client import plain
from openenv_gym.session.channel import Timeouts
from openenv_gym.session.session import Outcome, Session
from openenv_gym.spaces.codecs.base import named_infinities
from openenv_gym.transport.asynchronous import AsyncTransport
from openenv_gym.transport.endpoint import Endpoint

T = TypeVar("T")

# How many steps the history keeps: observations may be images.
MOST_STEPS = 1000


class Transition(NamedTuple):
    """The result of a reset or a step.

    Attributes:
        step: The number of the step in its episode; 0 is the reset.
        action: The action's fields; None for a reset.
        observation: The observation's fields, as JSON values and arrays.
        reward: The reward; None if the environment gave none.
        terminated: Whether the episode ended by the environment's own rules.
        truncated: Whether it was cut off, by a time limit for example.
        info: What the environment says beside the observation.
        render: The server's own picture: uint8 of shape (H, W, 3), text, or None if it renders none. Text
            that says why, if the environment raises while it renders.
    """

    step: int
    action: dict[str, Any] | None
    observation: dict[str, Any]
    reward: float | None
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    render: Any

    @property
    def is_last(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated


class Episode:
    """A session on the server, with its current episode.

    The session opens with the first reset. Its methods run one after the other.

    Args:
        endpoint: The server.
        renders: Whether the server renders its environments.

    Attributes:
        autoplays: Whether random actions are being taken; set it to False to stop.
        history: The latest `MOST_STEPS` transitions of the episode.
        is_closed: Whether the tab has been closed.
        latest_state: The environment's state, for those who cannot await it.
        total_reward: The sum of its rewards.
    """

    def __init__(self, endpoint: Endpoint, *, renders: bool) -> None:
        self._session = Session(endpoint, AsyncTransport(), PayloadCoding(), Timeouts())
        self._renders = renders
        self._turn = asyncio.Lock()
        self.is_closed = False
        self.autoplays = False
        self.history: deque[Transition] = deque(maxlen=MOST_STEPS)
        self.latest_state: dict[str, Any] | None = None
        self.total_reward: float = 0.0
        self._pending = 0  # resets and steps that have not ended

    @property
    def is_busy(self) -> bool:
        """Whether a reset or a step is running or waits, after which there is more to show."""
        return self._pending > 0

    @property
    def steps(self) -> int:
        """The number of steps."""
        return self.history[-1].step if self.history else 0

    @property
    def is_running(self) -> bool:
        """Whether a step can be taken."""
        return bool(self.history) and not self.history[-1].is_last

    async def reset(self, options: dict[str, Any]) -> None:
        """Begin an episode.

        Args:
            options: ``seed``, and further keywords of the environment's own ``reset``.

        Raises:
            ClosedError: The tab has been closed.
            OpenEnvError: As `openenv_gym.RemoteEnv.reset`.
        """
        await self._finish(self._counted(self._reset(options)))

    async def step(self, action: dict[str, Any]) -> None:
        """Take one action.

        Raises:
            ClosedError: The tab has been closed.
            ResetNeededError: The episode is over, or none has begun.
            OpenEnvError: As `openenv_gym.RemoteEnv.step`.
        """
        await self._finish(self._counted(self._step(action)))

    async def state(self) -> dict[str, Any]:
        """Return the fields of the environment's state."""
        return await self._finish(self._session.state())

    async def close(self) -> None:
        """End the session. Safe to call again."""
        self.is_closed = True
        await self._finish(self._session.close())

    def as_jsonl(self) -> str:
        """Return the history as JSON lines, one for the reset and one for each step.

        Infinities and NaN, which JSON does not have, are written by their names, as in actions.
        """
        return "".join(f"{line}\n" for line in self._lines())

    def _lines(self) -> Iterator[str]:
        for transition in self.history:
            fields = transition._asdict()
            del fields["render"]
            yield json.dumps(named_infinities(plain(fields)), ensure_ascii=False, default=str)

    def _counted(self, call: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        self._pending += 1

        async def counted() -> None:
            try:
                await call
            finally:
                self._pending -= 1

        return counted()

    async def _finish(self, call: Coroutine[Any, Any, T]) -> T:
        """Run a call to its end, after those before it, even if nobody waits for it any more.

        A request that is abandoned would break the connection, and the server would keep the session.
        """

        async def in_turn() -> T:
            async with self._turn:
                return await call

        return await asyncio.shield(asyncio.ensure_future(in_turn()))

    async def _reset(self, options: dict[str, Any]) -> None:
        self._check_open()
        outcome = await self._session.reset(options)
        self.history.clear()
        self.total_reward = 0.0
        await self._add(0, None, outcome)

    async def _step(self, action: dict[str, Any]) -> None:
        self._check_open()
        if not self.is_running:
            raise ResetNeededError("The episode is over" if self.history else "No episode is running")
        number = self.steps + 1
        outcome = await self._session.step(action, f"step {number}")
        await self._add(number, action, outcome)

    def _check_open(self) -> None:
        if self.is_closed:
            raise ClosedError(
                "The page has lost its connection, and its episode is gone", advice="Reload the page."
            )

    async def _add(self, step: int, action: dict[str, Any] | None, outcome: Outcome) -> None:
        render = await self._rendered()
        reward = None if outcome.reward is None or np.isnan(outcome.reward) else float(outcome.reward)
        self.total_reward += reward or 0.0
        self.history.append(
            Transition(
                step,
                action,
                outcome.observation,
                reward,
                outcome.terminated,
                outcome.truncated,
                outcome.info,
                render,
            )
        )

    async def _rendered(self) -> Any:
        if not self._renders:
            return None
        try:
            return await self._session.render()
        except ConfigurationError:  # a proxy may restrict the connection to version 1, without rendering
            self._renders = False
            return None
        except RemoteEnvironmentError as error:  # the step is taken, and is shown without its picture
            return str(error)
