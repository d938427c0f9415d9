"""`SupervisedProcess`: a process that ends with the one that started it, however that ends."""

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

_SUPERVISOR = str(Path(__file__).with_name("supervisor.py"))
_LOG_LINES = 200
_SUPERVISOR_TIMEOUT_S = 5.0
_READER_TIMEOUT_S = 5.0
# How long a server drains unless its settings say otherwise; see docs/operations.md.
_DRAIN_TIMEOUT_S = 10.0
_DRAIN_MARGIN_S = 1.0
# Of the Windows API.
_SYNCHRONIZE = 0x00100000
_ACCESS_DENIED = 5
_WAIT_TIMEOUT = 0x102


class SupervisedProcess:
    """A command that runs in its own session, with a socket to listen on.

    Ctrl-C in a terminal does not reach it. It ends when `stop` is called, when this object is collected, and
    when this process ends, even by ``kill -9``: a small process beside it ensures that, see supervisor.py.

    Args:
        command: The command and its arguments.
        listening: A bound socket; the command inherits its file descriptor.
        environment: The command's environment variables; ``DRAIN_TIMEOUT`` is how long it may take to end.

    Attributes:
        pid: The command's process id.

    Raises:
        ConfigurationError: The command could not be started.
    """

    def __init__(
        self, command: Sequence[str], listening: socket.socket, environment: Mapping[str, str]
    ) -> None:
        self._owner = os.getpid()
        self._grace_s = stop_timeout_s(environment)
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._lifeline, theirs = socket.socketpair()
        _lifelines.add(self._lifeline)
        inherited = (theirs.fileno(), listening.fileno())
        with theirs:
            self._supervisor = subprocess.Popen(
                [sys.executable, "-I", "-S", _SUPERVISOR, *map(str, inherited), str(self._grace_s), *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=inherited,
                env=environment,
                start_new_session=True,
            )
        # The thread has no reference to this object, which could never be collected otherwise.
        self._reader = threading.Thread(
            target=_read, args=(self._supervisor.stdout, self._log), name="openenv-log", daemon=True
        )
        self._reader.start()
        try:
            self.pid: int = self._read_pid()
        except BaseException:
            self.stop()
            raise

    @property
    def exit_code(self) -> int | None:
        """The command's exit code as a shell would report it; None while it runs."""
        return self._supervisor.poll()

    def logs(self) -> str:
        """The last lines that the command wrote."""
        if self._supervisor.poll() is not None:
            self._reader.join(_READER_TIMEOUT_S)
        return "".join(self._log.copy())

    def wait(self) -> None:
        """Wait until the command has ended."""
        self._supervisor.wait()

    def terminate(self) -> None:
        """Ask the command to end, without waiting for it. Safe to call again."""
        with contextlib.suppress(OSError):  # closed already
            self._lifeline.shutdown(socket.SHUT_RDWR)
        self._lifeline.close()

    def stop(self) -> None:
        """End the command, and wait for that. Safe to call again; does nothing in a fork."""
        if os.getpid() != self._owner:
            return
        self.terminate()
        try:
            self._supervisor.wait(self._grace_s + _SUPERVISOR_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        if (
            sys.platform != "win32" and self._supervisor.returncode < 0
        ):  # it was killed, and could not end the command
            with contextlib.suppress(ProcessLookupError, AttributeError):
                os.killpg(self.pid, signal.SIGKILL)
        self._reader.join(_READER_TIMEOUT_S)

    def _read_pid(self) -> int:
        received = b""
        while not received.endswith(b"\n"):
            part = self._lifeline.recv(32)
            if not part:
                self._supervisor.wait(_SUPERVISOR_TIMEOUT_S)
                raise ConfigurationError(f"The server's process could not be started:\n{self.logs()}")
            received += part
        return int(received)


def stop_timeout_s(variables: Mapping[str, str]) -> float:
    """How long a server may take to stop: the time that it drains, and a margin.

    Args:
        variables: The server's environment variables, perhaps with ``DRAIN_TIMEOUT``.
    """
    try:
        return float(variables["DRAIN_TIMEOUT"]) + _DRAIN_MARGIN_S
    except (KeyError, ValueError):  # the server refuses a malformed one itself
        return _DRAIN_TIMEOUT_S + _DRAIN_MARGIN_S


def check_can_start() -> None:
    """Check that this system can run a `SupervisedProcess`.

    Raises:
        ConfigurationError: It is Windows.
    """
    if not hasattr(os, "killpg"):
        raise ConfigurationError(
            f"Python cannot start servers on {sys.platform}: no process can inherit a socket there.",
            advice="Start one with `openenv serve` in another terminal or in WSL 2 and pass its address, "
            'base_url="http://localhost:8000", or run an image with Docker, image="…".',
        )


def is_running(pid: int) -> bool:
    """Whether a process with this id exists."""
    if sys.platform == "win32":
        return _is_running_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_own(pid: int) -> bool:
    """Whether a process with this id exists and this user may signal it; on Windows, whether it exists."""
    if sys.platform == "win32":
        return is_running(pid)
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return pid > 0


if sys.platform == "win32":

    def _is_running_on_windows(pid: int) -> bool:
        # os.kill would send it Ctrl-C: https://docs.python.org/3/library/os.html#os.kill.
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
        if not handle:
            return ctypes.get_last_error() == _ACCESS_DENIED
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT)
        finally:
            kernel.CloseHandle(handle)


def _read(output: IO[bytes], log: deque[str]) -> None:
    with output:
        for line in output:
            log.append(line.decode(errors="replace"))


# A fork has copies of these sockets, which would keep the processes running after their owner has ended.
_lifelines: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def _close_lifelines() -> None:
    for lifeline in _lifelines:
        lifeline.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_lifelines)
