"""Finds resets and steps that exceed the step timeout."""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import NamedTuple

from openenv_server.connections.batches import GatheredBatch, SequentialBatch
from openenv_server.connections.slot import Slot


class StoppedBatch(NamedTuple):
    """A sequential batch that was stopped; ``stuck`` is the slot that does not return, if any."""

    batch: SequentialBatch
    stuck: Slot | None


class StepWatchdog:
    """Watches the slots of one connection.

    Args:
        limit_s: The step timeout; infinite if there is none.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._busy: dict[Slot, tuple[GatheredBatch, float]] = {}  # the batch, and when its turn came
        self._lock = threading.Lock()
        self._has_worked = False
        self._seen: tuple[SequentialBatch | None, int] = (None, 0)
        self._seen_at = 0.0

    def queue(self, slot: Slot, batch: GatheredBatch) -> None:
        """Record that a slot is busy on its session's thread, and waits for its turn."""
        slot.is_busy = True
        with self._lock:
            self._busy[slot] = batch, math.inf
            self._has_worked = True

    def start(self, slot: Slot) -> None:
        """Record that the slot has its turn; its time starts now."""
        with self._lock:
            if slot in self._busy:
                self._busy[slot] = self._busy[slot][0], monotonic()

    def end(self, slot: Slot) -> bool:
        """Record that the slot is done; returns False if it was abandoned meanwhile."""
        with self._lock:
            is_awaited = self._busy.pop(slot, None) is not None
        slot.is_busy = False
        return is_awaited

    def was_quiet(self) -> bool:
        """Whether no slot has been busy on its session's thread since the last call."""
        with self._lock:
            was_quiet = not self._has_worked
            self._has_worked = bool(self._busy)
        return was_quiet

    def take_overdue(self) -> list[tuple[Slot, GatheredBatch]]:
        """The busy slots that exceed the timeout. They count as abandoned from now on."""
        now = monotonic()
        with self._lock:
            overdue = [
                (slot, batch) for slot, (batch, since) in self._busy.items() if now - since > self.limit_s
            ]
            for slot, _ in overdue:
                del self._busy[slot]
        return overdue

    def stop(self, batch: SequentialBatch | None) -> StoppedBatch | None:
        """Stop a sequential batch if one of its slots exceeds the timeout. Call it again and again.

        The first call records the batch's position. A later one, if the position is the same after the
        timeout, asks the batch to stop. The next one finds that it has stopped, or is stuck in a slot.
        """
        if batch is None or batch.has_ended or not batch.has_begun:
            return None
        if batch.has_stopped:
            return StoppedBatch(batch, None)
        position = len(batch.results)
        if self._seen != (batch, position):
            self._seen, self._seen_at = (batch, position), monotonic()
        elif batch.should_stop:
            return StoppedBatch(batch, batch.slots[position])
        elif monotonic() - self._seen_at > self.limit_s:
            batch.should_stop = True
        return None
