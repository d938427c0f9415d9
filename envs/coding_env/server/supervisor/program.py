"""One program: started, limited, read, and ended with everything that it started."""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from typing import Any

from . import usage
from .confinement import Confinement

_NAME = "main.py"
_TICK_S = 0.05
_CHUNK = 65536
_OPEN_FILES = 256
_NICE = 5  # so that the server responds while programs compute
_FAILED_TO_START = 127


class ServerGoneError(Exception):
    """The server has closed the sandbox, or has exited."""


class Program:
    """A run of a program.

    Args:
        confinement: Confines it.
        config: The interpreter and the limits.
        control: The server's socket; when it is closed, the run ends.
    """

    def __init__(self, confinement: Confinement, config: dict[str, Any], control: socket.socket) -> None:
        self._confinement = confinement
        self._python: str = config["python"]
        self._limits: dict[str, Any] = config["limits"]
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._stdout = _Output(self._limits["output_bytes"])
        self._stderr = _Output(self._limits["output_bytes"])
        self._has_ended = False

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run it until it exits, its time is over, or the server is gone; return the answer to the server.

        Raises:
            ServerGoneError: The server is gone. All processes are dead.
        """
        files_before = self._confinement.files_in_use()
        began = time.monotonic()
        stopped_by = None
        try:
            process = self._start(request)
        except (OSError, subprocess.SubprocessError) as error:
            self._stderr.add(f"The program could not be started: {error}\n".encode())
            exit_code = _FAILED_TO_START
        else:
            try:
                stopped_by = self._attend(process, request, began + request["timeout_s"], files_before)
            finally:
                process.returncode = exit_code = os.waitstatus_to_exitcode(
                    self._confinement.kill_all(process.pid)
                )
            self._read_what_is_left()
            if exit_code == -signal.SIGXCPU and stopped_by is None:
                stopped_by = "time"
        self._selector.close()
        return {
            "exit_code": exit_code,
            "stdout": self._shown(self._stdout),
            "stderr": self._shown(self._stderr),
            "stdout_truncated": self._stdout.is_truncated,
            "stderr_truncated": self._stderr.is_truncated,
            "stopped_by": stopped_by,
            "duration_s": time.monotonic() - began,
        }

    def _shown(self, output: _Output) -> str:
        """Encode output in Base64, with paths as in a sandbox that has its own root."""
        data = bytes(output.kept)
        if self._confinement.shown_as_root:
            data = data.replace(self._confinement.shown_as_root.encode(), b"")
        return base64.b64encode(data).decode()

    # --- the start ----------------------------------------------------------------------------------------

    def _start(self, request: dict[str, Any]) -> subprocess.Popen[bytes]:
        folder = self._confinement.program_folder
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(_NAME, flags, 0o644, dir_fd=folder), "wb") as file:
            file.write(request["code"].encode("utf-8", "surrogatepass"))
        workspace = self._confinement.workspace
        # A program may have taken its own permissions from the folder.
        with contextlib.suppress(OSError):
            os.chmod(workspace, 0o700)
        variables = {
            "HOME": workspace,
            "LANG": "C.UTF-8",
            "LOGNAME": "program",
            "PATH": f"{os.path.dirname(self._python)}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONHASHSEED": str(request["hash_seed"]),
            "PYTHONPATH": workspace,
            "PYTHONUTF8": "1",
            "USER": "program",
        }
        # Without a user's own packages, without the program's folder on the path, and without .pyc files.
        command = [self._python, "-s", "-P", "-B", f"{self._confinement.program}/{_NAME}"]
        pipe = subprocess.PIPE
        # This process has one thread, so that code may run between fork and exec.
        process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=workspace,
            env=variables,
            start_new_session=True,
            preexec_fn=self._limit_and_confine,
        )
        assert process.stdin and process.stdout and process.stderr
        for stream, events, act in (
            (process.stdin, selectors.EVENT_WRITE, self._feeds(request["stdin"])),
            (process.stdout, selectors.EVENT_READ, self._reads(self._stdout)),
            (process.stderr, selectors.EVENT_READ, self._reads(self._stderr)),
        ):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, events, act)
        return process

    def _limit_and_confine(self) -> None:
        limits = self._limits
        os.nice(_NICE)
        processes = limits["processes"] + self._confinement.other_processes
        for kind, soft, hard in (
            (resource.RLIMIT_CORE, 0, 0),
            (resource.RLIMIT_CPU, limits["cpu_s"], limits["cpu_s"] + 1),
            (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
            (resource.RLIMIT_FSIZE, limits["files_bytes"], limits["files_bytes"]),
            (resource.RLIMIT_NOFILE, _OPEN_FILES, _OPEN_FILES),
            (resource.RLIMIT_MEMLOCK, 0, 0),
            (resource.RLIMIT_MSGQUEUE, 0, 0),
            (resource.RLIMIT_NPROC, processes, processes),
        ):
            resource.setrlimit(kind, (soft, hard))
        self._confinement.confine()

    # --- the run ------------------------------------------------------------------------------------------

    def _attend(
        self,
        process: subprocess.Popen[bytes],
        request: dict[str, Any],
        deadline: float,
        files_before: tuple[int, int],
    ) -> str | None:
        """Serve its pipes until it ends; return the limit that ends it, if any."""
        ended = os.pidfd_open(process.pid)
        self._selector.register(ended, selectors.EVENT_READ, self._ends)
        self._selector.register(self._control, selectors.EVENT_READ, self._server_is_gone)
        next_look = time.monotonic() + _TICK_S
        try:
            while not self._has_ended:
                now = time.monotonic()
                if now >= deadline:
                    return "time"
                if now >= next_look:
                    _reap_orphans(process.pid)
                    exceeded = self._exceeded(process.pid, files_before)
                    if exceeded:
                        return exceeded
                    next_look = time.monotonic() + _TICK_S
                for key, _ in self._selector.select(max(0.0, min(deadline, next_look) - now)):
                    key.data(key.fileobj)
            return None
        finally:
            self._selector.unregister(self._control)
            self._selector.unregister(ended)
            os.close(ended)

    def _ends(self, _: Any) -> None:
        self._has_ended = True

    def _server_is_gone(self, _: Any) -> None:
        raise ServerGoneError

    def _feeds(self, text: str) -> Callable[[Any], None]:
        left = memoryview(text.encode("utf-8", "surrogatepass"))

        def feed(stream: Any) -> None:
            nonlocal left
            try:
                left = left[os.write(stream.fileno(), left[:_CHUNK]) :] if left else left
            except BlockingIOError:
                return
            except BrokenPipeError:
                left = left[:0]
            if not left:
                self._close(stream)

        return feed

    def _reads(self, output: _Output) -> Callable[[Any], None]:
        def read(stream: Any) -> None:
            data = os.read(stream.fileno(), _CHUNK)
            if data:
                output.add(data)
            else:
                self._close(stream)

        return read

    def _close(self, stream: Any) -> None:
        self._selector.unregister(stream)
        stream.close()

    def _read_what_is_left(self) -> None:
        """Read the pipes to their ends; no process is left that could write to them."""
        for key in list(self._selector.get_map().values()):
            if key.events == selectors.EVENT_WRITE:
                self._close(key.fileobj)
        while self._selector.get_map():
            for key, _ in self._selector.select():
                key.data(key.fileobj)

    # --- limits beyond setrlimit ------------------------------------------------------------------------

    def _exceeded(self, group: int, files_before: tuple[int, int]) -> str | None:
        """Return the exceeded limit, of those over all processes."""
        size, entries = self._confinement.files_in_use()
        # If there was too much before, a program may still reduce it.
        if size > max(self._limits["files_bytes"], files_before[0]):
            return "files"
        if entries > max(self._limits["files"], files_before[1]):
            return "files"
        pids = self._confinement.processes(group)
        allowed = self._limits["memory_bytes"] - self._confinement.in_sockets(pids, _OPEN_FILES)
        if sum(map(usage.resident, pids)) > allowed and sum(map(usage.proportional, pids)) > allowed:
            return "memory"
        return None


def _reap_orphans(program: int) -> None:
    """Reap children that ended, but not the program. Orphans become ours, and count toward its limit."""
    with contextlib.suppress(ChildProcessError):
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == program:
                return
            os.waitpid(ended.si_pid, 0)


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
