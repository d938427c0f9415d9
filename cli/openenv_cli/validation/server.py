"""The server that is looked at while it runs: one that was started for that, or one at a URL."""

from __future__ import annotations

import time
from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from openenv_cli.validation.check import Check, Finding, failed, passed, warning
from openenv_cli.validation.tracebacks import own_frames
from openenv_gym.client import GenericEnvClient
from openenv_gym.env import RemoteEnv
from openenv_gym.errors import ConfigurationError, DeadlineExceededError, OpenEnvError, RemoteError
from openenv_gym.providers.process import ProcessProvider
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.wire.codes import ErrorCode

# A place on a server may be free only a moment after its session is closed.
TURN_TIMEOUT_S = 5.0
_LOG_LINES = 15
# `docker stop` waits for ten seconds, and then kills.
_LONG_STOP_S = 5.0


@dataclass
class Server:
    """A server.

    Attributes:
        timeout_s: The time for it to come up, and for each answer, in seconds.
        folder: The environment's folder; None where the server runs elsewhere.
        base_url: Where it is; empty until it is started.
        sessions_at_once: How many sessions were open at a time; None until that was tried.
    """

    timeout_s: float
    folder: Path | None = None
    base_url: str = ""
    sessions_at_once: int | None = None
    _provider: ProcessProvider | None = field(default=None, repr=False)
    _shown: str = ""

    def start(self) -> None:
        """Starts ``openenv serve`` for the folder.

        Raises:
            ConfigurationError: It ended instead.
            DeadlineExceededError: It did not come up in time.
        """
        self._provider = ProcessProvider(str(self.folder), ready_timeout_s=self.timeout_s)
        self._provider.shows_progress = False  # the checks show their own
        self._provider.launch()
        self.base_url = self._provider.base_url

    def stop(self) -> float:
        """Stops it; returns the seconds that it took. Safe to call again."""
        begin = time.monotonic()
        if self._provider is not None:
            self._provider.stop()
        return time.monotonic() - begin

    @property
    def endpoint(self) -> Endpoint:
        """Where it is, and the key for it."""
        return Endpoint.parse(self.base_url)

    def env(self) -> RemoteEnv:
        """A session as trainers have it, over the best version of the protocol that the server speaks."""
        return RemoteEnv(
            self.base_url,
            connect_timeout_s=self.timeout_s,
            reset_timeout_s=self.timeout_s,
            step_timeout_s=self.timeout_s,
            capacity_timeout_s=min(TURN_TIMEOUT_S, self.timeout_s),
        )

    def client(self) -> GenericEnvClient:
        """A session in which any message can be sent, over version 1 of the protocol."""
        return GenericEnvClient(
            self.base_url, connect_timeout_s=self.timeout_s, message_timeout_s=self.timeout_s
        )

    def new_words(self) -> str:
        """The last lines of what was logged since the last call; empty for a server elsewhere."""
        log = self._provider.logs() if self._provider is not None else ""
        begin = len(self._shown) if log.startswith(self._shown) else 0
        self._shown = log
        return last_lines(own_frames(log[begin:]))

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def last_lines(log: str) -> str:
    """The end of a log."""
    return "\n".join(log.strip().splitlines()[-_LOG_LINES:])


def why_it_ended(
    error: Exception, what: str, *, packages: Collection[str] = (), in_image: bool = False
) -> Finding:
    """The finding for a server that did not come up.

    Args:
        error: What happened, with the server's last words.
        what: What was started.
        packages: The names of the author's packages, for `own_frames`.
        in_image: Whether it ran in a container.
    """
    text = own_frames(str(error).strip(), packages)
    first, _, log = text.partition("\n")
    first = first.removesuffix(" Its last words:").rstrip(".")
    lines = last_lines(log).splitlines()
    last = lines[-1] if lines else ""
    lacks_module = "No module named" in log or "ModuleNotFoundError" in log
    if in_image and (lacks_module or "FileNotFoundError" in log):
        fix = (
            "Where the file is in the folder, .gitignore or .dockerignore may leave it out of the image, or "
            "the package does not bring it: name data files under [tool.setuptools.package-data]. A missing "
            "package belongs into the dependencies of pyproject.toml."
        )
    elif lacks_module:
        fix = (
            "Name the package in the dependencies of pyproject.toml, and install them here: "
            "uv pip install -e FOLDER."
        )
    elif isinstance(error, ConfigurationError):
        fix = f"Mend what it says, and try it: {what}."
    else:
        fix = f"See what it waits for: {what}. If it only takes long to start, give it time with --timeout."
    # The last line says most: it stands alone where only one line is shown.
    return failed("\n".join([f"{first}: {last}" if last else first, *lines[:-1]]), fix)


def _start(server: Server) -> Finding:
    begin = time.monotonic()
    try:
        server.start()
    except (ConfigurationError, DeadlineExceededError) as error:
        server.new_words()
        return why_it_ended(error, f"openenv serve {server.folder}")
    return passed(f"At {server.base_url}: up after {time.monotonic() - begin:.1f} s")


def stop_finding(took_s: float) -> Finding:
    """The finding for a server that ended so many seconds after it was told to."""
    if took_s > _LONG_STOP_S:
        return warning(
            f"It took {took_s:.1f} s to end after SIGTERM; `docker stop` kills after 10 s",
            "Look for threads that outlive the environment's close(), and end them there.",
        )
    return passed(f"It ended {took_s:.1f} s after SIGTERM")


def _stop(server: Server) -> Finding:
    return stop_finding(server.stop())


START_CHECKS = (Check("server.start", "`openenv serve` starts it", _start, needs=("app.defined",)),)
STOP_CHECKS = (
    Check("server.stop", "It stops when it is told to", _stop, needs=("server.start", "session.step")),
)


def cannot_be_made(server: Server) -> str:
    """Why a session gets no environment, as its factory raises; empty where it gets one, or nobody knows."""
    with closing(server.client()) as client:
        try:
            client.reset()
        except RemoteError as error:
            return str(error) if error.code == ErrorCode.FACTORY_ERROR else ""
        except OpenEnvError:
            return ""
    return ""


def health_of(server: Server) -> dict[str, Any]:
    """What the server says of its health. Raises what `get_json` does."""
    from openenv_gym.transport.http import get_json

    return get_json(server.endpoint, "/health", timeout_s=server.timeout_s)
