"""The WebSocket under a connection: the bare socket, or one of the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Protocol, TypeVar

from starlette.websockets import WebSocket, WebSocketDisconnect

from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.wire.framing import BadFrameError, CloseCode, Opcode, Payload, PeerClosedError
from openenv_server.errors import (
    STOPPING,
    ClientLeftError,
    NotBinaryError,
    ProtocolViolatedError,
    ServerStoppingError,
)
from openenv_server.sessions.counters import Counters
from openenv_server.sessions.lifecycle import EndReason

# How long a client may be silent before it is pinged, and how long it has to answer, in seconds.
PING_INTERVAL_S = 20.0

# After so many seconds of a request, a client of version 1 or of HTTP is watched, so that it can leave.
_WATCH_AFTER_S = 0.25
# The most messages that it may send meanwhile, and their bytes or characters.
_MOST_WAITING = 1000
_MOST_WAITING_SIZE = 2**26

# What the code of a close frame says about the end of a session. uvicorn itself gives the last one when it
# stops, and NO_CODE when a connection is lost.
_END_REASONS: dict[int, EndReason] = {
    CloseCode.NORMAL: EndReason.CLIENT_LEFT,
    CloseCode.GOING_AWAY: EndReason.CLIENT_LEFT,
    CloseCode.PROTOCOL_ERROR: EndReason.PROTOCOL_ERROR,
    CloseCode.POLICY_VIOLATION: EndReason.PROTOCOL_ERROR,
    CloseCode.TOO_BIG: EndReason.PROTOCOL_ERROR,
    CloseCode.SERVICE_RESTART: EndReason.DRAIN,
}

T = TypeVar("T")


class Transport(Protocol):
    """A WebSocket as a connection worker uses it. Its methods block."""

    def receive(self, *, is_expected: bool) -> Payload:
        """Wait for the next binary message.

        Args:
            is_expected: Nothing else is in progress until it arrives, so busy-polling is worthwhile.

        Raises:
            TimeoutError: The client was silent for the whole session timeout.
            ClientLeftError: The client closed the connection.
            ProtocolViolatedError: The client violates the protocol.
            NotBinaryError: The client sent text.
            OSError: The connection is broken.
        """

    def send(self, *parts: Payload) -> None:
        """Send a binary message. Thread-safe. Raises `OSError` if the connection is broken."""

    def hang_up(self, code: CloseCode, reason: str) -> None:
        """Send a close frame and close the socket."""

    def shut(self) -> None:
        """Make `receive` fail, even one that is waiting; sending still works. Call it on the event loop."""

    def close(self) -> None:
        """Close the socket; a waiting `receive` fails. Thread-safe, and safe to call again."""


class SocketTransport:
    """The bare socket in blocking calls, without an event loop in between.

    Args:
        frames: The socket.
        loop: The event loop.
        closed: Set on the loop when the socket is closed.
        timeout_s: How long the client may be silent, in seconds; None is unlimited.
        counters: The server's counters.
    """

    def __init__(
        self,
        frames: FrameSocket,
        loop: asyncio.AbstractEventLoop,
        closed: asyncio.Event,
        timeout_s: float | None,
        counters: Counters,
    ) -> None:
        self._frames = frames
        self._next: FrameSocket | None = None
        self._is_shut = False
        self._moving = threading.Lock()
        self._counters, self._traffic = counters, counters.begin_traffic()
        self._loop = loop
        self._closed = closed
        self._timeout_s = timeout_s
        self._ping_after_s = PING_INTERVAL_S if timeout_s is None else min(PING_INTERVAL_S, timeout_s)
        frames.set_timeout(self._ping_after_s)

    def move_to(self, frames: FrameSocket) -> None:
        """Continue with another socket once the client has closed this one. Thread-safe."""
        frames.set_timeout(self._ping_after_s)
        with self._moving:
            self._next = frames

    def send(self, *parts: Payload) -> None:
        self._frames.send(*parts)
        self._traffic.sent += sum(map(len, parts))

    def receive(self, *, is_expected: bool) -> Payload:
        self._frames.may_busy_poll = is_expected
        try:
            opcode, payload = self._frames.receive()
        except TimeoutError:
            opcode, payload = self._ping_until_message()
        except (PeerClosedError, BadFrameError) as error:
            if not self._is_shut and self._has_moved():
                return self.receive(is_expected=is_expected)
            raise _connection_error(error) from error
        if opcode is not Opcode.BINARY:
            raise NotBinaryError("The client sent a text frame over version 2 of the protocol")
        self._traffic.received += len(payload)
        return payload

    def hang_up(self, code: CloseCode, reason: str) -> None:
        self._has_moved()
        self._frames.send_close(code, reason)
        self.close()

    def shut(self) -> None:
        with self._moving, contextlib.suppress(OSError):  # the client has already gone
            self._is_shut = True
            self._frames.raw.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        with self._moving:
            self._frames.close()
            if self._next is not None:
                self._next.close()
        self._counters.end_traffic(self._traffic)
        with contextlib.suppress(RuntimeError):  # the server has stopped, and nobody waits
            self._loop.call_soon_threadsafe(self._closed.set)

    def _has_moved(self) -> bool:
        """Go to the next socket, if there is one."""
        with self._moving:
            if self._next is None:
                return False
            self._frames.close()
            self._frames, self._next = self._next, None
        self._counters.count_moved()
        return True

    def _ping_until_message(self) -> tuple[Opcode, Payload]:
        """Ping a silent client: one that was stopped or unplugged does not answer, one that computes does."""
        frames = self._frames
        silent_since = time.monotonic() - PING_INTERVAL_S
        while self._timeout_s is None or time.monotonic() < silent_since + self._timeout_s:
            if frames.is_in_message:
                raise ConnectionResetError("the connection broke inside a message")
            frames.has_answered_ping = False
            try:
                frames.send(b"", opcode=Opcode.PING)
            except TimeoutError as error:
                raise ConnectionResetError("the client reads nothing any more") from error
            try:
                return frames.receive()
            except TimeoutError:
                if not (frames.has_answered_ping or frames.is_in_message):
                    raise ConnectionResetError("the client answers no ping") from None
            except (PeerClosedError, BadFrameError) as error:
                raise _connection_error(error) from error
        raise TimeoutError("the client was silent for too long")


async def unless_left(work: Coroutine[Any, Any, T], leaves: Callable[[], Coroutine[Any, Any, str]]) -> T:
    """Do something for a client, and cancel it if the client leaves meanwhile.

    Args:
        work: Does it.
        leaves: Waits until the client has left, and returns what happened.

    Raises:
        ClientLeftError: The client has left.
    """
    task = asyncio.current_task()
    assert task is not None
    reason = ""

    async def watch() -> None:
        nonlocal reason
        reason = await leaves()
        task.cancel()

    watching: asyncio.Task[None] | None = None

    def begin() -> None:
        nonlocal watching
        watching = asyncio.ensure_future(watch())

    timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not reason:
            raise
        task.uncancel()
        raise ClientLeftError(reason) from None
    finally:
        timer.cancel()
        if watching is not None:
            watching.cancel()


class Inbox:
    """The messages of a WebSocket of the event loop, until the server stops.

    Args:
        socket: The WebSocket, accepted.
        timeout_s: How long it may be silent, in seconds; None is unlimited.

    Attributes:
        end_reason: Why a session ends with this WebSocket, as far as the messages say.
    """

    def __init__(self, socket: WebSocket, timeout_s: float | None) -> None:
        self._receive = socket.receive
        self._timeout_s = timeout_s
        self._waiting: asyncio.Timeout | None = None
        self._is_shut = False
        self._early: deque[dict[str, Any]] = deque()
        self.end_reason: EndReason = EndReason.CONNECTION_LOST

    async def next(self) -> dict[str, Any]:
        """The next message.

        Raises:
            ServerStoppingError: The inbox was shut.
            TimeoutError: The client was silent for too long.
        """
        if self._is_shut:
            self.end_reason = EndReason.DRAIN
            raise ServerStoppingError(STOPPING)
        if self._early:
            return self._early.popleft()
        try:
            async with asyncio.timeout(self._timeout_s) as self._waiting:
                return await self._next()
        except TimeoutError:
            self.end_reason = EndReason.DRAIN if self._is_shut else EndReason.IDLE
            if self._is_shut:
                raise ServerStoppingError(STOPPING) from None
            raise
        finally:
            self._waiting = None

    async def unless_left(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something for the client, and cancel it if the client leaves meanwhile.

        Raises:
            ClientLeftError: The client has left, or sends too much without waiting for answers.
        """
        return await unless_left(work, self._leaves)

    async def _leaves(self) -> str:
        """Keep what the client sends until it leaves or sends too much; returns which."""
        size = sum(map(_size_of, self._early))
        while len(self._early) < _MOST_WAITING and size < _MOST_WAITING_SIZE:
            self._early.append(await self._next())
            if self._early[-1]["type"] == "websocket.disconnect":
                return "The client has left"
            size += _size_of(self._early[-1])
        self.end_reason = EndReason.PROTOCOL_ERROR
        return "The client sends too many requests at once"

    async def _next(self) -> dict[str, Any]:
        message = dict(await self._receive())
        if message["type"] == "websocket.disconnect":
            code = message.get("code", CloseCode.ABNORMAL)
            self.end_reason = _END_REASONS.get(code, EndReason.CONNECTION_LOST)
        return message

    def shut(self) -> None:
        """Make `next` fail, even one that is waiting. Call it on the event loop."""
        self._is_shut = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())


class AsgiTransport:
    """A WebSocket of the event loop: for TLS, and for servers that do not hand over their sockets.

    The server's own pings find clients that are gone.

    Args:
        websocket: The WebSocket, accepted.
        loop: The event loop.
        closed: Set on the loop when the socket is closed.
        timeout_s: How long the client may be silent, in seconds; None is unlimited.
        most_bytes: The maximum size of a message in bytes.
    """

    def __init__(
        self,
        websocket: WebSocket,
        loop: asyncio.AbstractEventLoop,
        closed: asyncio.Event,
        timeout_s: float | None,
        most_bytes: int,
    ) -> None:
        self._socket = websocket
        self._inbox = Inbox(websocket, timeout_s)
        self._loop = loop
        self._closed = closed
        self._most_bytes = most_bytes

    def receive(self, *, is_expected: bool) -> Payload:
        message = self._wait_for(self._inbox.next())
        if message["type"] == "websocket.disconnect":
            raise _connection_error(PeerClosedError(message.get("code") or CloseCode.NO_CODE, ""))
        payload: bytes | None = message.get("bytes")
        if payload is None:
            raise NotBinaryError("The client sent a text frame over version 2 of the protocol")
        if len(payload) > self._most_bytes:
            reason = f"a message of {len(payload):,} bytes exceeds the limit of {self._most_bytes:,}"
            self._wait_for(self._socket.close(CloseCode.TOO_BIG, reason))
            raise ProtocolViolatedError(reason)
        return payload

    def send(self, *parts: Payload) -> None:
        try:
            self._wait_for(self._socket.send_bytes(b"".join(parts)))
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionResetError("the client has left") from error

    def hang_up(self, code: CloseCode, reason: str) -> None:
        # The client or the event loop may have gone already.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, CancelledError):
            self._wait_for(self._socket.close(code, reason))
        self.close()

    def shut(self) -> None:
        self._inbox.shut()

    def close(self) -> None:
        def close() -> None:
            self._inbox.shut()
            self._closed.set()

        with contextlib.suppress(RuntimeError):  # the server has stopped, and nobody waits
            self._loop.call_soon_threadsafe(close)

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the event loop has gone
            coroutine.close()
            raise
        return future.result()


def _size_of(message: dict[str, Any]) -> int:
    return len(message.get("text") or message.get("bytes") or "")


def _connection_error(error: PeerClosedError | BadFrameError) -> ConnectionError:
    """The error for the end of a connection: a normal close is final; otherwise the client may resume.

    uvicorn sends "service restart" itself when it stops.
    """
    if isinstance(error, BadFrameError):
        return ProtocolViolatedError(str(error))
    if error.code in (CloseCode.NORMAL, CloseCode.SERVICE_RESTART):
        return ClientLeftError(str(error))
    return error
