"""`Backoff`: pauses between retries that double up to a limit."""

from __future__ import annotations

import random


class Backoff:
    """The pauses between retries: each twice as long as the one before, up to a limit.

    Args:
        first_s: The first pause, in seconds.
        longest_s: The limit, in seconds.
        jitter: Shorten each pause by a random factor between 0.5 and 1, so that clients that failed together
            do not retry together.

    Example:
        >>> backoff = Backoff(0.5, 10.0)
        >>> while not is_ready():
        ...     time.sleep(backoff.next_s())
    """

    def __init__(self, first_s: float, longest_s: float, jitter: bool = True) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._jitter = jitter
        self._pause_s = first_s

    def next_s(self) -> float:
        """The next pause, in seconds."""
        pause_s = min(self._pause_s, self._longest_s)
        self._pause_s = 2 * pause_s
        return pause_s * random.uniform(0.5, 1.0) if self._jitter else pause_s

    def reset(self) -> None:
        """Start again with the first pause."""
        self._pause_s = self._first_s
