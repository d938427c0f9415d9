"""What starts the server of a folder, of a Gymnasium environment or of an application."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openenv_gym.errors import ConfigurationError, MissingExtraError
from openenv_gym.providers import project
from openenv_gym.providers.provider import at_least_one
from openenv_gym.sources import environment_folder
from openenv_gym.transport.credentials import key_to_ask_for
from openenv_gym.wire import bearer

_FOLDER_SERVER = str(Path(__file__).with_name("folder_server.py"))
# Of the packages that `openenv serve` needs, those that others bring least often.
_NEEDED = ("fastapi", "typer", "uvicorn", "yaml")
# Stands in a command for the file descriptor of the server's socket.
_FD = "{listening}"


@dataclass(frozen=True)
class Resolved:
    """A command as it is on this machine.

    Attributes:
        template: Its words, with a placeholder for the socket.
        variables: Environment variables beside this process's own.
        without: Environment variables that it is not to have.
        api_key: The key that it asks for: "" for none, None for that of this process's own variable.
    """

    template: tuple[str, ...]
    variables: Mapping[str, str]
    without: frozenset[str]
    api_key: str | None = field(repr=False)

    def words(self, listening: int) -> list[str]:
        """The command for a bound socket, named by its file descriptor."""
        return [str(listening) if word == _FD else word for word in self.template]

    def environment(self) -> dict[str, str]:
        """All environment variables that the server gets."""
        kept = {name: value for name, value in os.environ.items() if name not in self.without}
        if self.api_key is not None:
            kept.pop(bearer.VARIABLE, None)  # a server takes no empty key for none
        key = {bearer.VARIABLE: self.api_key} if self.api_key else {}
        return {**kept, **key, **self.variables}


class ServerCommand:
    """How a server is started; the arguments are those of `ProcessProvider`.

    Attributes:
        name: What is served, for messages.
        variables: Environment variables that it sets.

    Raises:
        ConfigurationError: Not exactly one of the first three was given, or there is no environment's folder,
            or the key cannot be one.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        gym: str | None = None,
        app: str | None = None,
        gym_kwargs: Mapping[str, Any] | None = None,
        max_sessions: int | None = None,
        workers: int = 1,
        api_key: str | None = None,
    ) -> None:
        if sum(source is not None for source in (path, gym, app)) != 1:
            raise ConfigurationError(
                "Name one of an environment's folder, a Gymnasium id (gym=), and an application (app=)"
            )
        self.name = str(path or gym or app)
        self._folder = None if path is None else environment_folder(path)
        workers = at_least_one(workers, "workers= is a number of processes")
        if max_sessions is not None:
            at_least_one(max_sessions, "max_sessions= is a number of sessions")
        self._options = ["--workers", str(workers)] if workers > 1 else []
        if gym is not None:
            self._options += ["--gym", gym]
        if app is not None:
            self._options += ["--app", app]
        for name, value in (gym_kwargs or {}).items():
            self._options += ["--gym-kwarg", f"{name}={json.dumps(value)}"]
        self._api_key = key_to_ask_for(api_key)
        self.variables = {} if max_sessions is None else {"MAX_CONCURRENT_ENVS": str(max_sessions)}

    def resolve(self, host: str) -> Resolved:
        """The command for a socket that is bound to ``host``. What a folder's lock names is installed first.

        Raises:
            ConfigurationError: uv cannot install it.
            MissingExtraError: This Python would serve, and has not what that needs.
        """
        folder = self._folder
        uv = os.environ.get("UV") or shutil.which("uv")
        if folder is None or uv is None or not (folder / "uv.lock").is_file():
            if any(importlib.util.find_spec(name) is None for name in _NEEDED):
                raise MissingExtraError(f"Serving {self.name} with {sys.executable}", "cli")
            here = (sys.executable, "-m", "openenv_cli", "serve", "--host", host, "--fd", _FD)
            served = () if folder is None else (str(folder),)
            words = (*here, *served, *self._options)
            return Resolved(words, self.variables, frozenset(), self._api_key)
        python = project.install(uv, folder)
        words = (python, _FOLDER_SERVER, str(folder), project.application(folder), _FD, *self._options)
        return Resolved(words, self.variables, project.FOREIGN, self._api_key)
