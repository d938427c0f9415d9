"""How open connections are seen off when a server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.websockets import WebSocket

# What goes with the close code 1001, "going away".
REASON = "The server is stopping"

_LOOK_AGAIN_S = 0.02


class ServerStoppingError(ConnectionError):
    """The server stops, and takes no further request."""


class Drain:
    """The end of a server: what is under way is done, and nothing new is begun.

    Attributes:
        is_under_way: Whether the server stops.
    """

    def __init__(self) -> None:
        self.is_under_way = False
        self._leave_taking: set[Callable[[], None]] = set()
        self._told_first: list[Callable[[], None]] = []

    def tells(self, begins: Callable[[], None]) -> None:
        """Has something called, on the event loop, when the server begins to stop."""
        self._told_first.append(begins)

    @contextmanager
    def sees_off(self, leave: Callable[[], None]) -> Iterator[None]:
        """Around a connection: ``leave`` is called, on the event loop, when the server begins to stop."""
        self._leave_taking.add(leave)
        try:
            yield
        finally:
            self._leave_taking.discard(leave)

    async def run(self, is_empty: Callable[[], bool]) -> None:
        """Tells all connections to leave, and waits until they have, and until nothing else is left."""
        self.is_under_way = True
        for begins in self._told_first:
            begins()
        told = set(self._leave_taking)
        for leave in told:
            leave()
        while told & self._leave_taking or not is_empty():
            await asyncio.sleep(_LOOK_AGAIN_S)


class Inbox:
    """The messages of a WebSocket of the event loop, until the server stops.

    Args:
        socket: The WebSocket, accepted.
        timeout_s: How long it may be silent, in seconds; None for ever.
    """

    def __init__(self, socket: WebSocket, timeout_s: float | None) -> None:
        self._receive = socket.receive
        self._timeout_s = timeout_s
        self._waiting: asyncio.Timeout | None = None
        self._is_shut = False

    async def next(self) -> dict[str, Any]:
        """The next message.

        Raises:
            ServerStoppingError: It was shut.
            TimeoutError: Nothing came for too long.
        """
        if self._is_shut:
            raise ServerStoppingError(REASON)
        try:
            async with asyncio.timeout(self._timeout_s) as self._waiting:
                return dict(await self._receive())
        except TimeoutError:
            if self._is_shut:
                raise ServerStoppingError(REASON) from None
            raise
        finally:
            self._waiting = None

    def shut(self) -> None:
        """Nothing more is taken out, not even by a `next` that waits. Call it on the event loop."""
        self._is_shut = True
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
