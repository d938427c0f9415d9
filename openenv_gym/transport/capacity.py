"""Waiting for one's turn on a server that has no free session, or that is being started anew."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from openenv_gym.errors import CapacityError, EndpointUnreachableError

_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

T = TypeVar("T")
log = logging.getLogger("openenv_gym")


class Turn:
    """When something is asked for again that was not to be had.

    Args:
        timeout_s: How long to go on, in seconds.

    Attributes:
        due_at: When to ask next, by ``time.monotonic()``.
    """

    def __init__(self, timeout_s: float) -> None:
        self.due_at = time.monotonic()
        self._timeout_s = timeout_s
        self._deadline = self.due_at + timeout_s
        self._pause_s = _SHORTEST_PAUSE_S

    def goes_on(self, error: Exception) -> bool:
        """Whether to ask again after an error, at `due_at`: pauses grow, and the last one ends in time.

        Where not, the error says how long was waited, or how that is asked for.
        """
        now = time.monotonic()
        if not isinstance(error, CapacityError | EndpointUnreachableError):
            return False
        if isinstance(error, CapacityError) and error.in_all is not None:
            return False
        if now >= self._deadline:
            self._add_wait(error)
            return False
        self.due_at = min(now + self._pause_s * random.uniform(0.5, 1.0), self._deadline)
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return True

    def _add_wait(self, error: CapacityError | EndpointUnreachableError) -> None:
        if self._timeout_s > 0:
            said = f"A wait of {self._timeout_s:g} s (capacity_timeout_s) did not help."
        elif isinstance(error, CapacityError):
            said = "With capacity_timeout_s=, it waits for its turn."
        else:
            return
        if said not in error.advice:  # one wait may be within another
            error.advice = f"{error.advice} {said}".strip()


def in_turn(ask: Callable[[], T], timeout_s: float) -> T:
    """Asks for sessions until the server is there and has them.

    Args:
        ask: Does it; has changed nothing where it raises one of the errors below.
        timeout_s: How long to go on, in seconds.

    Raises:
        CapacityError: It still has not after that time.
        EndpointUnreachableError: It still is not there.
    """
    turn = Turn(timeout_s)
    is_said = False
    while True:
        try:
            return ask()
        except (CapacityError, EndpointUnreachableError) as error:
            if not turn.goes_on(error):
                raise
            if isinstance(error, EndpointUnreachableError) and not is_said:
                # The address may be wrong, and a wait may be long.
                is_said = True
                log.warning("%s It is waited for, %g s at most (capacity_timeout_s).", error, timeout_s)
            time.sleep(max(turn.due_at - time.monotonic(), 0))
