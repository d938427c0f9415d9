"""`UVProvider`: the server of a project, run by uv."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openenv_gym.errors import ProviderError
from openenv_gym.providers.process import ServerProcesses
from openenv_gym.providers.provider import at_least_one
from openenv_gym.providers.runtime import RuntimeProvider, provider_errors, warn_of_ignored
from openenv_gym.providers.server_command import PYTHON_VARIABLES, SOCKET, ResolvedCommand, find_uv

_READY_TIMEOUT_S = 60.0
_GIT = "git+"


class UVProvider(RuntimeProvider):
    """Runs an application of a project with ``uv run --isolated``, so with the project's own packages.

    The server ends when it is stopped, and when this process ends.

    Args:
        project_path: The project's folder, or ``git+URL``, which is cloned for the time that the server runs.
        app: The application, ``module:attribute``; modules in the folder are found too.
        host: The address to listen on. Unlike the published class, this one listens for this machine only
            unless ``0.0.0.0`` is passed.
        reload: Whether to restart the server when a file changes.
        env_vars: The server's environment variables, besides this process's.
        context_timeout_s: The default time to become ready, in seconds, with that to install the packages.

    Raises:
        ProviderError: uv is not installed. Also a RuntimeError.

    Example:
        >>> with UVProvider(project_path="./my_env") as provider:
        ...     provider.wait_for_ready()
        ...     env = gymnasium.make("openenv/remote", base_url=provider.base_url)
    """

    def __init__(
        self,
        *,
        project_path: str,
        app: str = "server.app:app",
        host: str = "127.0.0.1",
        reload: bool = False,
        env_vars: Mapping[str, str] | None = None,
        context_timeout_s: float = _READY_TIMEOUT_S,
    ) -> None:
        is_remote = str(project_path).startswith(_GIT)
        self.project_path: str = str(project_path) if is_remote else str(Path(project_path).resolve())
        self.app = app
        self.host = host
        self.reload = reload
        self.env_vars = env_vars
        self.context_timeout_s = context_timeout_s
        self._server: ServerProcesses | None = None
        self._clone: tempfile.TemporaryDirectory[str] | None = None
        _program("uv")

    @property
    def base_url(self) -> str:
        """The server's address.

        Raises:
            ProviderError: It is not started.
        """
        return self._started().base_url

    def start(
        self,
        port: int | None = None,
        env_vars: dict[str, str] | None = None,
        workers: int = 1,
        **kwargs: Any,
    ) -> str:
        """Start the server.

        Args:
            port: The port to listen on; a free one if None.
            env_vars: More environment variables; they win over those of the constructor.
            workers: How many processes.
            **kwargs: Ignored, with a warning in the log.

        Raises:
            ProviderError: It cannot be started, or runs already.
        """
        warn_of_ignored("UVProvider", kwargs.keys())
        if self._server is not None:
            raise ProviderError(f"{self.project_path} is served already. Stop that server first.")
        try:
            with provider_errors():
                command = _UvCommand(
                    self._folder(),
                    self.app,
                    workers,
                    self.reload,
                    {**(self.env_vars or {}), **(env_vars or {})},
                )
                self._server = ServerProcesses(command, host=self.host, port=port or 0)
                (base_url,) = self._server.start()
        except BaseException:
            self.stop()
            raise
        base_url = base_url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
        self._server.endpoints = (base_url,)
        return base_url

    def stop(self) -> None:
        """Stop the server. Safe to call again."""
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._clone is not None:
            self._clone.cleanup()
            self._clone = None

    def wait_for_ready(self, timeout_s: float | None = None) -> None:
        """Wait until the server responds.

        Args:
            timeout_s: The time for that, in seconds; ``context_timeout_s`` if None.

        Raises:
            DeadlineExceededError: It took too long; the message has its last log lines. Also a TimeoutError.
            ProviderError: It is not started, or has ended.
        """
        with provider_errors():
            self._started().wait_ready(self.context_timeout_s if timeout_s is None else timeout_s)

    def _started(self) -> ServerProcesses:
        if self._server is None:
            raise ProviderError(f"The server of {self.project_path} is not started. Call start().")
        return self._server

    def _folder(self) -> str:
        """The project's folder, cloned if it is elsewhere."""
        if not self.project_path.startswith(_GIT):
            return self.project_path
        self._clone = tempfile.TemporaryDirectory(prefix="openenv-clone-")
        folder, url = self._clone.name, self.project_path.removeprefix(_GIT)
        command = [_program("git"), "clone", "--quiet", "--depth", "1", "--", url, folder]
        variables = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.context_timeout_s,
                env=variables,
            )
        except subprocess.TimeoutExpired as error:
            raise ProviderError(f"git did not clone {url} within {self.context_timeout_s:g} s.") from error
        if done.returncode != 0:
            raise ProviderError(f"git cannot clone {url}.", log=done.stderr)
        return folder


class _UvCommand:
    """The command of a `UVProvider`."""

    def __init__(
        self, folder: str, app: str, workers: int, has_reload: bool, variables: Mapping[str, str]
    ) -> None:
        self.name, self._app, self._variables = folder, app, variables
        self._options = ["--workers", str(at_least_one(workers, "workers")), *["--reload"] * has_reload]

    def resolve(self, host: str) -> ResolvedCommand:
        if not Path(self.name).is_dir():
            raise ProviderError(f"No such folder: {self.name}")
        uvicorn = ("uvicorn", self._app, "--app-dir", self.name, "--fd", SOCKET, *self._options)
        words = (_program("uv"), "run", "--quiet", "--isolated", "--project", self.name, "--", *uvicorn)
        return ResolvedCommand(words, self._variables, PYTHON_VARIABLES, api_key=None)


def _program(name: str) -> str:
    """The path of a program.

    Raises:
        ProviderError: It is not installed.
    """
    found = find_uv() if name == "uv" else shutil.which(name)
    if found is None:
        raise ProviderError(f"The program {name} is not installed, or not on the PATH.")
    return found
