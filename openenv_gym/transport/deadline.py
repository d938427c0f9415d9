"""`Deadline`: one time limit for many waits."""

from __future__ import annotations

import time


class Deadline:
    """The moment by which an operation has to be over, however many waits it is made of.

    Args:
        timeout_s: The time for the whole operation, in seconds, from now on.

    Attributes:
        timeout_s: The argument, for messages.
    """

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._ends_at = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """The seconds that are left, always more than 0.

        Raises:
            TimeoutError: None are left.
        """
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return left_s
