"""Connections in memory that follow a script, and a clock that only moves when told to.

The session layer is written over the protocols `Connection` and `Transport`, so its behaviour can be tested
without a socket or a wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from openenv_gym.env_spaces import EnvSpaces, ServedEnv
from openenv_gym.errors import DeadlineExceededError, EndpointError, SessionLostError
from openenv_gym.spaces import compile_action, compile_observation
from openenv_gym.transport.connection import Connection, close_gracefully
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v2
from openenv_gym.wire.framing import Payload

ENDPOINT = Endpoint("http://server:8000")

# What `receive` does next: return a message, raise, or call for either.
Response = v2.Answer | str | BaseException


class Clock:
    """A clock for `time.monotonic` and `time.perf_counter`; `sleep` moves it.

    Attributes:
        now: The time, in seconds.
        pauses: The sleeps, in seconds.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    perf_counter = monotonic

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def patch(self, monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
        """Replace the module `time` in some modules of openenv_gym."""
        for module in modules:
            monkeypatch.setattr(f"openenv_gym.{module}.time", self)


class ScriptedConnection(Connection):
    """A connection whose responses are given beforehand, or computed from the requests.

    Args:
        script: What each `receive` returns or raises.
        respond: Called with each request of version 2; returns what is appended to the script.
        is_v2: Whether the server speaks version 2.
        worker: The server's process.
        breaks_send: Raised by the next `send`, after the message has left.

    Attributes:
        sent: The requests: decoded for version 2, texts for version 1.
        ends: How the connection was ended: "drop", "hang_up" or "close".
    """

    def __init__(
        self,
        *script: Response,
        respond: Callable[[Any], Iterable[Response]] | None = None,
        is_v2: bool = True,
        worker: tuple[int, int] = (0, 1),
        breaks_send: BaseException | None = None,
    ) -> None:
        self.endpoint = ENDPOINT
        self.is_v2 = is_v2
        self.worker = worker
        self.has_pending = False
        self.sends_close = True
        self.has_gateway = False
        self.sent: list[Any] = []
        self.ends: list[str] = []
        self.breaks_send = breaks_send
        self.exchanges = 0
        self._script = deque(script)
        self._respond = respond
        self._is_open = True

    @property
    def is_open(self) -> bool:
        return self._is_open

    def expect(self, *script: Response) -> None:
        """Append to the script."""
        self._script.extend(script)

    async def send(self, message: str | list[Payload], *, timeout_s: float, operation: str) -> None:
        self._check_open(operation)
        self.has_pending = True
        if isinstance(message, str):
            self.sent.append(message)
        else:
            request = v2.decode_request(b"".join(message))
            self.sent.append(request)
            if self._respond is not None:
                self._script.extend(self._respond(request))
        error, self.breaks_send = self.breaks_send, None
        if error is not None:
            raise error

    async def receive(self, *, timeout_s: float, operation: str) -> Payload:
        self._check_open(operation)
        if not self._script:
            self._is_open = False
            raise DeadlineExceededError(f"the script of {operation} has ended", operation=operation)
        response = self._script.popleft()
        if isinstance(response, BaseException):
            self._is_open = False  # as the real ones do
            raise response
        return response.encode() if isinstance(response, str) else b"".join(v2.encode(response))

    async def close(self, last_message: str) -> None:
        self.ends.append("close")
        await close_gracefully(self, last_message)

    def hang_up(self) -> None:
        self.ends.append("hang_up")
        self._is_open = False

    def drop(self) -> None:
        self.ends.append("drop")
        self._is_open = False

    def expire(self, timeout_s: float, operation: str) -> EndpointError:
        self.hang_up()
        return DeadlineExceededError(operation=operation)

    def exchange_memory(self, other: memoryview) -> memoryview:
        self.exchanges += 1
        return other

    def _check_open(self, operation: str) -> None:
        if not self._is_open:
            raise SessionLostError("The connection is closed.", operation=operation)


class ScriptedTransport:
    """A transport that hands out connections, or raises, in order.

    Args:
        connections: What each `connect` returns or raises.
        clock: What `sleep` moves.

    Attributes:
        connects: The keywords of each `connect`.
    """

    def __init__(self, *connections: ScriptedConnection | BaseException, clock: Clock | None = None) -> None:
        self._connections = deque(connections)
        self.clock = clock or Clock()
        self.connects: list[dict[str, Any]] = []

    def expect(self, *connections: ScriptedConnection | BaseException) -> None:
        """Append to what `connect` returns or raises."""
        self._connections.extend(connections)

    async def connect(
        self, endpoint: Endpoint, *, timeout_s: float, offers_v2: bool = True
    ) -> ScriptedConnection:
        self.connects.append({"endpoint": endpoint, "timeout_s": timeout_s, "offers_v2": offers_v2})
        connection = self._connections.popleft()
        if isinstance(connection, BaseException):
            raise connection
        connection.endpoint = endpoint
        return connection

    async def sleep(self, seconds: float) -> None:
        self.clock.sleep(seconds)

    async def run_blocking(self, call: Callable[[Any], None], argument: Any) -> None:
        call(argument)


def cut(*, retryable: bool = True) -> SessionLostError:
    """The error of a connection that broke."""
    error = SessionLostError("The connection broke.", retryable=retryable)
    error.__cause__ = ConnectionResetError("reset by peer")
    return error


def opened(*slots: int, token: str = "token", grace_s: float = 30.0, payloads: bool = False) -> v2.Opened:
    """The response to the first request of a connection, which opens sessions."""
    return v2.Opened(id=1, slots=list(slots), token=token, grace_s=grace_s, payloads=payloads)


def result(request_id: int, *slots: int, value: Any = 0, errors: Iterable[v2.SlotError] = ()) -> v2.Result:
    """A response to a reset or a step: each slot observes a payload with a value."""
    return v2.Result(
        id=request_id,
        slots=list(slots),
        observations=[{"value": value}] * len(slots),
        rewards=[1.0] * len(slots),
        environment_us=[5.0] * len(slots),
        errors=list(errors),
    )


ACTION = {
    "type": "object",
    "properties": {"action": {"type": "integer", "minimum": 0, "maximum": 4}},
    "required": ["action"],
}
OBSERVATION = {
    "type": "object",
    "properties": {"place": {"type": "integer", "minimum": 0, "maximum": 999}},
    "required": ["place"],
}


def env_spaces() -> EnvSpaces:
    """Actions from 0 to 4, and places from 0 to 999."""
    action, _ = compile_action(ACTION, unwrap=True)
    observation, _ = compile_observation(OBSERVATION, unwrap=True)
    return EnvSpaces((ACTION, OBSERVATION), action, observation, {}, {}, None, ServedEnv.of({}))
