"""One thread that answers the pings on all idle connections of this process.

A server that pings takes a client that does not answer for gone. A blocking client only answers while it
reads, and a learner may think for minutes between two steps.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Protocol

# Servers that ping every second are served as well.
_INTERVAL_S = 0.25


class Idle(Protocol):
    """A connection."""

    uses: int

    @property
    def is_open(self) -> bool:
        """Whether there is anything to look after."""

    def answer_pings(self) -> None:
        """Answers what pings there are, without waiting."""

    def hang_up(self) -> None:
        """Closes the connection, and says so."""


class Keeper:
    """Looks after connections for as long as there are any.

    Those that were used since it looked last look after themselves.
    """

    def __init__(self) -> None:
        self._connections: weakref.WeakKeyDictionary[Idle, int] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()
        self._is_running = False

    def add(self, connection: Idle) -> None:
        """Takes a connection in; it is looked after until it is closed."""
        with self._lock:
            self._connections[connection] = connection.uses
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="openenv-keepalive", daemon=True).start()

    def hang_up(self) -> None:
        """Tells all servers that this process ends: they need not keep its sessions."""
        for connection in self._all():
            connection.hang_up()

    def _run(self) -> None:
        while True:
            time.sleep(_INTERVAL_S)
            if not self._look_once():
                return

    def _look_once(self) -> bool:
        """Answers the idle ones' pings; False when there is nothing left to look after."""
        # In a call of its own: what it holds must not keep a connection that everybody else has dropped.
        seen = self._all()
        for connection, uses in seen.items():
            if connection.uses == uses:
                connection.answer_pings()
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


def _begin_anew() -> None:
    """A forked child has neither the thread nor, of its own, the connections."""
    global keeper
    keeper = Keeper()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
atexit.register(lambda: keeper.hang_up())
