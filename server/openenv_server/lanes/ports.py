"""Where a lane's frames come from and go to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Coroutine
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from openenv_gym.transport.frames import CloseCode, FrameSocket, Opcode, Payload
from openenv_server.draining import Inbox


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

    def shut(self) -> None:
        """Ends `receive`, also one that waits. Called on the event loop."""

    def say_goodbye(self, code: CloseCode, reason: str) -> None:
        """Sends a close frame, where the client can still be told."""


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

    def shut(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone already
            self._frames.raw.shutdown(socket.SHUT_RD)

    def say_goodbye(self, code: CloseCode, reason: str) -> None:
        self._frames.say_goodbye(code, reason)


class AsgiPort:
    """A WebSocket of the event loop: for TLS, and for servers that do not give the socket away."""

    def __init__(
        self, websocket: WebSocket, loop: asyncio.AbstractEventLoop, timeout_s: float | None
    ) -> None:
        self._socket = websocket
        self._loop = loop
        self._inbox = Inbox(websocket, timeout_s)

    def receive(self, *, is_expected: bool) -> Payload:
        message = self._wait_for(self._inbox.next())
        if message["type"] == "websocket.disconnect":
            raise ConnectionResetError("the client left")
        payload: bytes | None = message.get("bytes")
        if payload is None:
            raise NotBinaryError("a text frame came on a socket of version 2")
        return payload

    def send(self, *parts: Payload) -> None:
        try:
            self._wait_for(self._socket.send_bytes(b"".join(parts)))
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionResetError("the client left") from error

    def shut(self) -> None:
        self._inbox.shut()

    def say_goodbye(self, code: CloseCode, reason: str) -> None:
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # the client has gone already
            self._wait_for(self._socket.close(code, reason))

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
