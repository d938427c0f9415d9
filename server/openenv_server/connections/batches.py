"""A reset or a step in many slots: one after another, or gathered from several threads."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from openenv_server.connections.slot import Slot, SlotResult
from openenv_server.step_lock import PROCESS_LOCK, StepLock

Work = Callable[[Slot, Any], SlotResult]
Answer = Callable[[Sequence[SlotResult]], None]

# Held to decide who goes on with a batch: the thread that runs it, or the one that takes it over.
_DECIDING = threading.Lock()


class Deadline(NamedTuple):
    """When a client gives up on a request.

    Attributes:
        at: The time, by ``time.perf_counter()``.
        timeout_s: The seconds from the request's arrival until then.
    """

    at: float
    timeout_s: float


NO_DEADLINE = Deadline(math.inf, math.inf)


class GatheredBatch:
    """Slots that work on several threads. Gathers their results, and answers once enough are done.

    Args:
        count: The number of slots in the request.
        min_ready: How many results each answer but the last has at least; 0 waits for all.
        answer: Sends some results.
        deadline: The client's deadline.

    Attributes:
        deadline: As given.
    """

    def __init__(self, count: int, min_ready: int, answer: Answer, deadline: Deadline = NO_DEADLINE) -> None:
        self.deadline = deadline
        self._missing = count
        self._min_ready = min_ready if min_ready > 0 else count
        self._answer = answer
        self._unsent: list[SlotResult] = []
        self._results: list[SlotResult] = []
        self._is_answering = False
        self._lock = threading.Lock()

    def add(self, results: Sequence[SlotResult]) -> None:
        """Add results. Thread-safe.

        The thread that completes an answer sends it, and also what other threads add meanwhile: if a thousand
        slots are done at once, that makes a few answers instead of a thousand.
        """
        with self._lock:
            self._unsent.extend(results)
            self._results.extend(results)
            self._missing -= len(results)
            if self._is_answering:
                return
            self._is_answering = True
        while ready := self._take_ready():
            self._answer(ready)

    def replay(self, slots: Sequence[int]) -> None:
        """Send the results of these slots again, as far as they are done."""
        with self._lock:
            results = _results_of(self._results, slots)
            self._unsent = []
        if results:
            self._answer(results)

    def keep(self, slots: Sequence[int]) -> None:
        """Forget the results of all other slots, which the client has received."""
        with self._lock:
            self._results = _results_of(self._results, slots)

    def _take_ready(self) -> list[SlotResult]:
        """The results to send now; none while too few are done."""
        with self._lock:
            if not self._unsent or (self._missing and len(self._unsent) < self._min_ready):
                self._is_answering = False
                return []
            ready, self._unsent = self._unsent, []
            return ready


class Detached(NamedTuple):
    """A slot that still runs on the thread of a batch which was taken over.

    Attributes:
        slot: The slot.
        batch: Where its result belongs.
        has_returned: Set it once the result is there; the session's own thread waits for it.
    """

    slot: Slot
    batch: GatheredBatch
    has_returned: threading.Event


class SequentialBatch:
    """Fast slots, which the connection's thread steps one after another.

    If one of them takes long, another thread takes the batch over, so that the rest need not wait: first it
    sets `should_stop`, and after a moment it calls `take_over`.

    Args:
        slots: The slots.
        arguments: The argument of each slot.
        work: `Slot.reset` or `Slot.step`.
        answer: Sends the results.
        min_ready: How many results each answer but the last has at least, once it was taken over.
        deadline: The client's deadline.

    Attributes:
        slots: As given.
        arguments: As given.
        work: As given.
        answer: As given.
        results: The results so far.
        has_begun: Whether its turn has come.
        has_ended: Whether all slots are done.
        should_stop: Set it to start no further slot.
        detached: The slot that was running when the batch was taken over, if any.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        arguments: Sequence[Any],
        work: Work,
        answer: Answer,
        min_ready: int = 0,
        deadline: Deadline = NO_DEADLINE,
    ) -> None:
        self.slots = slots
        self.arguments = arguments
        self.work = work
        self.answer = answer
        self._min_ready = min_ready
        self._deadline = deadline
        self.results: list[SlotResult] = []
        self.has_begun: bool = False
        self.has_ended: bool = False
        self.should_stop: bool = False
        self._has_stopped = False
        self._is_taken = False
        self.detached: Detached | None = None
        # All environments that must not run beside others share one lock.
        is_locked = any([slot.session.step_lock for slot in slots])  # noqa: C419 - three times as fast
        self._lock: StepLock | None = PROCESS_LOCK if is_locked else None

    def run(self) -> bool:
        """Run all slots, and answer; returns False if another thread goes on with the batch."""
        if self._lock is not None:
            self._lock.acquire(self)
        self.has_begun = True
        try:
            work, append = self.work, self.results.append
            for slot, argument in zip(self.slots, self.arguments, strict=True):
                if self.should_stop and self._stops_before(slot):
                    return False
                append(work(slot, argument))
        finally:
            if self._lock is not None:
                self._lock.release(self)
        self.has_ended = True
        if self.should_stop and self._was_taken():
            return False
        self.answer(self.results)
        return True

    def _stops_before(self, slot: Slot) -> bool:
        """Whether another thread runs this slot and those behind it."""
        with _DECIDING:
            if self._is_taken:
                # It was taken over while this thread was about to run this slot, or when it ran another.
                return self.detached is None or self.detached.slot is not slot
            self._has_stopped = True
            return True

    def _was_taken(self) -> bool:
        with _DECIDING:
            return self._is_taken

    def take_over(self, detach: Callable[[Detached], None]) -> GatheredBatch | None:
        """Take the batch over, after `should_stop` was set for a while.

        Args:
            detach: Called with the slot that is running, if one is, before its thread can go on.

        Returns:
            The batch to go on with. `results` and `detached` say which slots are done and running; run the
            others. None if it has ended.
        """
        with _DECIDING:
            if self.has_ended or self._is_taken:
                return None
            self._is_taken = True
            gathered = GatheredBatch(len(self.slots), self._min_ready, self.answer, self._deadline)
            place = len(self.results)
            if self.has_begun and not self._has_stopped and place < len(self.slots):
                slot = self.slots[place]
                self.detached = Detached(slot, gathered, threading.Event())
                if self._lock is not None:
                    self._lock.transfer(self, slot.session)
                detach(self.detached)
            return gathered

    def replay(self, slots: Sequence[int]) -> None:
        """Send the results of these slots again."""
        if results := _results_of(self.results, slots):
            self.answer(results)

    def keep(self, slots: Sequence[int]) -> None:
        """Forget the results of all other slots, which the client has received."""
        if self.has_ended:  # else `results` says which slots are done
            self.results = _results_of(self.results, slots)


def _results_of(results: Sequence[SlotResult], slots: Sequence[int]) -> list[SlotResult]:
    chosen = set(slots)
    return [result for result in results if result.slot in chosen]
