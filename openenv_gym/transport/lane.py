"""A lane: one WebSocket of version 2 of the protocol, with many sessions on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from openenv_gym.errors import CapacityError, EndpointError, ProtocolError, RemoteError
from openenv_gym.transport.connection import LEAVE_TAKING_TIMEOUT_S, Connection
from openenv_gym.transport.refusals import remote_error
from openenv_gym.wire import v2
from openenv_gym.wire.codes import ErrorCode


class Lane:
    """Sends requests and reads answers, of which one request may have several.

    Args:
        connection: The connection; its server speaks version 2.
        message_timeout_s: The time for each answer, in seconds.

    Attributes:
        slots: The numbers of the sessions that were opened.
        sent_at: When the last request had been sent, by ``time.perf_counter()``.
        received_at: When the last answer had come.
    """

    def __init__(self, connection: Connection, *, message_timeout_s: float) -> None:
        self.connection = connection
        self.message_timeout_s = message_timeout_s
        self.slots: list[int] = []
        self.sent_at = self.received_at = 0.0
        self._requests = 0

    @property
    def is_open(self) -> bool:
        """Whether a request can be made."""
        return self.connection.is_open

    def next_id(self) -> int:
        """A number for a request."""
        self._requests += 1
        return self._requests

    def open(
        self,
        slots: Sequence[int],
        *,
        autoreset: v2.Autoreset = "disabled",
        max_episode_steps: int | None = None,
    ) -> None:
        """Opens sessions: all of them, or none.

        Raises:
            CapacityError: The server has not as many free sessions.
            RemoteError: The server could not make an environment.
        """
        request = v2.Open(
            id=self.next_id(), slots=list(slots), autoreset=autoreset, max_episode_steps=max_episode_steps
        )
        answer = self.ask(request, "open")
        if not isinstance(answer, v2.Opened):
            raise self._wrong_answer(answer, "open")
        self.slots.extend(answer.slots)
        if answer.errors:
            self.close()
            raise self._not_opened(answer.errors, len(slots))

    def values(self, request: v2.GetState | v2.Render, what: str) -> list[Any]:
        """The states or the pictures of some slots.

        Raises:
            RemoteError: One could not be had.
        """
        answer = self.ask(request, what)
        if not isinstance(answer, v2.Values):
            raise self._wrong_answer(answer, what)
        if answer.errors:
            raise self.error_of(answer.errors[0], what)
        return answer.values

    def ask(self, request: v2.Request, what: str) -> v2.Answer:
        """Sends a request that has one answer, and waits for it."""
        self.send(request, what)
        return self.receive(what)

    def send(self, request: v2.Request, what: str) -> None:
        """Sends a request.

        Raises:
            SessionLostError: The connection broke.
            ProtocolError: There is something in the request that cannot be sent.
        """
        try:
            payload = v2.encode(request)
        except (TypeError, OverflowError) as error:
            raise ProtocolError(f"{what} cannot be sent: {error}") from error
        self.connection.send(payload, timeout_s=self.message_timeout_s, what=what)
        self.sent_at = perf_counter()

    def receive(self, what: str) -> v2.Answer:
        """Waits for the next answer.

        Raises:
            DeadlineExceededError: None came in time.
            SessionLostError: The connection broke.
            ProtocolError: The answer is none.
            RemoteError: The server did not do the request in any slot.
        """
        payload = self.connection.receive(timeout_s=self.message_timeout_s, what=what)
        self.received_at = perf_counter()
        try:
            answer = v2.decode_answer(payload)
        except ProtocolError as error:
            self.connection.drop()
            raise ProtocolError(f"{self.connection.endpoint}, {what}: {error}") from error
        if type(answer) is v2.Failed:
            if answer.code == ErrorCode.SESSION_ERROR:
                self.connection.drop()
            raise remote_error(
                f"{self.connection.endpoint}, {what}", answer.code, answer.message, answer.details
            )
        return answer

    def result(self, what: str) -> v2.Result:
        """Waits for the next answer to a reset or a step; raises what `receive` does."""
        answer = self.receive(what)
        if type(answer) is not v2.Result:
            raise self._wrong_answer(answer, what)
        return answer

    def error_of(self, error: v2.SlotError, what: str) -> RemoteError:
        """What the server says of one slot, as an error to raise."""
        return remote_error(f"{self.connection.endpoint}, {what}", error.code, error.message, error.details)

    def close(self) -> None:
        """Ends all sessions and the connection. Safe to call again."""
        slots, self.slots = self.slots, []
        if self.connection.is_open and slots:
            # Whatever fails here, the server is gone or busy; with the connection it ends the sessions too.
            with contextlib.suppress(EndpointError, RemoteError):
                self.connection.send(
                    v2.encode(v2.Close(id=self.next_id(), slots=slots)),
                    timeout_s=LEAVE_TAKING_TIMEOUT_S,
                    what="close",
                )
                self._wait_for_the_end(time.monotonic() + LEAVE_TAKING_TIMEOUT_S)
        self.connection.hang_up()

    def _wait_for_the_end(self, deadline: float) -> None:
        """Waits until the sessions' places are free; answers to other requests may come before."""
        while (left_s := deadline - time.monotonic()) > 0:
            payload = self.connection.receive(timeout_s=left_s, what="close")
            if type(v2.decode_answer(payload)) is v2.Closed:
                return

    def _not_opened(self, errors: Sequence[v2.SlotError], asked_for: int) -> RemoteError:
        first = self.error_of(errors[0], "open")
        if errors[0].code != ErrorCode.CAPACITY_REACHED or asked_for == 1:
            return first
        return CapacityError(
            f"{self.connection.endpoint} has {asked_for - len(errors)} of the {asked_for} sessions that were "
            f"asked for. {errors[0].message}",
            code=errors[0].code,
            details=errors[0].details,
        )

    def _wrong_answer(self, answer: v2.Answer, what: str) -> ProtocolError:
        self.connection.drop()
        return ProtocolError(f"{self.connection.endpoint} answered {what} with {type(answer).__name__}")
