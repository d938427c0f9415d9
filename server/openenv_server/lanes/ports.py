"""Where a lane's frames come from and go to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from openenv_gym.transport.frame_socket import FrameSocket
from openenv_gym.wire.framing import BadFrameError, CloseCode, Opcode, Payload, PeerClosedError
from openenv_server.draining import Inbox

# How often a silent client is asked whether it is still there, in seconds; it has as long to answer.
PING_INTERVAL_S = 20.0


class NotBinaryError(ConnectionError):
    """A text frame came, which version 2 of the protocol does not have."""


class ClientLeftError(ConnectionError):
    """The client has closed the socket, and will not come back."""


class Port(Protocol):
    """A WebSocket as a lane's thread uses it. Its methods block."""

    def receive(self, *, is_expected: bool) -> Payload:
        """The next binary message; ``is_expected`` says that nothing else is under way until it comes.

        Raises:
            TimeoutError: Nothing came for as long as a session may be silent.
            ClientLeftError: The client said goodbye, or does not speak the protocol.
            OSError: The socket is broken.
        """

    def send(self, *parts: Payload) -> None:
        """Sends a binary message; any thread may. Raises `OSError` where the socket is broken."""

    def hang_up(self, code: CloseCode, reason: str) -> None:
        """Tells the client that this is the end, and lets the socket go."""

    def shut(self) -> None:
        """Ends `receive`, also one that waits, and leaves the way out open. Called on the event loop."""

    def close(self) -> None:
        """Lets the socket go; a `receive` under way ends with an error. Safe to call again, by any thread."""


class SocketPort:
    """The socket itself, in blocking calls: no event loop stands between it and the lane.

    Args:
        frames: The socket.
        loop: The event loop.
        ended: Set on the loop when the socket is let go.
        timeout_s: How long the client may be silent, in seconds; None for ever.
    """

    def __init__(
        self,
        frames: FrameSocket,
        loop: asyncio.AbstractEventLoop,
        ended: asyncio.Event,
        timeout_s: float | None,
    ) -> None:
        self._frames = frames
        self._loop = loop
        self._ended = ended
        self._timeout_s = timeout_s
        frames.set_timeout(PING_INTERVAL_S if timeout_s is None else min(PING_INTERVAL_S, timeout_s))

    def send(self, *parts: Payload) -> None:
        self._frames.send(*parts)

    def receive(self, *, is_expected: bool) -> Payload:
        self._frames.may_busy_poll = is_expected
        try:
            opcode, payload = self._frames.receive()
        except TimeoutError:
            opcode, payload = self._ask_until_it_speaks()
        except (PeerClosedError, BadFrameError) as error:
            raise _left(error) from error
        if opcode is not Opcode.BINARY:
            raise NotBinaryError("a text frame came on a socket of version 2")
        return payload

    def hang_up(self, code: CloseCode, reason: str) -> None:
        self._frames.say_goodbye(code, reason)
        self.close()

    def shut(self) -> None:
        with contextlib.suppress(OSError):  # the client has gone already
            self._frames.raw.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self._frames.close()
        with contextlib.suppress(RuntimeError):  # the server has stopped, and nobody waits any more
            self._loop.call_soon_threadsafe(self._ended.set)

    def _ask_until_it_speaks(self) -> tuple[Opcode, Payload]:
        """Pings a silent client: one that was stopped or unplugged does not answer, one that thinks does."""
        frames = self._frames
        silent_since = time.monotonic() - PING_INTERVAL_S
        while self._timeout_s is None or time.monotonic() < silent_since + self._timeout_s:
            if frames.is_in_message:
                raise ConnectionResetError("a message broke off")
            frames.has_answered_ping = False
            try:
                frames.send(b"", opcode=Opcode.PING)
            except TimeoutError as error:
                raise ConnectionResetError("the client takes nothing any more") from error
            try:
                return frames.receive()
            except TimeoutError:
                if not (frames.has_answered_ping or frames.is_in_message):
                    raise ConnectionResetError("the client answers no ping") from None
            except (PeerClosedError, BadFrameError) as error:
                raise _left(error) from error
        raise TimeoutError("the client was silent for too long")


class AsgiPort:
    """A WebSocket of the event loop: for TLS, and for servers that do not give the socket away.

    Takes what `SocketPort` does, and the most bytes of a message. The server's own pings find clients that
    are gone.
    """

    def __init__(
        self,
        websocket: WebSocket,
        loop: asyncio.AbstractEventLoop,
        ended: asyncio.Event,
        timeout_s: float | None,
        most_bytes: int,
    ) -> None:
        self._socket = websocket
        self._inbox = Inbox(websocket, timeout_s)
        self._loop = loop
        self._ended = ended
        self._most_bytes = most_bytes

    def receive(self, *, is_expected: bool) -> Payload:
        message = self._wait_for(self._inbox.next())
        if message["type"] == "websocket.disconnect":
            raise _left(PeerClosedError(message.get("code") or CloseCode.NO_CODE, ""))
        payload: bytes | None = message.get("bytes")
        if payload is None:
            raise NotBinaryError("a text frame came on a socket of version 2")
        if len(payload) > self._most_bytes:
            reason = f"a message of {len(payload):,} bytes exceeds the limit of {self._most_bytes:,}"
            self._wait_for(self._socket.close(CloseCode.TOO_BIG, reason))
            raise ClientLeftError(reason)
        return payload

    def send(self, *parts: Payload) -> None:
        try:
            self._wait_for(self._socket.send_bytes(b"".join(parts)))
        except (WebSocketDisconnect, RuntimeError) as error:
            raise ConnectionResetError("the client left") from error

    def hang_up(self, code: CloseCode, reason: str) -> None:
        # The client or the event loop may have gone before, and then there is nobody to tell.
        with contextlib.suppress(WebSocketDisconnect, RuntimeError, CancelledError):
            self._wait_for(self._socket.close(code, reason))
        self.close()

    def shut(self) -> None:
        self._inbox.shut()

    def close(self) -> None:
        def let_go() -> None:
            self._inbox.shut()
            self._ended.set()

        with contextlib.suppress(RuntimeError):  # the server has stopped, and nobody waits any more
            self._loop.call_soon_threadsafe(let_go)

    def _wait_for(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the event loop has gone
            coroutine.close()
            raise
        return future.result()


def _left(error: PeerClosedError | BadFrameError) -> ConnectionError:
    """What a socket's end means: a goodbye is for good; after anything else, the client may come back.

    "Service restart" is what uvicorn says of itself when it stops.
    """
    if isinstance(error, BadFrameError) or error.code in (CloseCode.NORMAL, CloseCode.SERVICE_RESTART):
        return ClientLeftError(str(error))
    return error
