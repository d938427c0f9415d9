"""The lock that lets one environment of this process run at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class StepLock:
    """Lets one environment at a time run. Its holder is named, so that another thread may give it up."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: dict[object, bool] = {}

    def acquire(self, holder: object) -> None:
        """Block until nobody else holds the lock."""
        self._lock.acquire()
        self._holders[holder] = True

    def release(self, holder: object) -> None:
        """Release the lock if ``holder`` still holds it. Thread-safe, and safe to call again."""
        if self._holders.pop(holder, False):  # atomic, so only one of two calls releases
            self._lock.release()

    def transfer(self, holder: object, other: object) -> None:
        """Make another the holder, if ``holder`` holds it. Thread-safe."""
        if self._holders.pop(holder, False):
            self._holders[other] = True

    @contextmanager
    def held_by(self, holder: object) -> Iterator[None]:
        """Hold the lock within a ``with`` block."""
        self.acquire(holder)
        try:
            yield
        finally:
            self.release(holder)


# Most Gymnasium environments are not thread-safe: neither of Gymnasium's vector environments ever runs two in
# one process at the same time. This lock is held around every call into one.
PROCESS_LOCK = StepLock()
