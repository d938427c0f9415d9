"""A server in a process of its own, on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Any

from openenv_gym.errors import ConfigurationError, DeadlineExceededError

_LOG_LINES = 200
_STOP_TIMEOUT_S = 10.0


class ProcessProvider:
    """Runs ``openenv serve`` on a free loopback port.

    Args:
        path: An environment's folder, or
        gym: the id of a Gymnasium environment.
        gym_kwargs: Keywords for that one; JSON values.
        max_sessions: Sessions at a time; the server's default where left out.
        workers: Processes that serve, each with as many sessions.
        ready_timeout_s: The time for the server to come up, in seconds.

    Example:
        >>> with ProcessProvider(gym="CartPole-v1") as server:
        ...     env = gymnasium.make("openenv/remote", base_url=server.base_url)
    """

    def __init__(
        self,
        path: str | None = None,
        *,
        gym: str | None = None,
        gym_kwargs: Mapping[str, Any] | None = None,
        max_sessions: int | None = None,
        workers: int = 1,
        ready_timeout_s: float = 60.0,
    ) -> None:
        if (path is None) == (gym is None):
            raise ConfigurationError("Name either an environment's folder or a Gymnasium id")
        self._command = [sys.executable, "-m", "openenv_cli", "serve", "--port", "0", "--host", "127.0.0.1"]
        self._command += [path] if path is not None else ["--gym", str(gym)]
        for name, value in (gym_kwargs or {}).items():
            self._command += ["--gym-kwarg", f"{name}={json.dumps(value)}"]
        if max_sessions is not None:
            self._command += ["--max-sessions", str(max_sessions)]
        if workers > 1:
            self._command += ["--workers", str(workers)]
        self.ready_timeout_s = ready_timeout_s
        self._process: subprocess.Popen[str] | None = None
        self._log: deque[str] = deque(maxlen=_LOG_LINES)
        self._announced: SimpleQueue[str | None] = SimpleQueue()
        self.base_url = ""

    def start(self) -> str:
        """Starts the server and waits until it is up; returns its base URL.

        Raises:
            ConfigurationError: The server ended instead; the message has its last words.
            DeadlineExceededError: It did not come up in time.
        """
        process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process = process
        assert process.stdout is not None
        assert process.stderr is not None
        threading.Thread(target=self._read_stdout, args=(process.stdout,), daemon=True).start()
        self._stderr_reader = threading.Thread(target=self._log.extend, args=(process.stderr,), daemon=True)
        self._stderr_reader.start()
        try:
            base_url = self._announced.get(timeout=self.ready_timeout_s)
        except Empty:
            self.stop()
            raise DeadlineExceededError(
                f"The server was not up within {self.ready_timeout_s:g} s. Its last words:\n{self.logs()}"
            ) from None
        except BaseException:
            self.stop()
            raise
        if base_url is None:
            process.wait()
            self._stderr_reader.join(timeout=_STOP_TIMEOUT_S)
            raise ConfigurationError(
                f"The server ended with the exit code {process.returncode}. Its last words:\n{self.logs()}"
            )
        self.base_url = base_url
        return base_url

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "start it first"
        return self._process.pid

    def logs(self) -> str:
        """The last lines that the server wrote."""
        return "".join(self._log)

    def stop(self) -> None:
        """Stops the server. Safe to call again."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> ProcessProvider:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _read_stdout(self, stream: IO[str]) -> None:
        # An environment may print as well, while it is imported.
        for line in stream:
            if line.startswith("http://"):
                self._announced.put(line.strip())
                break
            self._log.append(line)
        else:
            self._announced.put(None)
        self._log.extend(stream)
