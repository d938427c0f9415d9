"""Starts a server in any way, waits until it answers, and ends it with all its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from openenv_gym.errors import ConfigurationError, DeadlineExceededError, OpenEnvError
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json

_LOG_LINES = 200
_STOP_TIMEOUT_S = 5.0
_PAUSE_S = 0.05


def free_port() -> int:
    """A port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def launch(
    command: Sequence[str], port: int, *, folder: Path, variables: Mapping[str, str], timeout_s: float
) -> float:
    """Starts a server, waits until its ``/health`` answers, and ends it.

    Args:
        command: What starts it.
        port: Where it is told to listen.
        folder: The folder to start it in.
        variables: Its environment variables, beside this process's own.
        timeout_s: The time for it to come up, in seconds.

    Returns:
        The seconds until it answered.

    Raises:
        ConfigurationError: It ended instead; the message has its last words.
        DeadlineExceededError: It did not answer in time.
    """
    begin = time.monotonic()
    with _running(command, folder, variables) as (process, log):
        endpoint = Endpoint.parse(f"http://127.0.0.1:{port}")
        while not _answers(endpoint):
            if (code := process.poll()) is not None:
                raise ConfigurationError(f"It ended with the exit code {code}.\n{''.join(log)}")
            if time.monotonic() - begin > timeout_s:
                raise DeadlineExceededError(
                    f"Nothing answered on port {port} within {timeout_s:g} s.\n{''.join(log)}"
                )
            time.sleep(_PAUSE_S)
    return time.monotonic() - begin


def run(command: Sequence[str], *, folder: Path, variables: Mapping[str, str], timeout_s: float) -> None:
    """Runs a command to its end.

    Raises:
        ConfigurationError: It failed; the message has its last words.
        DeadlineExceededError: It took too long.
    """
    shown = " ".join([Path(command[0]).name, *command[1:]])
    with _running(command, folder, variables) as (process, log):
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise DeadlineExceededError(f"{shown} took more than {timeout_s:g} s.\n{''.join(log)}") from None
    if code:
        raise ConfigurationError(f"{shown} ended with the exit code {code}.\n{''.join(log)}")


@contextlib.contextmanager
def _running(
    command: Sequence[str], folder: Path, variables: Mapping[str, str]
) -> Iterator[tuple[subprocess.Popen[str], deque[str]]]:
    """A process in a group of its own, and the last lines that it wrote; all of the group is ended."""
    log: deque[str] = deque(maxlen=_LOG_LINES)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout, log), daemon=True)
    try:
        reader.start()
        yield process, log
    finally:
        _end(process)
        reader.join(_STOP_TIMEOUT_S)


def _read(stream: IO[str], log: deque[str]) -> None:
    with stream:
        log.extend(stream)


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)


def _answers(endpoint: Endpoint) -> bool:
    try:
        get_json(endpoint, "/health", timeout_s=1.0)
    except OpenEnvError:
        return False
    return True
