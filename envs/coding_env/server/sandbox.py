"""The server's side of a sandbox: starts the supervisor, sends it programs, and stops it."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import socket
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from functools import cache
from typing import IO, Any

from . import commands
from .limits import ISOLATIONS, Isolation, Limits

_START_TIMEOUT_S = 20.0
# Extra time for a step: the machine may be slow, and ending many processes takes a while.
_GRACE_S = 20.0
_CLOSE_TIMEOUT_S = 5.0
_HELP = (
    "Install bubblewrap and allow namespaces of users (for a container: --security-opt seccomp=unconfined "
    "--security-opt apparmor=unconfined --security-opt systempaths=unconfined), or use a kernel with Landlock."
)

log = logging.getLogger(__name__)
_choosing = threading.Lock()


class SandboxError(RuntimeError):
    """A sandbox cannot be made, or it has exited."""


@dataclass(frozen=True)
class Outcome:
    """The result of a program.

    Attributes:
        stdout: The standard output; bytes that are not UTF-8 are U+FFFD.
        stderr: The standard error.
        exit_code: The exit code, or minus the number of the signal that ended it.
        stdout_truncated: Whether stdout is cut.
        stderr_truncated: Whether stderr is cut.
        stopped_by: The limit that ended it: "time", "memory" or "files"; None if it exited.
        duration_s: Seconds from its start to its end.
    """

    stdout: str
    stderr: str
    exit_code: int
    stdout_truncated: bool
    stderr_truncated: bool
    stopped_by: str | None
    duration_s: float


class Sandbox:
    """A working folder, and programs that run in it one after another.

    Args:
        limits: The limits of programs.
        isolation: How programs are confined.

    Raises:
        SandboxError: The machine does not allow this isolation.
    """

    def __init__(self, limits: Limits, isolation: Isolation) -> None:
        self.isolation = isolation
        self._limits = limits
        try:
            config = self._config()
            command = commands.in_namespaces(limits) if isolation == "namespaces" else commands.among_others()
        except commands.MissingError as error:
            raise SandboxError(str(error)) from error
        self._control, theirs = socket.socketpair()
        self._errors: IO[bytes] = tempfile.TemporaryFile()
        variables = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                env={"LANG": "C.UTF-8", **variables},
                cwd="/",
                start_new_session=True,
            )
        self._lines = self._control.makefile("rb")
        reason = self._ask(config, _START_TIMEOUT_S)["error"]
        if reason is not None:
            self.close()
            raise SandboxError(reason)

    def run(
        self, code: str, stdin: str = "", *, timeout_s: float | None = None, hash_seed: int = 0
    ) -> Outcome:
        """Run a program in the working folder, and end everything that it started.

        Args:
            code: The source.
            stdin: The standard input.
            timeout_s: The most seconds for it, if less than the limit.
            hash_seed: Determines the order of sets of strings.

        Raises:
            SandboxError: The sandbox has exited or does not respond.
        """
        limit_s = self._limits.timeout_s if timeout_s is None else min(timeout_s, self._limits.timeout_s)
        request = {"code": code, "stdin": stdin, "timeout_s": limit_s, "hash_seed": hash_seed}
        try:
            answer = self._ask(request, limit_s + _GRACE_S)
        except SandboxError as error:
            raise SandboxError(f"{error}. Call reset for a new one.") from error
        for name in ("stdout", "stderr"):
            answer[name] = base64.b64decode(answer[name]).decode("utf-8", "replace")
        return Outcome(**answer)

    def close(self) -> None:
        """End all processes, and remove the folder. Safe to call again."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._control.close()
        self._errors.close()
        try:
            self._process.wait(timeout=_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            log.warning("a sandbox did not end within %g s and is killed", _CLOSE_TIMEOUT_S)
            self._process.kill()
            self._process.wait()

    def _config(self) -> dict[str, Any]:
        limits = self._limits
        return {
            "isolation": self.isolation,
            "python": limits.python,
            "readable": commands.readable_by_programs(limits.python),
            "user": commands.spare_user(),
            "program_folder": commands.PROGRAM_FOLDER,
            "limits": {
                "cpu_s": limits.cpu_s,
                "memory_bytes": limits.memory_mb << 20,
                "files_bytes": limits.files_mb << 20,
                "files": limits.files,
                "processes": limits.processes,
                "output_bytes": limits.output_kb << 10,
            },
        }

    def _ask(self, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        self._control.settimeout(timeout_s)
        try:
            self._control.sendall(json.dumps(message).encode() + b"\n")
            line = self._lines.readline()
        except (OSError, ValueError) as error:
            raise self._failure(f"The sandbox does not respond ({error})") from error
        except BaseException:
            self.close()
            raise
        if not line:
            raise self._failure("The sandbox has exited")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _failure(self, what: str) -> SandboxError:
        """Close the sandbox; return an error with the last line that the supervisor wrote."""
        last = ""
        with contextlib.suppress(OSError, ValueError):
            self._errors.seek(0)
            last = self._errors.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
        self.close()
        return SandboxError(f"{what}: {last}" if last else what)


def open_sandbox(limits: Limits) -> Sandbox:
    """Open a sandbox with the strongest isolation that this machine allows.

    Raises:
        SandboxError: No isolation is as strong as the limits require.
    """
    return Sandbox(limits, strongest_isolation(limits))


def strongest_isolation(limits: Limits) -> Isolation:
    """Return the strongest isolation that this machine allows; found out once.

    Raises:
        SandboxError: No isolation is as strong as the limits require.
    """
    with _choosing:
        return _strongest(limits)


@cache
def _strongest(limits: Limits) -> Isolation:
    reasons = []
    for isolation in ISOLATIONS[: ISOLATIONS.index(limits.isolation) + 1]:
        try:
            _try_out(limits, isolation)
        except SandboxError as error:
            reasons.append(f"{isolation}: {error}")
            continue
        if reasons:
            log.warning("programs are confined by %s only (%s)", isolation, "; ".join(reasons))
        return isolation
    message = f"This machine does not allow the required isolation ({'; '.join(reasons)}). {_HELP}"
    if limits.isolation != "limits":
        message += " If programs may see everything on this machine, set CODING_ENV_ISOLATION=limits."
    raise SandboxError(message)


def _try_out(limits: Limits, isolation: Isolation) -> None:
    sandbox = Sandbox(limits, isolation)
    try:
        outcome = sandbox.run("print('ok')", timeout_s=_START_TIMEOUT_S)
        if outcome.stdout != "ok\n":
            raise SandboxError(f"a first program failed ({outcome.exit_code}): {outcome.stderr.strip()}")
    finally:
        sandbox.close()
