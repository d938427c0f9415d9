"""Serve an environment's folder, and restart whenever a file in it changes."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from pathlib import Path

from fastapi import FastAPI
from watchfiles import Change, DefaultFilter, watch

from openenv_gym.errors import ConfigurationError
from openenv_gym.manifest import MANIFEST
from openenv_server.server_process import begin_process
from openenv_server.serving import base_url_of, bind
from openenv_server.settings import Settings
from openenv_server.workers import BACKLOG, GRACE_S, Worker, stop_signals, stop_workers

# More bytes than there are changes at a time.
_MANY = 2**16


class _SourceFilter(DefaultFilter):
    """Matches an environment's Python files and manifest, outside virtual environments."""

    def __call__(self, change: Change, path: str) -> bool:
        is_source = path.endswith(".py") or Path(path).name == MANIFEST
        return is_source and super().__call__(change, path)


def serve_reloading(
    make_app: Callable[[], FastAPI],
    folder: Path,
    *,
    host: str,
    port: int,
    settings: Settings,
    on_started: Callable[[str], None],
    on_reloaded: Callable[[str | None], None],
    on_stopped: Callable[[], None],
) -> None:
    """Serve from a worker process that is restarted whenever the folder changes, until a signal ends it.

    The listening socket stays open, so the address stays the same and new connections wait. Open sessions
    are lost. If the application cannot be made, the error is reported, and the next change tries again.

    Args:
        make_app: Makes the application, in the worker process; must be picklable.
        folder: The folder to watch, recursively.
        host: The address to listen on.
        port: The port to listen on; 0 is a free one.
        settings: The log format and level, and the drain timeout.
        on_started: Called with the base URL when it listens for the first time.
        on_reloaded: Called after every restart, and if the first start fails: with None on success, else with
            the error.
        on_stopped: Called when the shutdown begins.

    Raises:
        ConfigurationError: It cannot listen there.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    begin_process(settings)
    listening = bind(host, port)
    stop = stop_signals()
    may_serve = multiprocessing.get_context("spawn").Event()
    may_serve.set()  # there is no other worker to wait for
    worker: Worker | None = None
    has_started = False
    signalled: int | None = None
    with _changes(folder) as changes:
        try:
            while signalled is None:
                worker = Worker(make_app, listening, 0, 1, settings, may_serve)
                events: list[socket.socket | int] = [stop, changes]
                try:
                    if worker.wait_until_ready(stop):
                        listening.listen(BACKLOG)
                        events.append(worker.sentinel)
                        if has_started:
                            on_reloaded(None)
                        else:
                            on_started(base_url_of(host, listening))
                        has_started = True
                except ConfigurationError as error:
                    on_reloaded(str(error))
                happened = wait(events)
                if stop not in happened and changes not in happened:
                    on_reloaded("The server exited")
                    happened = wait([stop, changes])
                if stop in happened:
                    signalled = stop.recv(1)[0]
                else:
                    changes.recv(_MANY)
                    stop_workers([worker], stop, settings.drain_timeout + GRACE_S)
        finally:
            on_stopped()
            if worker is not None:
                stop_workers([worker], stop, settings.drain_timeout + GRACE_S)
            listening.close()
    if signalled == signal.SIGINT:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _changes(folder: Path) -> Iterator[socket.socket]:
    """A socket that receives a byte after every change."""
    ours, theirs = socket.socketpair()
    is_over = threading.Event()

    def report() -> None:
        for _ in watch(folder, watch_filter=_SourceFilter(), stop_event=is_over, raise_interrupt=False):
            theirs.send(b"!")

    thread = threading.Thread(target=report, name="openenv-changes", daemon=True)
    thread.start()
    try:
        yield ours
    finally:
        is_over.set()
        thread.join()
        ours.close()
        theirs.close()
