"""What starts the server of a folder, of a Gymnasium environment or of an application."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from openenv_gym.errors import ConfigurationError, MissingExtraError
from openenv_gym.providers import project
from openenv_gym.sources import environment_folder

_FOLDER_SERVER = str(Path(__file__).with_name("folder_server.py"))
# Of the packages that `openenv serve` needs, those that others bring least often.
_NEEDED = ("fastapi", "typer", "uvicorn", "yaml")
# Stands in a command for the file descriptor of the server's socket.
_FD = "{listening}"


class Resolved(NamedTuple):
    """A command as it is on this machine.

    Attributes:
        template: Its words, with a placeholder for the socket.
        variables: Environment variables beside this process's own.
        without: Environment variables that it is not to have.
    """

    template: tuple[str, ...]
    variables: Mapping[str, str]
    without: frozenset[str]

    def words(self, listening: int) -> list[str]:
        """The command for a bound socket, named by its file descriptor."""
        return [str(listening) if word == _FD else word for word in self.template]

    def environment(self) -> dict[str, str]:
        """All environment variables that the server gets."""
        kept = {name: value for name, value in os.environ.items() if name not in self.without}
        return {**kept, **self.variables}


class ServerCommand:
    """How a server is started; the arguments are those of `ProcessProvider`.

    Attributes:
        name: What is served, for messages.
        variables: Environment variables that it sets.

    Raises:
        ConfigurationError: Not exactly one of the first three was given, or there is no environment's folder.
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
    ) -> None:
        if sum(source is not None for source in (path, gym, app)) != 1:
            raise ConfigurationError(
                "Name one of an environment's folder, a Gymnasium id (gym=), and an application (app=)"
            )
        self.name = str(path or gym or app)
        self._folder = None if path is None else environment_folder(path)
        self._options = ["--workers", str(workers)] if workers > 1 else []
        if gym is not None:
            self._options += ["--gym", gym]
        if app is not None:
            self._options += ["--app", app]
        for name, value in (gym_kwargs or {}).items():
            self._options += ["--gym-kwarg", f"{name}={json.dumps(value)}"]
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
            return Resolved((*here, *served, *self._options), self.variables, frozenset())
        python = project.install(uv, folder)
        words = (python, _FOLDER_SERVER, str(folder), project.application(folder), _FD, *self._options)
        return Resolved(words, self.variables, project.FOREIGN)
