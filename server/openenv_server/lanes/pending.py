"""Resets and steps under way in many slots, answered in one frame or in several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from openenv_server.lanes.history import Done
from openenv_server.lanes.slot import Slot

Work = Callable[[Slot, Any], Done]
Answer = Callable[[Sequence[Done]], None]


class Pending:
    """Slots that work beside each other: gathers what is done, and answers when enough is.

    Args:
        count: The number of slots that were asked.
        min_ready: How many are waited for before each answer but the last.
        answer: Sends some of them.
    """

    def __init__(self, count: int, min_ready: int, answer: Answer) -> None:
        self._missing = count
        self._min_ready = min_ready if min_ready > 0 else count
        self._answer = answer
        self._done: list[Done] = []
        self._all_done: list[Done] = []
        self._is_answering = False
        self._lock = threading.Lock()

    def add(self, done: Sequence[Done]) -> None:
        """Takes what is done; any thread may call it.

        The one that completes an answer sends it, and what others add meanwhile: where a thousand slots
        become ready at once, that is a few answers instead of a thousand.
        """
        with self._lock:
            self._done.extend(done)
            self._all_done.extend(done)
            self._missing -= len(done)
            if self._is_answering:
                return
            self._is_answering = True
        while ready := self._take():
            self._answer(ready)

    def repeat(self, slots: Sequence[int]) -> None:
        """Answers again for those of some slots that are done."""
        with self._lock:
            ready = _of_slots(self._all_done, slots)
            self._done = []
        if ready:
            self._answer(ready)

    def _take(self) -> list[Done]:
        """What is to be sent now; nothing where too little is done."""
        with self._lock:
            if not self._done or (self._missing and len(self._done) < self._min_ready):
                self._is_answering = False
                return []
            ready, self._done = self._done, []
            return ready


class Round:
    """Fast slots, which the lane's own thread steps one after another.

    Args:
        slots: The slots.
        arguments: What each of them is given.
        work: What is done with it.
        answer: Sends what came of it.

    Attributes:
        slots: As given.
        arguments: As given.
        work: As given.
        answer: As given.
        done: What came of it so far.
        has_begun: Whether it has its turn.
        has_ended: Whether all slots have worked.
        is_to_stop: Set to have no further slot begun.
        has_stopped: Whether none will be, because of that.
    """

    def __init__(self, slots: Sequence[Slot], arguments: Sequence[Any], work: Work, answer: Answer) -> None:
        self.slots = slots
        self.arguments = arguments
        self.work = work
        self.done: list[Done] = []
        self.has_begun = self.has_ended = self.is_to_stop = self.has_stopped = False
        self.answer = answer
        # One at most: all environments that wait for each other share it.
        self._locks = {lock for slot in slots if (lock := slot.session.step_lock) is not None}

    def run(self) -> bool:
        """Has all slots work, and answers; False where it was stopped on the way."""
        for lock in self._locks:
            lock.acquire(self)
        self.has_begun = True
        try:
            if not self._work():
                return False
        finally:
            self.give_up_lock()
        self.has_ended = True
        self.answer(self.done)
        return True

    def _work(self) -> bool:
        work, append = self.work, self.done.append
        for slot, argument in zip(self.slots, self.arguments, strict=True):
            append(work(slot, argument))
            if self.is_to_stop:
                self.has_stopped = True
                return False
        return True

    def give_up_lock(self) -> None:
        """Let other environments run beside a slot that does not return."""
        for lock in self._locks:
            lock.release(self)

    def repeat(self, slots: Sequence[int]) -> None:
        """Answers again for some slots."""
        if ready := _of_slots(self.done, slots):
            self.answer(ready)


class Sent:
    """An answer that was sent whole.

    Args:
        send: Sends it again.
    """

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send

    def repeat(self, slots: Sequence[int]) -> None:
        """Answers again, for all slots."""
        self._send()


def _of_slots(done: Sequence[Done], slots: Sequence[int]) -> list[Done]:
    chosen = set(slots)
    return [one for one in done if one[0] in chosen]
