"""All connections of a server: who may resume which, and the watchdog over their slots."""

from __future__ import annotations

import asyncio
import secrets
import sys
import threading
from typing import TYPE_CHECKING, NamedTuple

from openenv_gym.wire import v2
from openenv_server.connections.adapters import Adapter
from openenv_server.connections.transports import Transport
from openenv_server.errors import log_error
from openenv_server.sessions.capacity import Sessions
from openenv_server.sessions.lifecycle import Client
from openenv_server.unix_sockets import UnixSockets

if TYPE_CHECKING:
    from openenv_server.connections.worker import ConnectionWorker

# A thread that waits for the interpreter wakes up once a switch interval to ask for it. With a thousand
# threads at Python's 5 ms, most of the time goes into that; so each connection adds to the interval.
_SWITCH_INTERVAL_S = sys.getswitchinterval()
_SWITCH_INTERVAL_A_CONNECTION_S = 1e-4

# How often to look for slots that take too long. The second is where a connection has several clients.
_WATCH_INTERVAL_S = 0.05
_SHORT_WATCH_INTERVAL_S = 0.02


class Resumption(NamedTuple):
    """A client that has reconnected, over a new socket."""

    transport: Transport
    request: v2.Resume
    client: Client


class Connections:
    """All connections of a server, by the token with which a client resumes its own.

    Args:
        sessions: The server's sessions.
        adapter: Calls the server's environments.
        max_slots: The most sessions on one connection.
        resume_grace_s: How long the sessions of a broken connection are kept, in seconds.
        max_message_bytes: The maximum size of a client's message in bytes.
        session_timeout_s: How long a client may be silent, in seconds.

    Attributes:
        unix_sockets: Where clients on the same machine move their connections.
    """

    def __init__(
        self,
        sessions: Sessions,
        adapter: Adapter,
        max_slots: int,
        resume_grace_s: float,
        max_message_bytes: int,
        session_timeout_s: float,
    ) -> None:
        self.sessions = sessions
        self.adapter = adapter
        self.max_slots = max_slots
        self.resume_grace_s = resume_grace_s
        self.max_message_bytes = max_message_bytes
        self.session_timeout_s = session_timeout_s
        self._workers: dict[str, ConnectionWorker] = {}
        self._watched: set[ConnectionWorker] = set()
        self.unix_sockets: UnixSockets = UnixSockets()
        self._lock = threading.Lock()
        self._watchdog: asyncio.Task[None] | None = None
        sessions.kept = self._kept

    def add(self, worker: ConnectionWorker) -> str:
        """Add a worker; returns its token."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._workers[token] = worker
            self._watched.add(worker)
            self._fit_switch_interval()
        return token

    def remove(self, token: str) -> None:
        """Make a worker impossible to resume. The watchdog still watches it."""
        with self._lock:
            self._workers.pop(token, None)

    def give_up(self, token: str, worker: ConnectionWorker) -> bool:
        """Remove a worker, unless its client has just resumed; returns whether it was removed."""
        with self._lock:
            if worker.is_resumed:
                return False
            self._workers.pop(token, None)
            return True

    def unwatch(self, worker: ConnectionWorker) -> None:
        """Stop watching a worker."""
        with self._lock:
            self._watched.discard(worker)
            self._fit_switch_interval()

    def _fit_switch_interval(self) -> None:
        sys.setswitchinterval(max(_SWITCH_INTERVAL_S, len(self._watched) * _SWITCH_INTERVAL_A_CONNECTION_S))

    def hand_over(self, resumption: Resumption) -> bool:
        """Give a client's new socket to its worker; returns False if the worker is gone."""
        with self._lock:
            worker = self._workers.get(resumption.request.token)
            if worker is None:
                return False
            worker.resume(resumption)
            return True

    def leave(self) -> None:
        """End all workers once what is in progress is answered. Call it on the event loop."""
        with self._lock:
            for worker in self._workers.values():
                worker.leave()

    def _kept(self) -> int:
        with self._lock:
            return sum(worker.kept for worker in self._workers.values())

    def start_watchdog(self) -> None:
        """Look for slots that take too long, on the running event loop, while there are connections."""
        if self._watchdog is not None and not self._watchdog.done():
            return

        async def watch() -> None:
            interval_s = _WATCH_INTERVAL_S
            while True:
                await asyncio.sleep(interval_s)
                with self._lock:
                    workers = list(self._watched)
                if not workers:
                    return
                is_shared = any(worker.runner.has_several_clients for worker in workers)
                interval_s = _SHORT_WATCH_INTERVAL_S if is_shared else _WATCH_INTERVAL_S
                for worker in workers:
                    try:
                        worker.runner.check_watchdog()
                        worker.close_idle()
                    except Exception as error:
                        log_error(error, "the step watchdog failed")

        self._watchdog = asyncio.get_running_loop().create_task(watch())
