"""Servers in containers of the Docker engine on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.engine import LABEL, connect, published_url, remove, said_plainly
from openenv_gym.providers.provider import Provider

if TYPE_CHECKING:
    from docker.models.containers import Container

_LOG_LINES = 50
_NANO = 10**9


class DockerProvider(Provider):
    """Runs an image; its port is published on loopback only.

    The containers carry labels, by which ``openenv ps`` finds them and ``openenv stop`` removes them, also
    after a run that crashed.

    Args:
        image: The image, ``openenv-my-env:latest``. It is pulled where it is not here.
        env_vars: Variables for the server.
        port: The port on which the server listens inside the container.
        memory: The most memory, as Docker writes it: ``512m``, ``2g``.
        cpus: The most processors, ``1.5`` say.
        network: A Docker network to join instead of the default one.
        volumes: Folders to mount: from a path here to a path inside.
        replicas: How many containers.
        ready_timeout_s: The time for the servers to be ready, in seconds, without the time to pull.

    Example:
        >>> with DockerProvider("openenv-my-env:latest") as provider:
        ...     env = gymnasium.make("openenv/remote", base_url=provider.base_url)
    """

    def __init__(
        self,
        image: str,
        *,
        env_vars: Mapping[str, str] | None = None,
        port: int = 8000,
        memory: str | None = None,
        cpus: float | None = None,
        network: str | None = None,
        volumes: Mapping[str, str] | None = None,
        replicas: int = 1,
        ready_timeout_s: float = 60.0,
    ) -> None:
        self.image = image
        self.ready_timeout_s = ready_timeout_s
        self._replicas = replicas
        self._port = port
        self._options: dict[str, Any] = {
            "environment": dict(env_vars or {}),
            "ports": {f"{port}/tcp": ("127.0.0.1", None)},
            "labels": {LABEL: image, "openenv.pid": str(os.getpid())},
            "volumes": {source: {"bind": target, "mode": "rw"} for source, target in (volumes or {}).items()},
        }
        if memory is not None:
            self._options["mem_limit"] = memory
        if cpus is not None:
            self._options["nano_cpus"] = int(cpus * _NANO)
        if network is not None:
            self._options["network"] = network
        self._containers: list[Container] = []

    def start(self) -> tuple[str, ...]:
        engine = connect()
        with said_plainly():
            for _ in range(self._replicas):
                container = engine.containers.create(self.image, detach=True, **self._options)
                # Known before it runs: whatever comes now, `stop` removes it.
                self._containers.append(container)
                container.start()
        for container in self._containers:
            container.reload()
        self.check()
        self.endpoints = tuple(published_url(container) for container in self._containers)
        return self.endpoints

    def check(self) -> None:
        for container in self._containers:
            with said_plainly():
                container.reload()
            if container.status not in ("created", "running"):
                state = container.attrs["State"]
                raise ConfigurationError(
                    f"The container {container.name} of {self.image} is {container.status}, "
                    f"with the exit code {state.get('ExitCode')}. Its last words:\n{self.logs()}"
                )

    def logs(self) -> str:
        with said_plainly():
            return "".join(
                container.logs(tail=_LOG_LINES).decode(errors="replace") for container in self._containers
            )

    def stop(self) -> None:
        containers, self._containers = self._containers, []
        self.endpoints = ()
        for container in containers:
            assert container.client is not None
            remove(container.client, str(container.name))
