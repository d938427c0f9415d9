"""Servers in processes on this machine."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.provider import Provider, at_least_one
from openenv_gym.providers.server_command import ResolvedCommand, ServerCommand, Wrapper
from openenv_gym.providers.supervised_process import SupervisedProcess, check_can_start

_LOOPBACK = "127.0.0.1"


class Server(Protocol):
    """What `ServerProcesses` runs; `ServerCommand` is one.

    Attributes:
        name: What is served, for messages.
    """

    name: str

    def resolve(self, host: str) -> ResolvedCommand:
        """The command for a socket bound to ``host``."""


class ServerProcesses(Provider):
    """Runs a command in one process for each replica.

    Args:
        server: What to run.
        host: The address to listen on.
        port: The port there; 0 for a free one, which each of several servers needs.
        replicas: How many servers, each at its own address.
        ready_timeout_s: The time for the servers to become ready, in seconds.

    Attributes:
        server: As given.
    """

    def __init__(
        self,
        server: Server,
        *,
        host: str = _LOOPBACK,
        port: int = 0,
        replicas: int = 1,
        ready_timeout_s: float = 60.0,
    ) -> None:
        self.server = server
        self.ready_timeout_s = ready_timeout_s
        self._host, self._port = host, port
        self._replicas = at_least_one(replicas)
        self._processes: list[SupervisedProcess] = []
        self._stopped: list[SupervisedProcess] = []  # their logs can still be read

    def __str__(self) -> str:
        return self.server.name

    def start(self) -> tuple[str, ...]:
        check_can_start()
        command = self.server.resolve(self._host)
        family, host = (
            (socket.AF_INET6, f"[{self._host}]") if ":" in self._host else (socket.AF_INET, self._host)
        )
        endpoints = []
        for _ in range(self._replicas):
            # Bound here, so the address is known whatever an environment prints.
            with socket.socket(family) as listening:
                _bind(listening, self._host, self._port)
                words = command.words(listening.fileno())
                self._processes.append(SupervisedProcess(words, listening, command.environment()))
                endpoints.append(f"http://{host}:{listening.getsockname()[1]}")
        self.endpoints = tuple(endpoints)
        return self.endpoints

    def check(self) -> None:
        for process in self._processes:
            if (code := process.exit_code) is not None:
                raise ConfigurationError(f"The server ended with exit code {code}.", log=process.logs())

    def ended(self) -> Mapping[str, str]:
        return {
            base_url: f"The server ended with exit code {code}. Last log lines:\n{process.logs()}"
            for base_url, process in zip(self.endpoints, self._processes, strict=False)
            if (code := process.exit_code) is not None
        }

    def logs(self) -> str:
        return "".join(process.logs() for process in self._processes or self._stopped)

    def log_of(self, base_url: str) -> str:
        return self._processes[self.endpoints.index(base_url)].logs()

    def stop(self) -> None:
        self.endpoints = ()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.stop()
        if self._processes:
            self._stopped, self._processes = self._processes, []

    def wait(self) -> None:
        """Wait until the servers have ended."""
        for process in self._processes:
            process.wait()

    @property
    def pid(self) -> int:
        """The first server's process id.

        Raises:
            ConfigurationError: The servers are not started.
        """
        if not self._processes:
            raise ConfigurationError(f"The server of {self} is not started")
        return self._processes[0].pid


def _bind(listening: socket.socket, host: str, port: int) -> None:
    if port:  # as servers do: a port whose former connections are still closing can be used
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise ConfigurationError(
            f"No server can listen on port {port} of {host}: {error.strerror}.",
            advice="Choose another port; 0 takes a free one.",
        ) from error


class ProcessProvider(ServerProcesses):
    """Runs ``openenv serve`` on free loopback ports.

    A folder with a ``uv.lock`` is served by a Python with the packages in the lock, if uv is installed;
    everything else by the Python that runs this. The servers end when they are stopped, and when this process
    ends, even by ``kill -9``. Ctrl-C in the terminal does not reach them.

    Args:
        path: An environment's folder, or
        gym: the id of a Gymnasium environment, or
        app: the import path of an application, ``module:attribute``.
        gym_kwargs: Keywords for the Gymnasium environment; JSON values.
        wrappers: Wrappers around it, the innermost first: their classes or import paths
            (``"gymnasium.wrappers:AtariPreprocessing"``), or pairs of one and its keywords, JSON values.
        vectorized: Step all sessions of a client in one call, by the vector environment that the id
            registers.
        max_sessions: The most concurrent sessions of each worker; the server's default if None.
        workers: Processes that serve one address, each with that many sessions.
        replicas: How many servers, each at its own address.
        api_key: The key that the servers require; "" for none. By default, the value of ``OPENENV_API_KEY``,
            if that is set.
        ready_timeout_s: The time for the servers to become ready, in seconds, without the time to install the
            packages in the lock.

    Attributes:
        server: The command that starts each server.

    Raises:
        ConfigurationError: Not exactly one of path, gym and app was given, the folder has no environment,
            a number is less than 1, or the key is malformed.

    Example:
        >>> with ProcessProvider(gym="CartPole-v1") as server:
        ...     env = gymnasium.make("openenv/remote", base_url=server.base_url)
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        gym: str | None = None,
        app: str | None = None,
        gym_kwargs: Mapping[str, Any] | None = None,
        wrappers: Iterable[Wrapper] = (),
        vectorized: bool = False,
        max_sessions: int | None = None,
        workers: int = 1,
        replicas: int = 1,
        api_key: str | None = None,
        ready_timeout_s: float = 60.0,
    ) -> None:
        server = ServerCommand(
            path,
            gym=gym,
            app=app,
            gym_kwargs=gym_kwargs,
            wrappers=wrappers,
            vectorized=vectorized,
            max_sessions=max_sessions,
            workers=workers,
            api_key=api_key,
        )
        super().__init__(server, replicas=replicas, ready_timeout_s=ready_timeout_s)
