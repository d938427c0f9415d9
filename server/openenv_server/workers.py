"""Several processes that serve one address, so that environments use all cores."""

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

from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.transport.frame_socket import share_cores
from openenv_gym.wire.v2 import WORKER_HEADER
from openenv_server.logs import configure_logs
from openenv_server.serving import STOP_SIGNALS, Server, base_url_of, bind, inherited
from openenv_server.settings import Settings

log = logging.getLogger("openenv_server")
_READY = ""
# Connections that wait to be taken, as many as uvicorn lets wait.
BACKLOG = 2048
# The pauses before a process that ended before it was up is started again, in seconds.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
# The time that the processes have to end beyond the drain timeout, in seconds.
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
    """Serves from this process, or from several others, until a signal ends it; see `Server` for how.

    Each of the others has environments and a capacity of its own; the kernel gives each new connection to one
    of them. A process that ends by itself is replaced; its sessions are lost. Where the new one does not come
    up, the next one is started after a pause, which grows from 1 s to 30 s.

    Args:
        make_app: Makes the application, in each of the processes; has to be picklable.
        workers: The number of processes; 1 is this one.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        fd: The file descriptor of a bound socket, to listen on that instead.
        settings: How it logs, and how long it drains.
        on_started: Called with the base URL once connections are taken.
        on_stopped: Called when it begins to stop; perhaps again at the end.

    Raises:
        ConfigurationError: The application could not be made.
        KeyboardInterrupt: Ctrl-C ended it.
        SystemExit: A second signal did.
    """
    configure_logs(settings.log_format, settings.log_level)
    if workers == 1:
        app = make_app()
        listening = bind(host, port) if fd is None else inherited(fd)
        base_url = base_url_of(host, listening)
        Server(
            app,
            drain_timeout_s=settings.drain_timeout,
            on_started=lambda: on_started(base_url),
            on_stopped=on_stopped,
        ).run_until_stopped(listening)
        return
    listening = bind(host, port) if fd is None else inherited(fd)
    stop = stop_signals()
    may_serve = multiprocessing.get_context("spawn").Event()
    crew = [Worker(make_app, listening, number, workers, settings, may_serve) for number in range(workers)]
    first = None
    try:
        if all(worker.comes_up(stop) for worker in crew):
            # All at once: who is answered by one of them counts on the others too.
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
                    worker.note_end()
                if worker.starts_at is not None and time.monotonic() >= worker.starts_at:
                    worker.start()
    finally:
        on_stopped()
        second = see_off(crew, stop, settings.drain_timeout + GRACE_S)
        listening.close()
    if second is not None:
        sys.exit(128 + second)
    if first == signal.SIGINT:
        raise KeyboardInterrupt


class Worker:
    """One of the processes.

    Attributes:
        starts_at: When it is started again, by `time.monotonic`; None while it runs.
    """

    def __init__(
        self,
        make_app: Callable[[], FastAPI],
        listening: socket.socket,
        number: int,
        count: int,
        settings: Settings,
        may_serve: Event,
    ) -> None:
        self._arguments = (make_app, listening, number, count, settings, may_serve)
        self._number = number
        self._pause_s = FIRST_PAUSE_S
        self.start()

    def start(self) -> None:
        """Starts the process."""
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(*self._arguments, theirs))
        self._has_come_up = False
        self.starts_at: float | None = None
        # Ctrl-C reaches all processes of a terminal, and the new one ignores it only once it has its imports.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        theirs.close()

    @property
    def sentinel(self) -> int:
        """What is ready when the process has ended."""
        return self._process.sentinel

    def comes_up(self, stop: socket.socket) -> bool:
        """Waits until it has its application.

        Args:
            stop: What can be read from when a signal has come.

        Returns:
            False where a signal came first.

        Raises:
            ConfigurationError: It cannot.
        """
        if self._ours not in wait([self._ours, stop]):
            return False
        if (failure := self._failure()) is not None:
            raise ConfigurationError(failure)
        return True

    def note_end(self) -> None:
        """Says why it has ended, and settles when it is started again."""
        self._process.join()
        failure = self._failure()
        if failure is None:
            log.error(
                "worker %d ended with the exit code %s; it is replaced", self._number, self._process.exitcode
            )
            self._pause_s, pause_s = FIRST_PAUSE_S, 0.0
        else:
            pause_s = self._pause_s
            self._pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            log.error(
                "worker %d does not come up: %s; it is started again in %g s", self._number, failure, pause_s
            )
        self.starts_at = time.monotonic() + pause_s

    def _failure(self) -> str | None:
        """What it told of how it came up, once it has told; None where it has its application."""
        if not self._has_come_up:
            try:
                failure: str = self._ours.recv()
            except EOFError:
                return "The server's process ended before it was up"
            if failure != _READY:
                return failure
            self._has_come_up = True
        return None

    def ask_to_stop(self) -> None:
        """Has it drain.

        No signal, as it may have had the parent's own already: some send theirs to all processes of a group.
        """
        if not (self._has_come_up or self._ours.poll()):
            self._process.kill()  # it serves nobody, and may be amid long imports
        self._ours.close()

    def kill(self) -> None:
        """Ends it, where it has not ended."""
        self._process.kill()
        self._process.join()


def see_off(crew: Sequence[Worker], stop: socket.socket, timeout_s: float) -> int | None:
    """Waits until all have drained; ends those that do not in time, or at once when a second signal comes.

    Returns:
        The second signal, if one came.
    """
    second = None
    deadline = time.monotonic() + timeout_s
    for worker in crew:
        worker.ask_to_stop()
    left = {worker.sentinel for worker in crew}
    while left and second is None and (remaining := deadline - time.monotonic()) > 0:
        ended = wait([stop, *left], remaining)
        if stop in ended:
            second = stop.recv(1)[0]
        left.difference_update(ended)
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
    parent: Connection,
) -> None:
    """What runs in each process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the parent tells when to stop
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    configure_logs(settings.log_format, settings.log_level)
    servers: list[Server] = []
    threading.Thread(target=_end_with, args=(parent, servers), daemon=True).start()
    try:
        app = make_app()
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
    )
    parent.send(_READY)
    may_serve.wait()
    servers.append(server)
    server.run_until_stopped(listening)


def _end_with(parent: Connection, servers: Sequence[Server]) -> None:
    """Stops this process when the parent says so, or has gone, however it went."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    if not servers:
        os._exit(0)  # nothing is served yet
    servers[0].stop()


def stop_signals() -> socket.socket:
    """A socket from which each signal that asks to stop can be read, as a byte."""
    ours, theirs = socket.socketpair()

    def tell(number: int, frame: FrameType | None) -> None:
        theirs.send(bytes([number]))

    for number in STOP_SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` has it
            signal.signal(number, tell)
    return ours
