"""Validates a folder or a URL: all checks, in their order."""

from __future__ import annotations

import time
from importlib.metadata import version
from pathlib import Path

from openenv_cli.validation.capacity_checks import CAPACITY_CHECKS
from openenv_cli.validation.check import Listener, Progress
from openenv_cli.validation.container import (
    IMAGE_CHECKS,
    IMAGE_STOP_CHECKS,
    Image,
    in_container,
    why_no_engine,
)
from openenv_cli.validation.docker_files import DOCKER_FILE_CHECKS
from openenv_cli.validation.files import FILE_CHECKS
from openenv_cli.validation.folder import Folder
from openenv_cli.validation.gymnasium_check import GYMNASIUM_CHECKS
from openenv_cli.validation.modes import MODE_CHECKS, Trial, modes_of
from openenv_cli.validation.report import Level, Mode, Outcome, Report
from openenv_cli.validation.routes import ROUTE_CHECKS
from openenv_cli.validation.server import START_CHECKS, STOP_CHECKS, Server
from openenv_cli.validation.session_checks import SESSION_CHECKS
from openenv_gym.errors import ConfigurationError, NotAnOpenEnvServerError
from openenv_gym.sources import MANIFEST

DEFAULT_TIMEOUT_S = 60.0

STATIC_CHECKS = (*FILE_CHECKS, *DOCKER_FILE_CHECKS)
SERVER_CHECKS = (
    *ROUTE_CHECKS,
    *SESSION_CHECKS,
    *CAPACITY_CHECKS,
    *GYMNASIUM_CHECKS,
)
CONTAINER_CHECKS = (*IMAGE_CHECKS, *in_container(SERVER_CHECKS), *IMAGE_STOP_CHECKS)


def validate_folder(
    path: Path, listener: Listener, *, level: Level | None = None, timeout_s: float = DEFAULT_TIMEOUT_S
) -> Report:
    """Validates an environment's folder.

    Args:
        path: The folder with ``openenv.yaml``.
        listener: Is told how it goes.
        level: How far to go; as far as can be gone here where it is left out.
        timeout_s: The time for each start of a server, and for each answer, in seconds.

    Raises:
        ConfigurationError: It is no environment's folder, or the level needs what is not here.
    """
    from openenv_server.manifest import read_manifest

    begin = time.monotonic()
    folder = Folder(path)
    if not (folder.path / MANIFEST).is_file():
        read_manifest(folder.path)  # says so, and what to do
    why_not = why_no_engine() if level in (None, Level.CONTAINER) else f"only the level {level} was asked for"
    if level is Level.CONTAINER and why_not:
        raise ConfigurationError(f"--level container cannot be done here: {why_not}")
    reached = level or (Level.RUNTIME if why_not else Level.CONTAINER)
    progress = Progress(listener)
    progress.run(Level.STATIC, STATIC_CHECKS, folder)
    modes: list[Mode] = []
    if reached is not Level.STATIC:
        with Server(timeout_s, folder=folder.path) as server:
            checks = (*START_CHECKS, *SERVER_CHECKS, *STOP_CHECKS)
            progress.run(Level.RUNTIME, checks, server, words=server.new_words)
        progress.run(Level.RUNTIME, MODE_CHECKS, Trial(folder, timeout_s))
        if reached is Level.CONTAINER:
            with Image(folder, timeout_s) as image:
                progress.run(Level.CONTAINER, CONTAINER_CHECKS, image, words=image.new_words)
        modes = modes_of(progress.results, why_not)
    left_out = []
    if reached is Level.STATIC:
        left_out.append("runtime: the files alone were asked for")
    if reached is not Level.CONTAINER:
        left_out.append(f"container: {why_not}")
    name = folder.manifest.name if progress.did_pass("manifest.valid") else folder.path.name
    return _report(progress, str(folder.path), name, reached, modes, left_out, begin)


def validate_url(base_url: str, listener: Listener, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Report:
    """Validates a server that runs already.

    Args:
        base_url: Its address. Its key, where it asks for one, is that of ``OPENENV_API_KEY``.
        listener: Is told how it goes.
        timeout_s: The time for each answer, in seconds.

    Raises:
        ConfigurationError: What answers there is no OpenEnv server.
        EndpointError: There is no way to the server.
    """
    from openenv_gym.transport.http import get_schemas

    begin = time.monotonic()
    progress = Progress(listener)
    with Server(timeout_s, base_url=base_url) as server:
        try:
            get_schemas(server.endpoint, timeout_s=timeout_s)
        except NotAnOpenEnvServerError as error:
            raise ConfigurationError(str(error)) from error
        progress.run(Level.RUNTIME, SERVER_CHECKS, server)
        name = str(server.endpoint)
    left_out = ["static: a server shows no files", "container: it runs already"]
    if "routes.metadata" in progress.results and progress.did_pass("routes.metadata"):
        name = progress.results["routes.metadata"].detail.partition(":")[0]
    return _report(progress, str(server.endpoint), name, Level.RUNTIME, [], left_out, begin)


def _report(
    progress: Progress,
    target: str,
    name: str,
    level: Level,
    modes: list[Mode],
    left_out: list[str],
    begin: float,
) -> Report:
    checks = list(progress.results.values())
    return Report(
        target=target,
        name=name,
        level=level,
        passed=all(check.outcome is not Outcome.FAILED for check in checks),
        checks=checks,
        modes=modes,
        left_out=left_out,
        duration_s=round(time.monotonic() - begin, 3),
        version=version("openenv-gym"),
    )
