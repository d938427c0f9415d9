"""Finds resets and steps that take too long."""

from __future__ import annotations

import math
import threading
from time import perf_counter
from typing import NamedTuple

from openenv_server.connections.batches import Detached, GatheredBatch, SequentialBatch
from openenv_server.connections.slot import Slot
from openenv_server.errors import DeadlinePassedError, ServerError, StepLimitExceededError
from openenv_server.sessions.session import LATEST_S, LEAST_S

# A batch that stays in one slot for so many seconds is taken over, so that the others need not wait. The
# second is for slots of several clients, of which none expects to wait for another one.
DETACH_S = 0.25
DETACH_FOR_OTHERS_S = 0.04


class Busy(NamedTuple):
    """A slot that is busy on its session's thread, or waits for its turn.

    Attributes:
        batch: Where its result belongs.
        since: When its turn came, by ``time.perf_counter()``; infinite if it waits.
    """

    batch: GatheredBatch
    since: float


class Overdue(NamedTuple):
    """A slot that took too long. Nobody waits for its result any more."""

    slot: Slot
    batch: GatheredBatch
    error: ServerError


class StepWatchdog:
    """Watches the slots of one connection.

    Args:
        limit_s: The step timeout; infinite if there is none.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._busy: dict[Slot, Busy] = {}
        self._lock = threading.Lock()
        self._has_worked = False
        self._seen: tuple[SequentialBatch | None, int] = (None, 0)
        self._seen_at = 0.0

    def queue(self, slot: Slot, batch: GatheredBatch) -> None:
        """Record that a slot is busy on its session's thread, and waits for its turn."""
        slot.is_busy = True
        with self._lock:
            self._busy[slot] = Busy(batch, math.inf)
            self._has_worked = True

    def detach(self, detached: Detached) -> None:
        """Record that a slot of a batch that was taken over is running, since it was first seen to."""
        detached.slot.is_busy = True
        detached.slot.distrust()
        with self._lock:
            self._busy[detached.slot] = Busy(detached.batch, self._seen_at)
            self._has_worked = True

    def start(self, slot: Slot) -> bool:
        """Record that the slot has its turn; returns False if it was given up meanwhile."""
        with self._lock:
            busy = self._busy.get(slot)
            if busy is None:
                return False
            self._busy[slot] = busy._replace(since=perf_counter())
            return True

    def end(self, slot: Slot) -> bool:
        """Record that the slot is done; returns False if it was given up meanwhile."""
        is_awaited = self.give_up(slot) is not None
        slot.is_busy = False
        return is_awaited

    def give_up(self, slot: Slot) -> GatheredBatch | None:
        """Wait for a slot no longer; returns where its result is missing now, if it is busy."""
        with self._lock:
            busy = self._busy.pop(slot, None)
        return None if busy is None else busy.batch

    def was_quiet(self) -> bool:
        """Whether no slot has been busy on its session's thread since the last call."""
        with self._lock:
            was_quiet = not self._has_worked
            self._has_worked = bool(self._busy)
        return was_quiet

    def take_overdue(self) -> list[Overdue]:
        """The busy slots that exceed the step timeout or the client's deadline, which are given up now."""
        if not self._busy:
            return []
        now = perf_counter()
        overdue = []
        with self._lock:
            for slot, (batch, since) in list(self._busy.items()):
                error: ServerError
                deadline = batch.deadline
                if now - since > self._limit_s:
                    error = StepLimitExceededError(self._limit_s)
                elif now > deadline.at and (now - since > LEAST_S or now > deadline.at + LATEST_S):
                    error = DeadlinePassedError(deadline.timeout_s)
                else:
                    continue
                del self._busy[slot]
                overdue.append(Overdue(slot, batch, error))
        return overdue

    def is_stuck(self, batch: SequentialBatch, detach_s: float) -> bool:
        """Whether to take a batch over. Call it again and again.

        The first call records the batch's position. A later one, if the position is the same, asks the batch
        to stop. The next one returns True: by then the batch has stopped, or is stuck in a slot.

        Args:
            batch: The batch.
            detach_s: After how many seconds in one slot.
        """
        if batch.has_ended:
            return False
        position = len(batch.results)
        if batch.should_stop:
            return True
        if self._seen != (batch, position):
            self._seen, self._seen_at = (batch, position), perf_counter()
        elif perf_counter() - self._seen_at > detach_s:
            batch.should_stop = True
        return False
