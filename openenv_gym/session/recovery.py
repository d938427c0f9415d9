"""Recovery from a failed session: retry in a new one, wait with backoff, truncate, or raise."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable
from functools import cached_property
from typing import Literal, TypeVar

from openenv_gym.backoff import Backoff
from openenv_gym.errors import (
    CapacityError,
    ConfigurationError,
    DeadlineExceededError,
    EndpointUnreachableError,
    OpenEnvError,
    ServerEndedError,
    SessionLostError,
    StepTimeoutError,
)
from openenv_gym.wire.framing import CloseCode, PeerClosedError
from openenv_gym.wire.v2 import Ticket

OnSessionLost = Literal["raise", "truncate"]

# The errors after which a session is gone.
LOSSES: tuple[type[OpenEnvError], ...] = (SessionLostError, StepTimeoutError, DeadlineExceededError)

# Immediate retries of an open or a reset, each in a new session, after the connection broke.
LOSS_RETRIES = 2

# How long to wait for the place of a lost session to become free, in seconds.
_LOST_PLACE_S = 5.0

# How long further warnings about a server that does not answer are left out, in seconds: each slot of a
# vector environment waits by itself.
_QUIET_S = 5.0

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

T = TypeVar("T")
log = logging.getLogger("openenv_gym")

_TRUNCATION = 'With on_session_lost="truncate", only the episode ends, and a run goes on.'

_warned_at: dict[str, float] = {}  # by the address of the server


def check_on_session_lost(value: OnSessionLost) -> OnSessionLost:
    """Return the option unchanged.

    Raises:
        ConfigurationError: It is neither "raise" nor "truncate".
    """
    if value not in ("raise", "truncate"):
        raise ConfigurationError(f'on_session_lost must be "raise" or "truncate", got {value!r}')
    return value


def advise_truncation(error: OpenEnvError) -> None:
    """Add to the error of a lost session how a run goes on after it."""
    if isinstance(error, SessionLostError) and _TRUNCATION not in error.advice:
        error.advice = f"{error.advice} {_TRUNCATION}".strip()


class ResetRetry:
    """Decide whether and when to retry opening a session or beginning an episode.

    Nothing is lost by retrying, since no episode is running. A lost session is retried immediately,
    `LOSS_RETRIES` times. A full, stopping or unreachable server is retried with backoff until the capacity
    timeout. Where the server keeps a line of those that wait, the first in line retries often, so that a free
    place is not idle for long, and the others the less often the more are before them.

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
        self._waits = capacity_timeout_s > 0 or has_lost
        self._truncates = truncates
        self._losses_left = LOSS_RETRIES
        self._backoff = Backoff(_FIRST_PAUSE_S, _LONGEST_PAUSE_S)
        self._has_warned = False

    @cached_property
    def _ticket_name(self) -> str:
        return secrets.token_hex(8)

    def ticket(self) -> Ticket | None:
        """The place in line for the next attempt to open sessions; None if a full server is not retried."""
        if not self._waits:
            return None
        return Ticket(self._ticket_name, max(self._place_deadline - time.monotonic(), 0.0))

    def next_attempt(self, error: OpenEnvError) -> float | None:
        """When to try again after an error, by ``time.monotonic()``; None to give up.

        An error that is given up on gets advice about ``capacity_timeout_s``.
        """
        now = time.monotonic()
        if isinstance(error, ServerEndedError):
            return None  # nothing will answer there again
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
        if isinstance(error, CapacityError):
            attempt = self._after_backoff(now, self._place_deadline, _pause_in_line_s(error))
        else:
            attempt = self._after_backoff(now, self._deadline)
        if attempt is None:
            self._advise(error)
        elif isinstance(error, EndpointUnreachableError) and not self._has_warned:
            self._has_warned = True  # the address may be wrong, and the wait long
            self._warn(error, now)
        return attempt

    def _warn(self, error: EndpointUnreachableError, now: float) -> None:
        address = error.endpoint or ""
        if now - _warned_at.get(address, -math.inf) > _QUIET_S:
            _warned_at[address] = now
            log.warning("%s Retrying for up to %g s (capacity_timeout_s).", error, self._timeout_s)

    def _after_backoff(self, now: float, deadline: float, pause_s: float | None = None) -> float | None:
        if now >= deadline:
            return None
        return min(now + (self._backoff.next_s() if pause_s is None else pause_s), deadline)

    def _advise(self, error: OpenEnvError) -> None:
        if self._timeout_s > 0:
            advice = f"Retried for {self._timeout_s:g} s (capacity_timeout_s)."
        elif isinstance(error, CapacityError):
            advice = "Pass capacity_timeout_s= to wait for a free session."
        else:
            return
        if advice not in error.advice:  # the error may pass through two retry loops
            error.advice = f"{error.advice} {advice}".strip()


def _pause_in_line_s(error: CapacityError) -> float | None:
    """How long a client pauses at its place in line, in seconds; None if the server keeps no line."""
    before = error.details.get("waiting_before")
    if not isinstance(before, int) or before < 0:
        return None
    return min(_FIRST_PAUSE_S * (1 + before), _LONGEST_PAUSE_S)


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
    return retry_in_line(lambda _: call(), capacity_timeout_s)


def retry_in_line(
    call: Callable[[Ticket | None], T], capacity_timeout_s: float, *, truncates: bool = False
) -> T:
    """Like `retry`, but call with a place in line, to open sessions with.

    Args:
        call: Has changed nothing when it raises an error.
        capacity_timeout_s: How long to keep trying, in seconds.
        truncates: Whether to retry after the loss of a session, too.

    Raises:
        OpenEnvError: A session was lost, perhaps again and again; and what `retry` raises.
    """
    retries = ResetRetry(capacity_timeout_s, truncates=truncates)
    while True:
        try:
            return call(retries.ticket())
        except OpenEnvError as error:
            is_loss = isinstance(error, LOSSES)
            attempt = None if is_loss and not truncates else retries.next_attempt(error)
            if attempt is None:
                raise
            time.sleep(max(attempt - time.monotonic(), 0))
