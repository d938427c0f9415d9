"""A session on a server, over version 1 of the protocol: requests in, answers or our errors out."""

from __future__ import annotations

from typing import Any

from openenv_gym.errors import OpenEnvError, ProtocolError, ResetNeededError, SessionLostError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.old_connection import Connection
from openenv_gym.transport.refusals import remote_error
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.wire import v1
from openenv_gym.wire.codes import ErrorCode


class Session:
    """A session that opens its connection when it is first needed.

    Args:
        endpoint: The server.
        timeouts: How long to wait.
        connection: The connection to use, where it is open already.
    """

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts, connection: Connection | None = None) -> None:
        self.endpoint = endpoint
        self.timeouts = timeouts
        self._connection = connection
        self._was_reset = False

    @property
    def is_open(self) -> bool:
        """Whether there is a connection. A fork, a copy and a pickle have none."""
        return self._connection is not None and self._connection.is_open

    @property
    def has_episode(self) -> bool:
        """Whether a step can be taken: there is a connection, and it was reset."""
        return self._was_reset and self.is_open

    def open(self) -> None:
        """Opens the connection, where there is none."""
        self._drop_unread()
        if not self.is_open:
            self.close()
            self._connection = Connection(self.endpoint, connect_timeout_s=self.timeouts.connect_s)

    def reset(self, data: dict[str, Any], what: str = "reset") -> v1.StepAnswer:
        """Starts an episode, on a new connection where there is none."""
        self.send_reset(data, what)
        return self.receive(what, is_reset=True)

    def send_reset(self, data: dict[str, Any], what: str = "reset") -> None:
        """Asks for an episode, on a new connection where there is none; `receive` gets the answer."""
        self._was_reset = False
        self.open()
        self._send(v1.encode_reset(data), what)

    def step(self, payload: dict[str, Any], what: str = "step") -> v1.StepAnswer:
        """Takes one action. It is never sent a second time, and never to a session that was not reset.

        Raises:
            ResetNeededError: No episode is under way.
        """
        self.send_step(payload, what)
        return self.receive(what)

    def send_step(self, payload: dict[str, Any], what: str = "step") -> None:
        """Sends one action; `receive` gets the answer. Raises what `step` does."""
        self._drop_unread()
        if not self.has_episode:
            raise ResetNeededError(f"No episode is under way at {self.endpoint}; call reset before step")
        self._send(v1.encode_step(payload), what)

    def receive(self, what: str, *, is_reset: bool = False) -> v1.StepAnswer:
        """The answer to the reset or the step that was sent."""
        answer = self._receive(what, self.most_s(is_reset=is_reset))
        if not isinstance(answer, v1.StepAnswer):
            raise self._wrong_answer(answer, what)
        self._was_reset = True
        return answer

    def most_s(self, *, is_reset: bool) -> float:
        """How long `receive` waits, in seconds."""
        return self.timeouts.reset_s if is_reset else self.timeouts.step_s

    @property
    def connection(self) -> Connection:
        """The open connection, to wait on until there is something to read."""
        assert self._connection is not None
        return self._connection

    def state(self) -> dict[str, Any]:
        """Where the session stands; a new session where there is none."""
        self.open()
        self._send(v1.STATE_REQUEST, "state")
        answer = self._receive("state", self.timeouts.step_s)
        if not isinstance(answer, v1.StateAnswer):
            raise self._wrong_answer(answer, "state")
        return answer.data

    def close(self) -> None:
        """Ends the session. Safe to call again."""
        connection, self._connection = self._connection, None
        self._was_reset = False
        if connection is not None:
            connection.close(v1.CLOSE_REQUEST)

    def hang_up(self) -> None:
        """Ends the session without waiting for the server."""
        if self._connection is not None:
            self._connection.hang_up()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the connection, which is this process's own."""
        return {**self.__dict__, "_connection": None, "_was_reset": False}

    def _drop_unread(self) -> None:
        """Ends a session whose last answer was not read (Ctrl-C, say): it would be taken for the next one."""
        if self._connection is not None and self._connection.is_owed:
            self._connection.hang_up()

    def _send(self, request: str, what: str) -> None:
        assert self._connection is not None
        self._connection.send(request, timeout_s=self.timeouts.step_s, what=what)

    def _receive(self, what: str, timeout_s: float) -> v1.Answer:
        assert self._connection is not None
        payload = self._connection.receive(timeout_s=timeout_s, what=what)
        self._connection.is_owed = False
        answer = v1.decode_answer(payload)
        if isinstance(answer, v1.ErrorAnswer):
            raise self._remote_error(answer, what)
        return answer

    def _wrong_answer(self, answer: v1.Answer, what: str) -> ProtocolError:
        self.close()
        return ProtocolError(f"{self.endpoint} answered {what} with a {type(answer).__name__}")

    def _remote_error(self, answer: v1.ErrorAnswer, what: str) -> OpenEnvError:
        where = f"{self.endpoint}, {what}"
        if answer.code == ErrorCode.SESSION_ERROR:
            self.close()
            return SessionLostError(f"{where}: {answer.message}.")
        if answer.code in (ErrorCode.CAPACITY_REACHED, ErrorCode.FACTORY_ERROR, ErrorCode.TIMEOUT):
            self.close()
        return remote_error(where, answer.code, answer.message, answer.details)
