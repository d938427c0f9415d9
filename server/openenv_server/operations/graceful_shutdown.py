"""Graceful shutdown: finish what is in progress, start nothing new, then close every connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from openenv_server.sessions.capacity import Sessions

_POLL_S = 0.02


class GracefulShutdown:
    """The graceful shutdown of one server.

    Args:
        sessions: The server's sessions; they must all be closed at the end.
    """

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._connections: set[Callable[[], None]] = set()
        self._callbacks: list[Callable[[], None]] = []

    def on_begin(self, callback: Callable[[], None]) -> None:
        """Call something, on the event loop, when the shutdown begins."""
        self._callbacks.append(callback)

    @contextmanager
    def closes(self, leave: Callable[[], None]) -> Iterator[None]:
        """Wrap a connection: ``leave`` is called, on the event loop, when the shutdown begins."""
        self._connections.add(leave)
        try:
            yield
        finally:
            self._connections.discard(leave)

    async def run(self) -> None:
        """Ask all connections to leave; returns when they have left and all sessions are closed.

        Sessions that were given up shortly before count too, for as long as a ``close`` may take.
        """
        self._sessions.is_stopping = True
        leaving = set(self._connections)
        for leave in (*self._callbacks, *leaving):
            leave()
        sessions = self._sessions
        while leaving & self._connections or sessions.active or sessions.passing or sessions.may_settle:
            await asyncio.sleep(_POLL_S)
