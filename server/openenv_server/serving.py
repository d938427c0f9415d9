"""Runs an application with uvicorn, says when it is up, and ends it in good order."""

from __future__ import annotations

import contextlib
import errno
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from types import FrameType

import uvicorn
from fastapi import FastAPI

from openenv_gym.errors import ConfigurationError
from openenv_gym.known import running_servers
from openenv_server.detaching import DetachableProtocol
from openenv_server.sessions import Sessions
from openenv_server.settings import read_settings

# SIGHUP, which not every system has, comes from a terminal that closes.
STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_NO_SIGNAL = 0

log = logging.getLogger("openenv_server")


class Server(uvicorn.Server):
    """Serves until a signal asks it to stop; then it drains.

    The first SIGTERM, SIGHUP or Ctrl-C begins the drain: there are no new sessions, requests under way are
    answered, sockets are closed with the code 1001, and environments are closed. A second one, or the drain
    timeout, ends the process at once, whatever an environment is doing.

    Args:
        app: What `create_app` made.
        drain_timeout_s: Seconds after which the process ends, drained or not.
        on_started: Called once it listens.
        on_stopped: Called when it begins to stop, and again where the drain takes too long.
        worker: The number of this process among those that serve the same address.
        headers: Go with each answer.
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
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                ws_max_size=read_settings().max_message_bytes,
                ws=DetachableProtocol,
                ws_per_message_deflate=False,
                headers=headers,
                workers=1,  # or uvicorn reads a variable of its own for it
            )
        )
        self._sessions: Sessions | None = getattr(app.state, "sessions", None)
        if self._sessions is not None:
            self._sessions.worker = worker
        self._drain_timeout_s = drain_timeout_s
        self._tell_started, self._tell_stopped = on_started, on_stopped
        # A queue, as its `put` is one of the few things that a signal handler may do.
        self._asked_to_stop: SimpleQueue[int] = SimpleQueue()
        self._first_signal: int | None = None

    def run_until_stopped(self, listening: socket.socket) -> None:
        """Serves on a socket that listens already.

        Raises:
            KeyboardInterrupt: Ctrl-C ended it.
        """
        # What is there now stays for good: the garbage collector need not look at it in the middle of a step.
        gc.collect()
        gc.freeze()
        threading.Thread(target=self._end_in_time, name="openenv-end", daemon=True).start()
        self.run(sockets=[listening])
        if self._first_signal == signal.SIGINT:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """Begins the drain, where it has not begun; any thread may call it."""
        self.should_exit = True
        self._asked_to_stop.put(_NO_SIGNAL)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._first_signal = self._first_signal or sig
        self.should_exit = True
        self._asked_to_stop.put(sig)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, which also takes signals that are ignored, and raises them again at the end."""
        is_main = threading.current_thread() is threading.main_thread()  # no other may
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
            self._tell_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._tell_stopped()
        if (sessions := self._sessions) is not None:
            await sessions.drain.run(lambda: sessions.active == 0)
        await super().shutdown(sockets)

    def _end_in_time(self) -> None:
        """Ends the process where the drain does not: an environment's thread cannot be stopped."""
        second = self._second_signal()
        if second is None:
            why = f"the drain took more than {self._drain_timeout_s:g} s"
            code = 128 + signal.SIGINT if self._first_signal == signal.SIGINT else 0
        else:
            why, code = f"{signal.Signals(second).name} came, after another signal", 128 + second
        left = self._sessions.active if self._sessions is not None else 0
        log.warning("%s: the process ends, with %d sessions open", why, left)
        self._tell_stopped()
        os._exit(code)

    def _second_signal(self) -> int | None:
        """Waits for the second signal; None where the drain timeout is over first."""
        signals = int(self._asked_to_stop.get() != _NO_SIGNAL)
        deadline = time.monotonic() + self._drain_timeout_s
        while True:
            try:
                number = self._asked_to_stop.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                return None
            # A worker may be told by its parent, and have the signal that its parent had.
            signals += number != _NO_SIGNAL
            if signals == 2:
                return number


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigurationError: It cannot; the message says why, and what to do.
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
    """A bound socket that came with the process.

    Raises:
        ConfigurationError: There is none of that number.
    """
    try:
        listening = socket.socket(fileno=fd)
        listening.getsockname()
    except OSError as error:
        raise ConfigurationError(
            f"--fd {fd} is no socket that this process has inherited: {error}"
        ) from error
    return listening


def _cannot_listen(host: str, port: int, error: Exception) -> ConfigurationError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return ConfigurationError(
            f"Port {port} of {host} is in use{_by_whom(port)}. --port 0 takes a free one"
        )
    if number == errno.EACCES:
        return ConfigurationError(
            f"Port {port} is not for this user: those below 1024 are the system's. --port 8000, or --port 0, "
            "which takes a free one"
        )
    return ConfigurationError(
        f"{host} is not an address to listen on ({error}). 127.0.0.1 is for this machine alone, 0.0.0.0 for "
        "every network that it is in: --host, or the variable HOST"
    )


def _by_whom(port: int) -> str:
    """The server that listens there, where it is one that this machine knows."""
    for server in running_servers():
        if server.source.value.endswith(f":{port}"):
            return f" by {server.name}: {server.known_from}"
    return ""


def base_url_of(host: str, listening: socket.socket) -> str:
    """The address by which a server that listens there is reached from this machine."""
    shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{listening.getsockname()[1]}"
