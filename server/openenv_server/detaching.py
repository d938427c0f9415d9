"""uvicorn's WebSocket, from which a handler can take the socket itself.

On the event loop a message takes two turns of the loop, and a step on another thread two wake-ups more. A
lane has a thread of its own; with the socket in its hands it reads, steps and answers without any of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

EXTENSION = "openenv.detach"

Detach = Callable[[Callable[[], None]], Awaitable[socket.socket | None]]


class DetachableProtocol(WebSocketsSansIOProtocol):
    """For ``uvicorn.Config(ws=DetachableProtocol)``; all else is as in ``ws="websockets-sansio"``."""

    _taken: socket.socket | None = None
    _tell_stopping: Callable[[], None]

    async def run_asgi(self) -> None:
        """Offers the socket to the handler, but for TLS, which lives in the event loop."""
        if self.scheme == "ws":
            cast(dict[str, Any], self.scope["extensions"])[EXTENSION] = self._detach
        await super().run_asgi()

    async def send(self, message: Any) -> None:
        """Sends what the handler says; a handshake that it refuses with an answer of its own is over, too."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # uvicorn forgets to, and logs each refusal as an error

    def shutdown(self) -> None:
        """Ends the connection; whoever has the socket finds it closed."""
        if self._taken is None:
            try:
                super().shutdown()
            except InvalidState:  # it is closing already, which uvicorn does not look for
                self.transport.close()
        else:
            self._tell_stopping()
            with contextlib.suppress(OSError):  # whoever has it may have closed it
                self._taken.shutdown(socket.SHUT_RDWR)

    async def _detach(self, on_stopping: Callable[[], None]) -> socket.socket | None:
        """The socket, blocking; None where a message has come to the event loop already."""
        self._tell_stopping = on_stopping
        self.stop_keepalive()
        self.transport.pause_reading()
        while self.transport.get_write_buffer_size():
            await asyncio.sleep(0)  # the answer to the handshake is on its way
        if not self.queue.empty():
            self.transport.resume_reading()
            self.start_keepalive()
            return None
        raw = self.transport.get_extra_info("socket")
        self._taken = socket.socket(fileno=os.dup(raw.fileno()))
        self._taken.setblocking(True)
        return self._taken


async def take_socket(websocket: WebSocket, on_stopping: Callable[[], None]) -> socket.socket | None:
    """The socket of an accepted WebSocket, for good; None where the server does not give it away.

    Args:
        websocket: The accepted WebSocket.
        on_stopping: Called when the server stops, before it ends the connection.
    """
    detach: Detach | None = websocket.scope.get("extensions", {}).get(EXTENSION)
    return None if detach is None else await detach(on_stopping)
