"""First calls of an environment's methods run alone: they import modules and start libraries."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager


class FirstCalls:
    """Runs the first call of each kind while no other first call runs. Later ones run in parallel.

    The first ``render`` of three environments, say, may import and initialize the same library from three
    threads, and few libraries are safe from that.
    """

    def __init__(self) -> None:
        self._done: set[Hashable] = set()
        self._lock = threading.Lock()

    @contextmanager
    def alone(self, kind: Hashable, wait_s: float) -> Iterator[None]:
        """Run the block alone if no call of this kind has returned yet.

        Args:
            kind: What is called.
            wait_s: How long to wait for another first call, in seconds; then this one runs beside it.
        """
        if kind in self._done:
            yield
            return
        is_alone = self._lock.acquire(timeout=wait_s)
        if is_alone and kind in self._done:  # while this one waited
            self._lock.release()
            is_alone = False
        try:
            yield
            self._done.add(kind)
        finally:
            if is_alone:
                self._lock.release()


FIRST_CALLS = FirstCalls()
