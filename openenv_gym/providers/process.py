"""Servers in processes of their own, on this machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.kept import KeptProcess
from openenv_gym.providers.provider import Provider, at_least_one
from openenv_gym.providers.server_command import ServerCommand

_LOOPBACK = "127.0.0.1"


class ProcessProvider(Provider):
    """Runs ``openenv serve`` on free loopback ports.

    A folder with a ``uv.lock`` is served by a Python with the packages that the lock names, where uv is here;
    all else by the Python that runs this. The servers end when they are stopped, and when this process ends,
    even by ``kill -9``. Ctrl-C in the terminal does not reach them.

    Args:
        path: An environment's folder, or
        gym: the id of a Gymnasium environment, or
        app: the import path of an application, ``module:attribute``.
        gym_kwargs: Keywords for the Gymnasium environment; JSON values.
        max_sessions: Sessions at a time, of each worker; the server's default where left out.
        workers: Processes that serve an address, each with as many sessions.
        replicas: How many servers, each with an address.
        api_key: The key that the servers ask for; "" for none. Left out, it is that of the variable
            `OPENENV_API_KEY`, if that is set.
        ready_timeout_s: The time for the servers to be ready, in seconds, without the time to install what
            the lock names.

    Attributes:
        server: What each of them is started with.

    Raises:
        ConfigurationError: Not exactly one of the first three was given, or there is no environment's folder,
            or no replica is wanted, or the key cannot be one.

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
        max_sessions: int | None = None,
        workers: int = 1,
        replicas: int = 1,
        api_key: str | None = None,
        ready_timeout_s: float = 60.0,
    ) -> None:
        self.server = ServerCommand(
            path,
            gym=gym,
            app=app,
            gym_kwargs=gym_kwargs,
            max_sessions=max_sessions,
            workers=workers,
            api_key=api_key,
        )
        self._replicas = at_least_one(replicas)
        self.ready_timeout_s = ready_timeout_s
        self._processes: list[KeptProcess] = []
        self._ended: list[KeptProcess] = []  # what they wrote can still be read

    def __str__(self) -> str:
        return self.server.name

    def start(self) -> tuple[str, ...]:
        command = self.server.resolve(_LOOPBACK)
        endpoints = []
        for _ in range(self._replicas):
            # Bound here, so that its address is known, whatever an environment prints.
            with socket.socket() as listening:
                listening.bind((_LOOPBACK, 0))
                words = command.words(listening.fileno())
                self._processes.append(KeptProcess(words, listening, command.environment()))
                endpoints.append(f"http://{_LOOPBACK}:{listening.getsockname()[1]}")
        self.endpoints = tuple(endpoints)
        return self.endpoints

    def check(self) -> None:
        for process in self._processes:
            if (code := process.exit_code) is not None:
                raise ConfigurationError(f"The server ended with the exit code {code}.", log=process.logs())

    def ended(self) -> Mapping[str, str]:
        return {
            base_url: f"The server ended with the exit code {code}. Its last words:\n{process.logs()}"
            for base_url, process in zip(self.endpoints, self._processes, strict=False)
            if (code := process.exit_code) is not None
        }

    def logs(self) -> str:
        return "".join(process.logs() for process in self._processes or self._ended)

    def log_of(self, base_url: str) -> str:
        return self._processes[self.endpoints.index(base_url)].logs()

    def stop(self) -> None:
        self.endpoints = ()
        for process in self._processes:
            process.ask_to_stop()
        for process in self._processes:
            process.stop()
        if self._processes:
            self._ended, self._processes = self._processes, []

    @property
    def pid(self) -> int:
        """The first server's process id.

        Raises:
            ConfigurationError: It is not started.
        """
        if not self._processes:
            raise ConfigurationError(f"The server of {self} is not started")
        return self._processes[0].pid
