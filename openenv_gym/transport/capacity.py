"""Waiting for one's turn on a server that has no free session, or that is being started anew."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from openenv_gym.errors import CapacityError, EndpointUnreachableError

_SHORTEST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0

T = TypeVar("T")


def in_turn(ask: Callable[[], T], timeout_s: float) -> T:
    """Asks for sessions until the server is there and has them.

    Args:
        ask: Does it; has changed nothing where it raises one of the errors below.
        timeout_s: How long to go on, in seconds.

    Raises:
        CapacityError: It still has not after that time.
        EndpointUnreachableError: It still is not there.
    """
    deadline = time.monotonic() + timeout_s
    pause_s = _SHORTEST_PAUSE_S
    while True:
        try:
            return ask()
        except (CapacityError, EndpointUnreachableError):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise
            time.sleep(min(pause_s * random.uniform(0.5, 1.0), left_s))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
