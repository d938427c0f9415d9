"""The published package's interface of providers: one server each, started by an explicit call.

Published code subclasses the two abstract classes. `openenv_gym.providers.provider.Provider` is the interface
that ``gym.make`` uses.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from openenv_gym.errors import ConfigurationError, DockerError, ProviderError

READY_TIMEOUT_S = 30.0

log = logging.getLogger("openenv_gym")


class ContainerProvider(ABC):
    """Starts a container of an environment's image, and stops it.

    ``with`` calls `close` at the end, which does not stop the container.
    """

    @abstractmethod
    def start_container(
        self, image: str, port: int | None = None, env_vars: dict[str, str] | None = None, **kwargs: Any
    ) -> str:
        """Start a container, and return its server's base URL. The server need not respond yet.

        Args:
            image: The image, or what else the provider runs.
            port: The port of the base URL; None lets the provider choose.
            env_vars: The server's environment variables.
            **kwargs: The provider's options.

        Raises:
            RuntimeError: The container cannot be started.
        """

    @abstractmethod
    def stop_container(self) -> None:
        """Stop the container, and remove it."""

    @abstractmethod
    def wait_for_ready(self, base_url: str, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the server responds.

        Args:
            base_url: What `start_container` returned.
            timeout_s: The time for that, in seconds.

        Raises:
            TimeoutError: It took too long.
        """

    def close(self) -> None:
        """Release what the provider holds besides the container. Nothing by default."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.close()
        return None


class RuntimeProvider(ABC):
    """Starts a server without a container, and stops it. ``with`` does both."""

    @abstractmethod
    def start(self, port: int | None = None, env_vars: dict[str, str] | None = None, **kwargs: Any) -> str:
        """Start the server, and return its base URL. It need not respond yet.

        Args:
            port: The port of the base URL; None lets the provider choose.
            env_vars: The server's environment variables.
            **kwargs: The provider's options.

        Raises:
            RuntimeError: The server cannot be started.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop the server."""

    @abstractmethod
    def wait_for_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until the server responds.

        Raises:
            TimeoutError: It took too long.
        """

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self.stop()
        return None


class KubernetesProvider(ContainerProvider):
    """A name that published code imports; abstract there too. docs/scaling.md deploys environments."""


def warn_of_ignored(provider: str, options: Iterable[str]) -> None:
    """Log the options that a provider does not have; published ones ignore them too."""
    if options := sorted(options):
        log.warning("%s ignores unknown options: %s", provider, ", ".join(options))


@contextmanager
def provider_errors() -> Iterator[None]:
    """Turn what our providers raise into a `ProviderError`: published code catches a RuntimeError."""
    try:
        yield
    except ProviderError:
        raise
    except (ConfigurationError, DockerError) as error:
        raise ProviderError(error.message, advice=error.advice, log=error.log) from error
