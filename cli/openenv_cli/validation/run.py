"""Validate a folder or a URL: all checks, in order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from openenv_cli.validation.check import Listener, Runner
from openenv_cli.validation.dockerfile_checks import DOCKERFILE_CHECKS
from openenv_cli.validation.folder_checks import FOLDER_CHECKS, Folder
from openenv_cli.validation.image_checks import (
    IMAGE_CHECKS,
    IMAGE_STOP_CHECKS,
    Image,
    in_container,
    why_no_engine,
)
from openenv_cli.validation.mode_checks import MODE_CHECKS, Trial, modes_of, removes_what_tools_write
from openenv_cli.validation.report import Level, Mode, Outcome, Report
from openenv_cli.validation.server import Server
from openenv_cli.validation.server_checks import CAPACITY_CHECKS, ROUTE_CHECKS, START_CHECKS, STOP_CHECKS
from openenv_cli.validation.session_checks import GYMNASIUM_CHECKS, SESSION_CHECKS
from openenv_gym.errors import ConfigurationError, NotAnOpenEnvServerError
from openenv_gym.manifest import environment_folder
from openenv_gym.version import own_version

DEFAULT_TIMEOUT_S = 60.0

STATIC_CHECKS = (*FOLDER_CHECKS, *DOCKERFILE_CHECKS)
SERVER_CHECKS = (
    *ROUTE_CHECKS,
    *SESSION_CHECKS,
    *CAPACITY_CHECKS,
    *GYMNASIUM_CHECKS,
)
CONTAINER_CHECKS = (*IMAGE_CHECKS, *in_container(SERVER_CHECKS), *IMAGE_STOP_CHECKS)


def validate_folder(
    path: Path,
    listener: Listener,
    *,
    level: Level | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    skip_build: bool = False,
    exclude: Sequence[str] = (),
) -> Report:
    """Validate an environment's folder.

    Args:
        path: The folder with ``openenv.yaml``.
        listener: Follows the validation.
        level: How far to go; None for as far as possible on this machine.
        timeout_s: The timeout of each start of a server and of each response, in seconds.
        skip_build: Whether to stop before the level container.
        exclude: Patterns of files that are left out, as in a ``.gitignore``.

    Raises:
        ConfigurationError: It is not an environment's folder, or the level is not possible here.
    """
    start = time.monotonic()
    folder = Folder(environment_folder(path), exclude)
    if level not in (None, Level.CONTAINER):
        why_not = f"the requested level is {level}"
    else:
        why_not = "--skip-build was given" if skip_build else why_no_engine()
    if level is Level.CONTAINER and why_not:
        raise ConfigurationError(f"--level container is not possible here: {why_not}")
    reached = level or (Level.RUNTIME if why_not else Level.CONTAINER)
    runner = Runner(listener)
    runner.run(Level.STATIC, STATIC_CHECKS, folder)
    modes: list[Mode] = []
    if reached is not Level.STATIC:
        with removes_what_tools_write(folder.path):
            with Server(timeout_s, folder=folder.path) as server:
                checks = (*START_CHECKS, *SERVER_CHECKS, *STOP_CHECKS)
                runner.run(Level.RUNTIME, checks, server, new_log=server.new_log)
            runner.run(Level.RUNTIME, MODE_CHECKS, Trial(folder, timeout_s))
        if reached is Level.CONTAINER:
            with Image(folder, timeout_s) as image:
                runner.run(Level.CONTAINER, CONTAINER_CHECKS, image, new_log=image.new_log)
        modes = modes_of(runner.results, why_not)
    left_out = []
    if reached is Level.STATIC:
        left_out.append("runtime: the requested level is static")
    if reached is not Level.CONTAINER:
        left_out.append(f"container: {why_not}")
    name = folder.manifest.name if runner.has_passed("manifest.valid") else folder.path.name
    return _report(runner, str(folder.path), name, reached, modes, left_out, start)


def validate_url(base_url: str, listener: Listener, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> Report:
    """Validate a running server.

    Args:
        base_url: Its address. If it needs a key, ``OPENENV_API_KEY`` is used.
        listener: Follows the validation.
        timeout_s: The timeout of each response, in seconds.

    Raises:
        ConfigurationError: It is not an OpenEnv server.
        EndpointError: It cannot be reached.
    """
    from openenv_gym.transport.http import get_schemas

    start = time.monotonic()
    runner = Runner(listener)
    with Server(timeout_s, base_url=base_url) as server:
        try:
            get_schemas(server.endpoint, timeout_s=timeout_s)
        except NotAnOpenEnvServerError as error:
            raise ConfigurationError(str(error)) from error
        runner.run(Level.RUNTIME, SERVER_CHECKS, server)
        name = server.name or str(server.endpoint)
    left_out = ["static: a URL has no files", "container: the server is already running"]
    return _report(runner, str(server.endpoint), name, Level.RUNTIME, [], left_out, start)


def _report(
    runner: Runner,
    target: str,
    name: str,
    level: Level,
    modes: list[Mode],
    left_out: list[str],
    start: float,
) -> Report:
    checks = list(runner.results.values())
    return Report(
        target=target,
        name=name,
        level=level,
        passed=all(check.outcome is not Outcome.FAILED for check in checks),
        checks=checks,
        modes=modes,
        left_out=left_out,
        duration_s=round(time.monotonic() - start, 3),
        version=own_version(),
    )
