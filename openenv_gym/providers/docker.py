"""Servers in Docker containers on this machine."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openenv_gym.errors import ConfigurationError, DockerError
from openenv_gym.providers.engine import connect, docker_errors, labels_of, published_url, pull, remove
from openenv_gym.providers.provider import Provider, at_least_one
from openenv_gym.transport.credentials import key_to_ask_for
from openenv_gym.wire import bearer

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

_LOG_LINES = 50
_NANO = 10**9
_MEMORY = re.compile(r"\d+(\.\d+)?([bkmgt]b?)?", re.IGNORECASE)


class DockerProvider(Provider):
    """Runs an image; its port is published on loopback only.

    The containers carry labels, so that ``openenv ps`` finds them and ``openenv stop`` removes them, even
    after a run that crashed.

    Args:
        image: The image, ``openenv-my-env:latest``. It is pulled if the engine does not have it.
        env_vars: Environment variables of the server.
        port: The port that the server listens on inside the container.
        host_port: The port on this machine; a free one by default.
        memory: The memory limit in Docker's notation: ``512m``, ``2g``.
        cpus: The CPU limit, such as ``1.5``.
        network: A Docker network to join instead of the default one.
        volumes: Folders and files to mount: from a path here to a path inside.
        max_sessions: The most concurrent sessions of each container; the server's default if None. It is the
            variable ``MAX_CONCURRENT_ENVS``, unless ``env_vars`` has that.
        replicas: How many containers.
        api_key: As in `ProcessProvider`. In each container it is the variable ``OPENENV_API_KEY``, unless
            ``env_vars`` has that.
        ready_timeout_s: The time for the servers to become ready, in seconds, without the time to pull.

    Raises:
        ConfigurationError: An option is malformed, a path of ``volumes`` does not exist, or the key is
            malformed.

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
        host_port: int | None = None,
        memory: str | None = None,
        cpus: float | None = None,
        network: str | None = None,
        volumes: Mapping[str, str] | None = None,
        max_sessions: int | None = None,
        replicas: int = 1,
        api_key: str | None = None,
        ready_timeout_s: float = 60.0,
    ) -> None:
        self.image = image
        self.ready_timeout_s = ready_timeout_s
        self._replicas = at_least_one(replicas)
        variables = {}
        if key := key_to_ask_for(api_key):
            variables[bearer.VARIABLE] = key
        if max_sessions is not None:
            variables["MAX_CONCURRENT_ENVS"] = str(at_least_one(max_sessions, "max_sessions"))
        variables.update(_mapping(env_vars, "env_vars"))
        if network is None and bearer.VARIABLE not in variables:
            # Only this machine can reach it, which the server in the container cannot know.
            variables.setdefault("ALLOWED_HOSTS", "localhost")
        self._options: dict[str, Any] = {
            "environment": variables,
            "ports": {f"{_checked_port(port)}/tcp": ("127.0.0.1", host_port)},
            "volumes": {
                _mounted(source): {"bind": target, "mode": "rw"}
                for source, target in _mapping(volumes, "volumes").items()
            },
        }
        if memory is not None:
            self._options["mem_limit"] = checked_memory(memory)
        if cpus is not None:
            self._options["nano_cpus"] = nano_cpus(cpus)
        if network is not None:
            self._options["network"] = network
        self._engine: docker.DockerClient | None = None
        # Chosen before the containers are created, so that `stop` removes them whatever happens meanwhile.
        self._names: list[str] = []

    @classmethod
    def of_containers(cls, names: Sequence[str], endpoints: tuple[str, ...] = ()) -> DockerProvider:
        """A provider of containers that something else started, to wait for them or to stop them.

        Args:
            names: Their names or ids.
            endpoints: The base URLs of their servers.

        Raises:
            MissingExtraError: The docker package is not installed.
            ConfigurationError: No engine responds.
        """
        provider = cls("an image")
        provider._engine, provider._names, provider.endpoints = connect(), list(names), endpoints
        return provider

    def __str__(self) -> str:
        return self.image

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the containers."""
        return tuple(self._names)

    def start(self) -> tuple[str, ...]:
        self._engine = engine = connect()
        pull(engine, self.image)
        containers: list[Container] = []
        create = partial(engine.containers.create, self.image, labels=labels_of(self.image), **self._options)
        # In another thread, because Ctrl-C interrupts this one: the engine would still create the container,
        # and nobody would remove it. The end of the block waits for the thread.
        with docker_errors(), ThreadPoolExecutor(max_workers=1) as pool:
            for _ in range(self._replicas):
                self._names.append(new_name(self.image))
                container = pool.submit(create, name=self._names[-1]).result()
                container.start()
                containers.append(container)
            for container in containers:
                container.reload()
        self.check()
        self.endpoints = tuple(published_url(container) for container in containers)
        if not all(self.endpoints):
            raise ConfigurationError(
                f"The network {self._options.get('network')!r} publishes no port of {self.image} on this "
                "machine. Choose a bridge network, or leave network= out."
            )
        return self.endpoints

    def check(self) -> None:
        for name in self._names:
            if reason := self._why_ended(name):
                raise ConfigurationError(reason)

    def ended(self) -> Mapping[str, str]:
        try:
            reasons = {
                url: self._why_ended(name) for url, name in zip(self.endpoints, self._names, strict=False)
            }
        except ConfigurationError:
            return {}  # the engine does not respond, so nothing is known
        return {base_url: reason for base_url, reason in reasons.items() if reason}

    def logs(self) -> str:
        return "".join(map(self._log_of, self._names))

    def log_of(self, base_url: str) -> str:
        return self._log_of(self._names[self.endpoints.index(base_url)])

    def stop(self) -> None:
        self.endpoints = ()
        if self._engine is None:
            return
        remove(self._engine, self._names)
        self.disconnect()
        self._names = []

    def disconnect(self) -> None:
        """Close the connection to the engine, and leave the containers running: `stop` does nothing then."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _why_ended(self, name: str) -> str:
        """Why a container has ended; "" if it runs."""
        assert self._engine is not None
        try:
            with docker_errors():
                container = self._engine.containers.get(name)
        except DockerError:
            return f"The container {name} of {self.image} was removed"
        if container.status in ("created", "running"):
            return ""
        state = container.attrs["State"]
        reason = "ran out of memory: it is" if state.get("OOMKilled") else "is"
        return (
            f"The container {name} of {self.image} {reason} {container.status}, with exit code "
            f"{state.get('ExitCode')}. Last log lines:\n{self._log_of(name)}"
        )

    def _log_of(self, name: str) -> str:
        assert self._engine is not None
        with docker_errors():
            written: bytes = self._engine.containers.get(name).logs(tail=_LOG_LINES)
        return written.decode(errors="replace")


def checked_memory(memory: object) -> str | int:
    """A memory limit in Docker's notation.

    Raises:
        ConfigurationError: It is none.
    """
    if isinstance(memory, int) or (isinstance(memory, str) and _MEMORY.fullmatch(memory)):
        return memory
    raise ConfigurationError(f'memory= must be an amount such as "512m" or "2g", got {memory!r}')


def nano_cpus(cpus: object) -> int:
    """A CPU limit in billionths.

    Raises:
        ConfigurationError: It is no positive number.
    """
    if isinstance(cpus, int | float) and cpus > 0:
        return int(cpus * _NANO)
    raise ConfigurationError(f"cpus= must be a positive number such as 1.5, got {cpus!r}")


def _checked_port(port: object) -> int:
    if isinstance(port, int) and 0 < port < 2**16:
        return port
    raise ConfigurationError(f"port= must be a port inside the container, such as 8000, got {port!r}")


def _mapping(given: Mapping[str, str] | None, name: str) -> Mapping[str, str]:
    if given is None or isinstance(given, Mapping):
        return given or {}
    raise ConfigurationError(f"{name}= must be a dict, got a {type(given).__name__}")  # values may be secret


def _mounted(source: str) -> str:
    path = Path(source).expanduser().resolve()
    if not path.exists():
        # Docker would create an empty folder there, which belongs to root.
        raise ConfigurationError(f"volumes= names {source}, but {path} does not exist")
    return str(path)


def new_name(image: str) -> str:
    """A unique name for a container that tells its image."""
    last = image.rpartition("/")[2].partition("@")[0].partition(":")[0]
    return f"{re.sub(r'[^a-zA-Z0-9_.-]', '-', last)}-{secrets.token_hex(4)}"
