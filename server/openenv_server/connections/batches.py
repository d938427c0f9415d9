"""A reset or a step in many slots: one after another, or gathered from several threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from openenv_server.connections.slot import Slot, SlotResult
from openenv_server.gymnasium_environment import PROCESS_LOCK, StepLock

Work = Callable[[Slot, Any], SlotResult]
Answer = Callable[[Sequence[SlotResult]], None]


class GatheredBatch:
    """Slots that work on several threads. Gathers their results, and answers once enough are done.

    Args:
        count: The number of slots in the request.
        min_ready: How many results each answer but the last has at least; 0 waits for all.
        answer: Sends some results.
    """

    def __init__(self, count: int, min_ready: int, answer: Answer) -> None:
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

    def _take_ready(self) -> list[SlotResult]:
        """The results to send now; none while too few are done."""
        with self._lock:
            if not self._unsent or (self._missing and len(self._unsent) < self._min_ready):
                self._is_answering = False
                return []
            ready, self._unsent = self._unsent, []
            return ready


class SequentialBatch:
    """Fast slots, which the connection's thread steps one after another.

    Args:
        slots: The slots.
        arguments: The argument of each slot.
        work: `Slot.reset` or `Slot.step`.
        answer: Sends the results.

    Attributes:
        slots: As given.
        arguments: As given.
        work: As given.
        answer: As given.
        results: The results so far.
        has_begun: Whether its turn has come.
        has_ended: Whether all slots are done.
        should_stop: Set it to start no further slot.
        has_stopped: Whether it stopped because of that.
    """

    def __init__(self, slots: Sequence[Slot], arguments: Sequence[Any], work: Work, answer: Answer) -> None:
        self.slots = slots
        self.arguments = arguments
        self.work = work
        self.answer = answer
        self.results: list[SlotResult] = []
        self.has_begun = self.has_ended = self.should_stop = self.has_stopped = False
        # All environments that must not run beside others share one lock.
        is_locked = any([slot.session.step_lock for slot in slots])  # noqa: C419 - three times as fast
        self._lock: StepLock | None = PROCESS_LOCK if is_locked else None

    def run(self) -> bool:
        """Run all slots, and answer; returns False if it was stopped."""
        if self._lock is not None:
            self._lock.acquire(self)
        self.has_begun = True
        try:
            work, append = self.work, self.results.append
            for slot, argument in zip(self.slots, self.arguments, strict=True):
                append(work(slot, argument))
                if self.should_stop:
                    self.has_stopped = True
                    return False
        finally:
            self.release_lock()
        self.has_ended = True
        self.answer(self.results)
        return True

    def release_lock(self) -> None:
        """Let other environments run, even if a slot of this batch does not return."""
        if self._lock is not None:
            self._lock.release(self)

    def replay(self, slots: Sequence[int]) -> None:
        """Send the results of these slots again."""
        if results := _results_of(self.results, slots):
            self.answer(results)


def _results_of(results: Sequence[SlotResult], slots: Sequence[int]) -> list[SlotResult]:
    chosen = set(slots)
    return [result for result in results if result.slot in chosen]
