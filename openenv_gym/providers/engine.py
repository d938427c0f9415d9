"""The Docker engine of this machine, as the providers use it."""

from __future__ import annotations

import contextlib
import http
import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openenv_gym.errors import ConfigurationError, DockerError, MissingExtraError, OpenEnvError
from openenv_gym.known import is_running
from openenv_gym.providers.progress import tell
from openenv_gym.providers.stopping import stop_timeout_s

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

# What is started here carries these labels, so that a crashed run's containers are found.
_IMAGE, _PID, _HOST = "openenv.image", "openenv.pid", "openenv.host"
_MEGABYTE = 10**6


@dataclass(frozen=True)
class Started:
    """A container that a provider started.

    Attributes:
        name: Its name.
        image: Its image.
        base_url: Where its server answers; "" where it does not run.
        status: What Docker says of it: ``running``, ``exited``, …
        host: The machine of the process that started it.
        pid: That process.
        is_orphan: Whether that process is gone, as far as this machine can say.
    """

    name: str
    image: str
    base_url: str
    status: str
    host: str
    pid: int

    @property
    def is_orphan(self) -> bool:
        return self.host == socket.gethostname() and not is_running(self.pid)


def labels_of(image: str) -> dict[str, str]:
    """The labels of a container that this process starts."""
    return {_IMAGE: image, _PID: str(os.getpid()), _HOST: socket.gethostname()}


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
        engine = docker.from_env() if "DOCKER_HOST" in os.environ else _of_context()
        engine.ping()
    return engine


def _of_context() -> docker.DockerClient:
    """The engine of ``DOCKER_CONTEXT``, else of the current ``docker context``."""
    import docker

    name = os.environ.get("DOCKER_CONTEXT")
    context = docker.ContextAPI.get_context(name) if name else docker.ContextAPI.get_current_context()
    if context is None:
        raise ConfigurationError(
            f"There is no Docker context {name or 'that is the current one'}: `docker context ls` lists "
            "those that there are, and `docker context use NAME` chooses one."
        )
    return docker.DockerClient(base_url=context.Host, tls=context.TLSConfig or False)


@contextlib.contextmanager
def said_plainly() -> Iterator[None]:
    """Turns the engine's errors into ours."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.NotFound as error:
        raise DockerError(f"Docker does not find it: {error.explanation}") from error
    except docker.errors.APIError as error:
        raise ConfigurationError(f"Docker refused: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        if "PermissionError" in str(error):
            raise ConfigurationError(
                "This user may not use the Docker engine. Add it to the group docker: "
                "sudo usermod -aG docker $USER, then log in anew."
            ) from error
        raise ConfigurationError(
            f"No Docker engine answers ({error}). Start Docker Desktop, or install Docker Engine "
            "(Debian and Ubuntu: apt-get install docker.io) and start it; DOCKER_HOST says where it listens."
        ) from error


def pulled(engine: docker.DockerClient, image: str) -> None:
    """Pulls an image that is not here, and shows how far that is.

    Raises:
        ConfigurationError: It cannot be pulled.
    """
    import docker.errors

    with said_plainly():
        try:
            engine.images.get(image)
        except docker.errors.ImageNotFound:
            _pull(engine, image)


def _pull(engine: docker.DockerClient, image: str) -> None:
    import docker.errors
    from docker.utils import parse_repository_tag

    tell(f"Pulling {image}…")
    repository, tag = parse_repository_tag(image)
    layers: dict[str, tuple[int, int]] = {}
    try:
        with contextlib.closing(
            engine.api.pull(repository, tag or "latest", stream=True, decode=True)
        ) as news:
            for entry in news:
                if "error" in entry:
                    raise _not_pulled(image, entry["error"])
                if entry.get("status") == "Downloading" and (detail := entry.get("progressDetail")):
                    layers[entry["id"]] = detail.get("current", 0), detail.get("total", 0)
                    done, total = (sum(numbers) for numbers in zip(*layers.values(), strict=True))
                    text = f"Pulling {image}: {done / _MEGABYTE:.0f} of {total / _MEGABYTE:.0f} MB"
                    tell(text, done, total or None)
    except docker.errors.APIError as error:
        raise _not_pulled(image, error.explanation or error) from error


def _not_pulled(image: str, reason: object) -> ConfigurationError:
    return ConfigurationError(
        f"The image {image} is not here, and cannot be pulled: {reason}. `openenv build` builds an "
        "environment's, `docker images` lists those that there are, and `docker login` is for a registry "
        "that asks who you are."
    )


def started_containers(engine: docker.DockerClient) -> list[Started]:
    """All containers that providers started on this engine, also those of runs that crashed."""
    with said_plainly():
        found = engine.containers.list(all=True, filters={"label": _IMAGE}, ignore_removed=True)
        return [_describe(container) for container in found]


def remove(engine: docker.DockerClient, names: Sequence[str]) -> None:
    """Stops and removes containers, as `each_removed` does.

    Raises:
        OpenEnvError: Some could not be removed; all others were.
    """
    failures = [failure for _, failure in each_removed(engine, names) if failure is not None]
    if failures:
        raise failures[-1]


def each_removed(
    engine: docker.DockerClient, names: Sequence[str]
) -> Iterator[tuple[str, OpenEnvError | None]]:
    """Stops containers, beside each other, and removes them; one that is gone already is no failure.

    In this thread alone: where the interpreter ends, there are no new ones.

    Returns:
        Each name once its container is gone, with None; or cannot be removed, with the reason.
    """
    asked_at = time.monotonic()
    for name in names:
        with contextlib.suppress(OpenEnvError), said_plainly():  # its removal says it
            _ask_to_end(engine, name)
    for name in names:
        try:
            with said_plainly():
                _remove(engine, name, asked_at)
        except OpenEnvError as failure:
            yield name, failure
        else:
            yield name, None


def _ask_to_end(engine: docker.DockerClient, name: str) -> None:
    import docker.errors

    # It is gone, or has ended; what else is wrong, its removal says.
    with contextlib.suppress(docker.errors.APIError):
        container = engine.containers.get(name)
        container.kill(signal=container.attrs["Config"].get("StopSignal") or "SIGTERM")


def _remove(engine: docker.DockerClient, name: str, asked_at: float) -> None:
    import docker.errors
    import requests

    with contextlib.suppress(docker.errors.NotFound):
        container = engine.containers.get(name)
        variables = dict(entry.partition("=")[::2] for entry in container.attrs["Config"]["Env"] or ())
        left_s = asked_at + stop_timeout_s(variables) - time.monotonic()
        # It takes too long, which comes as either of the two; then it is killed.
        with contextlib.suppress(requests.exceptions.Timeout, requests.exceptions.ConnectionError):
            container.wait(timeout=max(0.1, left_s))
        try:
            container.remove(force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code != http.HTTPStatus.CONFLICT:  # another one removes it already
                raise


def published_url(container: Container) -> str:
    """Where a container's only published port is, on loopback; "" where it has none."""
    ports: dict[str, Any] = container.ports or {}
    bound = [binding for bindings in ports.values() for binding in bindings or ()]
    return f"http://127.0.0.1:{bound[0]['HostPort']}" if bound else ""


def _describe(container: Container) -> Started:
    labels = container.labels
    return Started(
        name=str(container.name),
        image=labels[_IMAGE],
        base_url=published_url(container),
        status=str(container.status),
        host=labels.get(_HOST, ""),
        pid=int(labels.get(_PID, 0)),
    )
