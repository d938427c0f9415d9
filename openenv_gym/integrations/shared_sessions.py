"""Many sessions of a server over one connection, each used by itself, from any thread."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

from openenv_gym.client import PayloadCoding
from openenv_gym.errors import CapacityError, DeadlineExceededError, OpenEnvError, SessionLostError
from openenv_gym.session.channel import SessionChannel, Timeouts
from openenv_gym.session.reconnect import CONNECTS_A_WORKER
from openenv_gym.session.session import Session
from openenv_gym.session.v2 import V2Channel
from openenv_gym.transport.blocking import BlockingTransport, run
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.vector.reads import PendingRead, is_available, wait
from openenv_gym.wire import v2

# After the same process accepted again: gives a busy one time to accept, in seconds.
_PAUSE_S = 0.005
# How often a waiting thread looks whether another one has closed the connection, in seconds.
_LOOK_S = 0.5


class SharedConnection:
    """A connection that opens when it is first needed, and again after it was lost.

    A server of several processes has one for each of them, as far as they are needed; a server of version 1
    of the protocol has one for each session.

    Args:
        endpoint: The server.
        timeouts: How long to wait.
    """

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts) -> None:
        self.endpoint, self.timeouts = endpoint, timeouts
        self.transport = BlockingTransport()
        self._opening = threading.Lock()
        self._is_shared = True
        self._channels: list[_SharedChannel] = []

    def session(self, capacity_timeout_s: float = 0.0) -> Session:
        """Return a session, which opens with its first reset.

        Args:
            capacity_timeout_s: As in `openenv_gym.RemoteEnv`.
        """
        return _SharedSession(self, capacity_timeout_s)

    def slot(self, ticket: v2.Ticket | None = None) -> SessionChannel | None:
        """Open a session; None if the server cannot have several on a connection.

        Args:
            ticket: The place in line of a session that waits.

        Raises:
            CapacityError: The server has no free session.
        """
        with self._opening:
            self._channels = [shared for shared in self._channels if shared.channel.is_open]
            full: CapacityError | None = None
            for shared in reversed(self._channels):
                try:
                    return shared.open_slot(ticket)
                except CapacityError as error:
                    full = error
            if self._is_shared and (new := self._connect()) is not None:
                slot = new.open_slot(ticket)
                if not slot.sends_payloads:  # an older server
                    new.close()
                    self._is_shared = False
                    return None
                self._channels.append(new)
                return slot
            if full is not None:
                raise full
            return None

    def close(self) -> None:
        """End all sessions. A later reset connects again."""
        with self._opening:
            while self._channels:
                self._channels.pop().close()

    def _connect(self) -> _SharedChannel | None:
        """Connect to a process of the server that has no connection yet; None if there is none."""
        workers = dict(shared.channel.connection.worker for shared in self._channels)
        for _ in range(CONNECTS_A_WORKER * max(workers.values(), default=1)):
            if workers and len(workers) >= max(workers.values()):
                return None
            connection = run(self.transport.connect(self.endpoint, timeout_s=self.timeouts.connect_s))
            if not connection.is_v2:
                connection.hang_up()
                self._is_shared = False
                return None
            if connection.worker[0] not in workers:
                channel = V2Channel(connection, self.transport, self.timeouts, payloads=True)
                return _SharedChannel(channel, self.timeouts)
            connection.hang_up()
            time.sleep(_PAUSE_S)
        return None


class _SharedSession(Session):
    """A session of a `SharedConnection`."""

    def __init__(self, shared: SharedConnection, capacity_timeout_s: float) -> None:
        super().__init__(
            shared.endpoint,
            shared.transport,
            PayloadCoding(),
            shared.timeouts,
            capacity_timeout_s=capacity_timeout_s,
        )
        self._shared = shared

    async def _open_channel(self, ticket: v2.Ticket | None) -> SessionChannel:
        return self._shared.slot(ticket) or await super()._open_channel(ticket)


class _SharedChannel:
    """A channel whose requests are sent by any thread, and whose responses are read by one that waits.

    The lock is held while something is sent or read, and not while a thread waits for the server.
    """

    def __init__(self, channel: V2Channel, timeouts: Timeouts) -> None:
        self.channel, self.timeouts = channel, timeouts
        self.changed = threading.Condition(threading.Lock())
        self._numbers = itertools.count()
        self._arrived: dict[int, v2.Result | OpenEnvError] = {}
        self._waiting: set[int] = set()
        self._is_reading = False

    def open_slot(self, ticket: v2.Ticket | None) -> _Slot:
        """Open a session."""
        with self.changed:
            number = next(self._numbers)
            run(self.channel.open([number], ticket))
            return _Slot(self, number)

    def close(self) -> None:
        """End all sessions."""
        with self.changed:
            run(self.channel.close())
            self.changed.notify_all()

    def result(self, slot: int, operation: str, timeout_s: float) -> v2.Result:
        """Wait for a slot's response.

        Raises:
            DeadlineExceededError: No response in time. The session is given up; the others continue.
            OpenEnvError: As `Channel.result`.
        """
        deadline = time.monotonic() + timeout_s
        with self.changed:
            self._waiting.add(slot)
            try:
                while slot not in self._arrived:
                    if not self.channel.is_open:
                        raise self._closed(operation)
                    remaining_s = deadline - time.monotonic()
                    if remaining_s <= 0:
                        raise self._late(slot, operation, timeout_s)
                    if self._is_reading:
                        self.changed.wait(min(remaining_s, _LOOK_S))
                    else:
                        self._read(operation, min(remaining_s, _LOOK_S))
                arrived = self._arrived.pop(slot)
            finally:
                self._waiting.discard(slot)
        if isinstance(arrived, OpenEnvError):
            raise arrived
        if arrived.errors:
            raise self.channel.slot_error(arrived.errors[0], operation)
        return arrived

    def _read(self, operation: str, timeout_s: float) -> None:
        """Wait for a response with the lock released, and read it if no other thread has."""
        self._is_reading = True
        try:
            self.changed.release()
            try:
                self._has_arrived(time.monotonic() + timeout_s)
            except (AssertionError, OSError, ValueError):
                pass  # another thread has closed the connection
            finally:
                self.changed.acquire()
            if self.channel.is_open and self._has_arrived(time.monotonic()):
                self._take(operation)
        finally:
            self._is_reading = False
            self.changed.notify_all()

    def _has_arrived(self, deadline: float) -> bool:
        pending = PendingRead([], self.channel.connection, lambda: None)
        return self.channel.has_result or is_available(pending) or bool(wait([pending], deadline))

    def _take(self, operation: str) -> None:
        """Read a response, and keep it for its slot."""
        try:
            result = run(self.channel.result(operation))
            # Its arrays may be views of the memory that the next message is received into.
            self.channel.connection.exchange_memory(memoryview(b""))
            slots = [*result.slots, *(error.slot for error in result.errors)]
            late = [slot for slot in slots if slot not in self.channel.slots]
            self._arrived.update((slot, result) for slot in slots if slot not in late)
            if late:
                run(self.channel.release(late))
        except OpenEnvError as error:
            for slot in self.channel.refused or list(self._waiting):
                self._arrived[slot] = error

    def _late(self, slot: int, operation: str, timeout_s: float) -> OpenEnvError:
        self.channel.slots.discard(slot)
        return DeadlineExceededError(
            f"{self.channel.endpoint}, {operation}: no response within {timeout_s:g} s.",
            endpoint=self.channel.endpoint.base_url,
            operation=operation,
        )

    def _closed(self, operation: str) -> OpenEnvError:
        return SessionLostError(
            f"{self.channel.endpoint}, {operation}: the connection that all sessions share was lost.",
            endpoint=self.channel.endpoint.base_url,
            operation=operation,
        )


class _Slot:
    """One session of a `_SharedChannel`. Its own slot counts as 0."""

    is_v2 = True
    has_pending = False

    def __init__(self, shared: _SharedChannel, number: int) -> None:
        self._shared, self._channel, self._number = shared, shared.channel, number
        self.sends_payloads = self._channel.sends_payloads
        self.sent_at = self.received_at = 0.0

    @property
    def endpoint(self) -> Endpoint:
        return self._channel.endpoint

    @property
    def slots(self) -> set[int]:
        return {0} if self._number in self._channel.slots else set()

    @property
    def is_open(self) -> bool:
        return self._channel.is_open

    async def send_reset(
        self, slots: Sequence[int], seeds: Sequence[int | None], options: dict[str, Any], operation: str
    ) -> None:
        with self._shared.changed:
            await self._channel.send_reset([self._number], seeds, options, operation)
            self.sent_at = self._channel.sent_at

    async def send_step(
        self,
        slots: Sequence[int],
        actions: Any,
        operation: str,
        *,
        gather: bool = True,
        timeout_s: float | None = None,
    ) -> None:
        with self._shared.changed:
            await self._channel.send_step(
                [self._number], actions, operation, gather=gather, timeout_s=timeout_s
            )
            self.sent_at = self._channel.sent_at

    async def result(
        self, operation: str, *, is_reset: bool = False, timeout_s: float | None = None
    ) -> v2.Result:
        timeouts = self._shared.timeouts
        limit_s = timeout_s or (timeouts.reset_s if is_reset else timeouts.step_s)
        result = self._shared.result(self._number, operation, limit_s)
        self.received_at = time.perf_counter()
        return result

    async def states(self, slots: Sequence[int]) -> list[Any]:
        with self._shared.changed:
            return await self._channel.states([self._number])

    async def render(self, slots: Sequence[int]) -> list[Any]:
        with self._shared.changed:
            return await self._channel.render([self._number])

    async def mcp(self, slots: Sequence[int], request: dict[str, Any]) -> list[Any]:
        with self._shared.changed:
            return await self._channel.mcp([self._number], request)

    def abort(self) -> None:
        """Give the session up; it ends when its response has come."""
        self._channel.slots.discard(self._number)

    async def close(self) -> None:
        """End the session."""
        with self._shared.changed:
            if self.is_open and self.slots:
                await self._channel.release([self._number])
