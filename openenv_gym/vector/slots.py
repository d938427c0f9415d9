"""Sessions over version 1 of the protocol: a socket a slot, all driven from one thread."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import iterate

from openenv_gym.env_spaces import EnvSpaces, decode_observation
from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    EndpointError,
    OpenEnvError,
    RemoteError,
    ResetNeededError,
    SessionLostError,
)
from openenv_gym.losses import LOSSES
from openenv_gym.metrics import Times
from openenv_gym.remote import RESET_TRIES, no_render
from openenv_gym.transport.capacity import Turn
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.returning import may_be_asked_again
from openenv_gym.transport.session import Session
from openenv_gym.vector.batch import Batch
from openenv_gym.vector.fleet import Failure, Mask, Policy, Source
from openenv_gym.vector.servers import Servers


class Slot:
    """One session: its episode, and what it still owes.

    Args:
        number: The slot's number.
        session: The session.
        servers: Where a new session goes to.
        interface: The servers' spaces and codecs.
        batch: Where the results are written.
        policy: What happens at the end of an episode, and when the session is lost.
    """

    def __init__(
        self,
        number: int,
        session: Session,
        servers: Servers,
        interface: EnvSpaces,
        batch: Batch,
        policy: Policy,
    ) -> None:
        self.number = number
        self.session = session
        self._asked = ""
        self._servers = servers
        self._interface = interface
        self._batch = batch
        self._mode = policy.autoreset_mode
        self._max_steps = policy.max_episode_steps
        self._truncates = policy.truncates
        self._patience_s = policy.capacity_timeout_s
        self._steps = 0
        self._is_resetting = False
        self._asked_for: dict[str, Any] = {}
        self._tries = 0
        self._turn = Turn(0.0)
        self._is_waiting = False
        self._is_placed = True  # for the first time, all slots are placed together
        self._has_begun = False
        self._in_vain: dict[Endpoint, OpenEnvError] = {}  # servers that had no session for this episode
        self._failure: OpenEnvError | None = None
        self._final: tuple[Any, dict[str, Any]] | None = None
        self._sent_at = 0.0

    def ask_reset(self, data: dict[str, Any]) -> None:
        """Asks for a new episode, in a new session where there is none."""
        self._turn, self._final, self._in_vain = Turn(self._patience_s), None, {}
        self._ask(f"the reset of slot {self.number}", self._send_reset, data)
        self._is_resetting, self._steps = True, 0
        self._asked_for, self._tries = data, RESET_TRIES

    def _send_reset(self, data: dict[str, Any], what: str) -> None:
        if not (self.session.is_open or self._is_placed):
            self.session.close()
            self._open_anywhere()
        self._is_placed = False
        self.session.send_reset(data, what)

    def _open_anywhere(self) -> None:
        while not self.session.is_open:
            try:
                ((self.session.endpoint, _),) = self._servers.place_all(1, without=self._in_vain)
            except OpenEnvError:
                self._in_vain = {}  # later, each may be tried again
                raise
            try:
                self.session.open()
            except EndpointError as error:
                self._in_vain[self.session.endpoint] = error

    @property
    def due_at(self) -> float:
        """When a new session is asked for again, by ``time.monotonic()``; 0.0 where none is waited for."""
        return self._turn.due_at if self._is_waiting else 0.0

    @property
    def late_at(self) -> float:
        """The end of the time for the answer, by ``time.perf_counter()``."""
        if self._failure is not None:
            return math.inf
        return self._sent_at + self.session.most_s(is_reset=self._is_resetting)

    def expire(self) -> None:
        """Gives the answer up; `receive` says so."""
        most_s = self.session.most_s(is_reset=self._is_resetting)
        self._failure = self.session.connection.expire(most_s, self._asked)

    def ask_step(self, action: Any) -> None:
        """Sends an action, or resets instead where the episode has ended and that is what comes next."""
        self._final = None
        if self._mode is AutoresetMode.NEXT_STEP and self._has_ended:
            self.ask_reset({})
            return
        what = f"step {self._steps + 1} of slot {self.number}"
        self._ask(what, self.session.send_step, self._interface.action.encode(action))
        self._is_resetting = False

    def receive(self) -> Times | None:
        """Reads the answer. The slot is ready then, unless it has to reset in the same step.

        Returns:
            What is known of the step, if it was one.
        """
        what = self._asked
        if self._is_waiting:
            self._ask(what, self._send_reset, self._asked_for)
            return None
        try:
            if self._failure is not None:
                raise self._failure
            answer = self.session.receive(what, is_reset=self._is_resetting)
        except LOSSES as loss:
            self._servers.forget(self.session.endpoint)
            if self._is_resetting and self._tries > 1 and (self._truncates or may_be_asked_again(loss)):
                # No episode is lost where one is to begin anyway.
                self._tries -= 1
                self._ask(what, self._send_reset, self._asked_for)
                return None
            if self._is_resetting or not self._truncates:
                raise
            self._cut_short(loss.message)
            return None
        except CapacityError as full:
            # What could not even be asked was tried everywhere; and the first episodes begin together or not.
            if self._failure is not None or not self._has_begun:
                raise
            self._in_vain[self.session.endpoint] = full
            self._ask(what, self._send_reset, self._asked_for)
            return None
        times = Times(self._sent_at, perf_counter())
        observation = decode_observation(self._interface.observation, answer, self.session.endpoint, what)
        batch, number = self._batch, self.number
        if not self._is_resetting:
            self._steps += 1
            batch.rewards[number] = 0.0 if answer.reward is None else float(answer.reward)
            batch.terminated[number] = answer.terminated
            batch.truncated[number] = answer.truncated or self._steps == self._max_steps
            if self._mode is AutoresetMode.SAME_STEP and self._has_ended:
                self.ask_reset({})
                self._final = observation, answer.metadata
                return times
        else:
            self._has_begun = True
        if self._is_resetting and self._final is None:
            batch.rewards[number], batch.terminated[number], batch.truncated[number] = 0.0, False, False
        batch.column.put(observation, batch.memory, number)
        if answer.metadata:
            batch.infos[number] = answer.metadata
        if self._final is not None:
            batch.note_final(number, *self._final)
        batch.is_ready[number], batch.has_episode[number], batch.owes[number] = True, True, False
        return None if self._is_resetting else times

    def _cut_short(self, reason: str) -> None:
        """The session is lost: the episode ends here, and the next one has a new session."""
        batch, number, info = self._batch, self.number, {"session_lost": reason}
        batch.rewards[number], batch.terminated[number], batch.truncated[number] = 0.0, False, True
        if self._mode is AutoresetMode.SAME_STEP:
            last = batch.last_observation(number)
            self.ask_reset({})
            self._final = last, info
            return
        batch.infos[number] = info
        batch.is_ready[number], batch.owes[number] = True, False

    @property
    def has_failed(self) -> bool:
        """Whether what it owes could not even be asked; `receive` raises why."""
        return self._failure is not None

    @property
    def _has_ended(self) -> bool:
        return bool(self._batch.terminated[self.number] or self._batch.truncated[self.number])

    def _ask(self, what: str, send: Callable[[dict[str, Any], str], None], data: dict[str, Any]) -> None:
        self._asked, self._failure, self._is_waiting = what, None, False
        try:
            send(data, what)
        except ResetNeededError:
            self._failure = SessionLostError(
                f"{self.session.endpoint}, {what}: the session was lost while nothing was asked of it."
            )
        except (EndpointError, RemoteError, ConfigurationError) as error:
            # Raised when it is read, so that the other slots are asked and read all the same.
            self._failure = error
            self._is_waiting = not self.session.is_open and self._turn.goes_on(error)
        self._sent_at = perf_counter()


class SocketFleet:
    """The slots, each with a socket of its own.

    Args:
        sessions: A session for each of them.
        servers: Where sessions go to that are opened later.
        interface: The servers' spaces and codecs.
        batch: Where the results are written.
        policy: What happens at the end of an episode, and when a session is lost.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        servers: Servers,
        interface: EnvSpaces,
        batch: Batch,
        policy: Policy,
    ) -> None:
        self.batch = batch
        self.failures: list[Failure] = []
        self.times: list[tuple[Any, Times]] = []
        self.slots = [
            Slot(number, session, servers, interface, batch, policy)
            for number, session in enumerate(sessions)
        ]

    def ask_reset(self, slots: list[int], seeds: Sequence[int | None], options: dict[str, Any]) -> None:
        for number, seed in zip(slots, seeds, strict=True):
            slot = self.slots[number]
            self.batch.ask([number])
            slot.ask_reset(options if seed is None else {**options, "seed": seed})
            if slot.has_failed and not slot.due_at:
                break  # a server that one slot cannot reach is not tried for each of the others

    def ask_step(self, slots: list[int], actions: Any, *, together: bool) -> None:
        self.batch.ask(slots)
        each = iterate(self.batch.action_space(len(slots)), actions)
        for number, action in zip(slots, each, strict=True):
            self.slots[number].ask_step(action)

    def sources(self, slots: Mask) -> list[Source]:
        return [
            Source(
                [slot.number],
                None if slot.has_failed else slot.session.connection,
                partial(self._read, slot),
                slot.due_at,
                slot.late_at,
                partial(self._expire, slot),
            )
            for slot in self.slots
            if slots[slot.number]
        ]

    def give_up_lost(self, slots: Mask) -> None:
        for slot in self.slots:
            if slots[slot.number] and not slot.session.is_open:
                self.batch.fail([slot.number], is_lost=True)

    def drop(self, slots: Sequence[int]) -> None:
        for number in slots:
            self.slots[number].session.hang_up()

    def states(self) -> list[Any]:
        return [slot.session.state() for slot in self.slots]

    def render(self) -> list[Any]:
        raise no_render(self.slots[0].session.endpoint)

    def close(self) -> None:
        for slot in self.slots:
            slot.session.close()

    def _expire(self, slot: Slot) -> None:
        slot.expire()
        self._read(slot)

    def _read(self, slot: Slot) -> None:
        try:
            times = slot.receive()
        except (EndpointError, RemoteError, ConfigurationError) as error:
            self.failures.append(Failure(error, [slot.number]))
            self.batch.fail([slot.number], is_lost=not slot.session.has_episode)
        else:
            if times is not None:
                self.times.append((slot.number, times))
