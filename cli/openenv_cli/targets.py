"""A command's target: a server's URL, a registered name, or an environment's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openenv_gym.errors import OpenEnvError
    from openenv_gym.naming.known import KnownServer
    from openenv_gym.providers.managed import ManagedServers
    from openenv_gym.providers.sources import Source
    from openenv_gym.transport.endpoint import Endpoint

_NAMESPACE = "openenv/"


def known_here() -> list[KnownServer]:
    """All names known on this machine. Prints a warning for each entry that cannot be read."""
    from openenv_cli.output import say
    from openenv_gym.naming.known import known_servers

    problems: list[str] = []
    servers = known_servers(problems)
    for problem in problems:
        say("Warning", problem)
    return servers


def source_of(target: str) -> Source:
    """Find the source of a target's server.

    If the target is both the name of a running server and a folder, that server counts only if it serves the
    folder.

    Raises:
        UnknownNameError: The target is neither a URL, nor a known name, nor a folder.
        ConfigurationError: The target is a path without an environment.
    """
    from openenv_gym.errors import UnknownNameError
    from openenv_gym.folder_import import is_environment_folder
    from openenv_gym.providers.sources import Source

    if "://" in target:
        return Source("base_url", target)
    folder = Path(target)
    is_path = os.sep in target.removeprefix(_NAMESPACE) or target.startswith(".")
    names: dict[str, Source] = {}
    if not is_path:
        here = str(folder.resolve()) if is_environment_folder(folder) else None
        names = {
            server.name: server.source
            for server in known_here()
            if here is None or server.serves in (None, here)
        }
        canonical = target.removeprefix(_NAMESPACE).replace("_", "-")
        if canonical in names:
            return names[canonical]
    if is_path or folder.is_dir():
        from openenv_server.manifest import read_manifest

        read_manifest(folder.resolve())
        return Source("path", str(folder.resolve()))
    raise UnknownNameError(
        f"{target} is neither a known name nor a folder. Known names: {', '.join(names) or 'none'}.",
        advice="Pass a server's URL, such as http://localhost:8000, or register the name: "
        f"openenv register {target} --url http://…",
    )


@dataclass
class Target:
    """A target's server.

    Attributes:
        base_url: Its address.
        headers: Headers that every request to it needs.
        servers: What was started for the command; None if the server was already running.
    """

    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    servers: ManagedServers | None = None

    @property
    def endpoint(self) -> Endpoint:
        """Its endpoint.

        Raises:
            InvalidEndpointError: The base URL is malformed.
        """
        return self.endpoint_with(None)

    def endpoint_with(self, api_key: str | None) -> Endpoint:
        """Return its endpoint with a key; None is the key of the environment variable, if it is set.

        Raises:
            InvalidEndpointError: The base URL is malformed.
        """
        from openenv_gym.transport.endpoint import Endpoint

        is_direct = self.servers is not None and self.servers.is_direct
        return Endpoint.parse(self.base_url, api_key=api_key, headers=self.headers, is_direct=is_direct)

    def explain(self, error: OpenEnvError) -> None:
        """Add the end of the server's log to an error, as `ManagedServers.explain` does."""
        if self.servers is not None:
            self.servers.explain(error)


@contextmanager
def launched(target: str) -> Iterator[Target]:
    """Provide a target's server, and stop it at the end if it was started for this.

    If an error of the environment leaves the block, the end of the server's log is added to it.

    Raises:
        OpenEnvError: As `source_of`, or the server does not start.
    """
    from openenv_gym.errors import RemoteEnvironmentError
    from openenv_gym.providers.managed import start_servers

    source = source_of(target)
    if source.is_address:
        yield Target(source.value)
        return
    servers = start_servers(sessions=1, sources=source.keywords)
    try:
        yield Target(servers.base_url, servers.headers, servers)
    except RemoteEnvironmentError as error:
        servers.explain(error)
        raise
    finally:
        servers.stop()
