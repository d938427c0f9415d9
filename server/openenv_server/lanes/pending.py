"""A reset or a step under way in many slots, answered in one frame or in several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from openenv_gym.wire.v2 import SlotError
from openenv_server.lanes.slot import Outcome

Done = Outcome | SlotError


class Pending:
    """Gathers what is done, and answers when enough is.

    Args:
        count: The number of slots that were asked.
        min_ready: How many are waited for before each answer but the last.
        answer: Sends some of them.
    """

    def __init__(self, count: int, min_ready: int, answer: Callable[[Sequence[Done]], None]) -> None:
        self._missing = count
        self._min_ready = min_ready if min_ready > 0 else count
        self._answer = answer
        self._done: list[Done] = []
        self._is_answering = False
        self._lock = threading.Lock()

    def add(self, done: Sequence[Done]) -> None:
        """Takes what is done; any thread may call it.

        The one that completes an answer sends it, and what others add meanwhile: where a thousand slots
        become ready at once, that is a few answers instead of a thousand.
        """
        with self._lock:
            self._done.extend(done)
            self._missing -= len(done)
            if self._is_answering:
                return
            self._is_answering = True
        while ready := self._take():
            self._answer(ready)

    def _take(self) -> list[Done]:
        """What is to be sent now; nothing where too little is done."""
        with self._lock:
            if self._missing and len(self._done) < self._min_ready:
                self._is_answering = False
                return []
            ready, self._done = self._done, []
            self._is_answering = bool(ready)
            return ready
