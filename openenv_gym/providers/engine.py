"""The Docker engine of this machine, as the providers use it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openenv_gym.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

# What is started here carries this label, so that a crashed run's containers are found.
LABEL = "openenv.image"
_STOP_TIMEOUT_S = 10


@dataclass(frozen=True)
class Started:
    """A container that a provider started.

    Attributes:
        name: Its name.
        image: Its image.
        base_url: Where its server answers; "" where it does not run.
        status: What Docker says of it: ``running``, ``exited``, …
        pid: The process that started it.
    """

    name: str
    image: str
    base_url: str
    status: str
    pid: int


def connect() -> docker.DockerClient:
    """The engine, found as the ``docker`` command finds it.

    Raises:
        MissingExtraError: The docker package is not here.
        ConfigurationError: No engine answers.
    """
    try:
        import docker
    except ModuleNotFoundError as error:
        raise MissingExtraError("Docker", "docker") from error
    with said_plainly():
        engine = docker.from_env()
        engine.ping()
    return engine


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """Turns the engine's errors into ours."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ConfigurationError(
            f"There is no such image here, nor can it be pulled: {error.explanation}. "
            "`openenv build` builds an environment's; `docker images` lists those that there are."
        ) from error
    except docker.errors.APIError as error:
        raise ConfigurationError(f"Docker refused: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise ConfigurationError(
            f"No Docker engine answers ({error}). Start Docker Desktop, or install Docker Engine "
            "(Debian and Ubuntu: apt-get install docker.io) and start it; DOCKER_HOST says where it listens."
        ) from error


def started_containers(engine: docker.DockerClient) -> list[Started]:
    """All containers that providers started on this engine, also those of runs that crashed."""
    with said_plainly():
        found = engine.containers.list(all=True, filters={"label": LABEL})
        return [_describe(container) for container in found]


def remove(engine: docker.DockerClient, name: str) -> None:
    """Stops a container and removes it; one that is gone already is no error."""
    import docker.errors

    with said_plainly(), contextlib.suppress(docker.errors.NotFound):
        container = engine.containers.get(name)
        container.stop(timeout=_STOP_TIMEOUT_S)
        container.remove(force=True, v=True)


def published_url(container: Container) -> str:
    """Where a container's only published port is, on loopback; "" where it has none."""
    ports: dict[str, Any] = container.ports or {}
    bound = [binding for bindings in ports.values() for binding in bindings or ()]
    return f"http://127.0.0.1:{bound[0]['HostPort']}" if bound else ""


def _describe(container: Container) -> Started:
    labels = container.labels
    return Started(
        name=str(container.name),
        image=labels[LABEL],
        base_url=published_url(container),
        status=str(container.status),
        pid=int(labels.get("openenv.pid", 0)),
    )
