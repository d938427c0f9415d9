"""A channel: the sessions that share one WebSocket, in either version of the protocol."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any, NamedTuple, Protocol

from openenv_gym.errors import ConfigurationError, EndpointError
from openenv_gym.transport.connection import Connection
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v2

# How much longer to wait for a server that gives up on late slots by itself, in seconds.
LATE_MARGIN_S = 3.0


class Timeouts(NamedTuple):
    """How long to wait, in seconds.

    Attributes:
        connect_s: For a connection: TCP, TLS and WebSocket handshakes.
        reset_s: For the response to a reset.
        step_s: For every other response.
    """

    connect_s: float = 10.0
    reset_s: float = 60.0
    step_s: float = 60.0

    def checked(self) -> Timeouts:
        """Return itself.

        Raises:
            ConfigurationError: A timeout is not a positive number.
        """
        for name, seconds in self._asdict().items():
            positive_seconds(seconds, f"{name.removesuffix('_s')}_timeout_s")
        return self


def positive_seconds(seconds: float, name: str) -> float:
    """Return a timeout.

    Args:
        seconds: The timeout in seconds.
        name: The argument's name.

    Raises:
        ConfigurationError: It is not a positive number.
    """
    if not isinstance(seconds, int | float) or not seconds > 0:
        raise ConfigurationError(f"{name} must be a positive number of seconds, got {seconds!r}.")
    return seconds


class SessionChannel(Protocol):
    """What one session uses of a channel.

    Requests and responses are separate calls, so that a caller can send to many channels before it waits for
    one. Over blocking connections, `openenv_gym.transport.blocking.run` runs them.

    Attributes:
        is_v2: Whether it speaks version 2 of the protocol, whose actions travel as columns.
        sent_at: When the last request was sent, by ``time.perf_counter()``.
        received_at: When the last response had arrived.
    """

    is_v2: bool
    sent_at: float
    received_at: float

    @property
    def endpoint(self) -> Endpoint:
        """The server."""

    @property
    def slots(self) -> Set[int]:
        """The open sessions. A slot is a session's number; the caller chooses it."""

    @property
    def sends_payloads(self) -> bool:
        """Whether observations arrive as JSON payloads, one a slot; known once it is open."""

    @property
    def is_open(self) -> bool:
        """Whether requests can be sent."""

    @property
    def has_pending(self) -> bool:
        """Whether the response to an earlier request was never read."""

    async def send_reset(
        self, slots: Sequence[int], seeds: Sequence[int | None], options: dict[str, Any], operation: str
    ) -> None:
        """Send a request to begin episodes. Raises what `send_step` does."""

    async def send_step(
        self,
        slots: Sequence[int],
        actions: Any,
        operation: str,
        *,
        gather: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        """Send one action a slot.

        Args:
            slots: The slots.
            actions: A column over the slots, or a list of payloads.
            operation: The request's name in errors, "step 12".
            gather: Whether the server waits for all slots and sends one response, or sends results as slots
                get ready.
            timeout_s: How long `result` will wait instead of the channel's own timeout.

        Raises:
            SessionLostError: The connection is closed.
            DeadlineExceededError: The server does not read in time.
            ProtocolError: Something in the request cannot be encoded.
        """

    async def result(
        self, operation: str, *, is_reset: bool = False, timeout_s: float | None = None
    ) -> v2.Result:
        """Wait for the next response to a reset or a step.

        Args:
            operation: The request's name in errors, "step 12".
            is_reset: Whether it is a response to a reset.
            timeout_s: How long to wait instead of the channel's own timeout.

        Raises:
            DeadlineExceededError: No response in time.
            SessionLostError: The connection broke, and the sessions could not be resumed.
            ProtocolError: The response is malformed.
            RemoteError: The server refused the request in every slot.
        """

    async def states(self, slots: Sequence[int]) -> list[Any]:
        """Return the states of some slots."""

    async def render(self, slots: Sequence[int]) -> list[Any]:
        """Return the server's own pictures of some slots."""

    async def mcp(self, slots: Sequence[int], request: dict[str, Any]) -> list[Any]:
        """Return the responses of some slots to a request of the Model Context Protocol."""

    def abort(self) -> None:
        """End all sessions without waiting for the server, and never resume them."""

    async def close(self) -> None:
        """End all sessions and the connection. Safe to call again."""


class Channel(SessionChannel, Protocol):
    """Sessions on one WebSocket.

    Attributes:
        autoresets: Whether the server resets slots and counts ``max_episode_steps``, as asked for in `open`.
        connection: The WebSocket.
        slots: The open sessions.
        refused: The slots of the last request that the server refused as a whole.
    """

    autoresets: bool
    connection: Connection
    slots: set[int]
    refused: Sequence[int]

    @property
    def has_result(self) -> bool:
        """Whether `result` returns without waiting for the connection."""

    async def open(self, slots: Sequence[int], ticket: v2.Ticket | None = None) -> None:
        """Open sessions: all of them, or none.

        Args:
            slots: The slots.
            ticket: The place in line of a client that waits for free sessions; version 1 has none.

        Raises:
            CapacityError: The server has too few free sessions.
            RemoteError: The server could not make an environment.
            SessionLostError: The connection broke, again and again.
        """

    def late_at(self, *, is_reset: bool) -> float:
        """When `result` would time out, by ``time.perf_counter()``."""

    def expire(self, operation: str, *, is_reset: bool) -> EndpointError:
        """Give up on a late response; return the error that `result` would raise."""
