"""Several worker processes that serve one address, so that environments use all cores."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from types import FrameType

from fastapi import FastAPI

from openenv_gym.backoff import Backoff
from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.transport.frame_socket import share_cores
from openenv_gym.wire.v2 import WORKER_HEADER
from openenv_server.app import try_factory
from openenv_server.operations.live_port import live_process
from openenv_server.operations.peers import Mailbox
from openenv_server.server_process import begin_process
from openenv_server.serving import STOP_SIGNALS, Server, base_url_of, bind, inherited
from openenv_server.settings import Settings

log = logging.getLogger("openenv_server")
_READY = ""
# The listen backlog, the same as uvicorn's.
BACKLOG = 2048
# The backoff before a process that failed to start is restarted, in seconds.
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 30.0
# How long the processes may take to end beyond the drain timeout, in seconds.
GRACE_S = 1.0


def serve_app(
    make_app: Callable[[], FastAPI],
    *,
    workers: int,
    host: str,
    port: int,
    fd: int | None = None,
    settings: Settings,
    on_started: Callable[[str], None],
    on_stopped: Callable[[], None],
) -> None:
    """Serve from this process, or from several workers, until a signal ends it; see `Server`.

    Each worker has its own environments and its own capacity; the kernel gives each new connection to one of
    them. A worker that exits is restarted; its sessions are lost. If the new one fails to start, the next
    attempt follows after a backoff of 1 s to 30 s.

    Args:
        make_app: Makes the application, in each process; must be picklable.
        workers: The number of processes; 1 is this one.
        host: The address to listen on.
        port: The port to listen on; 0 is a free one.
        fd: The file descriptor of a bound socket, to listen on instead.
        settings: The log format and level, the key, and the drain timeout.
        on_started: Called with the base URL once it accepts connections.
        on_stopped: Called when the shutdown begins; perhaps again at the end.

    Raises:
        ConfigurationError: The application could not be made.
        KeyboardInterrupt: Ctrl-C ended it.
        SystemExit: A second signal ended it.
    """
    begin_process(settings)
    live = None if settings.live_port is None else bind(host, settings.live_port)
    with live_process(live) as heartbeat:
        if workers > 1:
            listening = bind(host, port) if fd is None else inherited(fd)
            serve_workers(make_app, listening, workers, host, settings, heartbeat, on_started, on_stopped)
            return
        app = make_app()
        listening = bind(host, port) if fd is None else inherited(fd)
        base_url = base_url_of(host, listening)
        try_factory(app)
        Server(
            app,
            drain_timeout_s=settings.drain_timeout,
            on_started=lambda: on_started(base_url),
            on_stopped=on_stopped,
            heartbeat=heartbeat,
        ).run_until_stopped(listening)


def serve_workers(
    make_app: Callable[[], FastAPI],
    listening: socket.socket,
    count: int,
    host: str,
    settings: Settings,
    heartbeat: Connection | None,
    on_started: Callable[[str], None],
    on_stopped: Callable[[], None],
) -> None:
    """Serve from several workers; see `serve_app`."""
    stop = stop_signals()
    may_serve = multiprocessing.get_context("spawn").Event()
    mailboxes = [Mailbox.make() for _ in range(count)]
    crew = [
        Worker(make_app, listening, number, count, settings, may_serve, heartbeat, mailboxes)
        for number in range(count)
    ]
    first = None
    try:
        if all(worker.wait_until_ready(stop) for worker in crew):
            # All at once: a client that one worker answers relies on the others, too.
            listening.listen(BACKLOG)
            may_serve.set()
            on_started(base_url_of(host, listening))
        while first is None:
            due = [worker.starts_at for worker in crew if worker.starts_at is not None]
            ended = wait(
                [stop, *(worker.sentinel for worker in crew if worker.starts_at is None)],
                max(0.0, min(due) - time.monotonic()) if due else None,
            )
            if stop in ended:
                first = stop.recv(1)[0]
                continue
            for worker in crew:
                if worker.starts_at is None and worker.sentinel in ended:
                    worker.schedule_restart()
                if worker.starts_at is not None and time.monotonic() >= worker.starts_at:
                    worker.start()
    finally:
        on_stopped()
        second = stop_workers(crew, stop, settings.drain_timeout + GRACE_S)
        listening.close()
    if second is not None:
        sys.exit(128 + second)
    if first == signal.SIGINT:
        raise KeyboardInterrupt


class Worker:
    """One worker process.

    Attributes:
        starts_at: When it is restarted, by `time.monotonic`; None while it runs.
    """

    def __init__(
        self,
        make_app: Callable[[], FastAPI],
        listening: socket.socket,
        number: int,
        count: int,
        settings: Settings,
        may_serve: Event,
        heartbeat: Connection | None = None,
        mailboxes: Sequence[Mailbox] = (),
    ) -> None:
        self._arguments = (make_app, listening, number, count, settings, may_serve, heartbeat, mailboxes)
        self._number = number
        self._backoff = Backoff(FIRST_BACKOFF_S, LONGEST_BACKOFF_S, jitter=False)
        self.start()

    def start(self) -> None:
        """Start the process."""
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(*self._arguments, theirs))
        self._is_ready = False
        self.starts_at: float | None = None
        # Ctrl-C reaches all processes of a terminal, and the new one ignores it only after its imports.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()

    @property
    def sentinel(self) -> int:
        """Ready, for `multiprocessing.connection.wait`, when the process has ended."""
        return self._process.sentinel

    def wait_until_ready(self, stop: socket.socket) -> bool:
        """Wait until it has its application.

        Args:
            stop: Readable once a signal has come.

        Returns:
            False if a signal came first.

        Raises:
            ConfigurationError: The application could not be made.
        """
        if self._ours not in wait([self._ours, stop]):
            return False
        if (failure := self._failure()) is not None:
            raise ConfigurationError(failure)
        return True

    def schedule_restart(self) -> None:
        """Log why it exited, and set `starts_at`."""
        self._process.join()
        failure = self._failure()
        if failure is None:
            log.error("worker %d exited with code %s; it is restarted", self._number, self._process.exitcode)
            self._backoff.reset()
            pause_s = 0.0
        else:
            pause_s = self._backoff.next_s()
            log.error(
                "worker %d failed to start: %s; it is restarted in %g s", self._number, failure, pause_s
            )
        self.starts_at = time.monotonic() + pause_s

    def _failure(self) -> str | None:
        """Why it failed to start; None if it has its application. Call it once the process has reported."""
        if not self._is_ready:
            try:
                failure: str = self._ours.recv()
            except EOFError:
                return "The server's process exited before it was ready"
            if failure != _READY:
                return failure
            self._is_ready = True
        return None

    def ask_to_stop(self) -> None:
        """Begin its graceful shutdown.

        Not by a signal: it may have got the parent's already, as some are sent to a whole process group.
        """
        if not (self._is_ready or self._ours.poll()):
            self._process.kill()  # it serves nobody, and may be inside long imports
        self._ours.close()

    def kill(self) -> None:
        """Kill it if it still runs."""
        self._process.kill()
        self._process.join()


def stop_workers(crew: Sequence[Worker], stop: socket.socket, timeout_s: float) -> int | None:
    """Shut down all workers gracefully; kill those that exceed the timeout, or all at a second signal.

    Returns:
        The second signal, if one came.
    """
    second = None
    deadline = time.monotonic() + timeout_s
    for worker in crew:
        worker.ask_to_stop()
    running = {worker.sentinel for worker in crew}
    while running and second is None and (remaining := deadline - time.monotonic()) > 0:
        ended = wait([stop, *running], remaining)
        if stop in ended:
            second = stop.recv(1)[0]
        running.difference_update(ended)
    for worker in crew:
        worker.kill()
    return second


def _work(
    make_app: Callable[[], FastAPI],
    listening: socket.socket,
    number: int,
    count: int,
    settings: Settings,
    may_serve: Event,
    heartbeat: Connection | None,
    mailboxes: Sequence[Mailbox],
    parent: Connection,
) -> None:
    """The main function of each worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the parent stops them
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    begin_process(settings)
    servers: list[Server] = []
    threading.Thread(target=_stop_with_parent, args=(parent, servers), daemon=True).start()
    try:
        app = make_app()
        try_factory(app)
    except OpenEnvError as error:
        parent.send(str(error))
        return
    share_cores(count)
    server = Server(
        app,
        drain_timeout_s=settings.drain_timeout,
        on_started=lambda: None,
        on_stopped=lambda: None,
        worker=number,
        headers=[(WORKER_HEADER, f"{number}/{count}")],
        heartbeat=heartbeat,
        mailboxes=mailboxes,
    )
    parent.send(_READY)
    may_serve.wait()
    servers.append(server)
    server.run_until_stopped(listening)


def _stop_with_parent(parent: Connection, servers: Sequence[Server]) -> None:
    """Stop this process when the parent closes the pipe, or has died."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    if not servers:
        os._exit(0)  # it serves nobody yet
    servers[0].stop()


def stop_signals() -> socket.socket:
    """A socket from which each stop signal can be read, as a byte."""
    ours, theirs = socket.socketpair()

    def send(number: int, frame: FrameType | None) -> None:
        theirs.send(bytes([number]))

    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # by nohup, say
            signal.signal(number, send)
    return ours
