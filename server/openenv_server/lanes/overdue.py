"""Resets and steps that take longer than they may."""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import NamedTuple

from openenv_server.lanes.pending import Pending, Round
from openenv_server.lanes.slot import Slot


class Stopped(NamedTuple):
    """A round that was stopped on the way; ``stuck`` is the slot that does not return, if there is one."""

    round: Round
    stuck: Slot | None


class Overdue:
    """Watches the slots of one lane.

    Args:
        limit_s: The most seconds that a reset or a step may take.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._busy: dict[Slot, tuple[Pending, float]] = {}
        self._lock = threading.Lock()
        self._has_worked = False
        self._seen: tuple[Round | None, int] = (None, 0)
        self._seen_at = 0.0

    def begin(self, slot: Slot, pending: Pending) -> None:
        """Notes that a slot begins to work on a thread of its own."""
        slot.is_busy = True
        with self._lock:
            self._busy[slot] = pending, math.inf
            self._has_worked = True

    def start(self, slot: Slot) -> None:
        """Notes that it has its turn: from now on its time counts."""
        with self._lock:
            if slot in self._busy:
                self._busy[slot] = self._busy[slot][0], monotonic()

    def end(self, slot: Slot) -> bool:
        """Notes that it has ended; returns whether anybody waits for it still."""
        with self._lock:
            is_awaited = self._busy.pop(slot, None) is not None
        slot.is_busy = False
        return is_awaited

    def was_quiet(self) -> bool:
        """Whether no slot has worked on a thread of its own since this was asked last."""
        with self._lock:
            was_quiet = not self._has_worked
            self._has_worked = bool(self._busy)
        return was_quiet

    def give_up(self) -> list[tuple[Slot, Pending]]:
        """The slots that work for too long. From now on nobody waits for them."""
        now = monotonic()
        with self._lock:
            overdue = [
                (slot, pending) for slot, (pending, since) in self._busy.items() if now - since > self.limit_s
            ]
            for slot, _ in overdue:
                del self._busy[slot]
        return overdue

    def stop(self, current: Round | None) -> Stopped | None:
        """Stops a round one slot of which works for too long. Takes several calls, as its thread has a say.

        A first call notes where the round is. A later one, when it is there still after ``limit_s``, asks it
        to stop. The next one finds that it has, or that it is stuck in a slot.
        """
        if current is None or current.has_ended or not current.has_begun:
            return None
        if current.has_stopped:
            return Stopped(current, None)
        position = len(current.done)
        if self._seen != (current, position):
            self._seen, self._seen_at = (current, position), monotonic()
        elif current.is_to_stop:
            return Stopped(current, current.slots[position])
        elif monotonic() - self._seen_at > self.limit_s:
            current.is_to_stop = True
        return None
