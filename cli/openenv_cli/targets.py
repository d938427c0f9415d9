"""What a command is pointed at: a server's URL, a name that is known here, or an environment's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openenv_gym.known import KnownServer
    from openenv_gym.providers.launching import Launch
    from openenv_gym.sources import Source
    from openenv_gym.transport.endpoint import Endpoint

_NAMESPACE = "openenv/"


def known_here() -> list[KnownServer]:
    """Every name that this machine knows; what cannot be read is said on standard error."""
    from openenv_cli.messages import say
    from openenv_gym.known import known_servers

    problems: list[str] = []
    servers = known_servers(problems)
    for problem in problems:
        say("Warning", problem)
    return servers


def source_of(target: str) -> Source:
    """Where the server of a command's argument comes from.

    Raises:
        UnknownNameError: It is no URL, no known name, and no folder.
        ConfigurationError: It is a path, and no environment's folder is there.
    """
    from openenv_gym.errors import UnknownNameError
    from openenv_gym.sources import Source

    if "://" in target:
        return Source("base_url", target)
    folder = Path(target)
    is_path = os.sep in target.removeprefix(_NAMESPACE) or target.startswith(".")
    names: dict[str, Source] = {}
    if not is_path:
        names = {server.name: server.source for server in known_here()}
        canonical = target.removeprefix(_NAMESPACE).replace("_", "-")
        if canonical in names:
            return names[canonical]
    if is_path or folder.is_dir():
        from openenv_server.manifest import read_manifest

        read_manifest(folder.resolve())
        return Source("path", str(folder.resolve()))
    known = ", ".join(names) or "none"
    raise UnknownNameError(
        f"There is no environment {target} here: no folder, and no name that is known. Known are: {known}. "
        f"A server elsewhere is named by its URL, http://localhost:8000, or once and for all: "
        f"openenv register {target} --url http://…"
    )


@contextmanager
def launched(target: str) -> Iterator[Launch]:
    """The server of a command's argument; one that has to be started is stopped at the end.

    An error of the environment that leaves the block has the end of the server's log.

    Raises:
        OpenEnvError: As `source_of`; or the server does not start.
    """
    from openenv_gym.errors import RemoteEnvironmentError
    from openenv_gym.providers.launching import Launch, provider_of

    launch = Launch(provider_of(source_of(target)))
    try:
        yield launch
    except RemoteEnvironmentError as error:
        launch.add_log(error)
        raise
    finally:
        launch.stop()


@contextmanager
def opened(target: str) -> Iterator[Endpoint]:
    """The endpoint of a command's argument; otherwise as `launched`."""
    with launched(target) as launch:
        yield endpoint_of(launch)


def endpoint_of(launch: Launch) -> Endpoint:
    """The endpoint of a server.

    Raises:
        InvalidEndpointError: Its base URL is none.
    """
    from openenv_gym.transport.endpoint import Endpoint

    return Endpoint.parse(launch.base_url, headers=launch.headers)
