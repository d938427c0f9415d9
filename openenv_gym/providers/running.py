"""A server that runs already, and is nobody's to start or to stop."""

from __future__ import annotations

from collections.abc import Mapping

from openenv_gym.providers.provider import Provider


class RunningProvider(Provider):
    """A server at a known address.

    Args:
        base_url: Its address.
    """

    shows_progress = False
    has_log = False

    def __init__(self, base_url: str) -> None:
        self.endpoints = (base_url,)

    def __str__(self) -> str:
        return str(self.base_url)  # what it may be is the endpoint's to say

    def start(self) -> tuple[str, ...]:
        return self.endpoints

    def check(self) -> None:
        """Whoever connects to it sees how it is."""

    def wait_ready(self, timeout_s: float | None = None) -> None:
        """Does not wait, as nothing was started."""

    def ended(self) -> Mapping[str, str]:
        """Whoever started it knows."""
        return {}

    def logs(self) -> str:
        return ""

    def stop(self) -> None:
        """It goes on."""
