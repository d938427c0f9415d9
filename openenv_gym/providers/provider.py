"""What every provider of servers is: start, wait, logs, stop."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import TypeVar

from openenv_gym.errors import ConfigurationError, DeadlineExceededError, EndpointError, UnauthorizedError
from openenv_gym.providers.progress import shown, tell
from openenv_gym.transport.endpoint import Endpoint
from openenv_gym.transport.http import get_json

SelfT = TypeVar("SelfT", bound="Provider")

_ANSWER_TIMEOUT_S = 5.0


class Provider(ABC):
    """Starts servers of one environment, and stops them.

    ``with`` starts them, waits until they are ready, and stops them in the end, whatever happens. A provider
    of your own implements `start`, `check`, `logs` and `stop`; `openenv_gym.providers.testing` has the tests
    that it has to pass, and docs/providers.md an example.

    Attributes:
        ready_timeout_s: The time for the servers to be ready, in seconds, where nothing else is said.
        poll_s: The time between two questions whether they are, in seconds.
        shows_progress: Whether `launch` shows what goes on, where standard error is a terminal.
        has_log: Whether `logs` has what the servers write; False where they are not its own.
        starts_anew: Whether a server that ends is started anew.
        endpoints: The servers' base URLs, once they are started.
        headers: What each request to them has to have, beside what a client shows by itself.

    Example:
        >>> with ProcessProvider(gym="CartPole-v1") as provider:
        ...     env = gymnasium.make("openenv/remote", base_url=provider.base_url)
    """

    ready_timeout_s: float = 60.0
    poll_s: float = 0.1
    shows_progress: bool = True
    has_log: bool = True
    starts_anew: bool = False
    endpoints: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}

    @abstractmethod
    def start(self) -> tuple[str, ...]:
        """Starts the servers; keeps their base URLs in `endpoints`, and returns them.

        They may not answer yet. What takes its time says so with `openenv_gym.providers.progress.tell`.

        Raises:
            ConfigurationError: They cannot be started. Nothing of them is left.
        """

    @abstractmethod
    def check(self) -> None:
        """Sees whether the servers run.

        Raises:
            ConfigurationError: One has ended; the message has its last words.
        """

    def ended(self) -> Mapping[str, str]:
        """What is said of the servers that have ended for good, by their base URLs.

        A provider that has several servers, or starts those anew that end, says here which. Where this is
        left out, what `check` raises is said of all.
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
        """The last lines that one of the servers wrote, where they are at hand.

        A provider that has several servers says here which wrote what.
        """
        return self.logs()

    @abstractmethod
    def stop(self) -> None:
        """Stops the servers, and removes what was made for them. Safe to call again, and before `start`."""

    @property
    def base_url(self) -> str:
        """The first server's base URL; "" before `start`."""
        return self.endpoints[0] if self.endpoints else ""

    def addresses(self) -> tuple[str, ...]:
        """The servers' base URLs as they are now.

        A provider that starts servers anew, at other addresses, says here where they are; `RemoteVectorEnv`
        asks for it whenever it opens sessions.
        """
        return self.endpoints

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Waits until every server answers that it is healthy.

        Args:
            timeout_s: The time for it, in seconds; `ready_timeout_s` where left out.

        Raises:
            ConfigurationError: A server has ended instead.
            DeadlineExceededError: It took too long; the message has the servers' last words.
            UnauthorizedError: A server asks for a key that it was not shown.
        """
        timeout_s = self.ready_timeout_s if timeout_s is None else timeout_s
        deadline = time.monotonic() + timeout_s
        waited_for = [Endpoint.parse(url, headers=self.headers) for url in self.endpoints]
        while waited_for:
            try:
                get_json(waited_for[0], "/health", timeout_s=_ANSWER_TIMEOUT_S)
            except UnauthorizedError:
                raise
            except EndpointError as error:
                self.check()
                if time.monotonic() > deadline:
                    raise DeadlineExceededError(
                        f"The server at {waited_for[0]} was not ready within {timeout_s:g} s ({error}).",
                        log=self.logs(),
                    ) from error
                time.sleep(self.poll_s)
            else:
                waited_for.pop(0)

    def launch(self) -> tuple[str, ...]:
        """Starts the servers, shows that, and waits until they are ready; returns their base URLs.

        Whatever goes wrong, Ctrl-C among it, nothing of them is left.

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


def at_least_one(count: int, what: str = "replicas= is a number of servers") -> int:
    """A number that a user gave, which begins at 1.

    Args:
        count: The number.
        what: Says what it is, for the message.

    Raises:
        ConfigurationError: It is none, or less than 1.
    """
    if not isinstance(count, int) or count < 1:
        raise ConfigurationError(f"{what}, at least 1, not {count!r}")
    return count
