"""A process that ends when the one that started it ends, however that comes about."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.stopping import stop_timeout_s

_KEEPER = str(Path(__file__).with_name("keeper.py"))
_LOG_LINES = 200
_KEEPER_TIMEOUT_S = 5.0
_READER_TIMEOUT_S = 5.0


class KeptProcess:
    """A command in a session of its own, with a socket to listen on.

    Ctrl-C in a terminal does not reach it. It ends when `stop` is called, when this object is gone, and when
    this process ends, even by ``kill -9``.

    Args:
        command: The command and its arguments.
        listening: A bound socket; the command inherits its file descriptor.
        environment: Its environment variables; ``DRAIN_TIMEOUT`` is how long it may take to end.

    Attributes:
        pid: Its process id.

    Raises:
        ConfigurationError: It ended at once.
    """

    def __init__(
        self, command: Sequence[str], listening: socket.socket, environment: Mapping[str, str]
    ) -> None:
        self._owner = os.getpid()
        self._grace_s = stop_timeout_s(environment)
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._line, theirs = socket.socketpair()
        _lines.add(self._line)
        inherited = (theirs.fileno(), listening.fileno())
        with theirs:
            self._keeper = subprocess.Popen(
                [sys.executable, "-I", "-S", _KEEPER, *map(str, inherited), str(self._grace_s), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                env=environment,
                start_new_session=True,
            )
        # It has no reference to this object, which would else never be gone.
        self._reader = threading.Thread(
            target=_read, args=(self._keeper.stdout, self._log), name="openenv-log", daemon=True
        )
        self._reader.start()
        try:
            self.pid = self._read_pid()
        except BaseException:
            self.stop()
            raise

    @property
    def exit_code(self) -> int | None:
        """The command's exit code, as a shell would say it; None while it runs."""
        return self._keeper.poll()

    def logs(self) -> str:
        """The last lines that it wrote."""
        if self._keeper.poll() is not None:
            self._reader.join(_READER_TIMEOUT_S)
        return "".join(self._log.copy())

    def ask_to_stop(self) -> None:
        """Has it end, without waiting for it. Safe to call again."""
        with contextlib.suppress(OSError):  # closed already
            self._line.shutdown(socket.SHUT_RDWR)
        self._line.close()

    def stop(self) -> None:
        """Has it end, and waits for that. Safe to call again; in a fork it does nothing."""
        if os.getpid() != self._owner:
            return
        self.ask_to_stop()
        try:
            self._keeper.wait(self._grace_s + _KEEPER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if self._keeper.returncode < 0:  # it could not see to the command
            with contextlib.suppress(ProcessLookupError, AttributeError):
                os.killpg(self.pid, signal.SIGKILL)
        self._reader.join(_READER_TIMEOUT_S)

    def _read_pid(self) -> int:
        told = b""
        while not told.endswith(b"\n"):
            part = self._line.recv(32)
            if not part:
                self._keeper.wait(_KEEPER_TIMEOUT_S)
                raise ConfigurationError(f"The server's process could not be started:\n{self.logs()}")
            told += part
        return int(told)


def _read(output: IO[bytes], log: deque[str]) -> None:
    with output:
        for line in output:
            log.append(line.decode(errors="replace"))


# A fork has a copy of each line, which would keep the processes alive beyond their owner.
_lines: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_lines() -> None:
    for line in _lines:
        line.close()


os.register_at_fork(after_in_child=_close_lines)
