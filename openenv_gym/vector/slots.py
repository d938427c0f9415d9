"""The slots of a vector environment, each a session on a socket of its own, driven from one thread."""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from openenv_gym.errors import DeadlineExceededError, EndpointError, RemoteError
from openenv_gym.interface import decode_observation
from openenv_gym.spaces.codecs.base import Codec
from openenv_gym.transport.session import Session


class Slot:
    """One session: what it last answered, and what it still owes.

    Attributes:
        observation: The last observation.
        reward: Of the last step; 0.0 after a reset.
        terminated: Of the last step.
        truncated: Of the last step; also where ``max_episode_steps`` is reached.
        info: Of the last step or reset.
        final: Where an episode ended and the next one began in the same step: the last observation and info
            of the one that ended.
        owes: What was asked and is not answered yet ("step 3"), or None.
        is_ready: Whether there is an answer that was not handed out yet.
        failure: Why what it owes could not be asked; `receive` raises it.
    """

    def __init__(
        self,
        number: int,
        session: Session,
        observation_codec: Codec,
        autoreset_mode: AutoresetMode,
        max_episode_steps: int | None,
    ) -> None:
        self.number = number
        self.session = session
        self._codec = observation_codec
        self._resets_in_the_same_step = autoreset_mode is AutoresetMode.SAME_STEP
        self._max_steps = max_episode_steps
        self._steps = 0
        self.observation: Any = None
        self.reward = 0.0
        self.terminated = self.truncated = False
        self.info: dict[str, Any] = {}
        self.final: tuple[Any, dict[str, Any]] | None = None
        self.owes: str | None = None
        self.is_ready = False
        self.failure: EndpointError | None = None
        self._is_resetting = False

    @property
    def has_ended(self) -> bool:
        """Whether the episode is over."""
        return self.terminated or self.truncated

    def ask_reset(self, data: dict[str, Any]) -> None:
        """Asks for a new episode."""
        self._ask(f"slot {self.number}, reset", self.session.send_reset, data)
        self._is_resetting, self._steps = True, 0
        self.reward, self.terminated, self.truncated = 0.0, False, False

    def ask_step(self, payload: dict[str, Any]) -> None:
        """Sends an action."""
        self._ask(f"slot {self.number}, step {self._steps + 1}", self.session.send_step, payload)
        self._is_resetting = False

    def _ask(self, what: str, send: Callable[[dict[str, Any], str], None], data: dict[str, Any]) -> None:
        self.owes, self.final, self.is_ready, self.failure = what, None, False, None
        try:
            send(data, what)
        except EndpointError as error:
            # Raised when it is read, so that the other slots are asked and read all the same.
            self.failure = error

    def receive(self) -> None:
        """Reads the answer. The slot is ready then, unless it has to reset in the same step."""
        what, self.owes = self.owes, None
        assert what is not None
        if self.failure is not None:
            raise self.failure
        answer = self.session.receive(what)
        self.observation = decode_observation(self._codec, answer, self.session.endpoint, what)
        self.info = answer.metadata
        if self._is_resetting:
            self.is_ready = True
            return
        self._steps += 1
        self.reward = 0.0 if answer.reward is None else float(answer.reward)
        self.terminated = answer.terminated
        self.truncated = answer.truncated or self._steps == self._max_steps
        if self._resets_in_the_same_step and self.has_ended:
            flags = self.reward, self.terminated, self.truncated
            final = self.observation, self.info
            self.ask_reset({})
            self.reward, self.terminated, self.truncated = flags
            self.final = final
        else:
            self.is_ready = True


def collect(slots: Sequence[Slot], min_ready: int, timeout_s: float | None) -> list[Slot]:
    """Reads what the slots owe until so many are ready; more where more is there already.

    What fails at one slot is raised when the others have been read. They stay ready for the next call.

    Args:
        slots: The slots to read.
        min_ready: How many to wait for.
        timeout_s: The time to wait for them, in seconds; None leaves it to the time for each message.

    Raises:
        DeadlineExceededError: Not enough in time. Those that are ready stay ready for the next call.
        EndpointError: A slot's own failure, with the slot's number.
        RemoteError: What a slot's server answered.
    """
    if timeout_s is None and min_ready == sum(slot.is_ready or slot.owes is not None for slot in slots):
        _read_all(slots)
    else:
        _read_first(slots, min_ready, timeout_s)
    return [slot for slot in slots if slot.is_ready]


def _read_all(slots: Sequence[Slot]) -> None:
    failures: list[Exception] = []
    while owing := [slot for slot in slots if slot.owes is not None]:
        for slot in owing:
            try:
                slot.receive()
            except (EndpointError, RemoteError) as error:
                failures.append(error)
    if failures:
        raise failures[0]


def _read_first(slots: Sequence[Slot], min_ready: int, timeout_s: float | None) -> None:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for slot in slots:
            if slot.failure is not None and slot.owes is not None:
                slot.receive()
            if slot.owes is not None:
                selector.register(slot.session.connection.raw_socket, selectors.EVENT_READ, slot)
        while (ready := sum(slot.is_ready for slot in slots)) < min_ready:
            events = selector.select(None if deadline is None else max(deadline - time.monotonic(), 0))
            if not events:
                raise DeadlineExceededError(
                    f"{ready} of the {min_ready} slots that were asked for are ready after {timeout_s:g} s. "
                    "The others are still under way; a later recv gets them"
                )
            for key, _ in events:
                key.data.receive()
                if key.data.is_ready:
                    selector.unregister(key.fileobj)


def seeds_of(seed: Any, count: int) -> list[int | None]:
    """A seed for each slot: none, ``seed + i``, or the ones given.

    Raises:
        ValueError: As many seeds as slots were expected.
    """
    if seed is None:
        return [None] * count
    if isinstance(seed, int | np.integer):
        return [int(seed) + i for i in range(count)]
    seeds = [None if part is None else int(part) for part in seed]
    if len(seeds) != count:
        raise ValueError(f"{count} slots take {count} seeds, not {len(seeds)}")
    return seeds
