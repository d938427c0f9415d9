"""The keepalive thread: it answers the pings on all idle blocking connections of this process.

A server that pings gives up on a client that does not answer. A blocking client answers only while it reads,
and a learner may think for minutes between two steps.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from typing import Protocol

log = logging.getLogger("openenv_gym")

# Fast enough for servers that ping every second.
_INTERVAL_S = 0.25


class Idle(Protocol):
    """A connection that the thread can serve.

    Attributes:
        uses: Changes with every use.
    """

    uses: int

    @property
    def is_open(self) -> bool:
        """Whether the connection can still get pings."""

    def answer_pings(self) -> None:
        """Answer pending pings without blocking."""

    def hang_up(self) -> None:
        """Close the connection with a close frame."""

    def drop(self) -> None:
        """Close the socket of this process, without a close frame."""


class Keeper:
    """Serves connections from a thread that runs while any are open.

    It skips those that were used since its last round: their users answer the pings.
    """

    def __init__(self) -> None:
        self._connections: weakref.WeakKeyDictionary[Idle, int] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._is_running = False

    def add(self, connection: Idle) -> None:
        """Serve a connection until it is closed."""
        with self._lock:
            self._connections[connection] = connection.uses
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="openenv-keepalive", daemon=True).start()

    def hang_up(self) -> None:
        """Hang up all connections, because the process ends: the servers need not keep its sessions."""
        for connection in self._all():
            connection.hang_up()

    def drop(self) -> None:
        """Drop all connections in a forked child. Without the lock, which the fork may have left locked."""
        for connection in list(self._connections):
            connection.drop()

    def _run(self) -> None:
        while True:
            time.sleep(_INTERVAL_S)
            if not self._serve_once():
                return

    def _serve_once(self) -> bool:
        """Answer the pings on idle connections; False if no connections are left."""
        # A separate call: the thread must not hold a connection that nobody else holds while it sleeps.
        seen = self._all()
        for connection, uses in seen.items():
            if connection.uses == uses:
                try:
                    connection.answer_pings()
                except Exception:
                    # The others still need the thread, or their servers give up on them.
                    log.exception("answering the pings of an idle connection failed; it is dropped")
                    connection.drop()
        with self._lock:
            for connection in seen:
                if connection.is_open:
                    self._connections[connection] = connection.uses
                else:
                    self._connections.pop(connection, None)
            self._is_running = bool(self._connections)
            return self._is_running

    def _all(self) -> dict[Idle, int]:
        with self._lock:
            return dict(self._connections)


keeper = Keeper()


def _reset_after_fork() -> None:
    """A forked child has no such thread, and the connections belong to its parent."""
    global keeper
    keeper.drop()
    keeper = Keeper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
atexit.register(lambda: keeper.hang_up())
