"""The Docker engine of this machine: connect, pull images, find and remove our containers."""

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
from openenv_gym.providers.progress import tell
from openenv_gym.providers.supervised_process import is_running, stop_timeout_s

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

# Labels of every container that a provider starts, so that those of a crashed run are found.
_IMAGE, _PID, _HOST = "openenv.image", "openenv.pid", "openenv.host"
_MEGABYTE = 10**6


@dataclass(frozen=True)
class Started:
    """A container that a provider started.

    Attributes:
        name: Its name.
        image: Its image.
        base_url: Its server's address; "" if it does not run.
        status: Its status in Docker: ``running``, ``exited``, …
        host: The machine of the process that started it.
        pid: That process.
        is_orphan: Whether that process has ended, as far as this machine can tell.
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
    """The labels for a container that this process starts."""
    return {_IMAGE: image, _PID: str(os.getpid()), _HOST: socket.gethostname()}


def connect() -> docker.DockerClient:
    """Connect to the engine that the ``docker`` command would use.

    Raises:
        MissingExtraError: The docker package is not installed.
        ConfigurationError: No engine responds.
    """
    try:
        import docker
    except ModuleNotFoundError as error:
        raise MissingExtraError("Docker", "docker") from error
    with docker_errors():
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
            f"Docker has no {f'context {name!r}' if name else 'current context'}. `docker context ls` lists "
            "them, and `docker context use NAME` chooses one."
        )
    return docker.DockerClient(base_url=context.Host, tls=context.TLSConfig or False)


@contextlib.contextmanager
def docker_errors() -> Iterator[None]:
    """Translate the engine's errors into ours."""
    import docker.errors
    import requests

    try:
        yield
    except docker.errors.NotFound as error:
        raise DockerError(f"Docker cannot find it: {error.explanation}") from error
    except docker.errors.APIError as error:
        raise ConfigurationError(f"Docker refused: {error.explanation or error}") from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        if _is_caused_by(error, PermissionError):
            raise ConfigurationError(
                "This user may not use the Docker engine. Add it to the group docker: "
                "sudo usermod -aG docker $USER, then log in again."
            ) from error
        raise ConfigurationError(
            f"No Docker engine responds ({error}). Start Docker Desktop, or install Docker Engine "
            "(Debian and Ubuntu: apt-get install docker.io) and start it. DOCKER_HOST is its address."
        ) from error


def _is_caused_by(error: object, kind: type[BaseException]) -> bool:
    """Whether an error is of a kind, or wraps one: as its cause, or among its arguments, as urllib3 does."""
    if isinstance(error, kind):
        return True
    if not isinstance(error, BaseException):
        return False
    return any(_is_caused_by(wrapped, kind) for wrapped in (error.__cause__, *error.args))


def pull(engine: docker.DockerClient, image: str) -> None:
    """Pull an image that the engine does not have, and show progress.

    Raises:
        ConfigurationError: It cannot be pulled.
    """
    import docker.errors

    with docker_errors():
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
        f"The image {image} is not on this machine and cannot be pulled: {reason}. `openenv build` builds an "
        "environment's image, `docker images` lists the images here, and `docker login` is for registries "
        "that require a login."
    )


def started_containers(engine: docker.DockerClient) -> list[Started]:
    """All containers that providers started on this engine, including those of crashed runs."""
    with docker_errors():
        found = engine.containers.list(all=True, filters={"label": _IMAGE}, ignore_removed=True)
        return [_describe(container) for container in found]


def remove(engine: docker.DockerClient, names: Sequence[str]) -> None:
    """Stop and remove containers, as `each_removed` does.

    Raises:
        OpenEnvError: Some could not be removed; all others were.
    """
    failures = [failure for _, failure in each_removed(engine, names) if failure is not None]
    if failures:
        raise failures[-1]


def each_removed(
    engine: docker.DockerClient, names: Sequence[str]
) -> Iterator[tuple[str, OpenEnvError | None]]:
    """Stop containers, all at once, and remove them. A container that is gone already is no failure.

    This uses no other thread, because a thread cannot be started while the interpreter exits.

    Yields:
        Each name with None once its container is removed, or with the reason why it cannot be.
    """
    asked_at = time.monotonic()
    for name in names:
        with contextlib.suppress(OpenEnvError), docker_errors():  # its removal reports the same
            _terminate(engine, name)
    for name in names:
        try:
            with docker_errors():
                _remove(engine, name, asked_at)
        except OpenEnvError as failure:
            yield name, failure
        else:
            yield name, None


def _terminate(engine: docker.DockerClient, name: str) -> None:
    import docker.errors

    # It is gone or has ended; other problems are reported by its removal.
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
        # Either of the two means that it takes too long. Then it is killed.
        with contextlib.suppress(requests.exceptions.Timeout, requests.exceptions.ConnectionError):
            container.wait(timeout=max(0.1, left_s))
        try:
            container.remove(force=True, v=True)
        except docker.errors.APIError as error:
            if error.status_code != http.HTTPStatus.CONFLICT:  # somebody else is removing it
                raise


def published_url(container: Container) -> str:
    """The loopback address of a container's published port; "" if it has none."""
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
