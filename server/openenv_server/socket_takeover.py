"""A WebSocket protocol for uvicorn whose socket a handler can take over.

On the event loop, a message takes two iterations of the loop, and a step on another thread two more wake-ups.
A connection worker has its own thread; with the bare socket it reads, steps and answers without any of them.

uvicorn has no public API for this. ``tests/server/test_socket_takeover.py`` names every internal that this
module relies on, and ``pyproject.toml`` has an upper bound on uvicorn's version.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

EXTENSION = "openenv.takeover"

TakeOver = Callable[[Callable[[], None]], Awaitable[socket.socket | None]]


class TakeoverProtocol(WebSocketsSansIOProtocol):
    """For ``uvicorn.Config(ws=TakeoverProtocol)``. Otherwise the same as ``ws="websockets-sansio"``."""

    _taken: socket.socket | None = None
    _on_stopping: Callable[[], None]

    async def run_asgi(self) -> None:
        """Offer the socket to the handler, except on Windows and under TLS, which need the event loop."""
        if self.scheme == "ws" and sys.platform != "win32":
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self._take_over
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """Send the handler's message. A response that refuses the handshake completes it, too."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # uvicorn does not set it, and logs each refusal as an error

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
        """The socket, in blocking mode; None if the event loop already received a message."""
        self._on_stopping = on_stopping
        self.stop_keepalive()
        self.transport.pause_reading()
        while self.transport.get_write_buffer_size():
            await asyncio.sleep(0)  # the response to the handshake is still in the buffer
        if not self.queue.empty():
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
    """
    take_over: TakeOver | None = websocket.scope.get("extensions", {}).get(EXTENSION)
    return None if take_over is None else await take_over(on_stopping)
