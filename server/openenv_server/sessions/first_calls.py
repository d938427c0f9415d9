"""First calls of an environment's methods run alone: they import modules and start libraries."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

# How long a first call waits for another one, which may take long for other reasons than imports.
_WAIT_S = 1.0


class FirstCalls:
    """Runs a server's first call of each kind while no other first call runs. Later ones run in parallel.

    The first ``render`` of three environments, say, may import and initialize the same library from three
    threads, and few libraries are safe from that.
    """

    def __init__(self) -> None:
        self._done: set[Hashable] = set()
        self._lock = threading.Lock()

    @contextmanager
    def alone(self, kind: Hashable) -> Iterator[None]:
        """Run the block alone if no call of this kind has returned yet."""
        if kind in self._done:
            yield
            return
        is_alone = self._lock.acquire(timeout=_WAIT_S)
        if is_alone and kind in self._done:  # while this one waited
            self._lock.release()
            is_alone = False
        try:
            yield
            self._done.add(kind)
        finally:
            if is_alone:
                self._lock.release()
