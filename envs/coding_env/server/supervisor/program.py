"""One program: started, limited, read, and ended with everything that it started."""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable
from typing import Protocol

from . import syscalls
from .folders import empty
from .memory import proportional, resident
from .messages import Answer, Config, LimitsMessage, Request

_NAME = "main.py"
_TICK_S = 0.05
_CHUNK = 65536
_OPEN_FILES = 256
_NICE = 5  # so that the server responds while programs compute
_FAILED_TO_START = 127


class Confinement(Protocol):
    """Keeps programs away from the rest of the machine."""

    workspace: str
    program: str
    shown_as_root: str
    other_processes: int

    def confine(self) -> None: ...
    def restrict_calls(self) -> None: ...
    def is_of_a_program(self, pid: int, group: int) -> bool: ...
    def kill_all(self, group: int) -> None: ...
    def files_in_use(self) -> tuple[int, int]: ...


class ServerGoneError(Exception):
    """The server has closed the sandbox, or has exited."""


class Program:
    """A run of a program.

    Args:
        confinement: Confines it.
        config: The interpreter and the limits.
        control: The server's socket; when it is closed, the run ends.
    """

    def __init__(self, confinement: Confinement, config: Config, control: socket.socket) -> None:
        self._confinement = confinement
        self._config = config
        self._limits: LimitsMessage = config["limits"]
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._output = {"stdout": _Output(self._limits["output_bytes"])}
        self._output["stderr"] = _Output(self._limits["output_bytes"])
        self._status: int | None = None
        self._stopped_by: str | None = None

    def run(self, request: Request) -> Answer:
        """Run it until it exits, its time is over, or the server is gone.

        Raises:
            ServerGoneError: The server is gone. All processes are dead.
        """
        self._write(request["code"].encode("utf-8", "surrogatepass"))
        files_before = self._confinement.files_in_use()
        began = time.monotonic()
        self._start(request)
        try:
            self._attend(request, began + request["timeout_s"], files_before)
        finally:
            self._confinement.kill_all(self._pid)
            duration_s = time.monotonic() - began
            self._read_what_is_left()
            self._selector.close()
        assert self._status is not None
        return self._answer(os.waitstatus_to_exitcode(self._status), duration_s)

    def _answer(self, exit_code: int, duration_s: float) -> Answer:
        if exit_code == -signal.SIGXCPU and self._stopped_by is None:
            self._stopped_by = "time"
        stdout, stderr = self._output["stdout"], self._output["stderr"]
        return {
            "exit_code": exit_code,
            "stdout": self._shown(stdout),
            "stderr": self._shown(stderr),
            "stdout_truncated": stdout.is_truncated,
            "stderr_truncated": stderr.is_truncated,
            "stopped_by": self._stopped_by,
            "duration_s": duration_s,
        }

    def _shown(self, output: _Output) -> str:
        """Encode output in Base64, with paths as in a sandbox that has its own root."""
        data = bytes(output.kept)
        if self._confinement.shown_as_root:
            data = data.replace(self._confinement.shown_as_root.encode(), b"")
        return base64.b64encode(data).decode()

    def _write(self, source: bytes) -> None:
        # A program may have taken its own permissions from the folder.
        os.chmod(self._confinement.workspace, 0o700)
        empty(self._confinement.program)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(f"{self._confinement.program}/{_NAME}", flags, 0o644), "wb") as file:
            file.write(source)

    # --- the start ----------------------------------------------------------------------------------------

    def _start(self, request: Request) -> None:
        stdin_read, self._stdin = os.pipe()
        stdout, stdout_write = os.pipe()
        stderr, stderr_write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                self._become(request, stdin_read, stdout_write, stderr_write)
            except BaseException as error:
                os.write(2, f"The program could not be started: {error}\n".encode())
            os._exit(_FAILED_TO_START)
        for descriptor in (stdin_read, stdout_write, stderr_write):
            os.close(descriptor)
        for descriptor in (self._stdin, stdout, stderr):
            os.set_blocking(descriptor, False)
        self._to_write = memoryview(request["stdin"].encode("utf-8", "surrogatepass"))
        self._selector.register(self._stdin, selectors.EVENT_WRITE, self._feed)
        self._selector.register(stdout, selectors.EVENT_READ, self._listen("stdout", stdout))
        self._selector.register(stderr, selectors.EVENT_READ, self._listen("stderr", stderr))

    def _become(self, request: Request, *standard: int) -> None:
        """In the new process: drop everything that a program must not have, and become the program."""
        os.setsid()
        for place, descriptor in enumerate(standard):
            os.dup2(descriptor, place)
        os.closerange(3, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        os.chdir(self._confinement.workspace)
        os.nice(_NICE)
        # Python ignores it, and a program would inherit that.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        # After the user changes, that user's debuggers could attach; the server's socket is closed by now.
        self._confinement.confine()
        self._set_limits()
        self._confinement.restrict_calls()
        python, workspace = self._config["python"], self._confinement.workspace
        variables = {
            "HOME": workspace,
            "LANG": "C.UTF-8",
            "LOGNAME": "program",
            "PATH": f"{os.path.dirname(python)}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONHASHSEED": str(request["hash_seed"]),
            "PYTHONPATH": workspace,
            "PYTHONUTF8": "1",
            "USER": "program",
        }
        # Without a user's own packages, without the program's folder on the path, and without .pyc files.
        script = f"{self._confinement.program}/{_NAME}"
        os.execve(python, [python, "-s", "-P", "-B", script], variables)

    def _set_limits(self) -> None:
        limits = self._limits
        for kind, soft, hard in (
            (resource.RLIMIT_CORE, 0, 0),
            (resource.RLIMIT_CPU, limits["cpu_s"], limits["cpu_s"] + 1),
            (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
            (resource.RLIMIT_FSIZE, limits["files_bytes"], limits["files_bytes"]),
            (resource.RLIMIT_NOFILE, _OPEN_FILES, _OPEN_FILES),
            (resource.RLIMIT_MEMLOCK, 0, 0),
            (resource.RLIMIT_MSGQUEUE, 0, 0),
        ):
            resource.setrlimit(kind, (soft, hard))
        processes = limits["processes"] + self._confinement.other_processes
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))

    # --- the run ------------------------------------------------------------------------------------------

    def _attend(self, request: Request, deadline: float, files_before: tuple[int, int]) -> None:
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._selector.register(woken, selectors.EVENT_READ, lambda: os.read(woken, _CHUNK))
        self._selector.register(self._control, selectors.EVENT_READ, self._server_is_gone)
        next_look = time.monotonic() + _TICK_S
        try:
            self._reap()
            while self._status is None and self._stopped_by is None:
                now = time.monotonic()
                if now >= deadline:
                    self._stopped_by = "time"
                    break
                if now >= next_look:
                    self._stopped_by = self._exceeded(files_before)
                    next_look = time.monotonic() + _TICK_S
                for key, _ in self._selector.select(max(0.0, min(deadline, next_look) - now)):
                    key.data()
                self._reap()
            if self._status is None:
                self._kill_and_reap()
        finally:
            signal.set_wakeup_fd(before)
            self._selector.unregister(self._control)
            self._selector.unregister(woken)
            os.close(woken)
            os.close(wake)

    def _reap(self) -> None:
        """Reap all children that ended. Orphans become ours, and count toward a limit until they are reaped."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._pid:
                    self._status = status

    def _kill_and_reap(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        _, self._status = os.waitpid(self._pid, 0)

    def _server_is_gone(self) -> None:
        raise ServerGoneError

    def _feed(self) -> None:
        try:
            written = os.write(self._stdin, self._to_write[:_CHUNK]) if self._to_write else 0
        except BlockingIOError:
            return
        except BrokenPipeError:
            written = len(self._to_write)
        self._to_write = self._to_write[written:]
        if not self._to_write:
            self._close(self._stdin)

    def _listen(self, name: str, descriptor: int) -> Callable[[], None]:
        output = self._output[name]

        def listen() -> None:
            data = os.read(descriptor, _CHUNK)
            if data:
                output.add(data)
            else:
                self._close(descriptor)

        return listen

    def _close(self, descriptor: int) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)

    def _read_what_is_left(self) -> None:
        """Read the pipes to their ends; no process is left that could write to them."""
        for key in list(self._selector.get_map().values()):
            if key.events == selectors.EVENT_READ:
                while key.fd in self._selector.get_map() and select.select([key.fd], [], [], 0)[0]:
                    key.data()
            if key.fd in self._selector.get_map():
                self._close(key.fd)

    # --- limits beyond setrlimit ------------------------------------------------------------------------

    def _exceeded(self, files_before: tuple[int, int]) -> str | None:
        """Return the exceeded limit, of those over all processes."""
        size, entries = self._confinement.files_in_use()
        # If there was too much before, a program may still reduce it.
        if size > max(self._limits["files_bytes"], files_before[0]):
            return "files"
        if entries > max(self._limits["files"], files_before[1]):
            return "files"
        pids = self._pids()
        allowed = self._limits["memory_bytes"]
        if sum(map(resident, pids)) > allowed and sum(map(proportional, pids)) > allowed:
            return "memory"
        return None

    def _pids(self) -> list[int]:
        try:
            listed = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        except OSError:
            return []
        return [pid for pid in listed if self._confinement.is_of_a_program(pid, self._pid)]


class _Output:
    """The beginning of a stream; the rest is read and dropped, so that the program does not block."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.kept = bytearray()
        self.is_truncated = False

    def add(self, data: bytes) -> None:
        room = self._most - len(self.kept)
        self.kept += data[:room]
        self.is_truncated = self.is_truncated or len(data) > room
