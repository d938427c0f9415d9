"""The command that serves a folder, a Gymnasium environment or an application."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openenv_gym.errors import ConfigurationError, MissingExtraError
from openenv_gym.manifest import application, environment_folder
from openenv_gym.process_key import process_key
from openenv_gym.providers.progress import tell
from openenv_gym.providers.provider import at_least_one
from openenv_gym.transport.credentials import key_to_ask_for
from openenv_gym.wire import bearer

# A wrapper, or its import path (``module:class``); with its keywords in a pair.
Wrapper = str | Callable[..., Any] | tuple[str | Callable[..., Any], Mapping[str, Any]]

_FOLDER_SERVER = str(Path(__file__).with_name("folder_server.py"))
# Of the packages that `openenv serve` needs, those that other packages bring least often.
_REQUIRED = ("fastapi", "typer", "uvicorn", "yaml")
# Stands for the file descriptor of the server's socket.
SOCKET = "{listening}"
# Variables of this process's Python that would mislead another one.
PYTHON_VARIABLES = frozenset({"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH"})
_SHOW_PYTHON = "import sys; print(sys.executable)"
_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class ResolvedCommand:
    """A command for the machine that resolved it.

    Attributes:
        template: Its words, with a placeholder for the socket.
        variables: Environment variables to add to this process's.
        without: Environment variables of this process to leave out.
        api_key: The key that the server requires: "" for none, None for this process's own.
    """

    template: tuple[str, ...]
    variables: Mapping[str, str]
    without: frozenset[str]
    api_key: str | None = field(repr=False)

    def words(self, listening: int) -> list[str]:
        """The command for a bound socket, given by its file descriptor."""
        return [str(listening) if word == SOCKET else word for word in self.template]

    def environment(self) -> dict[str, str]:
        """All environment variables of the server."""
        kept = {name: value for name, value in os.environ.items() if name not in self.without}
        for name in (bearer.VARIABLE, bearer.FILE_VARIABLE):  # the one that the client shows is enough
            kept.pop(name, None)
        key = process_key() if self.api_key is None else self.api_key
        return {**kept, **({bearer.VARIABLE: key} if key else {}), **self.variables}


class ServerCommand:
    """A server's command, which `resolve` completes on the machine that runs it.

    The arguments are those of `ProcessProvider`.

    Attributes:
        name: What is served, for messages.
        variables: Environment variables that the command sets.

    Raises:
        ConfigurationError: Not exactly one of path, gym and app was given, the folder has no environment,
            a number is less than 1, or the key is malformed.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        gym: str | None = None,
        app: str | None = None,
        gym_kwargs: Mapping[str, Any] | None = None,
        wrappers: Iterable[Wrapper] = (),
        vectorized: bool = False,
        max_sessions: int | None = None,
        workers: int = 1,
        api_key: str | None = None,
    ) -> None:
        if sum(source is not None for source in (path, gym, app)) != 1:
            raise ConfigurationError(
                "Name one of an environment's folder, a Gymnasium id (gym=), and an application (app=)"
            )
        self.name: str = str(path or gym or app)
        self._folder = None if path is None else environment_folder(path)
        at_least_one(workers, "workers")
        if max_sessions is not None:
            at_least_one(max_sessions, "max_sessions")
        self._options = ["--workers", str(workers)] if workers > 1 else []
        if gym is not None:
            self._options += ["--gym", gym]
        if app is not None:
            self._options += ["--app", app]
        for name, value in (gym_kwargs or {}).items():
            self._options += ["--gym-kwarg", f"{name}={json.dumps(value)}"]
        for wrapper in wrappers:
            self._options += _wrap_options(wrapper)
        if vectorized:
            self._options += ["--vectorized"]
        self._api_key = key_to_ask_for(api_key)
        self.variables: dict[str, str] = (
            {} if max_sessions is None else {"MAX_CONCURRENT_ENVS": str(max_sessions)}
        )

    def resolve(self, host: str) -> ResolvedCommand:
        """The command for a socket bound to ``host``. The packages in a folder's lock are installed first.

        Raises:
            ConfigurationError: uv cannot install them.
            MissingExtraError: This Python would serve, but lacks the packages for it.
        """
        folder = self._folder
        uv = find_uv()
        if folder is None or uv is None or not (folder / "uv.lock").is_file():
            if any(importlib.util.find_spec(name) is None for name in _REQUIRED):
                raise MissingExtraError(f"Serving {self.name} with {sys.executable}", "cli")
            here = (sys.executable, "-m", "openenv_cli", "serve", "--host", host, "--fd", SOCKET)
            served = () if folder is None else (str(folder),)
            words = (*here, *served, *self._options)
            return ResolvedCommand(words, self.variables, frozenset(), self._api_key)
        python = _install(uv, folder)
        words = (python, _FOLDER_SERVER, str(folder), application(folder), SOCKET, *self._options)
        return ResolvedCommand(words, self.variables, PYTHON_VARIABLES, self._api_key)


def _wrap_options(wrapper: Wrapper) -> list[str]:
    """Return the options of ``openenv serve`` for a wrapper.

    Raises:
        ConfigurationError: It is not a `Wrapper`, or the server cannot import it.
    """
    what, keywords = wrapper if isinstance(wrapper, tuple) else (wrapper, {})
    path = what if isinstance(what, str) else f"{what.__module__}:{getattr(what, '__qualname__', '')}"
    if not re.fullmatch(r"(?!__main__)[^\W\d][\w.]*:[^\W\d][\w.]*", path):
        raise ConfigurationError(
            f"The server cannot import the wrapper {what!r}.",
            advice='Name it as in wrappers=["gymnasium.wrappers:AtariPreprocessing"], or with keywords, '
            '("gymnasium.wrappers:AtariPreprocessing", {"frame_skip": 4}).',
        )
    values = [f"{name}={json.dumps(value)}" for name, value in keywords.items()]
    return ["--wrap", path, *(word for value in values for word in ("--wrap-kwarg", value))]


def find_uv() -> str | None:
    """The path of uv: what ``uv run`` names in the variable ``UV``, or on the ``PATH``; None without it."""
    return os.environ.get("UV") or shutil.which("uv")


def _install(uv: str, folder: Path) -> str:
    """Install the packages in a folder's lock into its ``.venv``; return the Python there.

    The lock stays as it is, and so do other packages in the ``.venv``.

    Raises:
        ConfigurationError: uv failed; the message has its last log lines.
    """
    tell(f"Installing the packages of {folder}…")
    hidden = {*PYTHON_VARIABLES, *bearer.SECRETS}
    variables = {name: value for name, value in os.environ.items() if name not in hidden}
    process = subprocess.Popen(
        [uv, "run", "--quiet", "--frozen", "--no-dev", "--project", folder, "python", "-c", _SHOW_PYTHON],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
        start_new_session=True,
    )
    try:
        python, log = process.communicate()
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    if process.returncode != 0:
        raise ConfigurationError(
            f"uv cannot install the packages in {folder / 'uv.lock'}.",
            advice=f"Try: uv sync --frozen --project {folder}",
            log=log,
        )
    return python.strip()
