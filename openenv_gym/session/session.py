"""One session on a server: its life from the first reset to the end, whatever the protocol version."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointUnreachableError,
    OpenEnvError,
    ProtocolError,
    ResetNeededError,
    SpaceError,
    excerpt,
)
from openenv_gym.session.channel import Channel, SessionChannel, Timeouts
from openenv_gym.session.reconnect import CONNECT_PAUSE_S, CONNECTS_A_WORKER
from openenv_gym.session.recovery import ResetRetry
from openenv_gym.session.responses import observation_misfit, tools_in
from openenv_gym.session.v1 import V1Channel
from openenv_gym.session.v2 import V2Channel
from openenv_gym.transport.connection import Connection, Transport
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v2
from openenv_gym.wire.mcp import TOOLS_REQUEST

if TYPE_CHECKING:
    from openenv_gym.session.shared import SharedConnections

_SLOT = [0]  # the only slot of the channel


class Times(NamedTuple):
    """Where the time of one request went.

    Attributes:
        sent_at: When it was sent, by ``time.perf_counter()``.
        received_at: When its response had arrived.
        server_us: Microseconds on the server, environment included; NaN if the server does not say.
        environment_us: Microseconds inside the environment; for several slots an array, or one number if it
            is the same for all.
        busy_us: Microseconds on the server during which any environment of the connection was running.
    """

    sent_at: float
    received_at: float
    server_us: float
    environment_us: Any
    busy_us: Any


class Outcome(NamedTuple):
    """The result of a reset or a step."""

    observation: Any
    reward: Any
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    times: Times


class Coding(Protocol):
    """How the actions and observations of a session travel.

    Attributes:
        payloads: Whether observations are always read as JSON payloads, never as columns.
    """

    payloads: bool

    def payload(self, action: Any) -> dict[str, Any]:
        """Return the fields of an action, as JSON values."""

    def column(self, action: Any) -> Any:
        """Return an action as a column of one, for version 2 of the protocol."""

    def element(self, observations: Any) -> Any:
        """Return the observation in a column of one.

        Raises:
            SpaceError: It does not fit the server's schema.
        """


def reset_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Copy the options of a reset.

    Raises:
        ConfigurationError: They are not a mapping from names to values.
    """
    if not isinstance(options, Mapping | None):
        raise ConfigurationError(f"options= must be a dict, got {excerpt(options)}.")
    for name in options or ():
        if not isinstance(name, str):
            raise ConfigurationError(
                f"options= must have strings as keys, because they are keywords of the environment's own "
                f"reset; got {excerpt(name)}."
            )
    return dict(options or {})


class Session:
    """A session that opens when it is first needed, and again after it was lost.

    Args:
        endpoint: The server.
        transport: Opens connections: blocking, or for asyncio.
        coding: How actions and observations travel.
        timeouts: How long to wait.
        capacity_timeout_s: How long a reset waits for a full or unreachable server, in seconds.
        truncates: Whether a lost session only truncates its episode; see `ResetRetry`.
        steps_first: Whether a first step may come before the first reset, as published clients send it.
        explain: Called with an error before it is raised; may add what it knows of the server, or raise a
            better error.
        shared: Returns the connections that it shares with other sessions; by default it has its own.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport,
        coding: Coding,
        timeouts: Timeouts,
        *,
        capacity_timeout_s: float = 0.0,
        truncates: bool = False,
        steps_first: bool = False,
        explain: Callable[[OpenEnvError], None] | None = None,
        shared: Callable[[], SharedConnections] | None = None,
    ) -> None:
        self.endpoint = endpoint
        self._transport = transport
        self._coding = coding
        self._timeouts = timeouts
        self._capacity_timeout_s = capacity_timeout_s
        self._truncates = truncates
        self._explain = explain
        self._shared = shared
        self._channel: SessionChannel | None = None
        self._has_episode = False
        self._has_timed_out = False  # whether the server may still keep the place of the last session
        self._may_step_first = steps_first
        self._offers_v2 = True

    @property
    def is_open(self) -> bool:
        """Whether the session can be used: opened, not lost, and not inherited through a fork."""
        return self._channel is not None and self._channel.is_open and bool(self._channel.slots)

    @property
    def may_step_first(self) -> bool:
        """Whether a step needs no reset before it, because nothing was done yet."""
        return self._may_step_first

    async def open(self) -> None:
        """Open the session now, if it is not open."""
        try:
            await self._ready_channel()
        except OpenEnvError as error:
            await self._add_explanation(error)
            raise

    async def reset(self, data: dict[str, Any]) -> Outcome:
        """Begin an episode, in a new session if the old one is lost.

        Args:
            data: ``seed``, and further keywords for the environment's own ``reset``.

        Raises:
            OpenEnvError: As `openenv_gym.RemoteEnv.reset`.
        """
        self._has_episode = self._may_step_first = False
        seed, options = data.get("seed"), data
        if seed is not None and type(seed) is int:
            options = {key: value for key, value in data.items() if key != "seed"}
        else:
            seed = None
        retries = ResetRetry(
            self._capacity_timeout_s, truncates=self._truncates, has_lost=self._has_timed_out
        )
        while True:
            try:
                channel = await self._ready_channel(retries)
                await channel.send_reset(_SLOT, [seed], options, "reset")
                outcome = await self._outcome(channel, "reset", is_reset=True)
            except OpenEnvError as error:
                if isinstance(error, EndpointUnreachableError):
                    await self._add_explanation(error)  # a server that has exited is not waited for
                attempt = retries.next_attempt(error)
                if attempt is None:
                    self._note_timeout(error)
                    await self._add_explanation(error)
                    raise
                await self._transport.sleep(max(attempt - time.monotonic(), 0))
            else:
                self._has_episode, self._has_timed_out = True, False
                return outcome

    async def step(self, action: Any, operation: str = "step", timeout_s: float | None = None) -> Outcome:
        """Take one action. It is never sent twice, and never without an episode.

        Args:
            action: The action.
            operation: The request's name in errors.
            timeout_s: How long to wait for the response instead of the session's own timeout.

        Raises:
            ResetNeededError: No episode is running.
            OpenEnvError: As `openenv_gym.RemoteEnv.step`.
        """
        if self._may_step_first:
            await self.open()
            self._has_episode, self._may_step_first = True, False
        channel = self._channel
        if channel is not None and channel.has_pending:
            channel.abort()  # interrupted before: the old response would be taken for this one
        if channel is None or not (self._has_episode and channel.is_open and channel.slots):
            raise ResetNeededError(f"No episode is running at {self.endpoint}; call reset before step")
        try:
            coding = self._coding
            actions = coding.column(action) if channel.is_v2 else [coding.payload(action)]
            await channel.send_step(_SLOT, actions, operation, timeout_s=timeout_s)
            return await self._outcome(channel, operation, timeout_s=timeout_s)
        except OpenEnvError as error:
            self._note_timeout(error)
            await self._add_explanation(error)
            raise

    async def state(self) -> dict[str, Any]:
        """Return the fields of the environment's state."""
        try:
            channel = await self._ready_channel()
            state: dict[str, Any] = (await channel.states(_SLOT))[0]
        except OpenEnvError as error:
            await self._add_explanation(error)
            raise
        return state

    async def render(self) -> Any:
        """Return the server's own picture."""
        try:
            channel = await self._ready_channel()
            return (await channel.render(_SLOT))[0]
        except OpenEnvError as error:
            await self._add_explanation(error)
            raise

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return the environment's tools now, as ``tools/list`` of the Model Context Protocol has them."""
        try:
            channel = await self._ready_channel()
            response = (await channel.mcp(_SLOT, TOOLS_REQUEST))[0]
        except OpenEnvError as error:
            await self._add_explanation(error)
            raise
        return tools_in(response, self.endpoint)

    async def close(self) -> None:
        """End the session. Safe to call again."""
        channel, self._channel = self._channel, None
        self._has_episode = False
        if channel is not None:
            await channel.close()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the connections and the servers, which belong to the original."""
        return {
            **self.__dict__,
            "_channel": None,
            "_has_episode": False,
            "_explain": None,
            "_shared": None,
        }

    async def _ready_channel(self, retries: ResetRetry | None = None) -> SessionChannel:
        channel = self._channel
        if channel is not None and channel.has_pending:
            channel.abort()  # a response was never read (Ctrl-C): it would be taken for the next one
        if channel is None or not (channel.is_open and channel.slots):
            if channel is not None:
                channel.abort()
            ticket = None if retries is None else retries.ticket()
            self._channel = channel = await self._open_channel(ticket)
        return channel

    async def _open_channel(self, ticket: v2.Ticket | None) -> SessionChannel:
        if self._shared is not None:
            slot = await self._shared().slot(self._timeouts, ticket)
            if slot is not None:
                return slot
            self._shared = None
        channel = await self._open_connection(ticket)
        if channel.sends_payloads or not self._coding.payloads:
            return channel
        # An older server sends columns only, which cannot be read without the spaces.
        await channel.close()
        self._offers_v2 = False
        return await self._open_channel(ticket)

    async def _open_connection(self, ticket: v2.Ticket | None) -> Channel:
        """Open a connection with a session, on a process of the server that has a place for it.

        The kernel chooses the process of each connection.
        """
        refusals: dict[int, CapacityError] = {}
        connects = 0
        while True:
            connects += 1
            connection = await self._transport.connect(
                self.endpoint, timeout_s=self._timeouts.connect_s, offers_v2=self._offers_v2
            )
            worker, workers = connection.worker
            channel = self._channel_over(connection)
            try:
                if worker not in refusals:
                    await channel.open(_SLOT, ticket)
                    return channel
            except CapacityError as refusal:
                refusals[worker] = refusal
            except BaseException:
                channel.abort()
                raise
            channel.abort()
            if len(refusals) >= workers or connects >= CONNECTS_A_WORKER * workers:
                raise refusals[worker]
            await self._transport.sleep(CONNECT_PAUSE_S)

    def _channel_over(self, connection: Connection) -> Channel:
        if not connection.is_v2:
            return V1Channel(connection, self._timeouts)
        return V2Channel(connection, self._transport, self._timeouts, payloads=self._coding.payloads)

    async def _outcome(
        self,
        channel: SessionChannel,
        operation: str,
        *,
        is_reset: bool = False,
        timeout_s: float | None = None,
    ) -> Outcome:
        try:
            result = await channel.result(operation, is_reset=is_reset, timeout_s=timeout_s)
        except Exception:
            raise
        except BaseException:
            channel.abort()  # interrupted: the request is carried out anyway, and nobody reads the result
            raise
        if result.errors:
            assert isinstance(channel, V2Channel)
            raise channel.slot_error(result.errors[0], operation)
        return self._read(channel, result, operation)

    def _read(self, channel: SessionChannel, result: v2.Result, operation: str) -> Outcome:
        try:
            environment_us = (
                result.busy_us if result.environment_us is None else float(result.environment_us[0])
            )
            return Outcome(
                self._coding.element(result.observations),
                result.rewards[0],
                result.terminated is not None and bool(result.terminated[0]),
                result.truncated is not None and bool(result.truncated[0]),
                result.infos[0][1] if result.infos else {},
                Times(
                    channel.sent_at,
                    channel.received_at,
                    result.server_us,
                    environment_us,
                    busy_us=environment_us,
                ),
            )
        except SpaceError as error:
            raise observation_misfit(self.endpoint, operation, error) from error
        except (TypeError, IndexError) as error:
            raise ProtocolError(
                f"{self.endpoint}, {operation}: a part of the response is missing",
                endpoint=self.endpoint.base_url,
                operation=operation,
            ) from error

    def _note_timeout(self, error: OpenEnvError) -> None:
        self._has_timed_out |= isinstance(error, DeadlineExceededError)

    async def _add_explanation(self, error: OpenEnvError) -> None:
        if self._explain is not None:
            await self._transport.run_blocking(self._explain, error)
