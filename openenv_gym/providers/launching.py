"""From a source to a server: the provider of each kind, and a server that lives as long as its user."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import NoReturn, Protocol

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.sources import Kind, Source

# A server has as many sessions where it is not told otherwise.
_DEFAULT_SESSIONS = 64


class Provider(Protocol):
    """What every provider has."""

    def start(self) -> str:
        """Starts the server and waits until it is up; returns its base URL.

        Raises:
            OpenEnvError: It did not come up; nothing of it is left.
        """

    def stop(self) -> None:
        """Stops the server. Safe to call again."""


def _from_path(path: str, sessions: int) -> Provider:
    return ProcessProvider(path, max_sessions=sessions if sessions > _DEFAULT_SESSIONS else None)


def _from_image(image: str, sessions: int) -> NoReturn:
    raise ConfigurationError(
        f"The image {image} is not started from here yet. Start it, "
        f"docker run --rm -p 8000:8000 {image}, and name its address: base_url='http://localhost:8000', or "
        "openenv register NAME --url http://localhost:8000 --force"
    )


def _from_space(space: str, sessions: int) -> NoReturn:
    host = space.replace("/", "-").replace("_", "-").replace(".", "-").lower()
    raise ConfigurationError(
        f"The Space {space} is not looked up from here yet. Where it is public, name its address: "
        f"base_url='https://{host}.hf.space', or openenv register NAME --url https://{host}.hf.space --force"
    )


# Makes the provider of a source, given its value and the sessions that are wanted. (A base URL has none.)
_PROVIDERS: dict[Kind, Callable[[str, int], Provider]] = {
    "path": _from_path,
    "image": _from_image,
    "space": _from_space,
}


class Launch:
    """The server of a source, started where it does not run yet.

    What was started here is stopped by `stop`; at the latest when this object is gone, or the interpreter
    ends.

    Args:
        source: Where the server comes from.
        sessions: How many sessions are wanted.

    Attributes:
        base_url: The server's address.

    Raises:
        OpenEnvError: It did not come up; nothing of it is left.
    """

    def __init__(self, source: Source, sessions: int = 1) -> None:
        self._finalizer: Callable[[], object] | None = None
        if source.kind == "base_url":
            self.base_url = source.value
            return
        provider = _PROVIDERS[source.kind](source.value, sessions)
        self.base_url = provider.start()
        self._finalizer = weakref.finalize(self, _stop_in_its_process, provider, os.getpid())

    def stop(self) -> None:
        """Stops what was started. Safe to call again."""
        if self._finalizer is not None:
            self._finalizer()


def _stop_in_its_process(provider: Provider, pid: int) -> None:
    # A fork has a copy of the object, and the server is not its own.
    if os.getpid() == pid:
        provider.stop()
