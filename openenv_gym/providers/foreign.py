"""Providers written for the published package, as ours."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from openenv_gym.errors import ConfigurationError
from openenv_gym.providers.provider import Provider
from openenv_gym.transport.routes import is_on_this_machine


class ForeignProvider(Provider):
    """A provider with ``start_container``, ``wait_for_ready`` and ``stop_container``, or without "container".

    Args:
        provider: The object. Without ``wait_for_ready``, its server is asked for its health.
        arguments: The positional arguments of its ``start_container`` or ``start``.
        options: The keyword arguments.

    Raises:
        ConfigurationError: It has no such methods.
    """

    shows_progress = False
    has_log = False

    def __init__(self, provider: Any, *arguments: Any, **options: Any) -> None:
        suffix = "_container" if hasattr(provider, "start_container") else ""
        start: Callable[..., str] | None = getattr(provider, f"start{suffix}", None)
        stop: Callable[[], Any] | None = getattr(provider, f"stop{suffix}", None)
        if not callable(start) or not callable(stop) or isinstance(provider, type):
            raise ConfigurationError(
                f"provider= must be an object with start, wait_for_ready and stop, or with start_container, "
                f"wait_for_ready and stop_container; got {provider!r}."
            )
        self._provider, self._is_container = provider, bool(suffix)
        self._start, self._arguments, self._options = start, arguments, options
        self._stop = stop

    def __str__(self) -> str:
        return type(self._provider).__name__

    def start(self) -> tuple[str, ...]:
        try:
            signature(self._start).bind(*self._arguments, **self._options)
        except TypeError as error:
            raise ConfigurationError(
                f"The provider {self} cannot be started like this: {error}.",
                advice="Start it yourself, and pass base_url= beside provider=; or pass it to "
                "from_docker_image(image, provider=…).",
            ) from error
        base_url = self._start(*self._arguments, **self._options)
        self.is_direct: bool = is_on_this_machine(base_url)
        self.endpoints: tuple[str, ...] = (base_url,)
        return self.endpoints

    def wait_ready(self, timeout_s: float | None = None) -> None:
        wait = getattr(self._provider, "wait_for_ready", None)
        if wait is None:
            super().wait_ready(timeout_s)
        elif self._is_container:
            wait(*self.endpoints)
        else:
            wait()

    def check(self) -> None:
        """It has no method for this."""

    def logs(self) -> str:
        return ""

    def stop(self) -> None:
        self._stop()


def provider_of(provider: Any, *arguments: Any, **options: Any) -> Provider:
    """Return a provider of ours as it is, and any other as a `ForeignProvider`."""
    if isinstance(provider, Provider):
        return provider
    return ForeignProvider(provider, *arguments, **options)
