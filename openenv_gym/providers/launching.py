"""From a source to a server: the provider of each kind, and servers that live as long as their user."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from openenv_gym.errors import (
    ConfigurationError,
    EndpointUnreachableError,
    OpenEnvError,
    RemoteEnvironmentError,
    ServerEndedError,
    SessionLostError,
)
from openenv_gym.providers.explaining import add_log, server_ended
from openenv_gym.providers.options import refuse_unknown_options
from openenv_gym.providers.provider import Provider, at_least_one
from openenv_gym.providers.running import RunningProvider
from openenv_gym.sources import Kind, Source

# A server has as many sessions where it is not told otherwise.
_DEFAULT_SESSIONS = 64
# What `openenv serve` serves, in a process here or on a node of a Ray cluster.
_SERVED_BY_COMMAND: tuple[Kind, ...] = ("path", "gym", "app")

Options = Mapping[str, Any]


def provider_of(
    source: Source,
    sessions: int = 1,
    *,
    replicas: int = 1,
    provider: str | None = None,
    options: Options | None = None,
    api_key: str | None = None,
) -> Provider:
    """The provider of a source.

    Args:
        source: Where the servers come from.
        sessions: How many sessions are wanted, of all servers together.
        replicas: How many servers; where one of several dies, the others have room for its sessions.
        provider: "ray" serves a folder, a Gymnasium id or an application on a Ray cluster; None is what goes
            with the source.
        options: Further keywords of the provider: those of `ProcessProvider` for a folder, a Gymnasium id
            and an application, of `DockerProvider` for an image, of `HubProvider` for a Space, of
            `RayProvider` with Ray.
        api_key: The key that servers which are started ask for, as in `ProcessProvider`.

    Raises:
        ConfigurationError: The options or the provider do not go with the source.
    """
    given = dict(options or {})
    if source.kind == "base_url":
        if given or replicas != 1 or provider is not None:
            raise ConfigurationError(
                f"{source.value} runs already, so there are no replicas=, provider= and provider_options= "
                "for it"
            )
        return RunningProvider(source.value)
    refuse_unknown_options(given, source.kind, provider)
    given["api_key"] = api_key
    if at_least_one(replicas) > 1:
        given["replicas"] = replicas
    each = -(-sessions // max(replicas - 1, 1))
    make = _PROVIDERS[source.kind]
    if provider is not None:
        if provider != "ray" or source.kind not in _ON_RAY:
            raise ConfigurationError(
                'provider= is "ray" or left out, and goes with path=, gym= and app=, '
                f"not {provider!r} with {source.kind}="
            )
        make = _ON_RAY[source.kind]
    try:
        return make(source.value, each if each > _DEFAULT_SESSIONS else None, given)
    except TypeError as error:
        raise ConfigurationError(f"provider_options= of the {source.kind} {source.value}: {error}") from error


def _in_processes(kind: Kind, value: str, sessions: int | None, options: dict[str, Any]) -> Provider:
    from openenv_gym.providers.process import ProcessProvider

    return ProcessProvider(**{kind: value, "max_sessions": sessions, **options})


def _on_ray(kind: Kind, value: str, sessions: int | None, options: dict[str, Any]) -> Provider:
    from openenv_gym.providers.ray import RayProvider

    return RayProvider(**{kind: value, "max_sessions": sessions, **options})


def _from_image(image: str, sessions: int | None, options: dict[str, Any]) -> Provider:
    from openenv_gym.providers.docker import DockerProvider

    return DockerProvider(image, **_with_room(sessions, options))


def _from_space(space: str, sessions: int | None, options: dict[str, Any]) -> Provider:
    from openenv_gym.providers.hub import HubProvider

    match options.get("mode"):
        case "local":
            options = {"max_sessions": sessions, **options}
        case "docker":
            options = _with_room(sessions, options)
    return HubProvider(space, **options)


def _with_room(sessions: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """Options of a container, with a variable for its number of sessions, where the user has named none."""
    if sessions is None:
        return options
    return {**options, "env_vars": {"MAX_CONCURRENT_ENVS": str(sessions), **(options.get("env_vars") or {})}}


# Makes the provider of a source, given its value, the sessions of each server where they are more than a
# server has by itself, and the user's options. (A base URL has none.)
_PROVIDERS: dict[Kind, Callable[[str, int | None, dict[str, Any]], Provider]] = {
    **{kind: partial(_in_processes, kind) for kind in _SERVED_BY_COMMAND},
    "image": _from_image,
    "space": _from_space,
}
_ON_RAY = {kind: partial(_on_ray, kind) for kind in _SERVED_BY_COMMAND}


class Launch:
    """Servers that run until `stop`; at the latest until this object is gone, or the interpreter ends.

    Args:
        provider: What starts them.

    Attributes:
        endpoints: Their base URLs.
        addresses: What tells them as they are now.
        headers: What each request to them has to have.

    Raises:
        OpenEnvError: They did not come up; nothing of them is left.
    """

    def __init__(self, provider: Provider) -> None:
        self.endpoints = provider.launch()
        self.addresses = provider.addresses
        self.headers = dict(provider.headers)
        self._provider, self._pid = provider, os.getpid()
        self._stop = partial(_stop_in_its_process, provider, self._pid)
        self._finalizer = weakref.finalize(self, self._stop)

    @property
    def base_url(self) -> str:
        """The first server's base URL."""
        return self.endpoints[0]

    def add_log(self, error: RemoteEnvironmentError) -> None:
        """Adds the end of the server's log to an error, as `explaining.add_log` does."""
        if os.getpid() == self._pid:
            add_log(self._provider, error)

    def explain(self, error: OpenEnvError) -> None:
        """Adds to an error of a session what is known of its server; the caller raises it again.

        Raises:
            ServerEndedError: The server has ended, which says more than the error does.
        """
        if isinstance(error, RemoteEnvironmentError):
            self.add_log(error)
            return
        if not isinstance(error, SessionLostError | EndpointUnreachableError) or os.getpid() != self._pid:
            return
        if not isinstance(error, ServerEndedError) and (ended := server_ended(self._provider, error)):
            raise ended from error

    def stop(self) -> None:
        """Stops what was started. Safe to call again, also where it failed."""
        self._stop()
        self._finalizer.detach()


def _stop_in_its_process(provider: Provider, pid: int) -> None:
    # A fork has a copy of the object, and the servers are not its own.
    if os.getpid() == pid:
        provider.stop()
