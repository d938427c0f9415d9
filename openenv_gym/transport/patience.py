"""How a socket waits for its next message: awake for a moment, then asleep.

A thread that sleeps in the kernel takes 20 to 60 microseconds to wake, and more on a virtual machine: longer
than a whole step of a fast environment. So where messages come in quick succession, the socket is looked at
again and again for a moment before the thread goes to sleep. At most half of the cores do so at a time, none
where there is only one. A socket whose messages take longer stops doing it for a while, and for longer each
time that it was in vain.
"""

from __future__ import annotations

import os
import socket
from threading import get_ident
from time import perf_counter

MOST_S = 1e-3
# So many quick messages are waited for asleep after one came late, and twice as many each time that follows.
_FEWEST_NAPS, _MOST_DOUBLINGS = 16, 6

_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_most_awake = _cores // 2
# The threads that are awake. No semaphore: Ctrl-C within one of Python's leaves it locked for ever.
_awake: set[int] = set()


def share_cores(processes: int) -> None:
    """Leaves this process its share of the cores, where several do the same work beside each other.

    Call it before the first socket waits.
    """
    global _most_awake
    _most_awake = _cores // 2 // processes


class Patience:
    """How one socket waits.

    Args:
        raw: The socket, in blocking mode.
    """

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._in_vain = 0  # how often in a row nothing came while awake
        self._naps = 0  # quick messages to wait for asleep, before it is tried awake again

    def receive_into(self, memory: memoryview, at_least: int = 1) -> int:
        """As ``socket.recv_into``; while awake, it takes what comes until there is ``at_least`` so much."""
        begin = perf_counter()
        if not self._naps and len(_awake) < _most_awake:
            thread = get_ident()
            try:
                _awake.add(thread)
                count = self._look(memory, at_least, begin + MOST_S)
            finally:
                _awake.discard(thread)
            if count is not None:
                self._in_vain = 0
                return count
            # Where other work wants the cores, being awake keeps even the sender from sending.
            self._naps = _FEWEST_NAPS << min(self._in_vain, _MOST_DOUBLINGS)
            self._in_vain += 1
            return self._raw.recv_into(memory)
        count = self._raw.recv_into(memory)
        if self._naps and perf_counter() - begin < MOST_S:
            self._naps -= 1
        return count

    def _look(self, memory: memoryview, at_least: int, end: float) -> int | None:
        """The bytes received, 0 if there are no more to come; None if nothing came in time."""
        receive_into, flag, have = self._raw.recv_into, socket.MSG_DONTWAIT, 0
        while True:
            try:
                count = receive_into(memory[have:], 0, flag)
            except BlockingIOError:
                if perf_counter() > end:
                    return have or None
                continue
            have += count
            if have >= at_least or count == 0 or perf_counter() > end:
                return have
