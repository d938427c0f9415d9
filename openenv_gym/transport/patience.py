"""How a socket waits for its next message: awake for a moment, then asleep.

A thread that sleeps in the kernel takes 20 to 60 microseconds to wake, and more on a virtual machine: longer
than a whole step of a fast environment. So where messages come in quick succession, the socket is looked at
again and again for a moment before the thread goes to sleep. At most half of the cores do so at a time, none
where there is only one, and a socket whose messages take longer stops doing it.
"""

from __future__ import annotations

import os
import socket
import threading
from time import perf_counter

MOST_S = 1e-3

_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_awake = threading.Semaphore(_cores // 2)


class Patience:
    """How one socket waits.

    Args:
        raw: The socket, in blocking mode.
    """

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._comes_soon = True

    def receive_into(self, memory: memoryview) -> int:
        """As ``socket.recv_into``."""
        begin = perf_counter()
        if self._comes_soon and _awake.acquire(blocking=False):
            try:
                count = self._look(memory, begin + MOST_S)
            finally:
                _awake.release()
            if count is not None:
                return count
            self._comes_soon = False
            return self._raw.recv_into(memory)
        count = self._raw.recv_into(memory)
        self._comes_soon = perf_counter() - begin < MOST_S
        return count

    def _look(self, memory: memoryview, end: float) -> int | None:
        receive_into, flag = self._raw.recv_into, socket.MSG_DONTWAIT
        while True:
            try:
                return receive_into(memory, 0, flag)
            except BlockingIOError:
                if perf_counter() > end:
                    return None
