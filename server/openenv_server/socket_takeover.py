"""A WebSocket protocol for uvicorn with limits, and whose socket a handler can take over.

On the event loop, a message takes two iterations of the loop, and a step on another thread two more wake-ups.
A connection worker has its own thread; with the bare socket it reads, steps and answers without any of them.

uvicorn has no public API for this. ``tests/server/test_socket_takeover.py`` names every internal that this
module relies on, and ``pyproject.toml`` has an upper bound on uvicorn's version.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.websockets import WebSocket, WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState
from websockets.frames import Frame

from openenv_gym.wire.framing import BadFrameError, CloseCode, FrameLimits

# The event loop receives up to 256 KiB at once, which may be 40,000 frames. So many bytes are parsed at a
# time, and no more once so many messages wait for the handler.
_SLICE_SIZE = 1 << 12
_MAX_UNREAD = 16

_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

EXTENSION = "openenv.takeover"

TakeOver = Callable[[Callable[[], None]], Awaitable[socket.socket | None]]


class TakeoverProtocol(WebSocketsSansIOProtocol):
    """For ``uvicorn.Config(ws=TakeoverProtocol)``. Otherwise the same as ``ws="websockets-sansio"``.

    Tiny frames are limited as `FrameLimits` says, and so is what is kept for a client that reads no answers.
    """

    _taken: socket.socket | None = None
    _on_stopping: Callable[[], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = FrameLimits()
        self._unparsed = b""

    def data_received(self, data: bytes) -> None:
        """Parse what was received, up to the limits. Reading is paused while some of it is left."""
        self._unparsed += data
        self._parse()

    async def receive(self) -> Any:
        """The next message for the handler. Others get their turn between those that came together."""
        message = await super().receive()
        if self._unparsed and self.queue.empty():
            self.read_paused = True
            self.transport.pause_reading()
            self.loop.call_soon(self._parse)
        return message

    def _parse(self) -> None:
        data, begin = self._unparsed, 0
        while begin < len(data) and self.queue.qsize() < _MAX_UNREAD and not self.transport.is_closing():
            end = begin + _SLICE_SIZE
            try:
                super().data_received(data[begin:end])
            except BadFrameError as error:
                self.conn.fail(error.code, error.reason)
                self.handle_parser_exception()
            if self.conn.handshake_exc is not None and not self.handshake_complete:
                self._refuse_handshake()
            begin = end
        self._unparsed = data[begin:]
        if self.read_paused and self.queue.empty() and not self.transport.is_closing():
            self.read_paused: bool = False
            self.transport.resume_reading()

    def _refuse_handshake(self) -> None:
        """Answer a request that websockets does not read, and close; uvicorn would wait for ever."""
        self.handshake_complete = self.close_sent = True
        self.transport.write(b"".join(self.conn.data_to_send()) or _BAD_REQUEST)
        self.transport.close()

    def handle_parser_exception(self) -> None:
        """Close the connection because of what the client sent, maybe before the handshake was answered."""
        if self.conn.close_sent is not None:
            super().handle_parser_exception()
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": CloseCode.PROTOCOL_ERROR})
        self.close_sent: bool = True
        self.transport.close()

    def handle_text(self, event: Frame) -> None:
        """Take the first frame of a text message."""
        if not event.fin:
            self._count_fragment(event)
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """Take the first frame of a binary message."""
        if not event.fin:
            self._count_fragment(event)
        super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a further frame of a message."""
        self._count_fragment(event)
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer a ping, unless the client reads nothing."""
        self._limits.count_control_frame(self.loop.time())
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # drop the pong

    def handle_pong(self, event: Frame) -> None:
        """Take a pong."""
        self._limits.count_control_frame(self.loop.time())
        super().handle_pong(event)

    def _count_fragment(self, event: Frame) -> None:
        self._limits.count_fragment(len(event.data), is_last=event.fin)

    async def run_asgi(self) -> None:
        """Offer the socket to the handler, except on Windows and under TLS, which need the event loop."""
        if self.scheme == "ws" and sys.platform != "win32":
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self._take_over
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """Send the handler's message. A response that refuses the handshake completes it, too."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete: bool = True  # uvicorn does not set it, and logs each refusal as an error

    def shutdown(self) -> None:
        """Close the connection, also for whoever took over the socket."""
        if self._taken is None:
            try:
                super().shutdown()
            except InvalidState:  # it is already closing, which uvicorn does not check
                self.transport.close()
        else:
            self._on_stopping()
            with contextlib.suppress(OSError):  # its owner may have closed it
                self._taken.shutdown(socket.SHUT_RDWR)

    async def _take_over(self, on_stopping: Callable[[], None]) -> socket.socket | None:
        """The socket, in blocking mode; None if the event loop already received a part of a message."""
        self._on_stopping = on_stopping
        if not self.transport.is_closing():
            self.transport.pause_reading()
            self.transport.set_write_buffer_limits(0)
            await self.writable.wait()  # until the client has taken the response to the handshake
        if self.transport.is_closing():
            raise WebSocketDisconnect(CloseCode.ABNORMAL)
        self.stop_keepalive()
        if self.queue.qsize() or self._unparsed or self.frames or self.conn.reader.buffer:
            self.transport.set_write_buffer_limits()
            self.transport.resume_reading()
            self.start_keepalive()
            return None
        raw = self.transport.get_extra_info("socket")
        self._taken = socket.socket(fileno=os.dup(raw.fileno()))
        self._taken.setblocking(True)
        return self._taken


async def take_socket(websocket: WebSocket, on_stopping: Callable[[], None]) -> socket.socket | None:
    """Take over the socket of an accepted WebSocket; None if the server does not hand it over.

    Args:
        websocket: The accepted WebSocket.
        on_stopping: Called when the server stops, before it closes the connection.

    Raises:
        WebSocketDisconnect: The client has left.
    """
    take_over: TakeOver | None = websocket.scope.get("extensions", {}).get(EXTENSION)
    return None if take_over is None else await take_over(on_stopping)
