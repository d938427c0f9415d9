"""Recovery from a failed session: retry in a new one, wait with backoff, truncate, or raise."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Literal, TypeVar

from openenv_gym.backoff import Backoff
from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointUnreachableError,
    OpenEnvError,
    SessionLostError,
    StepTimeoutError,
)
from openenv_gym.wire.framing import CloseCode, PeerClosedError

OnSessionLost = Literal["raise", "truncate"]

# The errors after which a session is gone.
LOSSES: tuple[type[OpenEnvError], ...] = (SessionLostError, StepTimeoutError, DeadlineExceededError)

# Immediate retries of an open or a reset, each in a new session, after the connection broke.
LOSS_RETRIES = 2

# How long to wait for the place of a lost session to become free, in seconds.
_LOST_PLACE_S = 5.0

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

T = TypeVar("T")
log = logging.getLogger("openenv_gym")


def check_on_session_lost(value: OnSessionLost) -> OnSessionLost:
    """Return the option unchanged.

    Raises:
        ConfigurationError: It is neither "raise" nor "truncate".
    """
    if value not in ("raise", "truncate"):
        raise ConfigurationError(f'on_session_lost must be "raise" or "truncate", got {value!r}')
    return value


class ResetRetry:
    """Decide whether and when to retry opening a session or beginning an episode.

    Nothing is lost by retrying, since no episode is running. A lost session is retried immediately,
    `LOSS_RETRIES` times. A full, stopping or unreachable server is retried with backoff until the capacity
    timeout.

    Args:
        capacity_timeout_s: How long to wait for a full or unreachable server, in seconds.
        truncates: Whether losses only truncate episodes and never end the run: every kind is retried, even if
            the server caused it on purpose, and with backoff once the immediate retries are used up.
        has_lost: Whether a session was lost whose place may not be free yet. A full server is retried for at
            least `_LOST_PLACE_S`.
    """

    def __init__(self, capacity_timeout_s: float, *, truncates: bool = False, has_lost: bool = False) -> None:
        self._timeout_s = capacity_timeout_s
        self._deadline = time.monotonic() + capacity_timeout_s
        self._place_deadline = self._deadline
        if has_lost:
            self._place_deadline = max(self._deadline, time.monotonic() + _LOST_PLACE_S)
        self._truncates = truncates
        self._losses_left = LOSS_RETRIES
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._has_warned = False

    def next_attempt(self, error: OpenEnvError) -> float | None:
        """When to try again after an error, by ``time.monotonic()``; None to give up.

        An error that is given up on gets advice about ``capacity_timeout_s``.
        """
        now = time.monotonic()
        if isinstance(error, LOSSES):
            is_retryable = isinstance(error, SessionLostError) and error.retryable
            if self._losses_left and (self._truncates or is_retryable):
                self._losses_left -= 1
                return now
            if self._truncates or _is_restarting(error):
                return self._after_backoff(now, self._deadline)
            return None
        if not isinstance(error, CapacityError | EndpointUnreachableError):
            return None
        if isinstance(error, CapacityError) and error.in_all is not None:
            return None
        deadline = self._place_deadline if isinstance(error, CapacityError) else self._deadline
        attempt = self._after_backoff(now, deadline)
        if attempt is None:
            self._advise(error)
        elif isinstance(error, EndpointUnreachableError) and not self._has_warned:
            self._has_warned = True  # the address may be wrong, and the wait long
            log.warning("%s Retrying for up to %g s (capacity_timeout_s).", error, self._timeout_s)
        return attempt

    def _after_backoff(self, now: float, deadline: float) -> float | None:
        if now >= deadline:
            return None
        return min(now + self._backoff.next_s(), deadline)

    def _advise(self, error: OpenEnvError) -> None:
        if self._timeout_s > 0:
            advice = f"Retried for {self._timeout_s:g} s (capacity_timeout_s)."
        elif isinstance(error, CapacityError):
            advice = "Pass capacity_timeout_s= to wait for a free session."
        else:
            return
        if advice not in error.advice:  # the error may pass through two retry loops
            error.advice = f"{error.advice} {advice}".strip()


def _is_restarting(error: OpenEnvError) -> bool:
    """Whether a server ended the session because it stops, so another one may soon take its place."""
    cause = error.__cause__
    return isinstance(cause, PeerClosedError) and cause.code == CloseCode.GOING_AWAY


def retry(call: Callable[[], T], capacity_timeout_s: float) -> T:
    """Call until the server is up and has free sessions.

    Args:
        call: Has changed nothing when it raises one of the errors below.
        capacity_timeout_s: How long to keep trying, in seconds.

    Raises:
        CapacityError: Still no free session after that time.
        EndpointUnreachableError: Still nothing answers.
    """
    retries = ResetRetry(capacity_timeout_s)
    while True:
        try:
            return call()
        except (CapacityError, EndpointUnreachableError) as error:
            attempt = retries.next_attempt(error)
            if attempt is None:
                raise
            time.sleep(max(attempt - time.monotonic(), 0))
