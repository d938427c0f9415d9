"""The server's end of a sandbox: it starts the supervisor, sends it programs, and ends it."""

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
# Neither the packages of the server nor its variables are there, and nothing in this folder hides a module.
_START = (
    "import sys; sys.path.append(sys.argv[1]); from supervisor.supervise import main; main(int(sys.argv[2]))"
)
# What programs may read beside their interpreter.
_READABLE = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"]
_READABLE += ["/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives"]
_START_TIMEOUT_S = 20.0
# For a step, beyond its own time: the machine may be slow, and the end of many processes takes a while.
_GRACE_S = 20.0
_CLOSE_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)
_choosing = threading.Lock()


class SandboxError(RuntimeError):
    """There is no sandbox, or it has ended by itself."""


@dataclass(frozen=True)
class Outcome:
    """What came of a program.

    Attributes:
        stdout: What it wrote there; bytes that are not UTF-8 are U+FFFD.
        stderr: What it wrote there.
        exit_code: Its exit code, or minus the number of the signal that ended it.
        stdout_truncated: Whether it wrote more.
        stderr_truncated: Whether it wrote more.
        stopped_by: The limit that ended it: "time", "memory" or "files"; None where it ended by itself.
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
    """A working folder, and programs that are run in it one after another.

    Args:
        limits: What they may use.
        isolation: How they are confined.

    Raises:
        SandboxError: The machine does not allow it.
    """

    def __init__(self, limits: Limits, isolation: Isolation) -> None:
        self.isolation = isolation
        self._limits = limits
        self._control, theirs = socket.socketpair()
        try:
            # All that it inherits: the socket, and the standard error, where it says what went wrong with it.
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
        """Runs a program in the working folder, and ends all that it started.

        Args:
            code: Its source.
            stdin: What it reads from its standard input.
            timeout_s: Seconds that it may take, where less than the limit.
            hash_seed: Decides the order of sets of strings.

        Raises:
            SandboxError: The sandbox is at its end.
        """
        limit_s = self._limits.timeout_s if timeout_s is None else min(timeout_s, self._limits.timeout_s)
        request = {"code": code, "stdin": stdin, "timeout_s": limit_s, "hash_seed": hash_seed}
        answer = self._ask(request, limit_s + _GRACE_S)
        for name in ("stdout", "stderr"):
            answer[name] = base64.b64decode(answer[name]).decode("utf-8", "replace")
        return Outcome(**answer)

    def close(self) -> None:
        """Ends all its processes, and removes the folder. Safe to call again."""
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
            raise SandboxError(f"The sandbox does not answer: {error}. Reset for a new one") from error
        except BaseException:
            self.close()
            raise
        if not line:
            self.close()
            raise SandboxError(
                "The sandbox has ended by itself; the server's log has why. Reset for a new one"
            )
        answer: dict[str, Any] = json.loads(line)
        return answer


def open_sandbox(limits: Limits) -> Sandbox:
    """A sandbox with the strongest confinement that this machine allows.

    Raises:
        SandboxError: None is as strong as the limits ask for.
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
    message = f"This machine does not allow to confine programs as is asked for ({'; '.join(reasons)})"
    if limits.isolation != "limits":
        message += ". Where all that runs here may be seen by programs, set CODING_ENV_ISOLATION=limits"
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
    """The folders of an interpreter and of its packages."""
    code = "import sys; print(*{sys.prefix, sys.base_prefix, sys.exec_prefix}, sep='\\n');"
    # Debian's interpreter reads a file there as it starts.
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
