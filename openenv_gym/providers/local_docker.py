"""Containers on this machine, with the published package's interface."""

from __future__ import annotations

import shlex
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from openenv_gym.errors import ProviderError
from openenv_gym.providers.docker import DockerProvider, checked_memory, nano_cpus, new_name
from openenv_gym.providers.engine import connect, docker_errors
from openenv_gym.providers.provider import at_least_one
from openenv_gym.providers.runtime import READY_TIMEOUT_S, ContainerProvider, provider_errors, warn_of_ignored

_SERVER_PORT = 8000


class LocalDockerProvider(ContainerProvider):
    """Runs a container on this machine's Docker engine; its port is published on loopback only.

    The container runs until `stop_container`. If a program ends without that, ``openenv ps`` shows the
    container and ``openenv stop`` removes it.

    Raises:
        ProviderError: No engine responds, or the docker package is not installed. Also a RuntimeError.

    Example:
        >>> provider = LocalDockerProvider()
        >>> base_url = provider.start_container("openenv-my-env:latest", env_vars={"LEVEL": "3"})
        >>> provider.wait_for_ready(base_url)
        >>> provider.stop_container()
    """

    def __init__(self) -> None:
        # Subclasses that start a container themselves set these two.
        self._container_id: str | None = None
        self._container_name: str | None = None
        with provider_errors():
            connect().close()

    def start_container(
        self, image: str, port: int | None = None, env_vars: dict[str, str] | None = None, **kwargs: Any
    ) -> str:
        """Start a container; an image that is missing is pulled first.

        Args:
            image: The image. Its server listens on port 8000.
            port: The port on this machine; a free one if None.
            env_vars: The server's environment variables.
            **kwargs: Options of `DockerProvider`, such as ``memory="2g"``. Others are ignored, with a warning
                in the log.

        Raises:
            ProviderError: The container cannot be started, or one runs already.
        """
        if self._container_id is not None:
            raise ProviderError(
                f"This provider runs the container {self._container_name} already.",
                advice="Stop it with stop_container(), or use another provider.",
            )
        known = DockerProvider.option_names(kwargs) or []
        options = {name: value for name, value in kwargs.items() if name in known}
        warn_of_ignored("LocalDockerProvider", kwargs.keys() - options.keys())
        with provider_errors():
            docker = DockerProvider(image, env_vars=env_vars, host_port=port, **options)
            try:
                (base_url,) = docker.start()
            except BaseException:
                docker.stop()
                raise
        (self._container_name,) = docker.names
        self._container_id = self._container_name
        docker.disconnect()
        return base_url

    def stop_container(self) -> None:
        """Stop the container, and remove it. Safe to call again."""
        if self._container_id is not None:
            with provider_errors():
                DockerProvider.of_containers([self._container_id]).stop()
            self._container_id = self._container_name = None

    def wait_for_ready(self, base_url: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the server responds.

        Raises:
            DeadlineExceededError: It took too long; the message has its last log lines. Also a TimeoutError.
            ProviderError: The container has ended.
        """
        started = [self._container_id] if self._container_id else []
        with provider_errors():
            docker = DockerProvider.of_containers(started, (base_url,))
            try:
                docker.wait_ready(timeout_s)
            finally:
                docker.disconnect()

    # Subclasses that start a container themselves call these two.

    def _find_available_port(self) -> int:
        return _free_port()

    def _generate_container_name(self, image: str) -> str:
        return new_name(image)


class DockerSwarmProvider(ContainerProvider):
    """Runs several containers of an image as a service of Docker Swarm, at one address.

    A session stays with the container that it was opened on. Swarm publishes the port for other machines too,
    which `LocalDockerProvider` does not.

    Args:
        auto_init_swarm: Whether to make this machine's engine a swarm if it is none.
        overlay_network: A network for the containers; it is created if it is missing.

    Raises:
        ProviderError: No engine responds, the docker package is not installed, or the engine is no swarm.
            Also a RuntimeError.
    """

    def __init__(self, *, auto_init_swarm: bool = True, overlay_network: str | None = None) -> None:
        self._network = overlay_network
        self._service_name: str | None = None
        with provider_errors(), closing(connect()) as engine, docker_errors():
            if engine.info()["Swarm"]["LocalNodeState"] != "active":
                if not auto_init_swarm:
                    raise ProviderError(
                        "The Docker engine is no swarm.",
                        advice="Run: docker swarm init, or pass auto_init_swarm=True.",
                    )
                engine.swarm.init()
            if overlay_network is not None and not engine.networks.list(names=[overlay_network]):
                engine.networks.create(overlay_network, driver="overlay", attachable=True)

    def start_container(
        self,
        image: str,
        port: int | None = None,
        env_vars: dict[str, str] | None = None,
        *,
        replicas: int = 2,
        cpu_limit: float | str | None = None,
        memory_limit: str | None = None,
        constraints: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        command: str | Sequence[str] | None = None,
        **kwargs: Any,
    ) -> str:
        """Start the service.

        Args:
            image: The image. Its server listens on port 8000.
            port: The port on this machine; a free one if None.
            env_vars: The servers' environment variables.
            replicas: How many containers.
            cpu_limit: The CPU limit of each, such as ``1.5``.
            memory_limit: The memory limit of each, in Docker's notation: ``512m``, ``2g``.
            constraints: Which nodes of the swarm may run them, ``["node.role == worker"]``.
            labels: Labels of the service.
            command: What to run instead of the image's command.
            **kwargs: Ignored, with a warning in the log.

        Raises:
            ProviderError: The service cannot be started, or one runs already.
        """
        if self._service_name is not None:
            raise ProviderError(
                f"This provider runs the service {self._service_name} already.",
                advice="Stop it with stop_container(), or use another provider.",
            )
        warn_of_ignored("DockerSwarmProvider", kwargs)
        from docker.types import EndpointSpec, Resources, ServiceMode
        from docker.utils import parse_bytes

        port = _free_port() if port is None else port
        ports: Any = {port: _SERVER_PORT}  # the stubs have them the other way round
        with provider_errors(), closing(connect()) as engine, docker_errors():
            limits = Resources(
                cpu_limit=None if cpu_limit is None else nano_cpus(float(cpu_limit)),
                mem_limit=None if memory_limit is None else int(parse_bytes(checked_memory(memory_limit))),
            )
            services: Any = engine.services  # without stubs
            service = services.create(
                image,
                name=new_name(image),
                mode=ServiceMode("replicated", replicas=at_least_one(replicas)),
                endpoint_spec=EndpointSpec(ports=ports),
                env=[f"{name}={value}" for name, value in (env_vars or {}).items()],
                labels=dict(labels or {}),
                constraints=list(constraints or ()),
                networks=[self._network] if self._network else [],
                resources=limits,
                args=shlex.split(command) if isinstance(command, str) else list(command or ()) or None,
            )
            self._service_name = service.name
        return f"http://127.0.0.1:{port}"

    def stop_container(self) -> None:
        """Remove the service; the engine stays a swarm. Safe to call again."""
        if self._service_name is None:
            return
        with provider_errors(), closing(connect()) as engine:
            import docker.errors

            with docker_errors(), suppress(docker.errors.NotFound):
                services: Any = engine.services
                services.get(self._service_name).remove()
        self._service_name = None

    def wait_for_ready(self, base_url: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until one of the servers responds.

        Raises:
            DeadlineExceededError: It took too long. Also a TimeoutError.
        """
        with provider_errors():
            docker = DockerProvider.of_containers([], (base_url,))
            try:
                docker.wait_ready(timeout_s)
            finally:
                docker.disconnect()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
