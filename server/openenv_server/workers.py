"""Several processes that serve one address, so that environments use all cores."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType

from fastapi import FastAPI

from openenv_gym.errors import ConfigurationError, OpenEnvError
from openenv_gym.transport.patience import share_cores
from openenv_gym.wire.v2 import WORKER_HEADER
from openenv_server.serving import STOP_TIMEOUT_S, base_url_of, bind, run, serve

log = logging.getLogger("openenv_server")
_READY = ""


def serve_app(
    make_app: Callable[[], FastAPI],
    *,
    workers: int,
    host: str,
    port: int,
    on_started: Callable[[str], None],
    on_stopped: Callable[[], None],
) -> None:
    """Serves until a signal ends it, from this process or from several others.

    Each of the others has environments and a capacity of its own; the kernel gives each new connection to one
    of them. A process that ends by itself is replaced; its sessions are lost.

    Args:
        make_app: Makes the application, in each of the processes; has to be picklable.
        workers: The number of processes; 1 is this one.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        on_started: Called with the base URL once all processes listen.
        on_stopped: Called when it begins to stop.

    Raises:
        ConfigurationError: The application could not be made.
    """
    if workers == 1:
        serve(make_app(), host=host, port=port, on_started=on_started, on_stopped=on_stopped)
        return
    listening = bind(host, port)
    crew = [_Worker(make_app, listening, number, workers) for number in range(workers)]
    stop = _stop_signal()
    try:
        for worker in crew:
            worker.wait_until_ready()
        on_started(base_url_of(host, listening))
        while True:
            ended = wait([stop, *(worker.sentinel for worker in crew)])
            if stop in ended:
                break
            for worker in crew:
                if worker.sentinel in ended:
                    log.error("worker %d ended with the exit code %s; it is replaced", *worker.end())
                    worker.start()
    finally:
        on_stopped()
        for worker in crew:
            worker.terminate()
        for worker in crew:
            worker.join()
        listening.close()


class _Worker:
    """One of the processes."""

    def __init__(
        self, make_app: Callable[[], FastAPI], listening: socket.socket, number: int, count: int
    ) -> None:
        self._arguments = (make_app, listening, number, count)
        self._number = number
        self.start()

    def start(self) -> None:
        """Starts the process."""
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=_work, args=(*self._arguments, theirs))
        self._process.start()
        theirs.close()

    @property
    def sentinel(self) -> int:
        """What is ready when the process has ended."""
        return self._process.sentinel

    def wait_until_ready(self) -> None:
        """Waits until it listens."""
        try:
            failure = self._ours.recv()
        except EOFError:
            failure = f"worker {self._number} ended before it was up"
        if failure != _READY:
            raise ConfigurationError(failure)

    def end(self) -> tuple[int, int | None]:
        """Its number and its exit code, once it has ended."""
        self._process.join()
        return self._number, self._process.exitcode

    def terminate(self) -> None:
        """Asks it to stop."""
        self._process.terminate()

    def join(self) -> None:
        """Waits until it has stopped; makes it, where it does not in time."""
        self._process.join(STOP_TIMEOUT_S + 1)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _work(
    make_app: Callable[[], FastAPI], listening: socket.socket, number: int, count: int, parent: Connection
) -> None:
    """What runs in each process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them; the parent tells when to stop
    try:
        app = make_app()
    except OpenEnvError as error:
        parent.send(str(error))
        return
    share_cores(count)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    run(
        app,
        listening,
        headers=[(WORKER_HEADER, f"{number}/{count}")],
        on_started=lambda: parent.send(_READY),
        on_stopped=lambda: None,
    )


def _end_with(parent: Connection) -> None:
    """Stops this process when the parent has gone, however it went."""
    with contextlib.suppress(EOFError, OSError):
        parent.recv()
    os.kill(os.getpid(), signal.SIGTERM)


def _stop_signal() -> socket.socket:
    """A socket that is readable once a signal asks to stop."""
    ours, theirs = socket.socketpair()

    def tell(number: int, frame: FrameType | None) -> None:
        theirs.send(b"x")

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, tell)
    return ours
