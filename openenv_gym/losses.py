"""What a step does when its session is gone for good."""

from __future__ import annotations

from typing import Literal

from openenv_gym.errors import (
    ConfigurationError,
    DeadlineExceededError,
    OpenEnvError,
    SessionLostError,
    StepTimeoutError,
)

OnSessionLost = Literal["raise", "truncate"]

# The errors after which a session is gone.
LOSSES: tuple[type[OpenEnvError], ...] = (SessionLostError, StepTimeoutError, DeadlineExceededError)


def checked(on_session_lost: OnSessionLost) -> OnSessionLost:
    """What a user asked for.

    Raises:
        ConfigurationError: It is neither of the two.
    """
    if on_session_lost not in ("raise", "truncate"):
        raise ConfigurationError(f'on_session_lost is "raise" or "truncate", not {on_session_lost!r}')
    return on_session_lost
