"""Run an application with uvicorn, report when it listens, and shut it down gracefully."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from types import FrameType
from typing import cast

import uvicorn
from fastapi import FastAPI

from openenv_gym.errors import ConfigurationError
from openenv_gym.naming.known import running_servers
from openenv_server.http_protocol import ConnectionTable, LimitedProtocol
from openenv_server.operations.graceful_shutdown import GracefulShutdown
from openenv_server.operations.live_port import beat
from openenv_server.operations.memory import return_free_memory
from openenv_server.operations.peers import Mailbox, Peers
from openenv_server.playground.mount import WebPages
from openenv_server.sessions.capacity import Sessions
from openenv_server.settings import read_settings
from openenv_server.socket_takeover import TakeoverProtocol

# SIGHUP comes from a terminal that closes; not every system has it.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_NO_SIGNAL = 0

log = logging.getLogger("openenv_server")


class Server(uvicorn.Server):
    """Serves until a signal stops it; then it shuts down gracefully.

    The first SIGTERM, SIGHUP or Ctrl-C begins the graceful shutdown: no session is opened, requests in
    progress are answered, sockets are closed with the code 1001, and environments are closed. A second
    signal, or the drain timeout, ends the process at once, whatever an environment is doing.

    Args:
        app: The application, from `create_app`.
        drain_timeout_s: Seconds after which the process ends, even if the shutdown is not complete.
        on_started: Called once it listens.
        on_stopped: Called when the shutdown begins, and again if it exceeds the timeout.
        worker: The number of this process among those that serve the same address.
        headers: Sent with every response.
        heartbeat: The pipe of `live_process`, if there is one.
        mailboxes: Those of all processes that serve the same address, if there are several.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        drain_timeout_s: float,
        on_started: Callable[[], None],
        on_stopped: Callable[[], None],
        worker: int = 0,
        headers: list[tuple[str, str]] | None = None,
        heartbeat: Connection | None = None,
        mailboxes: Sequence[Mailbox] = (),
    ) -> None:
        settings = read_settings()
        proxies = settings.forwarded_allow_ips
        table = ConnectionTable(settings.request_timeout, settings.max_sockets_per_address, proxies)
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                ws_max_size=settings.max_message_bytes,
                http=cast(type[asyncio.Protocol], partial(LimitedProtocol, table)),
                ws=TakeoverProtocol,
                forwarded_allow_ips=list(proxies),
                root_path=settings.root_path,
                callback_notify=table.check_descriptors,  # a full process accepts nothing to notice
                timeout_notify=1,
                ws_per_message_deflate=False,
                headers=headers,
                workers=1,  # else uvicorn reads it from an environment variable
            )
        )
        self._sessions: Sessions | None = getattr(app.state, "sessions", None)
        self._graceful: GracefulShutdown | None = getattr(app.state, "graceful_shutdown", None)
        if self._sessions is not None:
            self._sessions.worker = worker
            table.on_refused = self._sessions.counters.count_refused
        self._drain_timeout_s = drain_timeout_s
        self._heartbeat = heartbeat
        self._worker, self._mailboxes = worker, mailboxes
        self._peers: Peers | None = getattr(app.state, "peers", None)
        self._web_pages: WebPages | None = getattr(app.state, "web_pages", None)
        self._on_started, self._on_stopped = on_started, on_stopped
        # A queue, because its `put` is one of the few calls that are safe in a signal handler.
        self._stop_requests: SimpleQueue[int] = SimpleQueue()
        self._first_signal: int | None = None

    def run_until_stopped(self, listening: socket.socket) -> None:
        """Serve on a bound socket.

        Raises:
            ConfigurationError: The application's own lifespan failed.
            KeyboardInterrupt: Ctrl-C ended it.
        """
        return_free_memory()
        # What exists now stays for good, so the garbage collector can skip it.
        gc.collect()
        gc.freeze()
        threading.Thread(target=self._end_in_time, name="openenv-end", daemon=True).start()
        self.run(sockets=[listening])
        if self.lifespan.should_exit:
            raise ConfigurationError("The application failed to start; the log has the reason.")
        if self._first_signal == signal.SIGINT:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Begin the graceful shutdown. Thread-safe, and safe to call again."""
        self.should_exit = True
        self._stop_requests.put(_NO_SIGNAL)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._first_signal = self._first_signal or sig
        self.should_exit: bool = True
        self._stop_requests.put(sig)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle the stop signals. uvicorn's own also takes ignored ones, and raises them again."""
        is_main = threading.current_thread() is threading.main_thread()  # only this thread may set handlers
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in STOP_SIGNALS
            if is_main and signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            if self._heartbeat is not None:
                beat(self._heartbeat)
            if self._web_pages is not None and sockets and sockets[0].family != socket.AF_UNIX:
                self._web_pages.listen_at(sockets[0].getsockname()[:2])
            if self._mailboxes and self._peers is not None:
                self._peers.join(self._worker, self._mailboxes)
            self._on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stopped()
        if self._graceful is not None:
            await self._graceful.run()
        await super().shutdown(sockets)

    def _end_in_time(self) -> None:
        """End the process if the graceful shutdown does not: an environment's thread cannot be stopped."""
        second = self._second_signal()
        if second is None:
            why = f"the graceful shutdown took more than {self._drain_timeout_s:g} s"
            code = 128 + signal.SIGINT if self._first_signal == signal.SIGINT else 0
        else:
            why, code = f"got {signal.Signals(second).name} after another signal", 128 + second
        sessions = self._sessions
        active, given_up = (sessions.active, sessions.abandoned_threads) if sessions is not None else (0, 0)
        log.warning("%s: the process ends, with %d sessions open and %d given up", why, active, given_up)
        self._on_stopped()
        os._exit(code)

    def _second_signal(self) -> int | None:
        """Wait for the second signal; None if the drain timeout passes first."""
        signals = int(self._stop_requests.get() != _NO_SIGNAL)
        deadline = time.monotonic() + self._drain_timeout_s
        while True:
            try:
                number = self._stop_requests.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return None
            # A worker may be stopped by its parent and get the parent's signal as well.
            signals += number != _NO_SIGNAL
            if signals == 2:
                return number


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket.

    Raises:
        ConfigurationError: It cannot be bound.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, UnicodeError) as error:
        listening.close()
        raise _cannot_listen(host, port, error) from error
    listening.set_inheritable(True)
    return listening


def inherited(fd: int) -> socket.socket:
    """A bound socket that this process has inherited.

    Raises:
        ConfigurationError: The file descriptor is no such socket.
    """
    try:
        listening = socket.socket(fileno=fd)
        listening.getsockname()
    except OSError as error:
        raise ConfigurationError(
            f"--fd {fd} is not a socket that this process has inherited: {error}"
        ) from error
    return listening


def _cannot_listen(host: str, port: int, error: Exception) -> ConfigurationError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return ConfigurationError(
            f"Port {port} of {host} is in use{_by_whom(port)}.", advice="--port 0 takes a free one."
        )
    if number == errno.EACCES:
        return ConfigurationError(
            f"Port {port} is reserved for the system, like all below 1024.",
            advice="Use --port 8000, or --port 0, which takes a free one.",
        )
    return ConfigurationError(
        f"Cannot listen on {host}: {error}.",
        advice="Set --host or HOST: 127.0.0.1 serves this machine only, 0.0.0.0 every network it is in.",
    )


def _by_whom(port: int) -> str:
    """The server that listens there, if this machine knows it."""
    for server in running_servers():
        if server.source.value.endswith(f":{port}"):
            return f" by {server.name}: {server.known_from}"
    return ""


def base_url_of(host: str, listening: socket.socket) -> str:
    """The base URL at which this machine reaches a server that listens there."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{listening.getsockname()[1]}"
