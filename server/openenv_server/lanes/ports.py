"""Where a lane's frames come from and go to."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from openenv_gym.transport.frames import CloseCode, FrameSocket, Opcode, Payload


class NotBinaryError(ConnectionError):
    """A text frame came, which version 2 of the protocol does not have."""


class Port(Protocol):
    """A WebSocket as a lane's thread uses it. Both methods block; either raises `OSError` at its end."""

    def receive(self, *, is_expected: bool) -> Payload:
        """The next binary message; ``is_expected`` says that nothing else is under way until it comes.

        Raises:
            TimeoutError: Nothing came for as long as a session may be silent.
        """

    def send(self, *parts: Payload) -> None:
        """Sends a binary message; any thread may."""


class SocketPort:
    """The socket itself, in blocking calls: no event loop stands between it and the lane."""

    def __init__(self, frames: FrameSocket, timeout_s: float | None) -> None:
        self._frames = frames
        frames.set_timeout(timeout_s)

    def send(self, *parts: Payload) -> None:
        self._frames.send(*parts)

    def receive(self, *, is_expected: bool) -> Payload:
        self._frames.may_stay_awake = is_expected
        opcode, payload = self._frames.receive()
        if opcode is not Opcode.BINARY:
            raise NotBinaryError("a text frame came on a socket of version 2")
        return payload


class AsgiPort:
    """A WebSocket of the event loop: for TLS, and for servers that do not give the socket away."""

    def __init__(
        self, socket: WebSocket, loop: asyncio.AbstractEventLoop, timeout_s: float | None, most_bytes: int
    ) -> None:
        self._socket = socket
        self._loop = loop
        self._timeout_s = timeout_s
        self._most_bytes = most_bytes

    def receive(self, *, is_expected: bool) -> Payload:
        message = self._wait_for(asyncio.wait_for(self._socket.receive(), self._timeout_s))
        if message["type"] == "websocket.disconnect":
            raise ConnectionResetError("the client left")
        payload: bytes | None = message.get("bytes")
        if payload is None:
            raise NotBinaryError("a text frame came on a socket of version 2")
        if len(payload) > self._most_bytes:
            reason = f"a message of {len(payload):,} bytes is more than the {self._most_bytes:,} allowed"
            self._wait_for(self._socket.close(CloseCode.TOO_BIG, reason))
            raise ConnectionAbortedError(reason)
        return payload

    def send(self, *parts: Payload) -> None:
        try:
            self._wait_for(self._socket.send_bytes(b"".join(parts)))
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionResetError("the client left") from error

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
