"""How long a client waits for what."""

from __future__ import annotations

from typing import NamedTuple

from openenv_gym.errors import ConfigurationError


class Timeouts(NamedTuple):
    """The time for each thing, in seconds.

    Attributes:
        connect_s: To connect: TCP, TLS and WebSocket.
        reset_s: For the answer to a reset.
        step_s: For the answer to a step, and to all else.
    """

    connect_s: float = 10.0
    reset_s: float = 60.0
    step_s: float = 60.0

    def checked(self) -> Timeouts:
        """Itself.

        Raises:
            ConfigurationError: One of them is not a positive number.
        """
        for name, seconds in self._asdict().items():
            if not isinstance(seconds, int | float) or not seconds > 0:
                raise ConfigurationError(
                    f"{name.removesuffix('_s')}_timeout_s is a positive number of seconds, not {seconds!r}"
                )
        return self
