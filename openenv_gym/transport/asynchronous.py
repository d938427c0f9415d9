"""Connections on an asyncio event loop, without a thread for any of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import TypeVar

from openenv_gym.errors import EndpointError
from openenv_gym.transport import async_frame_socket
from openenv_gym.transport.async_frame_socket import AsyncFrameSocket
from openenv_gym.transport.connection import MAX_MESSAGE_SIZE, Connection, close_gracefully
from openenv_gym.transport.deadline import Deadline
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.error_mapping import (
    HANDSHAKE,
    Message,
    bare,
    closed_error,
    connect_error,
    is_timeout,
    session_error,
    wrong_frame,
)
from openenv_gym.transport.frame_socket import NETWORK
from openenv_gym.transport.handshake import has_gateway, open_websocket
from openenv_gym.transport.routes import route_to
from openenv_gym.wire import v1, v2
from openenv_gym.wire.framing import Opcode, Payload

ArgT = TypeVar("ArgT")


class AsyncTransport:
    """A `Transport` on the running event loop.

    Args:
        max_message_size: The maximum size of a message from a server in bytes.
    """

    def __init__(self, max_message_size: int = MAX_MESSAGE_SIZE) -> None:
        self._max_message_size = max_message_size

    async def connect(
        self, endpoint: Endpoint, *, timeout_s: float, offers_v2: bool = True
    ) -> AsyncConnection:
        before, deadline = endpoint.cookies.header("/ws"), Deadline(timeout_s)
        try:
            return await _connect(endpoint, deadline, offers_v2, self._max_message_size)
        except EndpointError:
            if endpoint.cookies.header("/ws") == before:
                raise
        # With the cookie that it was refused for.
        return await _connect(endpoint, deadline, offers_v2, self._max_message_size)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def run_blocking(self, call: Callable[[ArgT], None], argument: ArgT) -> None:
        await asyncio.to_thread(call, argument)


class AsyncConnection(Connection):
    """A `Connection` on an event loop. Call its methods on that loop only.

    Args:
        endpoint: The server.
        frames: The open WebSocket.
        headers: The headers of the response that opened it.
        has_gateway: The attribute.
        max_message_size: The attribute.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        frames: AsyncFrameSocket,
        headers: dict[str, str],
        has_gateway: bool,
        max_message_size: int,
    ) -> None:
        self.endpoint = endpoint
        self.is_on_one_machine = frames.raw.family not in NETWORK
        self.max_message_size = max_message_size
        self.has_gateway = has_gateway
        self.is_v2: bool = headers.get("sec-websocket-protocol") == v2.SUBPROTOCOL
        self.worker: tuple[int, int] = v2.worker_of(headers.get(v2.WORKER_HEADER))
        self.heeds_timeouts: bool = v1.TIMEOUTS_HEADER in headers
        self.has_pending: bool = False
        self._sent: Message = ()
        self.sends_close = True
        self._process = os.getpid()
        self._frames: AsyncFrameSocket | None = frames

    @property
    def is_open(self) -> bool:
        return (
            self._frames is not None
            and self._process == os.getpid()
            and not self._frames.loop.is_closed()  # as after `asyncio.run`
        )

    async def send(self, message: str | list[Payload], *, timeout_s: float, operation: str) -> None:
        frames = self._usable(operation)
        self._sent, self.has_pending = message, True
        try:
            if isinstance(message, str):
                frames.write((message.encode(),), Opcode.TEXT)
            else:
                frames.write(message, Opcode.BINARY)
            if frames.is_paused:
                await frames.drain(timeout_s)
        except ConnectionError:
            return  # `receive` reports it, after whatever the server said before
        except OSError as error:
            raise self._lost(error, timeout_s, operation) from error
        except BaseException:
            self.drop()  # cancelled: a part of the message may be on its way
            raise

    async def receive(self, *, timeout_s: float, operation: str) -> Payload:
        frames = self._usable(operation)
        try:
            opcode, payload = await frames.receive_message(timeout_s)
        except OSError as error:
            raise self._lost(error, timeout_s, operation) from error
        except BaseException:
            self.hang_up()  # cancelled: the response would be taken for the next one
            raise
        if (opcode is Opcode.BINARY) != self.is_v2:
            self.drop()
            raise wrong_frame(self.endpoint, opcode, operation, is_v2=self.is_v2)
        return payload

    async def close(self, last_message: str) -> None:
        await close_gracefully(self, last_message)

    def expire(self, timeout_s: float, operation: str) -> EndpointError:
        return self._lost(TimeoutError(), timeout_s, operation)

    def exchange_memory(self, other: memoryview) -> memoryview:
        return other  # nothing to take over: each large message has memory for itself

    def hang_up(self) -> None:
        if self.sends_close:
            self._let_go(AsyncFrameSocket.hang_up)
        else:
            self.drop()

    def drop(self) -> None:
        self._let_go(AsyncFrameSocket.abort)

    def _let_go(self, end: Callable[[AsyncFrameSocket], None]) -> None:
        frames, self._frames = self._frames, None
        if frames is not None and self._process == os.getpid():
            end(frames)

    def _usable(self, operation: str) -> AsyncFrameSocket:
        if self._frames is None or not self.is_open:
            raise closed_error(self.endpoint, operation)
        return self._frames

    def _lost(self, error: OSError, timeout_s: float, operation: str) -> EndpointError:
        """Let go of the socket after a failure; the error to raise for it."""
        if is_timeout(error):
            self.hang_up()
        else:
            self.drop()
        return session_error(self.endpoint, error, operation, timeout_s, self._sent)

    def __del__(self) -> None:
        frames = self._frames
        if frames is not None and self._process == os.getpid():
            # The garbage collector may run in any thread, and after the loop has closed.
            with contextlib.suppress(RuntimeError):
                frames.loop.call_soon_threadsafe(frames.hang_up if self.sends_close else frames.abort)


async def _connect(
    endpoint: Endpoint, deadline: Deadline, offers_v2: bool, max_message_size: int
) -> AsyncConnection:
    frames: AsyncFrameSocket | None = None
    route = route_to(endpoint)
    try:
        async with asyncio.timeout(deadline.left_s()):
            frames = await async_frame_socket.connect(route, max_message_size)
            headers, received = await open_websocket(frames, endpoint, route, offers_v2=offers_v2)
            frames = await async_frame_socket.move(frames, headers, max_message_size)
            frames.begin_frames(received)
    except BaseException as error:
        if frames is not None:
            frames.abort()
        if isinstance(error, OSError | ValueError) and not isinstance(error, EndpointError):
            raise connect_error(endpoint, error, HANDSHAKE, deadline.timeout_s) from bare(error)
        raise
    return AsyncConnection(endpoint, frames, headers, has_gateway(route, headers), max_message_size)
