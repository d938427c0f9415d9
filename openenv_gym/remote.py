"""One session on a server, in whichever version of the protocol the server speaks."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any, NamedTuple, Protocol

from openenv_gym.env_spaces import EnvSpaces, decode_observation, observation_misfit
from openenv_gym.errors import (
    ConfigurationError,
    ProtocolError,
    ResetNeededError,
    SessionLostError,
    SpaceError,
)
from openenv_gym.metrics import Times
from openenv_gym.spaces.columns import column_of
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.lane import Lane
from openenv_gym.transport.old_connection import Connection
from openenv_gym.transport.returning import may_be_asked_again
from openenv_gym.transport.session import Session
from openenv_gym.transport.timeouts import Timeouts
from openenv_gym.wire import v1, v2

# How often a reset is tried whose connection breaks and cannot be resumed, each time in a new session.
RESET_TRIES = 3

_SLOT = [0]


class Taken(NamedTuple):
    """What came of a reset or a step; ``times`` says where the time went until its answer was read."""

    observation: Any
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    times: Times


def no_render(endpoint: Endpoint) -> ConfigurationError:
    """The error for a server that renders, but cannot be asked to."""
    return ConfigurationError(
        f"{endpoint} renders, but something on the way lets only version 1 of the protocol through, which "
        "has no render; a proxy has to pass on Sec-WebSocket-Protocol"
    )


class RemoteSession(Protocol):
    """A session and its connection. Its methods raise what `RemoteEnv`'s do."""

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""

    def reset(self, data: dict[str, Any]) -> Taken:
        """Starts an episode."""

    def step(self, action: Any, what: str) -> Taken:
        """Takes one action."""

    def render(self) -> Any:
        """What the server itself renders."""

    def state(self) -> dict[str, Any]:
        """The fields of the environment's state."""

    def close(self) -> None:
        """Ends the session and the connection."""


def connect(endpoint: Endpoint, interface: EnvSpaces, timeouts: Timeouts) -> RemoteSession:
    """Opens a session: over version 2 of the protocol where the server speaks it, and version 1 elsewhere.

    Raises:
        CapacityError: The server has no free session.
    """

    def connection(timeout_s: float) -> Connection:
        return Connection(endpoint, connect_timeout_s=timeout_s, offers_v2=True)

    first = connection(timeouts.connect_s)
    if first.is_v2:
        return LaneSession(first, connection, interface, timeouts)
    return JsonSession(Session(endpoint, timeouts, first), interface)


class LaneSession:
    """A session over version 2: the only slot of a lane."""

    def __init__(
        self,
        first: Connection,
        connection: Callable[[float], Connection],
        interface: EnvSpaces,
        timeouts: Timeouts,
    ) -> None:
        self._lane = Lane(first, connection, timeouts)
        self._connection = connection
        self._timeouts = timeouts
        self._encode = interface.action.encode
        self._column = column_of(interface.observation)
        self._has_episode = False
        self._lane.open(_SLOT)

    @property
    def is_open(self) -> bool:
        return self._lane.is_open and bool(self._lane.slots)

    def reset(self, data: dict[str, Any]) -> Taken:
        self._has_episode = False
        options = {key: value for key, value in data.items() if key != "seed"}
        for tries_left in reversed(range(RESET_TRIES)):
            lane = self._lane
            request = v2.Reset(id=lane.next_id(), slots=_SLOT, seeds=[data.get("seed")], options=options)
            try:
                taken = self._ask(request, "reset", is_reset=True)
            except SessionLostError as error:
                # No episode is lost where one is to begin anyway.
                if not tries_left or not may_be_asked_again(error):
                    raise
                connection = self._connection(self._timeouts.connect_s)
                self._lane = Lane(connection, self._connection, self._timeouts)
                self._lane.open(_SLOT)
            else:
                break
        self._has_episode = True
        return taken

    def step(self, action: Any, what: str) -> Taken:
        if not (self._has_episode and self.is_open):
            raise ResetNeededError(
                f"No episode is under way at {self._lane.connection.endpoint}; call reset before step"
            )
        request = v2.Step(id=self._lane.next_id(), slots=_SLOT, actions=[self._encode(action)])
        return self._ask(request, what)

    def render(self) -> Any:
        return self._lane.values(v2.Render(id=self._lane.next_id(), slots=_SLOT), "render")[0]

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._lane.values(v2.GetState(id=self._lane.next_id(), slots=_SLOT), "state")[
            0
        ]
        return state

    def close(self) -> None:
        self._lane.close()

    def _ask(self, request: v2.Request, what: str, *, is_reset: bool = False) -> Taken:
        lane = self._lane
        try:
            lane.send(request, what)
            result = lane.result(what, is_reset=is_reset)
            while result.id != request.id:
                result = lane.result(what, is_reset=is_reset)
        except Exception:
            raise
        except BaseException:
            # Ctrl-C, say: what was asked for is done all the same, and nobody would know of it.
            lane.give_up()
            raise
        if result.errors:
            raise lane.slot_error(result.errors[0], what)
        try:
            observation = self._column.element(result.observations, 0)
        except SpaceError as error:
            raise observation_misfit(lane.connection.endpoint, what, error) from error
        try:
            return Taken(
                observation,
                float(result.rewards[0]),
                result.terminated is not None and bool(result.terminated[0]),
                result.truncated is not None and bool(result.truncated[0]),
                result.infos[0][1] if result.infos else {},
                Times(lane.sent_at, lane.received_at, result.server_us, float(result.environment_us[0])),
            )
        except (TypeError, IndexError) as error:
            raise ProtocolError(
                f"{lane.connection.endpoint}, {what}: a part of the answer is missing"
            ) from error


class JsonSession:
    """A session over version 1."""

    def __init__(self, session: Session, interface: EnvSpaces) -> None:
        self._session = session
        self._interface = interface

    @property
    def is_open(self) -> bool:
        return self._session.is_open

    def reset(self, data: dict[str, Any]) -> Taken:
        for _ in range(RESET_TRIES - 1):
            try:
                return self._reset(data)
            except SessionLostError as error:
                if not may_be_asked_again(error):
                    raise
        return self._reset(data)

    def step(self, action: Any, what: str) -> Taken:
        self._session.send_step(self._interface.action.encode(action), what)
        return self._receive(what)

    def render(self) -> Any:
        raise no_render(self._session.endpoint)

    def state(self) -> dict[str, Any]:
        return self._session.state()

    def close(self) -> None:
        self._session.close()

    def _reset(self, data: dict[str, Any]) -> Taken:
        self._session.send_reset(data)  # in a new session, where there is none
        return self._receive("reset")

    def _receive(self, what: str) -> Taken:
        sent_at = perf_counter()
        answer: v1.StepAnswer = self._session.receive(what, is_reset=what == "reset")
        times = Times(sent_at, perf_counter())
        observation = decode_observation(self._interface.observation, answer, self._session.endpoint, what)
        reward = 0.0 if answer.reward is None else float(answer.reward)
        return Taken(observation, reward, answer.terminated, answer.truncated, answer.metadata, times)
