"""The server's side of a sandbox: starts the supervisor, sends it programs, and stops it."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from .limits import ISOLATIONS, Isolation, Limits

_FOLDER = Path(__file__).parent
# Without the server's packages and variables; nothing in this folder hides a module.
_START = (
    "import sys; sys.path.append(sys.argv[1]); from supervisor.supervise import main; main(int(sys.argv[2]))"
)
# What programs may read besides their interpreter.
_READABLE = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
_READABLE += ["/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"]
_START_TIMEOUT_S = 20.0
# Extra time for a step: the machine may be slow, and ending many processes takes a while.
_GRACE_S = 20.0
_CLOSE_TIMEOUT_S = 5.0

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
        self._control, theirs = socket.socketpair()
        try:
            # It inherits only the socket, and standard error, to which it reports its own failures.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _START, str(_FOLDER), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={"LANG": "C.UTF-8", **_temporary_folder()},
                cwd="/",
                start_new_session=True,
            )
        except BaseException:
            self._control.close()
            raise
        finally:
            theirs.close()
        self._lines = self._control.makefile("rb")
        error = self._ask(self._config(), _START_TIMEOUT_S)["error"]
        if error is not None:
            self.close()
            raise SandboxError(error)

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
        answer = self._ask(request, limit_s + _GRACE_S)
        for name in ("stdout", "stderr"):
            answer[name] = base64.b64decode(answer[name]).decode("utf-8", "replace")
        return Outcome(**answer)

    def close(self) -> None:
        """End all processes, and remove the folder. Safe to call again."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._lines.close()
        self._control.close()
        try:
            self._process.wait(timeout=_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            log.warning("a sandbox did not end within %g s and is killed", _CLOSE_TIMEOUT_S)
            self._process.kill()
            self._process.wait()

    def _config(self) -> dict[str, Any]:
        limits = self._limits
        prefixes = _prefixes_of(limits.python)
        return {
            "isolation": self.isolation,
            "python": limits.python,
            "readable": [*_READABLE, *prefixes],
            "limits": {
                "timeout_s": limits.timeout_s,
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
            self.close()
            raise SandboxError(f"The sandbox does not respond: {error}. Call reset for a new one.") from error
        except BaseException:
            self.close()
            raise
        if not line:
            self.close()
            raise SandboxError("The sandbox has exited; the server's log says why. Call reset for a new one.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def open_sandbox(limits: Limits) -> Sandbox:
    """Open a sandbox with the strongest isolation that this machine allows.

    Raises:
        SandboxError: No isolation is as strong as the limits require.
    """
    with _choosing:
        isolation = _strongest(limits)
    return Sandbox(limits, isolation)


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
    message = f"This machine does not allow the required isolation ({'; '.join(reasons)})."
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


@cache
def _prefixes_of(python: str) -> tuple[str, ...]:
    """Return the folders of an interpreter and of its packages."""
    code = "import sys; print(*{sys.prefix, sys.base_prefix, sys.exec_prefix}, sep='\\n');"
    # Debian's interpreter reads a file there when it starts.
    code += "print(f'/etc/python{sys.version_info[0]}.{sys.version_info[1]}')"
    try:
        completed = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, check=True, timeout=_START_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"CODING_ENV_PYTHON={python} is not an interpreter: {error}") from error
    return tuple(sorted(completed.stdout.split("\n")[:-1]))


def _temporary_folder() -> dict[str, str]:
    return {"TMPDIR": os.environ["TMPDIR"]} if "TMPDIR" in os.environ else {}
