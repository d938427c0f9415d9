"""Serves an environment's folder to its author: anew whenever a file of it changes."""

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
from openenv_gym.sources import MANIFEST
from openenv_server.logs import configure_logs
from openenv_server.serving import base_url_of, bind
from openenv_server.settings import Settings
from openenv_server.workers import BACKLOG, GRACE_S, Worker, see_off, stop_signals

# More bytes than there will be changes at a time.
_MANY = 2**16


class _Sources(DefaultFilter):
    """The files that make up an environment: its Python, and its manifest; virtual environments are not."""

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
    """Serves from a process that is replaced whenever the folder changes, until a signal ends it.

    The socket stays, so the address does, and connections that come meanwhile wait. Sessions under way are
    lost. What cannot be served is said, and waits for the next change.

    Args:
        make_app: Makes the application, in the other process; has to be picklable.
        folder: What is watched, with all that is below it.
        host: The address to listen on.
        port: The port to listen on; 0 takes a free one.
        settings: How it logs, and how long it drains.
        on_started: Called with the base URL when it is up for the first time.
        on_reloaded: Called after each change, and where it does not come up at first: with None where it is
            up, else with what is wrong.
        on_stopped: Called when it begins to stop.

    Raises:
        ConfigurationError: It cannot listen there.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    configure_logs(settings.log_format, settings.log_level)
    listening = bind(host, port)
    stop = stop_signals()
    may_serve = multiprocessing.get_context("spawn").Event()
    may_serve.set()  # there are no others to wait for
    worker: Worker | None = None
    has_started = False
    signalled: int | None = None
    with _changes(folder) as changes:
        try:
            while signalled is None:
                worker = Worker(make_app, listening, 0, 1, settings, may_serve)
                events: list[socket.socket | int] = [stop, changes]
                try:
                    if worker.comes_up(stop):
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
                    on_reloaded("The server ended by itself")
                    happened = wait([stop, changes])
                if stop in happened:
                    signalled = stop.recv(1)[0]
                else:
                    changes.recv(_MANY)
                    see_off([worker], stop, settings.drain_timeout + GRACE_S)
        finally:
            on_stopped()
            if worker is not None:
                see_off([worker], stop, settings.drain_timeout + GRACE_S)
            listening.close()
    if signalled == signal.SIGINT:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _changes(folder: Path) -> Iterator[socket.socket]:
    """A socket from which a byte can be read after each change."""
    ours, theirs = socket.socketpair()
    is_over = threading.Event()

    def tell() -> None:
        for _ in watch(folder, watch_filter=_Sources(), stop_event=is_over, raise_interrupt=False):
            theirs.send(b"!")

    thread = threading.Thread(target=tell, name="openenv-changes", daemon=True)
    thread.start()
    try:
        yield ours
    finally:
        is_over.set()
        thread.join()
        ours.close()
        theirs.close()
