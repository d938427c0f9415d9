"""Connections that all asynchronous sessions of one event loop on one server share."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence, Set
from time import perf_counter
from typing import Any
from weakref import WeakValueDictionary

from openenv_gym.errors import CapacityError, EndpointError, OpenEnvError, SessionLostError
from openenv_gym.session.channel import SessionChannel, Timeouts
from openenv_gym.session.reconnect import CONNECT_PAUSE_S, CONNECTS_A_WORKER
from openenv_gym.session.recovery import LOSS_RETRIES
from openenv_gym.session.responses import not_encodable
from openenv_gym.session.shared_calls import ResetBody
from openenv_gym.session.shared_channel import SharedChannel
from openenv_gym.session.v1 import V1Channel
from openenv_gym.transport.asynchronous import AsyncConnection, AsyncTransport
from openenv_gym.transport.connection import CLOSE_TIMEOUT_S
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire import v2

_OPEN, _CLOSED = frozenset({0}), frozenset[int]()


class SharedConnections:
    """The connections of one event loop to one server: one, or one for each of the server's processes.

    A connection opens with its first session and closes with its last. With version 1, each session has one
    for itself.

    Args:
        endpoint: The server.
        max_message_size: The maximum size of a response in bytes.

    Attributes:
        endpoint: As given.
        transport: Opens the connections.
        loop: The event loop.
    """

    def __init__(self, endpoint: Endpoint, max_message_size: int) -> None:
        self.endpoint = endpoint
        self.transport = AsyncTransport(max_message_size)
        self.loop = asyncio.get_running_loop()
        self._max_message_size = max_message_size
        self._channels: list[SharedChannel] = []
        self._choosing = asyncio.Lock()
        self._is_shared = True
        self._connects_left = 0

    async def slot(self, timeouts: Timeouts, ticket: v2.Ticket | None = None) -> SessionChannel | None:
        """Open a session; None if sessions of one connection would wait for each other on this older server.

        Args:
            timeouts: How long to wait.
            ticket: The place in line of a session that waits.

        Raises:
            CapacityError: The server has no free session.
            OpenEnvError: As `Channel.open`.
        """
        for retries_left in reversed(range(LOSS_RETRIES + 1)):
            try:
                return await self._open_somewhere(timeouts, ticket)
            except SessionLostError as error:
                if not (retries_left and error.retryable):
                    raise
        return None

    async def _open_somewhere(self, timeouts: Timeouts, ticket: v2.Ticket | None) -> SessionChannel | None:
        """Open a session on the connection with the fewest, or on another one if that is full."""
        full: list[SharedChannel] = []
        refusal: CapacityError | None = None
        while (chosen := await self._choose(timeouts, full, refusal)) is not None:
            if isinstance(chosen, AsyncConnection):
                return await _alone(chosen, timeouts, ticket)
            try:
                number = await chosen.open_slot(timeouts, ticket)
            except CapacityError as error:
                full.append(chosen)
                refusal = error
                if "max_sessions" not in error.details:  # not the server, but the connection is full
                    chosen.most_slots = len(chosen.slots)
            else:
                if chosen.sends_payloads and chosen.max_sent_bytes:
                    return _Slot(self, chosen, number, timeouts)
                self._is_shared = False  # an older server
                chosen.give_up(number)
        return None

    async def _choose(
        self, timeouts: Timeouts, full: Sequence[SharedChannel], refusal: CapacityError | None
    ) -> SharedChannel | AsyncConnection | None:
        """The connection for the next session; None if sessions do not share.

        Args:
            timeouts: How long to wait.
            full: The connections that have no session for it.
            refusal: What the last of them said.

        Raises:
            CapacityError: All are full, and another one would be, too.
        """
        async with self._choosing:
            if not self._is_shared:
                return None
            self._channels = [channel for channel in self._channels if channel.is_usable]
            channels = [
                channel
                for channel in self._channels
                if not channel.is_stuck and channel.load < channel.most_slots and channel not in full
            ]
            if refusal is not None and not channels:
                is_connections = full[-1].load >= full[-1].most_slots
                # A gateway may choose another server for the next connection.
                if not is_connections and not (len(full) == 1 and full[0].connection.has_gateway):
                    return await self._on_another_worker(timeouts, refusal)
            if not channels:
                channel = await self._connect(timeouts)
                if isinstance(channel, SharedChannel):
                    self._connects_left = CONNECTS_A_WORKER * channel.connection.worker[1]
                return channel
            workers = {channel.connection.worker[0] for channel in channels}
            if len(workers) < channels[0].connection.worker[1] and self._connects_left > 0:
                # The kernel chooses the process. Sessions go to all of them, as with a connection each.
                self._connects_left -= 1
                with contextlib.suppress(EndpointError):
                    new = await self._connect(timeouts, unless=workers)
                    if new is not None:
                        return new
            return min(channels, key=lambda channel: channel.load)

    async def _on_another_worker(
        self, timeouts: Timeouts, refusal: CapacityError
    ) -> SharedChannel | AsyncConnection:
        """Open a connection to a process of the server that has none; raise the refusal if none is found."""
        known = {channel.connection.worker[0] for channel in self._channels}
        workers = max((channel.connection.worker[1] for channel in self._channels), default=1)
        if len(known) < workers:
            for _ in range(CONNECTS_A_WORKER * workers):
                if (new := await self._connect(timeouts, unless=known)) is not None:
                    return new
                await self.transport.sleep(CONNECT_PAUSE_S)
        raise refusal

    async def _connect(
        self, timeouts: Timeouts, unless: Set[int] = _CLOSED
    ) -> SharedChannel | AsyncConnection | None:
        """Open a connection, with version 1 a bare one; None if it leads to one of these processes."""
        connection = await self.transport.connect(self.endpoint, timeout_s=timeouts.connect_s)
        if not connection.is_v2:
            self._is_shared = False
            return connection
        if connection.worker[0] in unless:
            connection.hang_up()
            return None
        channel = SharedChannel(connection, self.transport, timeouts, self._max_message_size)
        self._channels.append(channel)
        return channel


async def _alone(connection: AsyncConnection, timeouts: Timeouts, ticket: v2.Ticket | None) -> V1Channel:
    """Open the only session of a connection."""
    channel = V1Channel(connection, timeouts)
    try:
        await channel.open([0], ticket)
    except BaseException:
        channel.abort()
        raise
    return channel


class _Slot:
    """One session of a shared connection, as a channel. Its own slot counts as 0."""

    is_v2 = True
    has_pending = False  # a call that is interrupted ends the session
    sends_payloads = True

    def __init__(
        self, shared: SharedConnections, channel: SharedChannel, number: int, timeouts: Timeouts
    ) -> None:
        self._shared = shared  # kept for the next session
        self._channel, self._number, self._timeouts = channel, number, timeouts
        self._has_ended = False
        self._response: asyncio.Future[Any]
        self.sent_at = self.received_at = 0.0

    @property
    def endpoint(self) -> Endpoint:
        return self._channel.endpoint

    @property
    def slots(self) -> Set[int]:
        return _OPEN if self._number in self._channel.slots else _CLOSED

    @property
    def is_open(self) -> bool:
        # The loss of the connection is reported by the next call.
        return not self._has_ended and (self._channel.failure is not None or self._channel.is_usable)

    async def send_reset(
        self, slots: Sequence[int], seeds: Sequence[int | None], options: dict[str, Any], operation: str
    ) -> None:
        body = ResetBody(self._encoded(seeds[0], operation), self._encoded(options, operation))
        self._check_size(body.options, operation, self._timeouts.reset_s)
        together = ("reset", self._timeouts.reset_s, bytes(body.options))
        self._call(body, together, operation, self._timeouts.reset_s)

    async def send_step(
        self,
        slots: Sequence[int],
        actions: Any,
        operation: str,
        *,
        gather: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        limit_s = timeout_s or self._timeouts.step_s
        body = self._encoded(actions[0], operation)
        self._check_size(body, operation, limit_s)
        self._call(body, limit_s, operation, limit_s)

    async def result(
        self, operation: str, *, is_reset: bool = False, timeout_s: float | None = None
    ) -> v2.Result:
        result: v2.Result = await self._answer()
        if result.errors:
            raise self._channel.slot_error(result.errors[0], operation)
        return result

    async def states(self, slots: Sequence[int]) -> list[Any]:
        return await self._values(v2.GetState, "state")

    async def render(self, slots: Sequence[int]) -> list[Any]:
        return await self._values(v2.Render, "render")

    async def mcp(self, slots: Sequence[int], request: dict[str, Any]) -> list[Any]:
        return await self._values(v2.Mcp, "mcp", request=request)

    def abort(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._channel.give_up(self._number)

    async def close(self) -> None:
        if self.is_open and self.slots and self._channel.is_usable:
            # If this fails, the server is gone or busy; it ends the session with the connection, too.
            with contextlib.suppress(OpenEnvError):
                request = v2.Close(id=0, slots=[self._number], timeout_s=self._timeouts.step_s)
                self._call(request, None, "close", CLOSE_TIMEOUT_S)
                await self._answer()
                self._channel.slots.discard(self._number)
        self.abort()

    async def _values(self, kind: Any, operation: str, **fields: Any) -> list[Any]:
        limit_s = self._timeouts.step_s
        request = kind(id=0, slots=[self._number], timeout_s=limit_s, **fields)
        self._call(request, None, operation, limit_s)
        response = await self._answer()
        if not isinstance(response, v2.Values):
            raise self._channel.wrong_response(response, operation)
        if response.errors:
            raise self._channel.slot_error(response.errors[0], operation)
        return response.values

    def _call(self, body: Any, together: Any, operation: str, timeout_s: float) -> None:
        self.sent_at = perf_counter()
        try:
            self._response = self._channel.call(self._number, body, together, operation, timeout_s)
        except OpenEnvError:
            self._has_ended = True
            raise

    async def _answer(self) -> Any:
        try:
            answer = await self._response
        except BaseException:
            if self._channel.failure is not None:
                self._has_ended = True
            elif not self._response.done() or self._response.cancelled():
                self.abort()  # interrupted: nobody reads the response
            raise
        self.received_at = self._channel.received_at
        return answer

    def _encoded(self, value: Any, operation: str) -> Any:
        try:
            return v2.encode_part(value)
        except (TypeError, UnicodeEncodeError) as error:
            raise not_encodable(self.endpoint, operation, error) from error

    def _check_size(self, body: Any, operation: str, timeout_s: float) -> None:
        error = self._channel.too_large(body, operation, timeout_s)
        if error is not None:
            self.abort()
            raise error

    def __del__(self) -> None:
        if not self._has_ended and self._channel.is_usable:
            # The garbage collector may run in any thread, and after the loop has closed.
            with contextlib.suppress(RuntimeError):
                self._shared.loop.call_soon_threadsafe(self._channel.give_up, self._number)


_shared: WeakValueDictionary[tuple[Any, ...], SharedConnections] = WeakValueDictionary()


def shared_connections(endpoint: Endpoint, max_message_size: int) -> SharedConnections:
    """Return the connections of the running event loop to a server.

    Args:
        endpoint: The server. Those with other credentials have other connections.
        max_message_size: The maximum size of a response in bytes.
    """
    loop = asyncio.get_running_loop()
    key = (os.getpid(), id(loop), endpoint, max_message_size)
    shared = _shared.get(key)
    if shared is None or shared.loop is not loop:
        shared = _shared[key] = SharedConnections(endpoint, max_message_size)
    return shared
