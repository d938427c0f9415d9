"""The server being validated, started for this or already running at a URL, and its log."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

from openenv_cli.validation.check import CheckResult, failed
from openenv_gym.env import RemoteEnv
from openenv_gym.errors import DeadlineExceededError, OpenEnvError
from openenv_gym.generic_client import GenericEnvClient
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json

# After a session closes, its place may take a moment to become free.
CAPACITY_TIMEOUT_S = 5.0
_LOG_LINES = 15

_TRACEBACK = re.compile(r"[\s|+]*(Exception Group )?Traceback \(most recent call last\):$")
_FRAME = re.compile(r'(?P<indent>[\s|]*  )File "(?P<file>[^"]+)", line \d+(, in .+)?$')
_MISSING = re.compile(r"No module named '([\w.]+)'")
_CARETS = re.compile(r"[\s|]*[~^]+[\s~^]*$")
_PYTHON_FOLDER = re.compile(r"python\d\.\d+t?$")
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_FRAMEWORK = frozenset({"openenv_server", "openenv_gym", "openenv_cli"})


@dataclass
class Server:
    """A server.

    Attributes:
        timeout_s: The timeout of its start and of each response, in seconds.
        folder: The environment's folder; None for a running server.
        base_url: Its address; empty until it is started.
        name: The environment's name; empty until the server reports it.
        sessions_at_once: How many sessions were open at once; None until that was tried.
    """

    timeout_s: float
    folder: Path | None = None
    base_url: str = ""
    name: str = ""
    sessions_at_once: int | None = None
    _provider: ProcessProvider | None = field(default=None, repr=False)
    _seen_log: str = ""

    def start(self) -> None:
        """Run ``openenv serve`` for the folder.

        Raises:
            ConfigurationError: It exited instead.
            DeadlineExceededError: It was not ready in time.
        """
        self._provider = ProcessProvider(str(self.folder), ready_timeout_s=self.timeout_s)
        self._provider.shows_progress = False  # the checks show their own
        self._provider.launch()
        self.base_url = self._provider.base_url

    def stop(self) -> float:
        """Stop it and return how many seconds that took. Safe to call again."""
        start = time.monotonic()
        if self._provider is not None:
            self._provider.stop()
        return time.monotonic() - start

    @property
    def endpoint(self) -> Endpoint:
        """Its endpoint, with the key."""
        return Endpoint.parse(self.base_url)

    @property
    def capacity_timeout_s(self) -> float:
        """How long to retry while the server is full, in seconds."""
        return min(CAPACITY_TIMEOUT_S, self.timeout_s)

    def env(self) -> RemoteEnv:
        """A session as trainers use it, over the best protocol version that the server speaks."""
        return RemoteEnv(
            self.base_url,
            connect_timeout_s=self.timeout_s,
            reset_timeout_s=self.timeout_s,
            step_timeout_s=self.timeout_s,
            capacity_timeout_s=self.capacity_timeout_s,
        )

    def client(self) -> GenericEnvClient:
        """A session that can send any payload."""
        return GenericEnvClient(
            self.base_url, connect_timeout_s=self.timeout_s, message_timeout_s=self.timeout_s
        )

    def health(self) -> dict[str, Any]:
        """The response of ``GET /health``. Raises what `get_json` does."""
        return get_json(self.endpoint, "/health", timeout_s=self.timeout_s)

    def new_log(self) -> str:
        """The last log lines since the last call; empty for a server at a URL."""
        log = self._provider.logs() if self._provider is not None else ""
        begin = len(self._seen_log) if log.startswith(self._seen_log) else 0
        self._seen_log = log
        return last_lines(own_frames(log[begin:]))

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def start_failure(
    error: OpenEnvError,
    command: str,
    *,
    folder: Path,
    packages: Collection[str] = (),
    in_image: bool = False,
    as_package: bool = False,
) -> CheckResult:
    """The result for a server that did not start.

    Args:
        error: The error, with the server's log.
        command: How to start it by hand.
        folder: The environment's folder.
        packages: The names of the author's packages, for `own_frames`.
        in_image: Whether it ran in a container.
        as_package: Whether the command imports the folder as an installed package.
    """
    log = own_frames(error.log, packages)
    lines = last_lines(log).splitlines()
    missing = _MISSING.findall(log)
    lacks_module = bool(missing) or "ModuleNotFoundError" in log
    if as_package and missing and _is_in(folder, missing[-1]):
        name = missing[-1]
        inner = name.removeprefix("server.")
        fix = (
            f"{name} is in the folder, which this command imports as a package: write "
            f"`from {'.' if inner != name else '..'}{inner} import …` in "
            "server/. `openenv serve` accepts both."
        )
    elif in_image and (lacks_module or "FileNotFoundError" in log):
        fix = (
            "If the file is in the folder, check whether .gitignore or .dockerignore excludes it from the "
            "image, or list data files under [tool.setuptools.package-data]. Add missing packages to the "
            "dependencies in pyproject.toml."
        )
    elif lacks_module:
        fix = (
            f"Add the package to the dependencies in pyproject.toml, and run `uv lock` in {folder}; or both "
            f"at once: uv add --project {folder} {missing[-1].split('.')[0] if missing else 'NAME'}"
        )
    elif isinstance(error, DeadlineExceededError):
        fix = f"Check what it waits for: {command}. If it just starts slowly, raise --timeout."
    else:
        fix = f"Fix the error, and try: {command}."
    headline = " ".join(filter(None, (error.message, error.advice)))
    if lines:
        # The last line is the most telling: it goes first because some places show one line only.
        headline = f"{headline.rstrip('.')}: {lines.pop().strip()}"
    return failed("\n".join([headline, *lines]), fix)


def _is_in(folder: Path, module: str) -> bool:
    place = folder / module.split(".")[0]
    return place.is_dir() or place.with_suffix(".py").is_file()


def last_lines(log: str) -> str:
    """The end of a log."""
    return "\n".join(log.strip().splitlines()[-_LOG_LINES:])


def own_frames(log: str, packages: Collection[str] = ()) -> str:
    """Shorten each traceback in a log to the author's own frames and the exception.

    Args:
        log: The log.
        packages: The names of the author's packages, which may be installed as others are.
    """
    return "\n".join(_shortened(log.splitlines(), frozenset(packages)))


def _shortened(lines: list[str], packages: frozenset[str]) -> Iterator[str]:
    indent: str | None = None  # of the lines that belong to the current frame; None outside of one
    is_own = False
    for line in lines:
        if frame := _FRAME.match(line):
            indent, is_own = f"{frame['indent']}  ", _is_own(frame["file"], packages)
            if is_own:
                yield line
        elif indent is not None and line.startswith(indent):
            if is_own and not _CARETS.match(line):
                yield line
        elif not _TRACEBACK.match(line):
            indent = None
            yield line


def _is_own(file: str, packages: frozenset[str]) -> bool:
    parts = PurePath(file).parts
    if file.startswith("<") or _FRAMEWORK & set(parts):
        return False
    for place in _PACKAGE_FOLDERS:
        if place in parts:
            return parts[parts.index(place) + 1] in packages
    return not any(_PYTHON_FOLDER.match(part) for part in parts)
