"""`Provider`: the interface of whatever starts servers."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from inspect import signature
from types import TracebackType
from typing import Any, TypeVar

from openenv_gym.errors import ConfigurationError, DeadlineExceededError, EndpointError, UnauthorizedError
from openenv_gym.providers.progress import shown, tell
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json

SelfT = TypeVar("SelfT", bound="Provider")

_HEALTH_TIMEOUT_S = 5.0


class Provider(ABC):
    """Starts servers of one environment, and stops them.

    ``with`` starts the servers, waits until they are ready, and stops them at the end, whatever happens. To
    write a provider, implement `start`, `check`, `logs` and `stop`: docs/providers.md has an example, and
    `openenv_gym.providers.testing` the tests that it should pass.

    Attributes:
        ready_timeout_s: The default time for the servers to become ready, in seconds.
        poll_s: The time between two health checks while they start, in seconds.
        shows_progress: Whether `launch` shows progress if standard error is a terminal.
        has_log: Whether `logs` has what the servers write.
        restarts: Whether a server that ends is restarted.
        is_direct: Whether the servers are reached without a proxy, as those on this machine or near it are.
        endpoints: The servers' base URLs after `start`.
        headers: Headers that every request to the servers needs, besides what a client sends anyway.

    Example:
        >>> with ProcessProvider(gym="CartPole-v1") as provider:
        ...     env = gymnasium.make("openenv/remote", base_url=provider.base_url)
    """

    ready_timeout_s: float = 60.0
    poll_s: float = 0.1
    shows_progress: bool = True
    has_log: bool = True
    restarts: bool = False
    is_direct: bool = True
    endpoints: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}

    @abstractmethod
    def start(self) -> tuple[str, ...]:
        """Start the servers; keep their base URLs in `endpoints`, and return them.

        The servers need not respond yet. Report slow work with `openenv_gym.providers.progress.tell`.

        Raises:
            ConfigurationError: The servers cannot be started. Nothing is left of them.
        """

    @abstractmethod
    def check(self) -> None:
        """Check that the servers run.

        Raises:
            ConfigurationError: A server has ended; the message has its last log lines.
        """

    def ended(self) -> Mapping[str, str]:
        """Why servers have ended for good, by their base URLs.

        Override this if there are several servers, or if servers are restarted. By default, what `check`
        raises is said of all of them.
        """
        try:
            self.check()
        except ConfigurationError as error:
            return dict.fromkeys(self.endpoints, str(error))
        return {}

    @abstractmethod
    def logs(self) -> str:
        """The last lines that the servers wrote."""

    def log_of(self, base_url: str) -> str:
        """The last lines that one server wrote. Override this if there are several servers."""
        return self.logs()

    @abstractmethod
    def stop(self) -> None:
        """Stop the servers and clean up. Safe to call again, and before `start`."""

    @classmethod
    def option_names(cls, options: Mapping[str, Any]) -> list[str] | None:
        """The keywords that ``provider_options=`` may have; None if any.

        Args:
            options: Those that the user gave, because one option may allow others.
        """
        return keyword_names(cls)

    @property
    def base_url(self) -> str:
        """The first server's base URL; "" before `start`."""
        return self.endpoints[0] if self.endpoints else ""

    def addresses(self) -> tuple[str, ...]:
        """The servers' present base URLs.

        Override this if servers are restarted at other addresses. `RemoteVectorEnv` calls it whenever it
        opens sessions.
        """
        return self.endpoints

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Wait until every server reports that it is healthy.

        Args:
            timeout_s: The time for that, in seconds; `ready_timeout_s` by default.

        Raises:
            ConfigurationError: A server has ended.
            DeadlineExceededError: It took too long; the message has the servers' last log lines.
            UnauthorizedError: A server requires a key that it was not given.
        """
        timeout_s = self.ready_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        pending = [self._endpoint(url) for url in self.endpoints]
        while pending:
            try:
                get_json(pending[0], "/health", timeout_s=_HEALTH_TIMEOUT_S)
            except UnauthorizedError:
                raise
            except EndpointError as error:
                self.check()
                if time.monotonic() > deadline:
                    raise DeadlineExceededError(
                        f"The server at {pending[0]} was not ready within {timeout_s:g} s ({error}).",
                        advice='If it needs longer, raise provider_options={"ready_timeout_s": 300}.',
                        log=self.logs(),
                        endpoint=pending[0].base_url,
                    ) from error
                time.sleep(self.poll_s)
            else:
                pending.pop(0)

    def _endpoint(self, base_url: str) -> Endpoint:
        return Endpoint.parse(base_url, headers=self.headers, is_direct=self.is_direct)

    def launch(self) -> tuple[str, ...]:
        """Start the servers, show progress, and wait until they are ready; return their base URLs.

        If anything goes wrong, including Ctrl-C, the servers are stopped.

        Raises:
            OpenEnvError: What `start` and `wait_ready` raise.
        """
        text = f"Starting a server of {self}…"
        try:
            with shown(text) if self.shows_progress else contextlib.nullcontext():
                self.endpoints = self.start()
                tell(text)
                self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self.endpoints

    def __enter__(self: SelfT) -> SelfT:
        self.launch()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def keyword_names(factory: Callable[..., Any]) -> list[str] | None:
    """The keyword-only parameters of a callable; None if it takes any keyword."""
    parameters = signature(factory).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def at_least_one(count: int, name: str = "replicas") -> int:
    """Check a number that a user gave.

    Raises:
        ConfigurationError: It is not an int, or less than 1.
    """
    if not isinstance(count, int) or count < 1:
        raise ConfigurationError(f"{name}= must be an integer of at least 1, got {count!r}")
    return count
